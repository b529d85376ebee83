/* RWKV-7 "Goose" (x070): a state that forgets by key (generalised delta rule), the values of the first
 * layer mixed into those of the others.
 * src: Peng et al. 2025 (arXiv 2503.14456), section 4; VisualRWKV v7.00 src/model.py.
 *
 * C = n_embd, H heads of N channels; ranks of the low-rank terms: R decay w, S in-context learning rate a,
 * Q value mixing v, G gate g. State of a layer, in floats: att_shift [C], ffn_shift [C],
 * wkv [H, N value, N key]. p is always the row before. */
#include "rwkv/rwkv.h"

typedef struct layer7 {
    vr_tensor ln1_w, ln1_b, ln2_w, ln2_b;
    vr_tensor x_r, x_w, x_k, x_v, x_a, x_g;
    vr_tensor w0, w1, w2, a0, a1, a2, v0, v1, v2, g1, g2; /* v0, v1, v2: none in layer 0 */
    vr_tensor k_k, k_a, r_k;
    vr_tensor receptance, key, value, output, ln_x_w, ln_x_b;
    vr_tensor ffn_x_k, ffn_key, ffn_value;
} layer7;

#define W(field) offsetof(layer7, field)
static const vr_row rows[] = {
    {"blocks.%d.ln1.weight", "blk.%d.attn_norm.weight", W(ln1_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln1.bias", "blk.%d.attn_norm.bias", W(ln1_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln2.weight", "blk.%d.attn_norm_2.weight", W(ln2_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln2.bias", "blk.%d.attn_norm_2.bias", W(ln2_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.x_r", "blk.%d.time_mix_lerp_r.weight", W(x_r), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.x_w", "blk.%d.time_mix_lerp_w.weight", W(x_w), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.x_k", "blk.%d.time_mix_lerp_k.weight", W(x_k), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.x_v", "blk.%d.time_mix_lerp_v.weight", W(x_v), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.x_a", "blk.%d.time_mix_lerp_a.weight", W(x_a), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.x_g", "blk.%d.time_mix_lerp_g.weight", W(x_g), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.w0", "blk.%d.time_mix_w0.weight", W(w0), "1,1,A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.w1", "blk.%d.time_mix_w1.weight", W(w1), "D,R", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.w2", "blk.%d.time_mix_w2.weight", W(w2), "R,A", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.a0", "blk.%d.time_mix_a0.weight", W(a0), "1,1,A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.a1", "blk.%d.time_mix_a1.weight", W(a1), "D,S", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.a2", "blk.%d.time_mix_a2.weight", W(a2), "S,A", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.v0", "blk.%d.time_mix_v0.weight", W(v0), "1,1,A", VR_VEC, VR_AS_IS, VR_NOT_FIRST},
    {"blocks.%d.att.v1", "blk.%d.time_mix_v1.weight", W(v1), "D,Q", VR_LORA, VR_TRANSPOSED, VR_NOT_FIRST},
    {"blocks.%d.att.v2", "blk.%d.time_mix_v2.weight", W(v2), "Q,A", VR_LORA, VR_TRANSPOSED, VR_NOT_FIRST},
    {"blocks.%d.att.g1", "blk.%d.time_mix_g1.weight", W(g1), "D,G", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.g2", "blk.%d.time_mix_g2.weight", W(g2), "G,A", VR_LORA, VR_TRANSPOSED, VR_REQUIRED},
    {"blocks.%d.att.k_k", "blk.%d.time_mix_k_k.weight", W(k_k), "1,1,A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.k_a", "blk.%d.time_mix_k_a.weight", W(k_a), "1,1,A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.r_k", "blk.%d.time_mix_r_k.weight", W(r_k), "H,N", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.receptance.weight", "blk.%d.time_mix_receptance.weight", W(receptance), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.key.weight", "blk.%d.time_mix_key.weight", W(key), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.value.weight", "blk.%d.time_mix_value.weight", W(value), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.output.weight", "blk.%d.time_mix_output.weight", W(output), "D,A", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.ln_x.weight", "blk.%d.time_mix_ln.weight", W(ln_x_w), "A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.ln_x.bias", "blk.%d.time_mix_ln.bias", W(ln_x_b), "A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.x_k", "blk.%d.channel_mix_lerp_k.weight", W(ffn_x_k), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.key.weight", "blk.%d.channel_mix_key.weight", W(ffn_key), "F,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.value.weight", "blk.%d.channel_mix_value.weight", W(ffn_value), "D,F", VR_MAT, VR_AS_IS, VR_REQUIRED},
};
#undef W

static void shape_letters(vr_dims *dims, const vr_rwkv_dims *from) {
    dims->size['R' - 'A'] = from->rank_decay;
    dims->size['S' - 'A'] = from->rank_iclr;
    dims->size['Q' - 'A'] = from->rank_value;
    dims->size['G' - 'A'] = from->rank_gate;
}

/* act(base + x) */
static vr_tensor *from_base(vr_run *run, const vr_tensor *x, const vr_tensor *base, vr_act act) {
    return vr_activate(run, vr_add(run, x, base), act);
}

static vr_tensor *time_mix(vr_run *run, const vr_rwkv *model, int layer, const layer7 *l, const vr_tensor *z,
                           vr_pass *pass) {
    int64_t C = model->dims.n_embd;
    int H = model->dims.dim_att / model->dims.head_size;
    vr_tensor *p = vr_token_shift(run, z, pass->spans, vr_pass_states(run, pass, 0), pass->n);
    vr_tensor *xv = vr_lerp(run, z, p, &l->x_v, NULL);
    enum { R, K, V, W, A, G, MIX }; /* MIX last: layer 0 has none. The last four are low-rank, in two halves */
    int n = layer == 0 ? MIX : MIX + 1;
    vr_product of[] = {[R] = {vr_lerp(run, z, p, &l->x_r, NULL), &l->receptance},
                       [K] = {vr_lerp(run, z, p, &l->x_k, NULL), &l->key},
                       [V] = {xv, &l->value},
                       [W] = {vr_lerp(run, z, p, &l->x_w, NULL), &l->w1},
                       [A] = {vr_lerp(run, z, p, &l->x_a, NULL), &l->a1},
                       [G] = {vr_lerp(run, z, p, &l->x_g, NULL), &l->g1},
                       [MIX] = {xv, &l->v1}};
    vr_linears(run, of, n);
    vr_tensor *r = of[R].y, *k = of[K].y, *v = of[V].y;
    vr_product half[] = {[W] = {vr_activate(run, of[W].y, VR_ACT_TANH), &l->w2},
                         [A] = {of[A].y, &l->a2},
                         [G] = {vr_activate(run, of[G].y, VR_ACT_SIGMOID), &l->g2},
                         [MIX] = {of[MIX].y, &l->v2}};
    vr_linears(run, half + W, n - W);
    vr_tensor *w = from_base(run, half[W].y, &l->w0, VR_ACT_DECAY);
    vr_tensor *a = from_base(run, half[A].y, &l->a0, VR_ACT_SIGMOID);
    if (layer == 0)
        pass->value_first = v;
    else
        v = vr_lerp(run, v, pass->value_first, NULL, from_base(run, half[MIX].y, &l->v0, VR_ACT_SIGMOID));
    vr_tensor *kk = vr_l2_norm(run, vr_mul(run, k, &l->k_k), H, 1e-12f);
    k = vr_lerp(run, k, vr_mul(run, k, a), &l->k_a, NULL); /* k*(1 + (a - 1)*k_a) */
    vr_tensor *y = vr_wkv7(run, r, w, k, v, kk, a, H, pass->spans, vr_pass_states(run, pass, 2 * C), pass->n);
    y = vr_group_norm(run, y, H, &l->ln_x_w, &l->ln_x_b, model->dims.group_norm_eps);
    return vr_linear(run, vr_mul(run, vr_bonus(run, y, r, k, v, &l->r_k), half[G].y), &l->output, NULL);
}

static vr_tensor *channel_mix(vr_run *run, const vr_rwkv *model, const layer7 *l, const vr_tensor *z, const vr_pass *pass) {
    vr_tensor *p = vr_token_shift(run, z, pass->spans, vr_pass_states(run, pass, model->dims.n_embd), pass->n);
    vr_tensor *k = vr_linear(run, vr_lerp(run, z, p, &l->ffn_x_k, NULL), &l->ffn_key, NULL);
    return vr_linear(run, vr_activate(run, k, VR_ACT_RELU2), &l->ffn_value, NULL);
}

static vr_tensor *block(vr_run *run, const vr_rwkv *model, int layer, vr_tensor *x, vr_pass *pass) {
    const layer7 *l = (const layer7 *)model->layers + layer;
    float eps = model->dims.norm_eps;
    x = vr_add(run, x, time_mix(run, model, layer, l, vr_layer_norm(run, x, &l->ln1_w, &l->ln1_b, eps), pass));
    return vr_add(run, x, channel_mix(run, model, l, vr_layer_norm(run, x, &l->ln2_w, &l->ln2_b, eps), pass));
}

static const vr_measure measures[] = {
    {"blocks.0.att.receptance.weight", 0, 1, offsetof(vr_rwkv_dims, dim_att)},
    {"blocks.0.att.r_k", 1, 1, offsetof(vr_rwkv_dims, head_size)},
    {"blocks.0.ffn.key.weight", 0, 1, offsetof(vr_rwkv_dims, dim_ffn)},
    {"blocks.0.att.w1", 1, 1, offsetof(vr_rwkv_dims, rank_decay)},
    {"blocks.0.att.a1", 1, 1, offsetof(vr_rwkv_dims, rank_iclr)},
    {"blocks.0.att.g1", 1, 1, offsetof(vr_rwkv_dims, rank_gate)},
};
static const vr_measure later_measures[] = {{"blocks.1.att.v1", 1, 1, offsetof(vr_rwkv_dims, rank_value)}};

extern const vr_rwkv_arch vr_rwkv7;
const vr_rwkv_arch vr_rwkv7 = {
    .name = "x070",
    .signature = "blocks.0.att.r_k",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .later_measures = later_measures,
    .n_later_measures = VR_COUNT(later_measures),
    .layer_size = sizeof(layer7),
    .rows = rows,
    .n_rows = VR_COUNT(rows),
    .shape_letters = shape_letters,
    .state = vr_rwkv_state,
    .n_state = VR_RWKV_STATE_PARTS,
    .value_residual = true,
    .block = block,
};
