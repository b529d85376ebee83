/* RWKV-5 "Eagle" (x052): fixed mixing with the row before, one decay per channel for all rows.
 * src: Peng et al. 2024 (arXiv 2404.05892), section 4; VisualRWKV v5.1 src/model.py.
 *
 * C = n_embd, H heads of N channels. State of a layer, in floats: att_shift [C], ffn_shift [C],
 * wkv [H, N key, N value]. p is always the row before; a mixing weight is the share of the row itself,
 * where RWKV-6 stores that of the row before. */
#include "rwkv/rwkv.h"

typedef struct layer5 {
    vr_tensor ln1_w, ln1_b, ln2_w, ln2_b;
    vr_tensor mix_k, mix_v, mix_r, mix_g, decay, faaaa;
    vr_tensor receptance, key, value, gate, output, ln_x_w, ln_x_b;
    vr_tensor ffn_mix_k, ffn_mix_r, ffn_key, ffn_receptance, ffn_value;
} layer5;

#define W(field) offsetof(layer5, field)
static const vr_row rows[] = {
    {"blocks.%d.ln1.weight", "blk.%d.attn_norm.weight", W(ln1_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln1.bias", "blk.%d.attn_norm.bias", W(ln1_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln2.weight", "blk.%d.attn_norm_2.weight", W(ln2_w), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ln2.bias", "blk.%d.attn_norm_2.bias", W(ln2_b), "D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_mix_k", "blk.%d.time_mix_lerp_k.weight", W(mix_k), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_mix_v", "blk.%d.time_mix_lerp_v.weight", W(mix_v), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_mix_r", "blk.%d.time_mix_lerp_r.weight", W(mix_r), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_mix_g", "blk.%d.time_mix_lerp_g.weight", W(mix_g), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_decay", "blk.%d.time_mix_decay.weight", W(decay), "H,N", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.time_faaaa", "blk.%d.time_mix_first.weight", W(faaaa), "H,N", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.receptance.weight", "blk.%d.time_mix_receptance.weight", W(receptance), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.key.weight", "blk.%d.time_mix_key.weight", W(key), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.value.weight", "blk.%d.time_mix_value.weight", W(value), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.gate.weight", "blk.%d.time_mix_gate.weight", W(gate), "A,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.output.weight", "blk.%d.time_mix_output.weight", W(output), "D,A", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.ln_x.weight", "blk.%d.time_mix_ln.weight", W(ln_x_w), "A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.att.ln_x.bias", "blk.%d.time_mix_ln.bias", W(ln_x_b), "A", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.time_mix_k", "blk.%d.channel_mix_lerp_k.weight", W(ffn_mix_k), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.time_mix_r", "blk.%d.channel_mix_lerp_r.weight", W(ffn_mix_r), "1,1,D", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.key.weight", "blk.%d.channel_mix_key.weight", W(ffn_key), "F,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.receptance.weight", "blk.%d.channel_mix_receptance.weight", W(ffn_receptance), "D,D", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {"blocks.%d.ffn.value.weight", "blk.%d.channel_mix_value.weight", W(ffn_value), "D,F", VR_MAT, VR_AS_IS, VR_REQUIRED},
};
#undef W

static vr_tensor *time_mix(vr_run *run, const vr_rwkv *model, const layer5 *l, const vr_tensor *a, const vr_pass *pass) {
    int64_t C = model->dims.n_embd;
    int H = model->dims.dim_att / model->dims.head_size;
    vr_tensor *p = vr_token_shift(run, a, pass->spans, vr_pass_states(run, pass, 0), pass->n);
    enum { R, K, V, G, PRODUCTS };
    vr_product of[PRODUCTS] = {[R] = {vr_lerp(run, p, a, &l->mix_r, NULL), &l->receptance},
                               [K] = {vr_lerp(run, p, a, &l->mix_k, NULL), &l->key},
                               [V] = {vr_lerp(run, p, a, &l->mix_v, NULL), &l->value},
                               [G] = {vr_lerp(run, p, a, &l->mix_g, NULL), &l->gate}};
    vr_linears(run, of, PRODUCTS);
    vr_tensor *g = vr_activate(run, of[G].y, VR_ACT_SILU);
    vr_tensor *y = vr_wkv6(run, of[R].y, of[K].y, of[V].y, &l->decay, &l->faaaa, pass->spans, vr_pass_states(run, pass, 2 * C), pass->n);
    /* the original divides y by head_size_divisor first: the same with its square in eps */
    y = vr_group_norm(run, y, H, &l->ln_x_w, &l->ln_x_b, model->dims.group_norm_eps);
    return vr_linear(run, vr_mul(run, y, g), &l->output, NULL);
}

static vr_tensor *channel_mix(vr_run *run, const vr_rwkv *model, const layer5 *l, const vr_tensor *b, const vr_pass *pass) {
    vr_tensor *p = vr_token_shift(run, b, pass->spans, vr_pass_states(run, pass, model->dims.n_embd), pass->n);
    vr_product of[] = {[0] = {vr_lerp(run, p, b, &l->ffn_mix_k, NULL), &l->ffn_key},
                       [1] = {vr_lerp(run, p, b, &l->ffn_mix_r, NULL), &l->ffn_receptance}};
    vr_linears(run, of, VR_COUNT(of));
    vr_tensor *v = vr_linear(run, vr_activate(run, of[0].y, VR_ACT_RELU2), &l->ffn_value, NULL);
    return vr_mul(run, vr_activate(run, of[1].y, VR_ACT_SIGMOID), v);
}

static vr_tensor *block(vr_run *run, const vr_rwkv *model, int layer, vr_tensor *x, vr_pass *pass) {
    const layer5 *l = (const layer5 *)model->layers + layer;
    float eps = model->dims.norm_eps;
    x = vr_add(run, x, time_mix(run, model, l, vr_layer_norm(run, x, &l->ln1_w, &l->ln1_b, eps), pass));
    return vr_add(run, x, channel_mix(run, model, l, vr_layer_norm(run, x, &l->ln2_w, &l->ln2_b, eps), pass));
}

static const vr_measure measures[] = {
    {"blocks.0.att.receptance.weight", 0, 1, offsetof(vr_rwkv_dims, dim_att)},
    {"blocks.0.att.time_faaaa", 1, 1, offsetof(vr_rwkv_dims, head_size)},
    {"blocks.0.ffn.key.weight", 0, 1, offsetof(vr_rwkv_dims, dim_ffn)},
};

extern const vr_rwkv_arch vr_rwkv5;
const vr_rwkv_arch vr_rwkv5 = {
    .name = "x052",
    .signature = "blocks.0.att.time_mix_g",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .layer_size = sizeof(layer5),
    .rows = rows,
    .n_rows = VR_COUNT(rows),
    .state = vr_rwkv_state,
    .n_state = VR_RWKV_STATE_PARTS,
    .wkv_by_key = true,
    .block = block,
};
