#include "vl/tower.h"

#include <stdlib.h>

static vr_status make_structs(vr_lone_tower *t, vr_part parts[VR_TOWER_PARTS], vr_error *err) {
    vr_config_tower_parts(&t->config, 0, parts);
    return vr_tower_structs(&t->tower, &t->config, 0, parts, err);
}

vr_status vr_lone_tower_open(vr_lone_tower *out, const char *path, const vr_settings *settings, vr_error *err) {
    vr_part parts[VR_TOWER_PARTS];
    *out = (vr_lone_tower){0};
    VR_TRY(vr_weights_open(&out->file, path, NULL, err));
    VR_TRY(vr_config_describe_tower(&out->config, &out->file, 1, settings, err));
    VR_TRY(make_structs(out, parts, err));
    for (int p = 0; p < VR_TOWER_PARTS; p++) VR_TRY(vr_part_load(&out->file, 1, &parts[p], &out->owned, &out->info, err));
    return VRWKV_OK;
}

vr_status vr_lone_tower_random(vr_lone_tower *out, const vr_settings *settings, vr_dtype type, bool packed, vr_error *err) {
    vr_part parts[VR_TOWER_PARTS];
    *out = (vr_lone_tower){0};
    VR_TRY(vr_config_describe_tower(&out->config, NULL, 0, settings, err));
    VR_TRY(make_structs(out, parts, err));
    for (int p = 0; p < VR_TOWER_PARTS; p++) {
        VR_TRY(vr_part_random(&parts[p], type, &out->owned, &out->info, err));
        if (packed) VR_TRY(vr_part_pack(&parts[p], &out->owned, NULL, err));
    }
    return VRWKV_OK;
}

void vr_lone_tower_close(vr_lone_tower *tower) {
    free(tower->tower.outer);
    free(tower->tower.layers);
    vr_owned_free(&tower->owned);
    vr_weights_close(tower->file);
    *tower = (vr_lone_tower){0};
}
