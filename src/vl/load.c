/* Opening a model: files -> description -> every row's tensor, mapped where it can be. */
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "ops/quant.h"
#include "vl/load.h"

bool vr_shape_same(int na, const int64_t *a, int nb, const int64_t *b) {
    int i = 0, j = 0;
    for (;;) { /* axes of size 1 do not count */
        while (i < na && a[i] == 1) i++;
        while (j < nb && b[j] == 1) j++;
        if (i == na || j == nb) return i == na && j == nb;
        if (a[i++] != b[j++]) return false;
    }
}

vr_status vr_row_find(vr_weights *const *files, int n, const vr_part *part, const vr_row *row, int layer, vr_source *out,
                      vr_error *err) {
    char name[VR_NAME_SIZE], found[96], wanted[96];
    *out = (vr_source){0};
    out->ndim = vr_part_shape(part, row, layer, out->shape);
    if (!vr_row_exists(row, layer)) return VRWKV_OK;
    out->entry = vr_config_find(files, n, part, row, layer, &out->file, &out->is_gguf);
    if (!out->entry)
        return row->presence == VR_OPTIONAL ? VRWKV_OK
                             : vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has no tensor '%s%s', shape %s", vr_weights_path(files[0]), part->prefix,
                                       vr_row_name(row->key, layer, name), vr_shape_text(out->ndim, out->shape, wanted, sizeof wanted));
    int64_t expected[VR_MAX_DIMS];
    memcpy(expected, out->shape, sizeof expected);
    if (out->is_gguf && row->transform == VR_TRANSPOSED) vr_swap_axes(out->ndim, expected);
    if (!vr_shape_same(out->entry->ndim, out->entry->shape, out->ndim, expected))
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s': '%s' has shape %s, expected %s", vr_weights_path(out->file), out->entry->name,
                       vr_shape_text(out->entry->ndim, out->entry->shape, found, sizeof found),
                       vr_shape_text(out->ndim, expected, wanted, sizeof wanted));
    if (!vr_quant_of(out->entry->dtype) || !vr_quant_of(out->entry->dtype)->decode)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': '%s' has type %s, which holds no weights", vr_weights_path(out->file),
                       out->entry->name, vr_dtype_of(out->entry->dtype)->name);
    out->transpose = !out->is_gguf && row->transform == VR_TRANSPOSED;
    return VRWKV_OK;
}

void vr_swap_axes(int ndim, int64_t *shape) {
    if (ndim < 2) return;
    int64_t keep = shape[ndim - 1];
    shape[ndim - 1] = shape[ndim - 2];
    shape[ndim - 2] = keep;
}

void vr_transpose(void *out, const void *in, int ndim, const int64_t *shape, size_t size) {
    int64_t rows = shape[ndim - 2], columns = shape[ndim - 1], batch = 1;
    for (int i = 0; i < ndim - 2; i++) batch *= shape[i];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++)
                memcpy((char *)out + (size_t)((b * columns + c) * rows + r) * size,
                       (const char *)in + (size_t)((b * rows + r) * columns + c) * size, size);
}

void *vr_owned_get(vr_owned *owned, size_t bytes, vr_error *err) {
    if (vr_grow(&owned->items, &owned->capacity, owned->n + 1, sizeof *owned->items, err) != VRWKV_OK) return NULL;
    void *data = NULL;
    if (posix_memalign(&data, 64, bytes + 64) != 0) {
        vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a tensor of %zu bytes", bytes);
        return NULL;
    }
    owned->items[owned->n++] = data;
    return data;
}

void vr_owned_free(vr_owned *owned) {
    for (size_t i = 0; i < owned->n; i++) free(owned->items[i]);
    free(owned->items);
    *owned = (vr_owned){0};
}

/* A copy of the source's tensor in the model file's order and, widened, as f32. */
static vr_status load_copy(vr_tensor *tensor, const vr_source *source, bool widen, vr_owned *owned, vr_error *err) {
    int64_t count;
    vr_shape_count(source->ndim, source->shape, &count);
    void *data = vr_owned_get(owned, source->entry->bytes, err);
    if (!data) return VRWKV_ERR_MEMORY;
    VR_TRY(vr_weights_read(source->file, source->entry, data, err));
    if (source->transpose) {
        void *turned = vr_owned_get(owned, source->entry->bytes, err);
        if (!turned) return VRWKV_ERR_MEMORY;
        if (vr_dtype_of(tensor->dtype)->block != 1)
            return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is quantised and cannot be transposed", source->entry->name);
        vr_transpose(turned, data, source->ndim, source->shape, (size_t)vr_dtype_of(tensor->dtype)->bytes);
        free(data);
        owned->items[owned->n - 2] = owned->items[owned->n - 1];
        owned->n--;
        data = turned;
    }
    if (widen) {
        float *wide = vr_owned_get(owned, (size_t)count * sizeof(float), err);
        if (!wide) return VRWKV_ERR_MEMORY;
        vr_quant_of(tensor->dtype)->decode(wide, data, count);
        tensor->dtype = VR_F32;
        data = wide;
    }
    tensor->data = data;
    return VRWKV_OK;
}

