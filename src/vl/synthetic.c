/* A model of any description with random weights: for measuring speed without a checkpoint. */
#include "ops/quant.h"
#include "vl/internal.h"
#include "vl/load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN ((int64_t)1 << 20) /* elements that repeat; only their addresses matter for speed */

static void fill_pattern(float *pattern, int64_t n, float low, float high) {
    vr_rng rng = {42};
    for (int64_t i = 0; i < n; i++) pattern[i] = low + (high - low) * (float)vr_rng_uniform(&rng);
}

static vr_status make_row(const vr_part *part, const vr_row *row, int layer, vr_dtype type, float *pattern, vr_owned *owned,
                          vrwkv_info *info, vr_error *err) {
    vr_tensor *tensor = vr_row_tensor(part, row, layer);
    int64_t count;
    uint64_t bytes;
    tensor->ndim = vr_part_shape(part, row, layer, tensor->shape);
    if (row->transform == VR_TRANSPOSED) vr_swap_axes(tensor->ndim, tensor->shape);
    int64_t last = tensor->shape[tensor->ndim - 1];
    tensor->dtype = row->kind == VR_VEC ? VR_F32 : row->kind == VR_LORA && type != VR_F32 ? VR_BF16 : vr_quant_fit(type, last);
    if (!vr_shape_count(tensor->ndim, tensor->shape, &count) || !vr_shape_bytes(tensor->dtype, tensor->ndim, tensor->shape, &bytes))
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has an impossible shape", row->key);
    tensor->data = vr_owned_get(owned, (size_t)bytes, err);
    if (!tensor->data) return VRWKV_ERR_MEMORY;
    float range = row->kind == VR_VEC ? 0.5f : 1.0f / sqrtf((float)last);
    int64_t n = count < PATTERN ? count : PATTERN;
    fill_pattern(pattern, n < 4096 ? n : 4096, row->kind == VR_VEC ? 0.05f : -range, range);
    for (int64_t i = 4096; i < n; i++) pattern[i] = pattern[i & 4095];
    uint64_t part_bytes;
    int64_t whole = n == count ? n : PATTERN;
    vr_shape_bytes(tensor->dtype, 1, &whole, &part_bytes);
    vr_quant_of(tensor->dtype)->encode(tensor->data, pattern, whole);
    for (uint64_t at = part_bytes; at < bytes; at += part_bytes)
        memcpy((char *)tensor->data + at, tensor->data, (size_t)(bytes - at < part_bytes ? bytes - at : part_bytes));
    info->parameters += (uint64_t)count;
    info->weight_bytes += bytes;
    return VRWKV_OK;
}

vr_status vr_part_random(const vr_part *part, vr_dtype type, vr_owned *owned, vrwkv_info *info, vr_error *err) {
    float *pattern = vr_alloc((size_t)PATTERN, sizeof *pattern);
    vr_status status = pattern ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (int layer = 0; layer < part->repeat; layer++)
        for (int r = 0; r < part->n_rows && status == VRWKV_OK; r++)
            if (vr_row_exists(&part->rows[r], layer))
                status = make_row(part, &part->rows[r], layer, type, pattern, owned, info, err);
    free(pattern);
    return status;
}

vr_status vr_model_random_weights(vrwkv_model *model, vr_dtype type, vr_dtype vision_type, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&model->config, parts);
    VR_TRY(vr_model_structs(model, parts, err));
    for (int p = 0; p < n; p++) {
        vr_dtype stored = strcmp(parts[p].name, "rwkv") == 0 ? type : vision_type;
        VR_TRY(vr_part_random(&parts[p], stored, &model->owned, &model->info, err));
        if (!model->options.exact) VR_TRY(vr_part_pack(&parts[p], &model->owned, model->pool, err));
    }
    return VRWKV_OK;
}
