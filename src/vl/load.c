/* Opening a model: files -> description -> every row's tensor, mapped where it can be. */
#include "vl/internal.h"

#include <stdlib.h>
#include <string.h>

#include "vl/load.h"

vr_status vr_owned_adopt(vr_owned *owned, void *data, vr_error *err) {
    vr_status status = vr_grow(&owned->items, &owned->capacity, owned->n + 1, sizeof *owned->items, err);
    if (status == VRWKV_OK)
        owned->items[owned->n++] = data;
    else
        free(data);
    return status;
}

void *vr_owned_get(vr_owned *owned, size_t bytes, vr_error *err) {
    void *data = NULL;
    if (posix_memalign(&data, 64, bytes + 64) != 0) {
        vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a tensor of %zu bytes", bytes);
        return NULL;
    }
    return vr_owned_adopt(owned, data, err) == VRWKV_OK ? data : NULL;
}

void vr_owned_free(vr_owned *owned) {
    for (size_t i = 0; i < owned->n; i++) free(owned->items[i]);
    free(owned->items);
    *owned = (vr_owned){0};
}

/* One tensor: a view of the mapping where type and order allow, else a copy. */
static vr_status load_row(vr_tensor *tensor, const vr_row *row, const vr_source *source, vr_owned *owned, vr_error *err) {
    const vr_want want = {.model_order = true, .f32 = row->kind == VR_VEC};
    vr_numbers numbers;
    VR_TRY(vr_source_read(source, row, &want, &numbers, err));
    if (numbers.owned) VR_TRY(vr_owned_adopt(owned, numbers.owned, err));
    *tensor = (vr_tensor){.dtype = numbers.type, .ndim = source->ndim};
    tensor->data = (void *)numbers.data; /* perhaps read-only pages: nothing writes through it */
    memcpy(tensor->shape, source->shape, sizeof tensor->shape);
    if (row->transform == VR_TRANSPOSED) vr_swap_axes(tensor->ndim, tensor->shape);
    return VRWKV_OK;
}

vr_status vr_part_load(vr_weights *const *files, int n, const vr_part *part, vr_owned *owned, vrwkv_info *info, vr_error *err) {
    for (int layer = 0; layer < part->repeat; layer++)
        for (int r = 0; r < part->n_rows; r++) {
            vr_source source;
            int64_t count;
            uint64_t bytes;
            VR_TRY(vr_row_find(files, n, part, &part->rows[r], layer, &source, err));
            if (!source.found.entry) continue;
            VR_TRY(load_row(vr_row_tensor(part, &part->rows[r], layer), &part->rows[r], &source, owned, err));
            vr_shape_count(source.ndim, source.shape, &count);
            info->parameters += (uint64_t)count;
            vr_shape_bytes(source.found.entry->dtype, 1, &count, &bytes); /* of a fused tensor, this part of it */
            info->weight_bytes += bytes;
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

/* A description that claims more layers than its files have tensors must not be believed in memory. */
static vr_status check_layers(const vrwkv_model *model, const vr_part *parts, int n, vr_error *err) {
    size_t tensors = 0;
    for (int f = 0; f < model->n_files; f++) tensors += vr_weights_count(model->files[f]);
    for (int p = 0; p < n; p++)
        if ((size_t)parts[p].repeat > tensors)
            return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has %zu tensors, but its description says %d layers of part '%s'",
                           vr_weights_path(model->files[0]), tensors, parts[p].repeat, parts[p].name);
    return VRWKV_OK;
}

/* What was packed is not read again from the file, and the rest comes back when it is. */
static void forget_pages(const vrwkv_model *model) {
    for (int f = 0; f < model->n_files; f++)
        for (size_t i = 0; i < vr_weights_count(model->files[f]); i++)
            vr_weights_forget(model->files[f], vr_weights_at(model->files[f], i));
}

vr_status vr_model_load_weights(vrwkv_model *model, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&model->config, parts);
    VR_TRY(check_layers(model, parts, n, err));
    VR_TRY(vr_model_structs(model, parts, err));
    for (int p = 0; p < n; p++) {
        VR_TRY(vr_part_load(model->files, model->n_files, &parts[p], &model->owned, &model->info, err));
        if (!model->options.exact) VR_TRY(vr_part_pack(&parts[p], &model->owned, model->pool, err));
    }
    if (!model->options.exact) forget_pages(model);
    return VRWKV_OK;
}

vr_status vr_model_load_vocab(vrwkv_model *model, vr_error *err) {
    VR_TRY(vr_stored_vocab(&model->own_vocab, model->files[0], err));
    model->vocab = model->own_vocab;
    /* the released checkpoints hold no vocabulary: 65,536 rows are the world vocabulary's */
    return !model->vocab && model->config.lm.n_vocab == 65536 ? vr_vocab_world(&model->vocab, err) : VRWKV_OK;
}
