/* SigLIP (Zhai et al. 2023), as timm's VisionTransformer: no extra rows. The features are the last block
 * but one's output; the last block, the norm behind it and `attn_pool.` have no effect. The activation is
 * the exact GELU, although SigLIP was trained with the tanh form: so timm has it, and so the models that
 * stand on it were trained. src: VisualRWKV v7.00 src/vision.py */
#include "vision/vit.h"

#define W(field) offsetof(vr_vit_outer, field)
static const vr_row outer_rows[] = {
    {"pos_embed", "position_embd.weight", W(position), "1,T,C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"patch_embed.proj.weight", "patch_embd.weight", W(patch_w), "C,3,P,P", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {"patch_embed.proj.bias", "patch_embd.bias", W(patch_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"norm.weight", "post_ln.weight", W(unused_w), "C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
    {"norm.bias", "post_ln.bias", W(unused_b), "C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
};

static const vr_measure measures[] = {
    {"patch_embed.proj.weight", 0, 1, offsetof(vr_tower_dims, hidden_size)},
    {"patch_embed.proj.weight", 2, 1, offsetof(vr_tower_dims, patch_size)},
    {"pos_embed", 1, 1, offsetof(vr_tower_dims, positions)},
    {"blocks.0.mlp.fc1.weight", 0, 1, offsetof(vr_tower_dims, intermediate_size)},
};

extern const vr_tower_arch vr_tower_siglip;
const vr_tower_arch vr_tower_siglip = {
    .type = "siglip",
    .name = "siglip",
    .prefix = "vit.siglip_featurizer.",
    .gguf_prefix = "v.siglip.",
    .signature = "siglip_featurizer.pos_embed",
    .layer_key = "blocks.%d.norm1.weight",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .hidden_act = VR_ACT_GELU,
    .layer_norm_eps = 1e-6f,
    .unused_blocks = 1,
    .outer_size = sizeof(vr_vit_outer),
    .layer_size = sizeof(vr_vit_layer),
    .outer_rows = outer_rows,
    .layer_rows = vr_timm_layer_rows,
    .n_outer_rows = VR_COUNT(outer_rows),
    .n_layer_rows = VR_TIMM_LAYER_ROWS - VR_TIMM_SCALE_ROWS,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
    .any_grid = true,
    .forward = vr_vit_forward,
};
