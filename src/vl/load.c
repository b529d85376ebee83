/* Opening a model: files -> description -> every row's tensor, mapped where it can be. */
#include "vl/internal.h"

#include <stdlib.h>
#include <string.h>

#include "vl/load.h"

vr_status vr_model_adopt(vrwkv_model *model, void *data, vr_error *err) {
    vr_status status = vr_grow(&model->owned, &model->owned_capacity, model->n_owned + 1, sizeof *model->owned, err);
    if (status == VRWKV_OK)
        model->owned[model->n_owned++] = data;
    else
        free(data);
    return status;
}

void *vr_model_own(vrwkv_model *model, size_t bytes, vr_error *err) {
    void *data = NULL;
    if (posix_memalign(&data, 64, bytes + 64) != 0) {
        vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a tensor of %zu bytes", bytes);
        return NULL;
    }
    return vr_model_adopt(model, data, err) == VRWKV_OK ? data : NULL;
}

/* One tensor of the model: a view of the mapping where type and order allow, else a copy. */
static vr_status load_row(vrwkv_model *model, const vr_part *part, const vr_row *row, int layer, vr_error *err) {
    const vr_want want = {.model_order = true, .f32 = row->kind == VR_VEC};
    vr_tensor *tensor = vr_row_tensor(part, row, layer);
    vr_source source;
    vr_numbers numbers;
    int64_t count;
    uint64_t bytes;
    VR_TRY(vr_row_find(model->files, model->n_files, part, row, layer, &source, err));
    if (!source.found.entry) return VRWKV_OK;
    VR_TRY(vr_source_read(&source, row, &want, &numbers, err));
    if (numbers.owned) VR_TRY(vr_model_adopt(model, numbers.owned, err));
    vr_shape_count(source.ndim, source.shape, &count);
    vr_shape_bytes(source.found.entry->dtype, 1, &count, &bytes);
    *tensor = (vr_tensor){.dtype = numbers.type, .ndim = source.ndim};
    tensor->data = (void *)numbers.data; /* perhaps read-only pages: nothing writes through it */
    memcpy(tensor->shape, source.shape, sizeof tensor->shape);
    if (row->transform == VR_TRANSPOSED) vr_swap_axes(tensor->ndim, tensor->shape);
    model->info.parameters += (uint64_t)count;
    model->info.weight_bytes += bytes;
    return VRWKV_OK;
}

vr_status vr_model_structs(vrwkv_model *model, vr_part *parts, vr_error *err) {
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(model->config.rwkv);
    int n = 0;
    model->lm = (vr_rwkv){.arch = arch, .dims = model->config.lm};
    model->lm.layers = vr_alloc((size_t)model->config.lm.n_layer, arch->layer_size);
    if (!model->lm.layers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    parts[n++].weights = &model->lm;
    parts[n++].weights = model->lm.layers;
    for (int i = 0; i < model->config.n_towers; i++) {
        vr_tower *tower = &model->towers[i];
        tower->arch = vr_tower_arch_find(model->config.tower_type[i]);
        tower->dims = model->config.towers[i];
        tower->outer = vr_alloc(1, tower->arch->outer_size);
        tower->layers = vr_alloc((size_t)tower->dims.num_hidden_layers, tower->arch->layer_size);
        if (!tower->outer || !tower->layers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
        parts[n++].weights = tower->outer;
        parts[n++].weights = tower->layers;
    }
    if (model->config.n_towers) parts[n++].weights = &model->projector;
    return VRWKV_OK;
}

vr_status vr_model_load_weights(vrwkv_model *model, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&model->config, parts);
    VR_TRY(vr_model_structs(model, parts, err));
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) VR_TRY(load_row(model, &parts[p], &parts[p].rows[r], layer, err));
    return VRWKV_OK;
}

vr_status vr_model_load_vocab(vrwkv_model *model, vr_error *err) {
    VR_TRY(vr_stored_vocab(&model->own_vocab, model->files[0], err));
    model->vocab = model->own_vocab;
    /* the released checkpoints hold no vocabulary: 65,536 rows are the world vocabulary's */
    return !model->vocab && model->config.lm.n_vocab == 65536 ? vr_vocab_world(&model->vocab, err) : VRWKV_OK;
}
