#include "vision/vit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define W(field) offsetof(vr_vit_layer, field)
#define L "encoder.layers.%d."
const vr_row vr_hf_layer_rows[VR_HF_LAYER_ROWS] = {
    {L "layer_norm1.weight", "blk.%d.ln1.weight", W(ln1_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "layer_norm1.bias", "blk.%d.ln1.bias", W(ln1_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.q_proj.weight", "blk.%d.attn_q.weight", W(q_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.q_proj.bias", "blk.%d.attn_q.bias", W(q_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.k_proj.weight", "blk.%d.attn_k.weight", W(k_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.k_proj.bias", "blk.%d.attn_k.bias", W(k_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.v_proj.weight", "blk.%d.attn_v.weight", W(v_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.v_proj.bias", "blk.%d.attn_v.bias", W(v_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.out_proj.weight", "blk.%d.attn_out.weight", W(out_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "self_attn.out_proj.bias", "blk.%d.attn_out.bias", W(out_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "layer_norm2.weight", "blk.%d.ln2.weight", W(ln2_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "layer_norm2.bias", "blk.%d.ln2.bias", W(ln2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc1.weight", "blk.%d.ffn_up.weight", W(fc1_w), "M,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc1.bias", "blk.%d.ffn_up.bias", W(fc1_b), "M", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc2.weight", "blk.%d.ffn_down.weight", W(fc2_w), "C,M", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc2.bias", "blk.%d.ffn_down.bias", W(fc2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
};
#undef L
#define L "blocks.%d."
const vr_row vr_timm_layer_rows[VR_TIMM_LAYER_ROWS] = {
    {L "norm1.weight", "blk.%d.ln1.weight", W(ln1_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "norm1.bias", "blk.%d.ln1.bias", W(ln1_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "attn.qkv.weight", "blk.%d.attn_qkv.weight", W(qkv_w), "3C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "attn.qkv.bias", "blk.%d.attn_qkv.bias", W(qkv_b), "3C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "attn.proj.weight", "blk.%d.attn_out.weight", W(out_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "attn.proj.bias", "blk.%d.attn_out.bias", W(out_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "norm2.weight", "blk.%d.ln2.weight", W(ln2_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "norm2.bias", "blk.%d.ln2.bias", W(ln2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc1.weight", "blk.%d.ffn_up.weight", W(fc1_w), "M,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc1.bias", "blk.%d.ffn_up.bias", W(fc1_b), "M", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc2.weight", "blk.%d.ffn_down.weight", W(fc2_w), "C,M", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "mlp.fc2.bias", "blk.%d.ffn_down.bias", W(fc2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "ls1.gamma", "blk.%d.attn_scale.weight", W(scale1), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "ls2.gamma", "blk.%d.ffn_scale.weight", W(scale2), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
};
#undef L
#undef W

void vr_vit_show(const vr_tower *tower, const char *name, int index, const vr_tensor *value, vr_grid grid) {
    char full[32];
    if (!tower->watch || !value) return;
    vr_tensor shown = *value;
    if (grid.height) shown = (vr_tensor){VR_F32, 3, {grid.height, grid.width, value->shape[1]}, value->data};
    snprintf(full, sizeof full, index < 0 ? "%s" : "%s.%d", name, index);
    tower->watch(tower->user, full, &shown);
}

/* A third of the rows of a stored matrix, or of a vector: quantised blocks lie within rows. */
static vr_tensor third(const vr_tensor *x, int part) {
    vr_tensor view = *x;
    uint64_t bytes = 0;
    view.shape[0] /= 3;
    vr_shape_bytes(view.dtype, view.ndim, view.shape, &bytes);
    view.data = (char *)x->data + (uint64_t)part * bytes;
    return view;
}

typedef struct qkv { vr_tensor *q, *k, *v; } qkv;

static qkv project(vr_run *run, const vr_vit_layer *l, const vr_tensor *x) {
    vr_tensor *y[3], w[3] = {l->q_w, l->k_w, l->v_w}, b[3] = {l->q_b, l->k_b, l->v_b};
    for (int i = 0; i < 3; i++) {
        if (l->qkv_w.data) w[i] = third(&l->qkv_w, i), b[i] = third(&l->qkv_b, i);
        y[i] = vr_linear(run, x, &w[i], &b[i]);
    }
    return (qkv){y[0], y[1], y[2]};
}

/* The table of a side that has another length than it was learned for is resized. */
static const vr_tensor *relative(vr_run *run, const vr_tensor *table, int64_t side) {
    return table->shape[0] == 2 * side - 1 ? table : vr_resample_rows(run, table, 2 * side - 1);
}

/* window 0: all rows attend to each other. */
static vr_tensor *attention(vr_run *run, const vr_tower_dims *dims, const vr_vit_layer *l, vr_tensor *x, vr_grid grid, int window) {
    int heads = dims->num_attention_heads;
    float scale = 1.0f / sqrtf((float)(dims->hidden_size / heads));
    if (window) x = vr_window_partition(run, x, grid, window);
    vr_grid part = window ? (vr_grid){window, window} : grid;
    qkv p = project(run, l, x);
    vr_tensor *y = l->rel_h.data ? vr_attention_2d(run, p.q, p.k, p.v, heads, scale, part, relative(run, &l->rel_h, part.height),
                                                   relative(run, &l->rel_w, part.width))
                                 : vr_attention(run, p.q, p.k, p.v, heads, scale);
    if (window) y = vr_window_merge(run, y, grid, window);
    return vr_linear(run, y, &l->out_w, &l->out_b);
}

static vr_tensor *scaled(vr_run *run, vr_tensor *x, const vr_tensor *scale) { return scale->data ? vr_mul(run, x, scale) : x; }

static vr_tensor *block(vr_run *run, const vr_tower_dims *dims, const vr_vit_layer *l, vr_tensor *h, vr_grid grid, int window) {
    float eps = dims->layer_norm_eps;
    vr_tensor *a = attention(run, dims, l, vr_layer_norm(run, h, &l->ln1_w, &l->ln1_b, eps), grid, window);
    h = vr_add(run, h, scaled(run, a, &l->scale1));
    vr_tensor *m = vr_linear(run, vr_layer_norm(run, h, &l->ln2_w, &l->ln2_b, eps), &l->fc1_w, &l->fc1_b);
    m = vr_linear(run, vr_activate(run, m, dims->hidden_act), &l->fc2_w, &l->fc2_b);
    return vr_add(run, h, scaled(run, m, &l->scale2));
}

vr_tensor *vr_vit_blocks(vr_run *run, const vr_tower *tower, vr_tensor *h, vr_grid grid) {
    const vr_tower_dims *dims = &tower->dims;
    const vr_vit_layer *layers = tower->layers;
    vr_tensor *stream = h ? vr_new2(run, h->shape[0], h->shape[1]) : NULL;
    size_t mark = vr_arena_mark(run->arena);
    for (int i = 0; stream && i <= dims->taken_block; i++) {
        bool whole = !dims->window_size || dims->global_attn_indexes >> i & 1;
        h = block(run, dims, &layers[i], h, grid, whole ? 0 : dims->window_size);
        if (!h) return NULL;
        memcpy(stream->data, h->data, (size_t)(h->shape[0] * h->shape[1]) * sizeof(float));
        h = stream;
        vr_arena_release(run->arena, mark);
        vr_vit_show(tower, "block", i, h, layers[i].rel_h.data ? grid : (vr_grid){0, 0});
    }
    return stream ? h : NULL;
}

vr_grid vr_vit_grid(const vr_tower *tower, const vr_tensor *pixels) {
    int64_t patch = tower->dims.patch_size;
    return (vr_grid){pixels->shape[1] / patch, pixels->shape[2] / patch};
}

vr_tensor *vr_vit_positions(vr_run *run, const vr_tower *tower, const vr_tensor *table, vr_grid grid) {
    int64_t prefix = tower->arch->has_class_row ? 1 : 0, side = vr_square_side(tower->dims.positions - prefix);
    vr_tensor rows = {VR_F32, 2, {tower->dims.positions, tower->dims.hidden_size}, table->data};
    if (grid.height == side && grid.width == side) return vr_rows(run, &rows, 0, rows.shape[0]);
    if (tower->arch->any_grid) return vr_resample_grid(run, &rows, prefix, (vr_grid){side, side}, grid);
    if (run->status == VRWKV_OK)
        run->status = vr_fail(run->err, VRWKV_ERR_SHAPE, "%s: a picture of %lld x %lld patches, expected %lld x %lld",
                              tower->arch->type, (long long)grid.height, (long long)grid.width, (long long)side, (long long)side);
    return NULL;
}

static vr_tensor *in_front(vr_run *run, const vr_tensor *rows, int64_t n, const vr_tensor *h) {
    vr_tensor view = {VR_F32, 2, {n, h ? h->shape[1] : 0}, rows->data};
    return vr_concat_rows(run, &view, h);
}

vr_tensor *vr_vit_forward(vr_run *run, const vr_tower *tower, const vr_tensor *pixels) {
    const vr_vit_outer *w = tower->outer;
    const vr_tower_dims *dims = &tower->dims;
    bool with_class = tower->arch->has_class_row;
    vr_tensor *h = vr_patch_embed(run, pixels, &w->patch_w, w->patch_b.data ? &w->patch_b : NULL);
    if (!h) return NULL;
    vr_grid grid = vr_vit_grid(tower, pixels);
    vr_vit_show(tower, "patch", -1, h, (vr_grid){0, 0});
    if (with_class) h = in_front(run, &w->class_row, 1, h);
    h = vr_add(run, h, vr_vit_positions(run, tower, &w->position, grid));
    if (!with_class && dims->prefix_tokens > 1) h = in_front(run, &w->registers, dims->prefix_tokens - 1, h);
    if (!with_class && dims->prefix_tokens > 0) h = in_front(run, &w->class_row, 1, h);
    if (w->pre_w.data) h = vr_layer_norm(run, h, &w->pre_w, &w->pre_b, dims->layer_norm_eps);
    h = vr_vit_blocks(run, tower, h, grid);
    if (!with_class) h = vr_rows(run, h, dims->prefix_tokens, grid.height * grid.width);
    if (w->post_w.data) h = vr_layer_norm(run, h, &w->post_w, &w->post_b, dims->layer_norm_eps);
    return h;
}
