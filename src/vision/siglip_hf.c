/* SigLIP (Zhai et al. 2023), as transformers' SiglipVisionModel: no extra rows, all layers, and the
 * features are normed by post_layernorm. The pooling head below `head.` is not used. src: VisualRWKV
 * v7.01 src/vision.py */
#include "vision/vit.h"

#define W(field) offsetof(vr_vit_outer, field)
static const vr_row outer_rows[] = {
    {"embeddings.patch_embedding.weight", "patch_embd.weight", W(patch_w), "C,3,P,P", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {"embeddings.patch_embedding.bias", "patch_embd.bias", W(patch_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"embeddings.position_embedding.weight", "position_embd.weight", W(position), "T,C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"post_layernorm.weight", "post_ln.weight", W(post_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"post_layernorm.bias", "post_ln.bias", W(post_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
};

static const vr_measure measures[] = {
    {"embeddings.patch_embedding.weight", 0, 1, offsetof(vr_tower_dims, hidden_size)},
    {"embeddings.patch_embedding.weight", 2, 1, offsetof(vr_tower_dims, patch_size)},
    {"embeddings.position_embedding.weight", 0, 1, offsetof(vr_tower_dims, positions)},
    {"encoder.layers.0.mlp.fc1.weight", 0, 1, offsetof(vr_tower_dims, intermediate_size)},
};

extern const vr_tower_arch vr_tower_siglip_hf;
const vr_tower_arch vr_tower_siglip_hf = {
    .type = "siglip-hf",
    .name = "siglip",
    .prefix = "vit.vision_model.",
    .gguf_prefix = "v.siglip.",
    .signature = "vision_model.embeddings.patch_embedding.bias", /* CLIP's has none */
    .layer_key = "encoder.layers.%d.layer_norm1.weight",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .hidden_act = VR_ACT_GELU_TANH,
    .layer_norm_eps = 1e-6f,
    .outer_size = sizeof(vr_vit_outer),
    .layer_size = sizeof(vr_vit_layer),
    .outer_rows = outer_rows,
    .layer_rows = vr_hf_layer_rows,
    .n_outer_rows = VR_COUNT(outer_rows),
    .n_layer_rows = VR_HF_LAYER_ROWS,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
    .rescale_in_double = true,
    .forward = vr_vit_forward,
};
