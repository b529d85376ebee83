/* What all RWKV versions share: embedding, first and last norms, head, the walk over the blocks with
 * the picture's rows permuted around each. */
#include "rwkv/rwkv.h"

#include <stdio.h>
#include <string.h>

extern const vr_rwkv_arch vr_rwkv5, vr_rwkv6, vr_rwkv7; /* rwkv5.c, ... */

static const vr_rwkv_arch *const archs[] = {&vr_rwkv5, &vr_rwkv6, &vr_rwkv7};

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

const vr_state_part vr_rwkv_state[VR_RWKV_STATE_PARTS] = {{"att_shift", "D"}, {"ffn_shift", "D"}, {"wkv", "H,N,N"}};

int vr_rwkv_state_shape(const vr_rwkv_arch *arch, const vr_rwkv_dims *dims, int index, int64_t *offset,
                        int64_t shape[VR_MAX_DIMS]) {
    vr_dims letters = {{0}};
    int ndim = 0;
    int64_t count = 0;
    vr_rwkv_letters(&letters, arch, dims);
    *offset = 0;
    for (int i = 0; i <= index; i++) {
        *offset += count;
        ndim = vr_letters_shape(arch->state[i].shape, &letters, shape);
        vr_shape_count(ndim, shape, &count);
    }
    return ndim;
}

int64_t vr_rwkv_state_floats(const vr_rwkv_arch *arch, const vr_rwkv_dims *dims) {
    int64_t offset, count = 0, shape[VR_MAX_DIMS];
    int ndim = vr_rwkv_state_shape(arch, dims, arch->n_state - 1, &offset, shape);
    vr_shape_count(ndim, shape, &count);
    return offset + count;
}

void vr_rwkv_turn_wkv(const vr_rwkv_arch *arch, const vr_rwkv_dims *dims, float *out, const float *in) {
    int64_t N = dims->head_size, heads = dims->dim_att / N;
    if (!arch->wkv_by_key) {
        memcpy(out, in, (size_t)(heads * N * N) * sizeof *out);
        return;
    }
    for (int64_t h = 0; h < heads; h++, in += N * N, out += N * N)
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = 0; j < N; j++) out[j * N + i] = in[i * N + j];
}

/* Arena memory; NULL after failing the run. */
static void *scratch(vr_run *run, int64_t count, size_t size) {
    void *memory = vr_arena_get(run->arena, (size_t)count, size);
    if (!memory && run->status == VRWKV_OK)
        run->status = vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted: %zu of %zu bytes in use",
                              run->arena->used, run->arena->reserved);
    return memory;
}

float **vr_pass_states(vr_run *run, const vr_pass *pass, int64_t offset) {
    float **states = scratch(run, pass->n, sizeof *states);
    for (int i = 0; states && i < pass->n; i++) states[i] = pass->states[i] + offset;
    return states;
}

/* ---- scans ---- */

static int32_t *natural_order(vr_run *run, int64_t T) {
    int32_t *order = scratch(run, T, sizeof *order);
    for (int64_t i = 0; order && i < T; i++) order[i] = (int32_t)i;
    return order;
}

/* The order of all T rows at one layer, or NULL where no row moves. */
static int32_t *layer_order(vr_run *run, const vr_segment *segments, int n, int64_t T, const vr_scan *scan, int layer) {
    int32_t *order = scan->when == VR_SCAN_LAYER ? natural_order(run, T) : NULL;
    bool moved = false;
    for (int s = 0; order && s < n; s++) {
        int64_t count = segments[s].image_length, first = segments[s].rows.start + segments[s].image_start;
        if (count < 1 || !scan->order(order + first, (int)count, vr_scan_side(count), layer)) continue;
        for (int64_t k = 0; k < count; k++) order[first + k] += (int32_t)first;
        moved = true;
    }
    return moved ? order : NULL;
}

/* From which row each row of a batch comes after a block, where the scan rolls. NULL: none moves. */
static int32_t *batch_order(vr_run *run, const vr_segment *samples, int n, int64_t T, const vr_scan *scan) {
    int64_t count = samples[0].image_length;
    if (!scan->roll || n < 2 || count < 1) return NULL;
    int32_t *order = natural_order(run, T);
    int distance = scan->roll((int)count) % n;
    for (int s = 0; order && s < n; s++) {
        const vr_segment *to = &samples[s], *from = &samples[(s - distance + n) % n];
        if (to->image_length != count) {
            run->status = vr_fail(run->err, VRWKV_ERR_SHAPE, "sample %d has %lld rows to scan, the first one %lld", s + 1,
                                  (long long)to->image_length, (long long)count);
            return NULL;
        }
        for (int64_t k = 0; k < count; k++)
            order[to->rows.start + to->image_start + k] = (int32_t)(from->rows.start + from->image_start + k);
    }
    return order;
}

