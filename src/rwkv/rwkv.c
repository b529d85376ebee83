/* What all RWKV versions share: embedding, first and last norms, head, the walk over the blocks with
 * the picture's rows permuted around each. */
#include "rwkv/rwkv.h"

#include <stdio.h>
#include <string.h>

extern const vr_rwkv_arch vr_rwkv6; /* rwkv6.c */

static const vr_rwkv_arch *const archs[] = {&vr_rwkv6};

const vr_rwkv_arch *vr_rwkv_arch_at(int index) { return (size_t)index < VR_COUNT(archs) ? archs[index] : NULL; }

const vr_rwkv_arch *vr_rwkv_arch_find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(archs); i++)
        if (strcmp(archs[i]->name, name) == 0) return archs[i];
    return NULL;
}

#define W(field) offsetof(vr_rwkv, field)
const vr_row vr_rwkv_outer_rows[] = {
    {"emb.weight", "token_embd.weight", W(emb), "V,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.0.ln0.weight", "token_embd_norm.weight", W(ln0_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.0.ln0.bias", "token_embd_norm.bias", W(ln0_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"ln_out.weight", "output_norm.weight", W(ln_out_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"ln_out.bias", "output_norm.bias", W(ln_out_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"head.weight", "output.weight", W(head), "V,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
};
#undef W
const int vr_rwkv_n_outer_rows = VR_COUNT(vr_rwkv_outer_rows);
const vr_row *const vr_rwkv_norm_rows = vr_rwkv_outer_rows + 1; /* emb before them, head behind */
const int vr_rwkv_n_norm_rows = VR_COUNT(vr_rwkv_outer_rows) - 2;

void vr_rwkv_letters(vr_dims *dims, const vr_rwkv_arch *arch, const vr_rwkv_dims *from) {
    dims->size['D' - 'A'] = from->n_embd;
    dims->size['A' - 'A'] = from->dim_att;
    dims->size['F' - 'A'] = from->dim_ffn;
    dims->size['V' - 'A'] = from->n_vocab;
    dims->size['N' - 'A'] = from->head_size;
    dims->size['H' - 'A'] = from->head_size ? from->dim_att / from->head_size : 0;
    arch->shape_letters(dims, from);
}

int64_t vr_rwkv_state_floats(const vr_rwkv *model) {
    return model->arch->state_floats(&model->dims) * model->dims.n_layer;
}

/* The order of all T rows at one layer, or NULL where no row moves. */
static int32_t *layer_order(vr_run *run, const vr_segment *segments, int n, int64_t T, const vr_scan *scan, int layer) {
    int32_t *order = vr_arena_get(run->arena, (size_t)T, sizeof *order);
    bool moved = false;
    if (!order) return NULL;
    for (int64_t i = 0; i < T; i++) order[i] = (int32_t)i;
    for (int s = 0; s < n; s++) {
        int64_t count = segments[s].image_length, first = segments[s].rows.start + segments[s].image_start;
        if (count < 1 || !scan->order(order + first, (int)count, vr_scan_side(count), layer)) continue;
        for (int64_t k = 0; k < count; k++) order[first + k] += (int32_t)first;
        moved = true;
    }
    return moved ? order : NULL;
}

static vr_tensor *unpermute(vr_run *run, const vr_tensor *x, const int32_t *order) {
    int64_t T = x->shape[0];
    int32_t *back = vr_arena_get(run->arena, (size_t)T, sizeof *back);
    if (!back) return NULL;
    for (int64_t i = 0; i < T; i++) back[order[i]] = (int32_t)i;
    return vr_permute_rows(run, x, back);
}

vr_tensor *vr_rwkv_forward(vr_run *run, const vr_rwkv *model, vr_tensor *x, const vr_segment *segments, int n,
                           const vr_scan *scan, vr_watch_fn watch, void *user) {
    if (!x) return NULL;
    int64_t T = x->shape[0], per_layer = model->arch->state_floats(&model->dims);
    size_t bytes = (size_t)(T * x->shape[1]) * sizeof(float);
    vr_span *spans = vr_arena_get(run->arena, (size_t)n, sizeof *spans);
    float **states = vr_arena_get(run->arena, (size_t)n, sizeof *states);
    vr_tensor *stream = vr_new2(run, T, x->shape[1]); /* the residual stream between the blocks */
    if (!spans || !states || !stream) {
        if (run->status == VRWKV_OK)
            run->status = vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted: %zu of %zu bytes in use",
                                  run->arena->used, run->arena->reserved);
        return NULL;
    }
    for (int s = 0; s < n; s++) spans[s] = segments[s].rows;
    if (watch) watch(user, "x.in", x);
    size_t mark = vr_arena_mark(run->arena);
    for (int layer = 0; layer < model->dims.n_layer; layer++) {
        if (layer == 0) x = vr_layer_norm(run, x, &model->ln0_w, &model->ln0_b, model->dims.norm_eps);
        for (int s = 0; s < n; s++) states[s] = segments[s].state + layer * per_layer;
        int32_t *order = scan->when == VR_SCAN_LAYER ? layer_order(run, segments, n, T, scan, layer) : NULL;
        if (order) x = vr_permute_rows(run, x, order);
        x = model->arch->block(run, model, layer, x, spans, states, n);
        if (order && x) x = unpermute(run, x, order);
        if (!x) return NULL;
        if (watch) {
            char name[24];
            snprintf(name, sizeof name, "x.%d", layer);
            watch(user, name, x);
        }
        memcpy(stream->data, x->data, bytes);
        x = stream;
        vr_arena_release(run->arena, mark);
    }
    return x;
}

vr_tensor *vr_rwkv_logits(vr_run *run, const vr_rwkv *model, const vr_tensor *x) {
    vr_tensor *last = vr_layer_norm(run, x, &model->ln_out_w, &model->ln_out_b, model->dims.norm_eps);
    return vr_linear(run, last, &model->head, NULL);
}
