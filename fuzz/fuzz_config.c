/* Descriptions: any JSON as a model's stored configuration, and what follows from one that is accepted. */
#include "vl/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vr_config config, again;
    vr_part parts[VR_MAX_PARTS];
    vr_error err = {0};
    if (vr_config_parse(&config, (const char *)data, size, &err) != VRWKV_OK) return err.message[0] ? 0 : -1;
    int n = vr_config_parts(&config, parts);
    for (int p = 0; p < n; p++)
        for (int r = 0; r < parts[p].n_rows; r++) {
            int64_t shape[VR_MAX_DIMS], count;
            int ndim = vr_part_shape(&parts[p], &parts[p].rows[r], parts[p].repeat - 1, shape);
            if (!vr_shape_count(ndim, shape, &count)) break;
        }
    /* what is written is read back as it was */
    char *json = vr_config_json(&config);
    if (json && (vr_config_parse(&again, json, strlen(json), &err) != VRWKV_OK || again.lm.n_embd != config.lm.n_embd ||
                 vr_config_image_rows(&again) != vr_config_image_rows(&config)))
        abort();
    free(json);
    return 0;
}
