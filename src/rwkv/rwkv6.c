/* RWKV-6 "Finch" (x060): data-dependent token shift (ddlerp) and decay.
 * src: Peng et al. 2024 (arXiv 2404.05892), section 4; VisualRWKV v6.0 src/model.py.
 *
 * C = n_embd, H heads of N channels, R and S ranks of the two low-rank terms. State of a layer, in
 * floats: att_shift [C], ffn_shift [C], wkv [H, N key, N value]. p is always the row before. */
#include "rwkv/rwkv.h"

typedef struct layer6 {
    vr_tensor ln1_w, ln1_b, ln2_w, ln2_b;
    vr_tensor maa_x, maa_w, maa_k, maa_v, maa_r, maa_g, maa_w1, maa_w2;
    vr_tensor decay, decay_w1, decay_w2, faaaa;
    vr_tensor receptance, key, value, gate, output, ln_x_w, ln_x_b;
    vr_tensor ffn_maa_k, ffn_maa_r, ffn_key, ffn_receptance, ffn_value;
} layer6;

#define W(field) offsetof(layer6, field)
static const vr_row rows[] = {
    {"blocks.%d.ln1.weight", "blk.%d.attn_norm.weight", W(ln1_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln1.bias", "blk.%d.attn_norm.bias", W(ln1_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln2.weight", "blk.%d.attn_norm_2.weight", W(ln2_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln2.bias", "blk.%d.attn_norm_2.bias", W(ln2_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_x", "blk.%d.time_mix_lerp_x.weight", W(maa_x), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_w", "blk.%d.time_mix_lerp_w.weight", W(maa_w), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_k", "blk.%d.time_mix_lerp_k.weight", W(maa_k), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_v", "blk.%d.time_mix_lerp_v.weight", W(maa_v), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_r", "blk.%d.time_mix_lerp_r.weight", W(maa_r), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_g", "blk.%d.time_mix_lerp_g.weight", W(maa_g), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_maa_w1", "blk.%d.time_mix_w1.weight", W(maa_w1), "D,5R", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.time_maa_w2", "blk.%d.time_mix_w2.weight", W(maa_w2), "5,R,D", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.time_decay", "blk.%d.time_mix_decay.weight", W(decay), "1,1,A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_decay_w1", "blk.%d.time_mix_decay_w1.weight", W(decay_w1), "D,S", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.time_decay_w2", "blk.%d.time_mix_decay_w2.weight", W(decay_w2), "S,A", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.time_faaaa", "blk.%d.time_mix_first.weight", W(faaaa), "H,N", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.receptance.weight", "blk.%d.time_mix_receptance.weight", W(receptance), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.key.weight", "blk.%d.time_mix_key.weight", W(key), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.value.weight", "blk.%d.time_mix_value.weight", W(value), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.gate.weight", "blk.%d.time_mix_gate.weight", W(gate), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.output.weight", "blk.%d.time_mix_output.weight", W(output), "D,A", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.ln_x.weight", "blk.%d.time_mix_ln.weight", W(ln_x_w), "A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.ln_x.bias", "blk.%d.time_mix_ln.bias", W(ln_x_b), "A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.time_maa_k", "blk.%d.channel_mix_lerp_k.weight", W(ffn_maa_k), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.time_maa_r", "blk.%d.channel_mix_lerp_r.weight", W(ffn_maa_r), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.key.weight", "blk.%d.channel_mix_key.weight", W(ffn_key), "F,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.receptance.weight", "blk.%d.channel_mix_receptance.weight", W(ffn_receptance), "D,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.value.weight", "blk.%d.channel_mix_value.weight", W(ffn_value), "D,F", VR_MAT, VR_AS_IS, VR_REQUIRED},
};
#undef W

static void shape_letters(vr_dims *dims, const vr_rwkv_dims *from) {
    dims->size['R' - 'A'] = from->rank_mix;
    dims->size['S' - 'A'] = from->rank_decay;
}

/* Group g of a [5,T,C] tensor, as [T,C]. */
static vr_tensor *group(vr_run *run, vr_tensor *m, int g) {
    if (!m) return NULL;
    int64_t T = m->shape[1], C = m->shape[2];
    vr_tensor *flat = vr_arena_get(run->arena, 1, sizeof *flat);
    if (!flat) return NULL;
    *flat = (vr_tensor){m->dtype, 2, {5 * T, C}, m->data};
    return vr_rows(run, flat, g * T, T);
}

static vr_tensor *time_mix(vr_run *run, const vr_rwkv *model, const layer6 *l, const vr_tensor *a, const vr_pass *pass) {
    int64_t C = model->dims.n_embd;
    int H = model->dims.dim_att / model->dims.head_size;
    vr_tensor *p = vr_token_shift(run, a, pass->spans, vr_pass_states(run, pass, 0), pass->n);
    vr_tensor *m = vr_lora(run, vr_lerp(run, a, p, &l->maa_x, NULL), &l->maa_w1, VR_ACT_TANH, &l->maa_w2);
    vr_tensor *xw = vr_lerp(run, a, p, &l->maa_w, group(run, m, 0));
    vr_tensor *xk = vr_lerp(run, a, p, &l->maa_k, group(run, m, 1));
    vr_tensor *xv = vr_lerp(run, a, p, &l->maa_v, group(run, m, 2));
    vr_tensor *xr = vr_lerp(run, a, p, &l->maa_r, group(run, m, 3));
    vr_tensor *xg = vr_lerp(run, a, p, &l->maa_g, group(run, m, 4));
    enum { R, K, V, G, W, PRODUCTS };
    vr_product of[PRODUCTS] = {[R] = {xr, &l->receptance}, [K] = {xk, &l->key}, [V] = {xv, &l->value}, [G] = {xg, &l->gate},
                               [W] = {xw, &l->decay_w1}};
    vr_linears(run, of, PRODUCTS);
    vr_tensor *g = vr_activate(run, of[G].y, VR_ACT_SILU);
    vr_tensor *w = vr_linear(run, vr_activate(run, of[W].y, VR_ACT_TANH), &l->decay_w2, NULL);
    w = vr_add(run, w, &l->decay);
    vr_tensor *y = vr_wkv6(run, of[R].y, of[K].y, of[V].y, w, &l->faaaa, pass->spans, vr_pass_states(run, pass, 2 * C), pass->n);
    y = vr_group_norm(run, y, H, &l->ln_x_w, &l->ln_x_b, model->dims.group_norm_eps);
    return vr_linear(run, vr_mul(run, y, g), &l->output, NULL);
}

static vr_tensor *channel_mix(vr_run *run, const vr_rwkv *model, const layer6 *l, const vr_tensor *b, const vr_pass *pass) {
    vr_tensor *p = vr_token_shift(run, b, pass->spans, vr_pass_states(run, pass, model->dims.n_embd), pass->n);
    vr_product of[] = {[0] = {vr_lerp(run, b, p, &l->ffn_maa_k, NULL), &l->ffn_key},
                       [1] = {vr_lerp(run, b, p, &l->ffn_maa_r, NULL), &l->ffn_receptance}};
    vr_linears(run, of, VR_COUNT(of));
    vr_tensor *v = vr_linear(run, vr_activate(run, of[0].y, VR_ACT_RELU2), &l->ffn_value, NULL);
    return vr_mul(run, vr_activate(run, of[1].y, VR_ACT_SIGMOID), v);
}

static vr_tensor *block(vr_run *run, const vr_rwkv *model, int layer, vr_tensor *x, vr_pass *pass) {
    const layer6 *l = (const layer6 *)model->layers + layer;
    float eps = model->dims.norm_eps;
    x = vr_add(run, x, time_mix(run, model, l, vr_layer_norm(run, x, &l->ln1_w, &l->ln1_b, eps), pass));
    return vr_add(run, x, channel_mix(run, model, l, vr_layer_norm(run, x, &l->ln2_w, &l->ln2_b, eps), pass));
}

static const vr_measure measures[] = {
    {"blocks.0.att.receptance.weight", 0, 1, offsetof(vr_rwkv_dims, dim_att)},
    {"blocks.0.att.time_faaaa", 1, 1, offsetof(vr_rwkv_dims, head_size)},
    {"blocks.0.ffn.key.weight", 0, 1, offsetof(vr_rwkv_dims, dim_ffn)},
    {"blocks.0.att.time_maa_w1", 1, 5, offsetof(vr_rwkv_dims, rank_mix)},
    {"blocks.0.att.time_decay_w1", 1, 1, offsetof(vr_rwkv_dims, rank_decay)},
};

extern const vr_rwkv_arch vr_rwkv6;
const vr_rwkv_arch vr_rwkv6 = {
    .name = "x060",
    .signature = "blocks.0.att.time_maa_x",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .layer_size = sizeof(layer6),
    .rows = rows,
    .n_rows = VR_COUNT(rows),
    .shape_letters = shape_letters,
    .state = vr_rwkv_state,
    .n_state = VR_RWKV_STATE_PARTS,
    .wkv_by_key = true,
    .block = block,
};