/* One tensor: a view of the mapping where type and order allow, else a copy. */
static vr_status load_row(vr_tensor *tensor, const vr_row *row, const vr_source *source, vr_owned *owned, vr_error *err) {
    *tensor = (vr_tensor){.dtype = source->entry->dtype, .ndim = source->ndim};
    memcpy(tensor->shape, source->shape, sizeof tensor->shape);
    if (row->transform == VR_TRANSPOSED) vr_swap_axes(tensor->ndim, tensor->shape);
    bool widen = (row->kind == VR_VEC && tensor->dtype != VR_F32) || tensor->dtype == VR_F64;
    const void *mapped = vr_weights_data(source->file, source->entry);
    if (!mapped || source->transpose || widen) return load_copy(tensor, source, widen, owned, err);
    tensor->data = (void *)mapped; /* read-only pages: nothing writes through it */
    return VRWKV_OK;
}

vr_status vr_part_load(vr_weights *const *files, int n, const vr_part *part, vr_owned *owned, vrwkv_info *info, vr_error *err) {
    for (int layer = 0; layer < part->repeat; layer++)
        for (int r = 0; r < part->n_rows; r++) {
            vr_source source;
            int64_t count;
            VR_TRY(vr_row_find(files, n, part, &part->rows[r], layer, &source, err));
            if (!source.entry) continue;
            VR_TRY(load_row(vr_row_tensor(part, &part->rows[r], layer), &part->rows[r], &source, owned, err));
            vr_shape_count(source.ndim, source.shape, &count);
            info->parameters += (uint64_t)count;
            info->weight_bytes += source.entry->bytes;
        }
    return VRWKV_OK;
}

vr_status vr_tower_structs(vr_tower *tower, const vr_config *config, int index, vr_part parts[VR_TOWER_PARTS], vr_error *err) {
    tower->arch = vr_tower_arch_find(config->tower_type[index]);
    tower->dims = config->towers[index];
    parts[0].weights = tower->outer = vr_alloc(1, tower->arch->outer_size);
    parts[1].weights = tower->layers = vr_alloc((size_t)tower->dims.num_hidden_layers, tower->arch->layer_size);
    return tower->outer && tower->layers ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}

void vr_model_parts(const vrwkv_model *model, vr_part *parts) {
    int n = 0;
    parts[n++].weights = (void *)&model->lm;
    parts[n++].weights = model->lm.layers;
    for (int i = 0; i < model->config.n_towers; i++) {
        parts[n++].weights = model->towers[i].outer;
        parts[n++].weights = model->towers[i].layers;
    }
    if (model->config.n_towers) parts[n++].weights = (void *)&model->projector;
    if (model->config.n_vtc_layer) {
        parts[n++].weights = (void *)&model->vtc;
        parts[n++].weights = model->vtc.layers;
    }
}

vr_status vr_model_structs(vrwkv_model *model, vr_part *parts, vr_error *err) {
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(model->config.rwkv);
    vr_part tower[VR_TOWER_PARTS];
    model->lm = (vr_rwkv){.arch = arch, .dims = model->config.lm};
    model->lm.layers = vr_alloc((size_t)model->config.lm.n_layer, arch->layer_size);
    if (!model->lm.layers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (int i = 0; i < model->config.n_towers; i++) VR_TRY(vr_tower_structs(&model->towers[i], &model->config, i, tower, err));
    if (model->config.n_towers) model->projector.arch = vr_projector_find(model->config.proj_type);
    if (model->config.n_vtc_layer) {
        model->vtc = (vr_rwkv){.arch = arch, .dims = model->config.lm};
        model->vtc.dims.n_layer = model->config.n_vtc_layer;
        model->vtc.layers = vr_alloc((size_t)model->config.n_vtc_layer, arch->layer_size);
        if (!model->vtc.layers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    vr_model_parts(model, parts);
    return VRWKV_OK;
}

vr_status vr_model_load_weights(vrwkv_model *model, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&model->config, parts);
    VR_TRY(vr_model_structs(model, parts, err));
    for (int p = 0; p < n; p++) {
        VR_TRY(vr_part_load(model->files, model->n_files, &parts[p], &model->owned, &model->info, err));
        if (!model->options.exact) VR_TRY(vr_part_pack(&parts[p], &model->owned, model->pool, err));
    }
    return VRWKV_OK;
}

vr_status vr_model_load_vocab(vrwkv_model *model, vr_error *err) {
    const vr_meta *tokens = vr_weights_meta(model->files[0], "tokenizer.ggml.tokens");
    if (tokens && tokens->type == VR_META_ARRAY && tokens->item_type == VR_META_STRING) {
        VR_TRY(vr_vocab_make(&model->own_vocab, (const char *const *)tokens->strings, tokens->item_bytes, tokens->n_items, err));
        model->vocab = model->own_vocab;
        return VRWKV_OK;
    }
    /* the released checkpoints hold no vocabulary: 65,536 rows are the world vocabulary's */
    return model->config.lm.n_vocab == 65536 ? vr_vocab_world(&model->vocab, err) : VRWKV_OK;
}
