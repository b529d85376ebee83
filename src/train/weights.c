#include "train/weights.h"
#include "base/memory.h"
#include "ops/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vr_trained_weight *add(vr_weight_set *set, const vr_trained_weight *weight, vr_error *err) {
    int axes = 0;
    if (vr_grow(&set->items, &set->capacity, set->n + 1, sizeof *set->items, err) != VRWKV_OK) return NULL;
    vr_trained_weight *added = &set->items[set->n++];
    *added = *weight;
    vr_shape_count(added->ndim, added->shape, &added->count);
    for (int i = 0; i < added->ndim; i++) axes += added->shape[i] > 1;
    added->is_matrix = axes > 1;
    set->count += added->count;
    return added;
}

/* ---- of the model ---- */

static vr_status add_row(vr_weight_set *set, const vr_part *part, const vr_row *row, int layer, const char *name,
                         vr_error *err) {
    vr_trained_weight weight = {
        .kind = VR_OF_MODEL, .tensor = vr_row_tensor(part, row, layer), .transposed = row->transform == VR_TRANSPOSED};
    if (!weight.tensor->data) return VRWKV_OK; /* an optional row that the model lacks */
    if (!vr_quant_of(weight.tensor->dtype) || !vr_quant_of(weight.tensor->dtype)->decode)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is stored as %s, which cannot be trained", name,
                       vr_dtype_of(weight.tensor->dtype)->name);
    snprintf(weight.name, sizeof weight.name, "%s", name);
    weight.before = *weight.tensor;
    weight.ndim = vr_part_shape(part, row, layer, weight.shape);
    return add(set, &weight, err) ? VRWKV_OK : VRWKV_ERR_MEMORY;
}

static vr_status add_model(vr_weight_set *set, const vr_weight_choice *choice, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    const vr_config *config = &set->model->config;
    int n = vr_config_parts(config, parts);
    vr_model_parts(set->model, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                char key[VR_NAME_SIZE], name[2 * VR_NAME_SIZE];
                const vr_row *row = &parts[p].rows[r];
                snprintf(name, sizeof name, "%s%s", config->n_towers ? parts[p].prefix : "",
                         vr_row_name(row->key, layer, key));
                if (vr_row_exists(row, layer) && choice->wanted(choice->user, &parts[p], row, layer, name))
                    VR_TRY(add_row(set, &parts[p], row, layer, name, err));
            }
    return VRWKV_OK;
}

/* ---- of the state ---- */

static vr_status add_state(vr_weight_set *set, vr_error *err) {
    const vr_rwkv *lm = &set->model->lm;
    int64_t per_layer = vr_rwkv_state_floats(lm->arch, &lm->dims);
    for (int layer = 0; layer < lm->dims.n_layer; layer++) {
        vr_trained_weight weight = {.kind = VR_OF_STATE, .transposed = lm->arch->wkv_by_key};
        int64_t offset;
        weight.ndim = vr_rwkv_state_shape(lm->arch, &lm->dims, VR_RWKV_STATE_PARTS - 1, &offset, weight.shape);
        snprintf(weight.name, sizeof weight.name, "blocks.%d.att.time_state", layer);
        weight.value = set->state + layer * per_layer + offset;
        if (!add(set, &weight, err)) return VRWKV_ERR_MEMORY;
    }
    return VRWKV_OK;
}

/* ---- of adapters ---- */

static bool is_trained(const vr_weight_set *set, const vr_tensor *tensor) {
    for (size_t i = 0; i < set->n; i++)
        if (set->items[i].tensor == tensor) return true;
    return false;
}

static vr_status add_pair(vr_weight_set *set, const vr_tensor *w, const char *prefix, const char *key, int rank,
                          vr_error *err) {
    vr_trained_weight weight = {.kind = VR_OF_ADAPTER, .ndim = 2};
    char part[VR_NAME_SIZE];
    size_t room = (size_t)set->adapter_room;
    VR_TRY(vr_grow(&set->adapters, &room, (size_t)set->n_adapters + 1, sizeof *set->adapters, err));
    set->adapter_room = (int)room;
    vr_adapter *adapter = &set->adapters[set->n_adapters++];
    *adapter = (vr_adapter){w->data, {VR_F32, 2, {rank, w->shape[1]}, NULL}, {VR_F32, 2, {w->shape[0], rank}, NULL}};
    for (int which = 0; which < 2; which++) {
        memcpy(weight.shape, which ? adapter->b.shape : adapter->a.shape, sizeof weight.shape);
        snprintf(weight.name, sizeof weight.name, "%s%s", prefix, vr_adapter_name(key, "AB"[which], part));
        if (!add(set, &weight, err)) return VRWKV_ERR_MEMORY;
    }
    return VRWKV_OK;
}

