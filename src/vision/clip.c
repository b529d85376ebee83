/* CLIP ViT (Radford et al. 2021), as transformers' CLIPVisionModel: class token in front, learned
 * positions for it too, a norm before the blocks. The features are the last layer's output WITHOUT
 * post_layernorm, whose weights are kept in files only for completeness. src: VisualRWKV v6.0 src/model.py */
#include "vision/vit.h"

#define W(field) offsetof(vr_vit_outer, field)
static const vr_row outer_rows[] = {
    {"embeddings.class_embedding", "class_embd", W(class_row), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"embeddings.patch_embedding.weight", "patch_embd.weight", W(patch_w), "C,3,P,P", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {"embeddings.position_embedding.weight", "position_embd.weight", W(position), "T,C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"pre_layrnorm.weight", "pre_ln.weight", W(pre_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"pre_layrnorm.bias", "pre_ln.bias", W(pre_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"post_layernorm.weight", "post_ln.weight", W(unused_w), "C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
    {"post_layernorm.bias", "post_ln.bias", W(unused_b), "C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
};

static const vr_measure measures[] = {
    {"embeddings.class_embedding", 0, 1, offsetof(vr_tower_dims, hidden_size)},
    {"embeddings.patch_embedding.weight", 2, 1, offsetof(vr_tower_dims, patch_size)},
    {"embeddings.position_embedding.weight", 0, 1, offsetof(vr_tower_dims, positions)},
    {"encoder.layers.0.mlp.fc1.weight", 0, 1, offsetof(vr_tower_dims, intermediate_size)},
};

extern const vr_tower_arch vr_tower_clip;
const vr_tower_arch vr_tower_clip = {
    .type = "clip",
    .name = "clip",
    .prefix = "vit.vision_model.",
    .gguf_prefix = "v.",
    .signature = "vision_model.pre_layrnorm.weight",
    .layer_key = "encoder.layers.%d.layer_norm1.weight",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .hidden_act = VR_ACT_QUICK_GELU,
    .layer_norm_eps = 1e-5f,
    .prefix_tokens = 1,
    .outer_size = sizeof(vr_vit_outer),
    .layer_size = sizeof(vr_vit_layer),
    .outer_rows = outer_rows,
    .layer_rows = vr_hf_layer_rows,
    .n_outer_rows = VR_COUNT(outer_rows),
    .n_layer_rows = VR_HF_LAYER_ROWS,
    .mean = {0.48145466f, 0.4578275f, 0.40821073f},
    .std = {0.26862954f, 0.26130258f, 0.27577711f},
    .keep_aspect = true,
    .rescale_in_double = true,
    .has_class_row = true,
    .forward = vr_vit_forward,
};
