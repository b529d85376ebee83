/* CLIP ViT (Radford et al. 2021), as transformers' CLIPVisionModel: patches, class token in front,
 * learned positions, pre-norm blocks. The features are the last layer's output WITHOUT post_layernorm,
 * whose weights are kept in files only for completeness. src: VisualRWKV v6.0 src/model.py */
#include "vision/vision.h"

#include <math.h>
#include <string.h>

typedef struct clip_outer {
    vr_tensor class_embedding, patch, position, pre_w, pre_b, post_w, post_b;
} clip_outer;

typedef struct clip_layer {
    vr_tensor ln1_w, ln1_b, q_w, q_b, k_w, k_b, v_w, v_b, out_w, out_b;
    vr_tensor ln2_w, ln2_b, fc1_w, fc1_b, fc2_w, fc2_b;
} clip_layer;

#define VM "vision_model."
#define W(field) offsetof(clip_outer, field)
static const vr_row outer_rows[] = {
    {VM "embeddings.class_embedding", "v.class_embd", W(class_embedding), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {VM "embeddings.patch_embedding.weight", "v.patch_embd.weight", W(patch), "C,3,P,P", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {VM "embeddings.position_embedding.weight", "v.position_embd.weight", W(position), "T,C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {VM "pre_layrnorm.weight", "v.pre_ln.weight", W(pre_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {VM "pre_layrnorm.bias", "v.pre_ln.bias", W(pre_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {VM "post_layernorm.weight", "v.post_ln.weight", W(post_w), "C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
    {VM "post_layernorm.bias", "v.post_ln.bias", W(post_b), "C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
};
#undef W
#define W(field) offsetof(clip_layer, field)
#define LAYER VM "encoder.layers.%d."
#define LAYER0 VM "encoder.layers.0."
static const vr_row layer_rows[] = {
    {LAYER "layer_norm1.weight", "v.blk.%d.ln1.weight", W(ln1_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "layer_norm1.bias", "v.blk.%d.ln1.bias", W(ln1_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.q_proj.weight", "v.blk.%d.attn_q.weight", W(q_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.q_proj.bias", "v.blk.%d.attn_q.bias", W(q_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.k_proj.weight", "v.blk.%d.attn_k.weight", W(k_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.k_proj.bias", "v.blk.%d.attn_k.bias", W(k_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.v_proj.weight", "v.blk.%d.attn_v.weight", W(v_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.v_proj.bias", "v.blk.%d.attn_v.bias", W(v_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.out_proj.weight", "v.blk.%d.attn_out.weight", W(out_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {LAYER "self_attn.out_proj.bias", "v.blk.%d.attn_out.bias", W(out_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "layer_norm2.weight", "v.blk.%d.ln2.weight", W(ln2_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "layer_norm2.bias", "v.blk.%d.ln2.bias", W(ln2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "mlp.fc1.weight", "v.blk.%d.ffn_up.weight", W(fc1_w), "M,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {LAYER "mlp.fc1.bias", "v.blk.%d.ffn_up.bias", W(fc1_b), "M", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {LAYER "mlp.fc2.weight", "v.blk.%d.ffn_down.weight", W(fc2_w), "C,M", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {LAYER "mlp.fc2.bias", "v.blk.%d.ffn_down.bias", W(fc2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
};
#undef W

static vr_tensor *layer_forward(vr_run *run, const vr_tower_dims *dims, const clip_layer *l, vr_tensor *h) {
    float eps = dims->layer_norm_eps;
    int heads = dims->num_attention_heads;
    float scale = 1.0f / sqrtf((float)(dims->hidden_size / heads));
    vr_tensor *a = vr_layer_norm(run, h, &l->ln1_w, &l->ln1_b, eps);
    vr_tensor *y = vr_attention(run, vr_linear(run, a, &l->q_w, &l->q_b), vr_linear(run, a, &l->k_w, &l->k_b),
                                vr_linear(run, a, &l->v_w, &l->v_b), heads, scale);
    h = vr_add(run, h, vr_linear(run, y, &l->out_w, &l->out_b));
    vr_tensor *m = vr_linear(run, vr_layer_norm(run, h, &l->ln2_w, &l->ln2_b, eps), &l->fc1_w, &l->fc1_b);
    return vr_add(run, h, vr_linear(run, vr_activate(run, m, dims->hidden_act), &l->fc2_w, &l->fc2_b));
}

static vr_tensor *forward(vr_run *run, const vr_tower *tower, const vr_tensor *pixels) {
    const clip_outer *w = tower->outer;
    const clip_layer *layers = tower->layers;
    vr_tensor class_row = {VR_F32, 2, {1, tower->dims.hidden_size}, w->class_embedding.data};
    vr_tensor *h = vr_concat_rows(run, &class_row, vr_patch_embed(run, pixels, &w->patch, NULL));
    h = vr_layer_norm(run, vr_add(run, h, &w->position), &w->pre_w, &w->pre_b, tower->dims.layer_norm_eps);
    vr_tensor *stream = h ? vr_new2(run, h->shape[0], h->shape[1]) : NULL;
    size_t mark = vr_arena_mark(run->arena);
    for (int i = 0; stream && i < tower->dims.num_hidden_layers; i++) {
        h = layer_forward(run, &tower->dims, &layers[i], h);
        if (!h) return NULL;
        memcpy(stream->data, h->data, (size_t)(h->shape[0] * h->shape[1]) * sizeof(float));
        h = stream;
        vr_arena_release(run->arena, mark);
    }
    return stream ? h : NULL;
}

static const vr_measure measures[] = {
    {VM "embeddings.class_embedding", 0, 1, offsetof(vr_tower_dims, hidden_size)},
    {VM "embeddings.patch_embedding.weight", 2, 1, offsetof(vr_tower_dims, patch_size)},
    {VM "embeddings.position_embedding.weight", 0, 1, offsetof(vr_tower_dims, positions)},
    {LAYER0 "mlp.fc1.weight", 0, 1, offsetof(vr_tower_dims, intermediate_size)},
};

extern const vr_tower_arch vr_tower_clip;
const vr_tower_arch vr_tower_clip = {
    .type = "clip",
    .name = "clip",
    .signature = VM "pre_layrnorm.weight",
    .layer_key = LAYER "layer_norm1.weight",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .hidden_act = "quick_gelu",
    .layer_norm_eps = 1e-5f,
    .outer_size = sizeof(clip_outer),
    .layer_size = sizeof(clip_layer),
    .outer_rows = outer_rows,
    .layer_rows = layer_rows,
    .n_outer_rows = VR_COUNT(outer_rows),
    .n_layer_rows = VR_COUNT(layer_rows),
    .mean = {0.48145466f, 0.4578275f, 0.40821073f},
    .std = {0.26862954f, 0.26130258f, 0.27577711f},
    .keep_aspect = true,
    .has_class_row = true,
    .forward = forward,
};
