/* State tuning: initial states that were trained in place of weights. A tensor file with, for each layer,
 *
 *   blocks.N.att.time_state   [H, value, key]   f32, f16 or bf16
 *
 * and perhaps further tensors, which are not looked at. The token shifts begin at zero.
 * src: RWKV-LM and RWKV-PEFT, whose readers turn it to [H, key, value] for RWKV-5 and RWKV-6 and take it
 * as it is for RWKV-7. */
#include "ops/quant.h"
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const vr_entry *find_layer(const vr_weights *file, int layer) {
    static const char *const prefixes[] = {"", "rwkv."};
    char name[64];
    for (size_t i = 0; i < VR_COUNT(prefixes); i++) {
        snprintf(name, sizeof name, "%sblocks.%d.att.time_state", prefixes[i], layer);
        const vr_entry *entry = vr_weights_find(file, name);
        if (entry) return entry;
    }
    return NULL;
}

bool vr_state_is_tuned(const vr_weights *file) {
    for (size_t i = 0; i < vr_weights_count(file); i++)
        if (strstr(vr_weights_at(file, i)->name, ".att.time_state")) return true;
    return false;
}

static vr_status check_layer(const vrwkv_model *model, const vr_weights *file, const vr_entry *entry, vr_error *err) {
    const vr_rwkv_dims *dims = &model->lm.dims;
    int64_t N = dims->head_size, H = dims->dim_att / N;
    char text[80];
    bool plain = entry->dtype == VR_F32 || entry->dtype == VR_F16 || entry->dtype == VR_BF16;
    if (plain && entry->ndim == 3 && entry->shape[0] == H && entry->shape[1] == N && entry->shape[2] == N) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_SHAPE,
                   "'%s': '%s' is %s %s, expected f32, f16 or bf16 [%lld, %lld, %lld] (heads, value, key)",
                   vr_weights_path(file), entry->name, vr_dtype_of(entry->dtype)->name,
                   vr_shape_text(entry->ndim, entry->shape, text, sizeof text), (long long)H, (long long)N, (long long)N);
}

/* raw and wide: room for one layer's tensor. */
static vr_status load_layers(vrwkv_context *fresh, const vr_weights *file, int64_t offset, void *raw, float *wide,
                             int64_t count, vr_error *err) {
    const vrwkv_model *model = fresh->model;
    int n_layer = model->lm.dims.n_layer;
    int64_t per_layer = model->state_floats / n_layer;
    for (int layer = 0; layer < n_layer; layer++) {
        const vr_entry *entry = find_layer(file, layer);
        if (!entry)
            return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has no 'blocks.%d.att.time_state', the model has %d layers",
                           vr_weights_path(file), layer, n_layer);
        VR_TRY(check_layer(model, file, entry, err));
        VR_TRY(vr_weights_read(file, entry, raw, err));
        vr_quant_of(entry->dtype)->decode(wide, raw, count);
        vr_rwkv_turn_wkv(model->lm.arch, &model->lm.dims, fresh->state + layer * per_layer + offset, wide);
    }
    if (find_layer(file, n_layer))
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has a 'blocks.%d.att.time_state', the model has %d layers",
                       vr_weights_path(file), n_layer, n_layer);
    return VRWKV_OK;
}

vr_status vr_state_load_tuned(vrwkv_context *fresh, const vr_weights *file, vr_error *err) {
    const vr_rwkv *lm = &fresh->model->lm;
    int64_t offset = 0, count, shape[VR_MAX_DIMS];
    int ndim = 0;
    for (int part = 0; part < lm->arch->n_state; part++) {
        ndim = vr_rwkv_state_shape(lm->arch, &lm->dims, part, &offset, shape);
        if (strcmp(lm->arch->state[part].name, "wkv") == 0) break;
    }
    vr_shape_count(ndim, shape, &count);
    void *raw = vr_alloc((size_t)count, sizeof(float));
    float *wide = vr_alloc((size_t)count, sizeof *wide);
    vr_status status = raw && wide ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vrwkv_context_reset(fresh);
    if (status == VRWKV_OK) status = load_layers(fresh, file, offset, raw, wide, count, err);
    free(raw);
    free(wide);
    return status;
}
