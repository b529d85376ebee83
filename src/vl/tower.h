/* A vision tower by itself, without a language model: for comparing and measuring it alone. */
#ifndef VR_VL_TOWER_H
#define VR_VL_TOWER_H
#include "vl/load.h"

typedef struct vr_lone_tower {
    vr_config config; /* of one tower */
    vr_tower tower;
    vrwkv_info info;  /* parameters and weight_bytes only */
    vr_weights *file;
    vr_owned owned;
} vr_lone_tower;

/* From a tensor file; `settings` name the type and what shapes cannot tell (vr_config_describe_tower).
 * vr_lone_tower_close, after a failure too. */
vr_status vr_lone_tower_open(vr_lone_tower *out, const char *path, const vr_settings *settings, vr_error *err);
/* Random weights; `settings` are complete. packed: quantised matrices in packed order, for int8 products. */
vr_status vr_lone_tower_random(vr_lone_tower *out, const vr_settings *settings, vr_dtype type, bool packed,
                               vr_error *err);
void vr_lone_tower_close(vr_lone_tower *tower);
#endif
