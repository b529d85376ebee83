/* Adapters: low-rank weights that were trained beside a model's matrices. A file of them holds, for
 * matrices of the language model's blocks,
 *
 *   blocks.N.att.key.lora_A [rank, in]   blocks.N.att.key.lora_B [out, rank]   f32
 *
 * and in its metadata, under vrwkv.adapters_of, the model's file. Opened, it is that model with the
 * adapters in place; the model's own weights stay as they are stored. */
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *vr_adapter_base(const vr_weights *file) {
    const vr_meta *base = vr_weights_meta(file, "vrwkv.adapters_of");
    return base && base->type == VR_META_STRING ? base->string : NULL;
}

const char *vr_adapter_name(const char *key, char which, char *buffer) {
    size_t n = strlen(key), tail = strlen(".weight");
    if (n >= tail && strcmp(key + n - tail, ".weight") == 0) n -= tail;
    snprintf(buffer, VR_NAME_SIZE, "%.*s.lora_%c", (int)n, key, which);
    return buffer;
}

static int by_address(const void *a, const void *b) {
    const char *x = ((const vr_adapter *)a)->w, *y = ((const vr_adapter *)b)->w;
    return (x > y) - (x < y);
}

void vr_adapters_sort(vr_adapter *adapters, int n) { qsort(adapters, (size_t)n, sizeof *adapters, by_address); }

static const vr_entry *find(const vr_weights *file, const char *prefix, const char *key, char which) {
    char part[VR_NAME_SIZE], name[2 * VR_NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", prefix, vr_adapter_name(key, which, part));
    const vr_entry *entry = vr_weights_find(file, name);
    return entry ? entry : vr_weights_find(file, part);
}

static vr_status read_half(vrwkv_model *model, const vr_entry *entry, int64_t rows, int64_t columns, vr_tensor *out,
                           vr_error *err) {
    char found[96];
    if (entry->dtype != VR_F32 || entry->ndim != 2 || (rows >= 0 && entry->shape[0] != rows) ||
        entry->shape[1] != columns || entry->shape[0] < 1)
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s': '%s' is %s %s, expected f32 [%s, %lld]",
                       vr_weights_path(model->adapter_file), entry->name, vr_dtype_of(entry->dtype)->name,
                       vr_shape_text(entry->ndim, entry->shape, found, sizeof found), rows < 0 ? "rank" : "outputs",
                       (long long)columns);
    *out = (vr_tensor){
        VR_F32, 2, {entry->shape[0], entry->shape[1]}, vr_owned_get(&model->owned, (size_t)entry->bytes, err)};
    return out->data ? vr_weights_read(model->adapter_file, entry, out->data, err) : VRWKV_ERR_MEMORY;
}

static vr_status load_pair(vrwkv_model *model, const vr_tensor *w, const char *prefix, const char *key,
                           size_t *capacity, vr_error *err) {
    const vr_entry *a = find(model->adapter_file, prefix, key, 'A'), *b = find(model->adapter_file, prefix, key, 'B');
    if (!a && !b) return VRWKV_OK;
    if (!a || !b)
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has one half of the adapter of '%s'",
                       vr_weights_path(model->adapter_file), key);
    vr_adapter adapter = {.w = w->data};
    VR_TRY(read_half(model, a, -1, w->shape[1], &adapter.a, err));
    VR_TRY(read_half(model, b, w->shape[0], adapter.a.shape[0], &adapter.b, err));
    VR_TRY(vr_grow(&model->adapters, capacity, (size_t)model->n_adapters + 1, sizeof *model->adapters, err));
    model->adapters[model->n_adapters++] = adapter;
    return VRWKV_OK;
}

vr_status vr_model_load_adapters(vrwkv_model *model, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    size_t capacity = 0;
    if (!model->adapter_file) return VRWKV_OK;
    vr_config_parts(&model->config, parts);
    vr_model_parts(model, parts);
    const vr_part *blocks = &parts[1]; /* behind embedding, norms and head */
    for (int layer = 0; layer < blocks->repeat; layer++)
        for (int r = 0; r < blocks->n_rows; r++) {
            char key[VR_NAME_SIZE];
            const vr_row *row = &blocks->rows[r];
            if (row->kind == VR_MAT)
                VR_TRY(load_pair(model, vr_row_tensor(blocks, row, layer), blocks->prefix,
                                 vr_row_name(row->key, layer, key), &capacity, err));
        }
    if (model->n_adapters == 0)
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' holds no adapter of the model's matrices",
                       vr_weights_path(model->adapter_file));
    vr_adapters_sort(model->adapters, model->n_adapters);
    return VRWKV_OK;
}
