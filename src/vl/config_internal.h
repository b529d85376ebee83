/* Shared by config.c (JSON) and describe.c (checkpoints). */
#ifndef VR_VL_CONFIG_INTERNAL_H
#define VR_VL_CONFIG_INTERNAL_H
#include "vl/config.h"

#include <jansson.h>

json_t *vr_settings_root(const vr_settings *settings); /* borrowed; NULL for NULL */
/* Settings over a description; adds_towers: the JSON is a stored description, which is complete. */
vr_status vr_config_apply(vr_config *config, const json_t *root, bool adds_towers, vr_error *err);
#endif
