#include "vl/version.h"

#include <string.h>

#define THREE "dinov2,siglip,sam"
#define V7 .rwkv = "x070", .new_projector = "mlp", .scan = "unidirection", .image_position = "first", .pad_multiple = 16, .pad_token = 261, .row_id = 65535
#define V56 .scan = "bidirection", .image_position = "middle", .blank = VR_BLANK_ROWS, .most_pictures = 1

/* Versions with the same parts: the first is what a checkpoint without further word is taken for. */
static const vr_version versions[] = {
    {.name = "v6.0", .rwkv = "x060", .towers = "clip", .prompt = "v6.0", V56},
    /* the released v5.1 trainings differ in their scan, which `scan` of the configuration tells */
    {.name = "v5.1", .rwkv = "x052", .towers = "clip", .prompt = "v5.1", .scan = "unidirection", .image_position = "middle",
     .blank = VR_BLANK_ROWS, .most_pictures = 1, .batch_loss = true, .all_decay = true, .trains_embedding = true},
    {.name = "uhd", .rwkv = "x060", .towers = THREE, .projector = "relu", .new_projector = "relu", .prompt = "v6.0",
     .cut = VR_CUT_QUARTERS, .rows = VR_ROWS_OVERLAID, V56},
    {.name = "hd", .rwkv = "x060", .towers = THREE, .new_projector = "gated", .prompt = "v6.0", V56},
    {.name = "v6.20", .rwkv = "x060", .towers = THREE, .new_projector = "gated", .prompt = "v7.00", .scan = "unidirection", .image_position = "first",
     .num_token_per_image = 1024, .row_id = 65535},
    {.name = "v7.00", .towers = THREE, .prompt = "v7.00", .num_token_per_image = 1024, .trace_out = true, V7},
    {.name = "v7.01", .towers = "siglip-hf", .prompt = "v7.01", .blank = VR_BLANK_PICTURE, .most_pictures = 1,
     .num_token_per_image = 256, V7},
    {.name = "v7.02", .towers = "siglip-hf", .prompt = "v7.02", .cut = VR_CUT_FIT, .most_pictures = 1, .num_token_per_image = 256, V7},
    {.name = "v7.03", .towers = "siglip-hf", .compressor = true, .prompt = "v7.03", .cut = VR_CUT_FIT_AREA, .rows = VR_ROWS_PICTURE,
     .most_pictures = 1, .num_token_per_image = 256, V7},
    {.name = "v7.04", .towers = "siglip-hf", .compressor = true, .prompt = "v7.04", .cut = VR_CUT_FIT_AREA, .rows = VR_ROWS_REGIONS,
     .most_pictures = 1, .num_token_per_image = 256, V7},
};

const vr_version *vr_version_at(int index) { return (size_t)index < VR_COUNT(versions) ? &versions[index] : NULL; }

const char *vr_version_names(void) { return "v5.1, v6.0, v6.20, hd, uhd, v7.00, v7.01, v7.02, v7.03, v7.04"; }

const vr_version *vr_version_find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(versions); i++)
        if (strcmp(versions[i].name, name) == 0) return &versions[i];
    return NULL;
}

const vr_version *vr_version_detect(const char *rwkv, const char *towers, bool compressor, const char *projector) {
    const vr_version *same_rwkv = NULL;
    for (size_t i = 0; i < VR_COUNT(versions); i++) {
        if (strcmp(versions[i].rwkv, rwkv) != 0 || versions[i].compressor != compressor) continue;
        if (versions[i].projector && strcmp(versions[i].projector, projector) != 0) continue;
        if (!strcmp(versions[i].towers, towers)) return &versions[i];
        if (!same_rwkv) same_rwkv = &versions[i];
    }
    return same_rwkv;
}