static vr_tensor *unpermute(vr_run *run, const vr_tensor *x, const int32_t *order) {
    int64_t T = x->shape[0];
    int32_t *back = scratch(run, T, sizeof *back);
    if (!back) return NULL;
    for (int64_t i = 0; i < T; i++) back[order[i]] = (int32_t)i;
    return vr_permute_rows(run, x, back);
}

/* ---- the pass ---- */

/* One block, its rows in the scan's order (NULL: natural): x and what layer 0 leaves for the others come
 * and go in natural order. */
static vr_tensor *scanned_block(vr_run *run, const vr_rwkv *model, int layer, vr_tensor *x, vr_pass *pass,
                                const int32_t *order) {
    vr_tensor *kept = pass->value_first;
    if (order) x = vr_permute_rows(run, x, order);
    if (order && kept) pass->value_first = vr_permute_rows(run, kept, order);
    x = model->arch->block(run, model, layer, x, pass);
    if (order && x) x = unpermute(run, x, order);
    if (kept)
        pass->value_first = kept;
    else if (order && pass->value_first)
        pass->value_first = unpermute(run, pass->value_first, order);
    return x;
}

/* Copies a result of the block to where it outlives the block's scratch. */
static vr_tensor *keep(vr_tensor *place, const vr_tensor *x) {
    memcpy(place->data, x->data, (size_t)(x->shape[0] * x->shape[1]) * sizeof(float));
    return place;
}

/* roll: from which row each row comes after a block; NULL: none moves. */
static vr_tensor *forward(vr_run *run, const vr_rwkv *model, vr_tensor *x, const vr_segment *segments, int n,
                          const vr_scan *scan, const int32_t *roll, vr_watch_fn watch, void *user) {
    int64_t T = x->shape[0], per_layer = vr_rwkv_state_floats(model->arch, &model->dims);
    vr_span *spans = scratch(run, n, sizeof *spans);
    vr_pass pass = {.spans = spans, .states = scratch(run, n, sizeof *pass.states), .n = n};
    vr_tensor *stream = vr_new2(run, T, x->shape[1]); /* the residual stream between the blocks */
    vr_tensor *first = model->arch->value_residual ? vr_new2(run, T, model->dims.dim_att) : NULL;
    if (vr_run_status(run) != VRWKV_OK) return NULL;
    for (int s = 0; s < n; s++) spans[s] = segments[s].rows;
    if (watch) watch(user, "x.in", x);
    size_t mark = vr_arena_mark(run->arena);
    for (int layer = 0; layer < model->dims.n_layer; layer++) {
        if (layer == 0) x = vr_layer_norm(run, x, &model->ln0_w, &model->ln0_b, model->dims.norm_eps);
        for (int s = 0; s < n; s++) pass.states[s] = segments[s].state + layer * per_layer;
        x = scanned_block(run, model, layer, x, &pass, layer_order(run, segments, n, T, scan, layer));
        if (x && roll) x = vr_permute_rows(run, x, roll);
        if (!x || vr_run_status(run) != VRWKV_OK) return NULL;
        if (watch) {
            char name[24];
            snprintf(name, sizeof name, "x.%d", layer);
            watch(user, name, x);
        }
        x = keep(stream, x);
        if (layer == 0 && first) pass.value_first = keep(first, pass.value_first);
        vr_arena_release(run->arena, mark);
    }
    return x;
}

vr_tensor *vr_rwkv_forward(vr_run *run, const vr_rwkv *model, vr_tensor *x, const vr_segment *segments, int n,
                           const vr_scan *scan, vr_watch_fn watch, void *user) {
    return x ? forward(run, model, x, segments, n, scan, NULL, watch, user) : NULL;
}

vr_tensor *vr_rwkv_forward_samples(vr_run *run, const vr_rwkv *model, vr_tensor *x, const vr_segment *samples, int n,
                                   const vr_scan *scan, vr_watch_fn watch, void *user) {
    return x ? forward(run, model, x, samples, n, scan, batch_order(run, samples, n, x->shape[0], scan), watch, user) : NULL;
}

vr_tensor *vr_rwkv_logits(vr_run *run, const vr_rwkv *model, const vr_tensor *x) {
    vr_tensor *last = vr_layer_norm(run, x, &model->ln_out_w, &model->ln_out_b, model->dims.norm_eps);
    return vr_linear(run, last, &model->head, NULL);
}
