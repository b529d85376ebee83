#include "train/weights.h"
#include "base/memory.h"
#include "ops/quant.h"
#include "vl/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vr_status add_weight(vr_weight_set *set, const vr_part *part, const vr_row *row, int layer, const char *name, vr_error *err) {
    vr_trained_weight weight = {.row = row, .tensor = vr_row_tensor(part, row, layer)};
    int axes = 0;
    if (!weight.tensor->data) return VRWKV_OK; /* an optional row that the model lacks */
    if (!vr_quant_of(weight.tensor->dtype) || !vr_quant_of(weight.tensor->dtype)->decode)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is stored as %s, which cannot be trained", name,
                       vr_dtype_of(weight.tensor->dtype)->name);
    VR_TRY(vr_grow(&set->items, &set->capacity, set->n + 1, sizeof *set->items, err));
    snprintf(weight.name, sizeof weight.name, "%s", name);
    weight.before = *weight.tensor;
    weight.ndim = vr_part_shape(part, row, layer, weight.shape);
    vr_shape_count(weight.ndim, weight.shape, &weight.count);
    for (int i = 0; i < weight.ndim; i++) axes += weight.shape[i] > 1;
    weight.is_matrix = axes > 1;
    set->items[set->n++] = weight;
    set->count += weight.count;
    return VRWKV_OK;
}

static vr_status find_weights(vr_weight_set *set, vrwkv_model *model, vr_wanted_fn wanted, const void *user, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&model->config, parts);
    vr_model_parts(model, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                char key[VR_NAME_SIZE], name[2 * VR_NAME_SIZE];
                const vr_row *row = &parts[p].rows[r];
                snprintf(name, sizeof name, "%s%s", model->config.n_towers ? parts[p].prefix : "", vr_row_name(row->key, layer, key));
                if (vr_row_exists(row, layer) && wanted(user, &parts[p], row, layer, name))
                    VR_TRY(add_weight(set, &parts[p], row, layer, name, err));
            }
    return VRWKV_OK;
}

static vr_status take_over(vr_weight_set *set, vr_error *err) {
    int64_t at = 0;
    void *memory = NULL;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)set->count, 4 * sizeof(float), &bytes) || posix_memalign(&memory, 64, bytes + 64) != 0)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the training of %lld numbers", (long long)set->count);
    set->numbers = memset(memory, 0, bytes);
    for (size_t i = 0; i < set->n; i++) {
        vr_trained_weight *w = &set->items[i];
        w->value = set->numbers + at;
        w->grad = w->value + set->count;
        w->m = w->grad + set->count;
        w->v = w->m + set->count;
        at += w->count;
        vr_quant_of(w->before.dtype)->decode(w->value, w->before.data, w->count);
        w->tensor->dtype = VR_F32;
        w->tensor->data = w->value;
    }
    return VRWKV_OK;
}

vr_status vr_weight_set_open(vr_weight_set *set, vrwkv_model *model, vr_wanted_fn wanted, const void *user, vr_error *err) {
    *set = (vr_weight_set){0};
    vr_status status = find_weights(set, model, wanted, user, err);
    if (status == VRWKV_OK && set->n == 0) status = vr_fail(err, VRWKV_ERR_ARGUMENT, "nothing of the model is trained: every part is frozen");
    if (status == VRWKV_OK) status = take_over(set, err);
    if (status != VRWKV_OK) vr_weight_set_close(set);
    return status;
}

void vr_weight_set_close(vr_weight_set *set) {
    for (size_t i = 0; i < set->n; i++) *set->items[i].tensor = set->items[i].before;
    free(set->items);
    free(set->numbers);
    *set = (vr_weight_set){0};
}

vr_status vr_weight_set_record(const vr_weight_set *set, vr_tape *tape, vr_error *err) {
    for (size_t i = 0; i < set->n; i++) VR_TRY(vr_tape_train(tape, set->items[i].value, set->items[i].grad, set->items[i].count, err));
    return VRWKV_OK;
}

void vr_weight_export(const vr_trained_weight *weight, const float *numbers, float *out) {
    int64_t shape[VR_MAX_DIMS];
    memcpy(shape, weight->shape, sizeof shape);
    if (weight->row->transform != VR_TRANSPOSED) {
        memcpy(out, numbers, (size_t)weight->count * sizeof *out);
        return;
    }
    vr_swap_axes(weight->ndim, shape);
    vr_transpose(out, numbers, weight->ndim, shape, sizeof *out);
}

void vr_weight_import(const vr_trained_weight *weight, const float *in, float *numbers) {
    if (weight->row->transform == VR_TRANSPOSED)
        vr_transpose(numbers, in, weight->ndim, weight->shape, sizeof *in);
    else
        memcpy(numbers, in, (size_t)weight->count * sizeof *in);
}