static vr_status add_adapters(vr_weight_set *set, const vr_weight_choice *choice, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    vrwkv_model *model = set->model;
    if (model->n_adapters)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                       "the model has adapters already: go on with their training, or end it with --output merged");
    vr_config_parts(&model->config, parts);
    vr_model_parts(model, parts);
    const vr_part *blocks = &parts[1]; /* behind embedding, norms and head */
    for (int layer = choice->first_layer; layer < blocks->repeat; layer++)
        for (int r = 0; r < blocks->n_rows; r++) {
            char key[VR_NAME_SIZE];
            const vr_row *row = &blocks->rows[r];
            const vr_tensor *w = vr_row_tensor(blocks, row, layer);
            if (row->kind == VR_MAT && w->data && !is_trained(set, w))
                VR_TRY(add_pair(set, w, model->config.n_towers ? blocks->prefix : "", vr_row_name(row->key, layer, key),
                                choice->lora_rank, err));
        }
    return VRWKV_OK;
}

/* A within +-1/sqrt(inputs), B zero: at the start the adapters add nothing. */
static void place_adapters(vr_weight_set *set, uint64_t seed) {
    vr_rng rng = {seed};
    int next = 0;
    for (size_t i = 0; i < set->n; i++) {
        vr_trained_weight *w = &set->items[i];
        if (w->kind != VR_OF_ADAPTER) continue;
        vr_adapter *adapter = &set->adapters[next / 2];
        bool is_a = next++ % 2 == 0;
        double range = 1 / sqrt((double)w->shape[1]);
        (is_a ? &adapter->a : &adapter->b)->data = w->value;
        for (int64_t k = 0; is_a && k < w->count; k++) w->value[k] = (float)(range * (2 * vr_rng_uniform(&rng) - 1));
    }
    vr_adapters_sort(set->adapters, set->n_adapters);
    set->model->adapters = set->adapters;
    set->model->n_adapters = set->n_adapters;
}

/* ---- the set ---- */

static vr_status take_over(vr_weight_set *set, vr_error *err) {
    int64_t at = 0;
    void *memory = NULL;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)set->count, 4 * sizeof(float), &bytes) ||
        posix_memalign(&memory, 64, bytes + 64) != 0)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the training of %lld numbers", (long long)set->count);
    set->numbers = memset(memory, 0, bytes);
    for (size_t i = 0; i < set->n; i++) {
        vr_trained_weight *w = &set->items[i];
        float *numbers = set->numbers + at;
        if (!w->value) w->value = numbers; /* of the state: where it lies */
        w->grad = numbers + set->count;
        w->m = w->grad + set->count;
        w->v = w->m + set->count;
        at += w->count;
        if (w->kind != VR_OF_MODEL) continue;
        vr_quant_of(w->before.dtype)->decode(w->value, w->before.data, w->count);
        w->tensor->dtype = VR_F32;
        w->tensor->data = w->value;
    }
    return VRWKV_OK;
}

vr_status vr_weight_set_open(vr_weight_set *set, vrwkv_model *model, const vr_weight_choice *choice, vr_error *err) {
    *set = (vr_weight_set){.model = model};
    set->state = vr_alloc((size_t)model->state_floats, sizeof *set->state);
    vr_status status = set->state ? add_model(set, choice, err) : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (status == VRWKV_OK && choice->state) status = add_state(set, err);
    if (status == VRWKV_OK && choice->lora_rank) status = add_adapters(set, choice, err);
    if (status == VRWKV_OK && set->n == 0)
        status = vr_fail(err, VRWKV_ERR_ARGUMENT, "nothing of the model is trained: every part is frozen");
    if (status == VRWKV_OK) status = take_over(set, err);
    if (status == VRWKV_OK && choice->lora_rank) place_adapters(set, choice->seed);
    if (status != VRWKV_OK) vr_weight_set_close(set);
    return status;
}

void vr_weight_set_close(vr_weight_set *set) {
    for (size_t i = 0; set->numbers && i < set->n; i++)
        if (set->items[i].kind == VR_OF_MODEL) *set->items[i].tensor = set->items[i].before;
    if (set->model && set->adapters && set->model->adapters == set->adapters)
        set->model->adapters = NULL, set->model->n_adapters = 0;
    free(set->adapters);
    free(set->items);
    free(set->numbers);
    free(set->state);
    *set = (vr_weight_set){0};
}

vr_status vr_weight_set_record(const vr_weight_set *set, vr_tape *tape, vr_error *err) {
    for (size_t i = 0; i < set->n; i++)
        VR_TRY(vr_tape_train(tape, set->items[i].value, set->items[i].grad, set->items[i].count, err));
    return VRWKV_OK;
}

bool vr_weight_set_has(const vr_weight_set *set, vr_weight_kind kind) {
    for (size_t i = 0; i < set->n; i++)
        if (set->items[i].kind == kind) return true;
    return false;
}

void vr_weight_export(const vr_trained_weight *weight, const float *numbers, float *out) {
    int64_t shape[VR_MAX_DIMS];
    if (!weight->transposed) {
        memcpy(out, numbers, (size_t)weight->count * sizeof *out);
        return;
    }
    memcpy(shape, weight->shape, sizeof shape);
    vr_swap_axes(weight->ndim, shape);
    vr_transpose(out, numbers, weight->ndim, shape, sizeof *out);
}

void vr_weight_import(const vr_trained_weight *weight, const float *in, float *numbers) {
    if (weight->transposed)
        vr_transpose(numbers, in, weight->ndim, weight->shape, sizeof *in);
    else
        memcpy(numbers, in, (size_t)weight->count * sizeof *in);
}
