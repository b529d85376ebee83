/* DINOv2 (Oquab et al. 2023) with registers (Darcet et al. 2023), as timm's VisionTransformer: class and
 * register rows in front, which have no position and are cut off at the end, and LayerScale. The
 * features are the last block but one's output; the last block and the norm behind it have no effect.
 * src: VisualRWKV v7.00 src/vision.py */
#include "vision/vit.h"

#define W(field) offsetof(vr_vit_outer, field)
static const vr_row outer_rows[] = {
    {"cls_token", "class_embd", W(class_row), "1,1,C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"reg_token", "register_embd", W(registers), "1,R,C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
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

static void count_registers(vr_tower_dims *dims, vr_shape_of_fn shape_of, const void *checkpoint) {
    int64_t shape[VR_MAX_DIMS];
    bool some = shape_of(checkpoint, "reg_token", shape) == 3 && shape[1] < 1 << 20;
    dims->prefix_tokens = 1 + (some ? (int)shape[1] : 0);
}

extern const vr_tower_arch vr_tower_dinov2;
const vr_tower_arch vr_tower_dinov2 = {
    .type = "dinov2",
    .name = "dino",
    .prefix = "vit.dino_featurizer.",
    .gguf_prefix = "v.dino.",
    .signature = "dino_featurizer.cls_token",
    .layer_key = "blocks.%d.norm1.weight",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .from_shapes = count_registers,
    .hidden_act = VR_ACT_GELU,
    .layer_norm_eps = 1e-6f,
    .prefix_tokens = 5,
    .unused_blocks = 1,
    .outer_size = sizeof(vr_vit_outer),
    .layer_size = sizeof(vr_vit_layer),
    .outer_rows = outer_rows,
    .layer_rows = vr_timm_layer_rows,
    .n_outer_rows = VR_COUNT(outer_rows),
    .n_layer_rows = VR_TIMM_LAYER_ROWS,
    .mean = {0.485f, 0.456f, 0.406f},
    .std = {0.229f, 0.224f, 0.225f},
    .any_grid = true,
    .forward = vr_vit_forward,
};
