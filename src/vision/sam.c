/* The picture encoder of SAM (Kirillov et al. 2023), ViT-B: blocks that attend within windows, a few over
 * the whole grid, both with relative positions; then a neck of two convolutions, and a down-sampler that
 * lays 2 x 2 positions side by side. Width C of the blocks, O channels out of the neck.
 *
 *     neck: x = norm(conv1x1(h)); x = norm(conv3x3(x))        norms over channels, [64*64, O]
 *     features[(i,j), c*4 + dy*2 + dx] = x[(2i+dy, 2j+dx), c]                    [32*32, 4*O]
 *
 * src: VisualRWKV v7.00 src/sam.py */
#include "vision/vit.h"

typedef struct sam_outer {
    vr_tensor patch_w, patch_b, position;
    vr_tensor conv1_w, norm1_w, norm1_b, conv2_w, norm2_w, norm2_b;
} sam_outer;

#define W(field) offsetof(sam_outer, field)
static const vr_row outer_rows[] = {
    {"pos_embed", "position_embd.weight", W(position), "1,G,G,C", VR_VEC, VR_AS_IS, VR_OPTIONAL},
    {"patch_embed.proj.weight", "patch_embd.weight", W(patch_w), "C,3,P,P", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {"patch_embed.proj.bias", "patch_embd.bias", W(patch_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"neck.0.weight", "neck.0.weight", W(conv1_w), "O,C,1,1", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {"neck.1.weight", "neck.1.weight", W(norm1_w), "O", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"neck.1.bias", "neck.1.bias", W(norm1_b), "O", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"neck.2.weight", "neck.2.weight", W(conv2_w), "O,O,3,3", VR_LORA, VR_AS_IS, VR_REQUIRED},
    {"neck.3.weight", "neck.3.weight", W(norm2_w), "O", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {"neck.3.bias", "neck.3.bias", W(norm2_b), "O", VR_VEC, VR_AS_IS, VR_REQUIRED},
};
#undef W
#define W(field) offsetof(vr_vit_layer, field)
#define L "blocks.%d."
static const vr_row layer_rows[] = {
    {L "norm1.weight", "blk.%d.ln1.weight", W(ln1_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "norm1.bias", "blk.%d.ln1.bias", W(ln1_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "attn.qkv.weight", "blk.%d.attn_qkv.weight", W(qkv_w), "3C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "attn.qkv.bias", "blk.%d.attn_qkv.bias", W(qkv_b), "3C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "attn.rel_pos_h", "blk.%d.attn_rel_h.weight", W(rel_h), "W,N", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "attn.rel_pos_w", "blk.%d.attn_rel_w.weight", W(rel_w), "W,N", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "attn.proj.weight", "blk.%d.attn_out.weight", W(out_w), "C,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "attn.proj.bias", "blk.%d.attn_out.bias", W(out_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "norm2.weight", "blk.%d.ln2.weight", W(ln2_w), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "norm2.bias", "blk.%d.ln2.bias", W(ln2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "mlp.lin1.weight", "blk.%d.ffn_up.weight", W(fc1_w), "M,C", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "mlp.lin1.bias", "blk.%d.ffn_up.bias", W(fc1_b), "M", VR_VEC, VR_AS_IS, VR_REQUIRED},
    {L "mlp.lin2.weight", "blk.%d.ffn_down.weight", W(fc2_w), "C,M", VR_MAT, VR_AS_IS, VR_REQUIRED},
    {L "mlp.lin2.bias", "blk.%d.ffn_down.bias", W(fc2_b), "C", VR_VEC, VR_AS_IS, VR_REQUIRED},
};

/* Window layers have tables of 2*window-1 rows, global ones of 2*grid-1. */
static void letters_of_layer(vr_dims *dims, const void *tower_dims, int layer) {
    const vr_tower_dims *from = tower_dims;
    bool whole = !from->window_size || from->global_attn_indexes >> layer & 1;
    dims->size['W' - 'A'] = 2 * (int64_t)(whole ? from->image_size / from->patch_size : from->window_size) - 1;
}

/* The shortest tables are the windows', the others the grid's. One length alone is the grid's where the
 * position table says so, else the windows'. */
static void measure_windows(vr_tower_dims *dims, vr_shape_of_fn shape_of, const void *checkpoint) {
    int64_t shape[VR_MAX_DIMS], rows[VR_SAM_MAX_LAYERS] = {0}, least = 0, most = 0, grid = 0;
    char key[VR_NAME_SIZE];
    int n = dims->num_hidden_layers < VR_SAM_MAX_LAYERS ? dims->num_hidden_layers : VR_SAM_MAX_LAYERS;
    if (shape_of(checkpoint, "pos_embed", shape) == 4 && shape[1] < 1 << 14) grid = shape[1];
    for (int i = 0; i < n; i++) {
        if (shape_of(checkpoint, vr_row_name(L "attn.rel_pos_h", i, key), shape) != 2 || shape[0] > 1 << 15 || shape[1] < 1) continue;
        rows[i] = shape[0];
        least = least && least < rows[i] ? least : rows[i];
        most = most > rows[i] ? most : rows[i];
        dims->num_attention_heads = (int)(dims->hidden_size / shape[1]);
    }
    dims->window_size = least == 2 * grid - 1 ? 0 : (int)(least + 1) / 2;
    for (int i = 0; i < n; i++)
        if (dims->window_size && rows[i] != least) dims->global_attn_indexes |= (uint64_t)1 << i;
    dims->positions = (int)(grid * grid);
    dims->down_sampler = 1; /* it has no weights; the released model has one */
    vr_tower_set_side(dims, grid ? grid : (most + 1) / 2);
}

static vr_tensor *neck(vr_run *run, const vr_tower *tower, vr_tensor *h, vr_grid grid) {
    const sam_outer *w = tower->outer;
    float eps = tower->dims.layer_norm_eps;
    vr_tensor conv1 = {w->conv1_w.dtype, 2, {tower->dims.out_chans, tower->dims.hidden_size}, w->conv1_w.data};
    vr_tensor *x = vr_linear(run, h, &conv1, NULL);
    vr_vit_show(tower, "neck", 0, x, grid);
    x = vr_layer_norm(run, x, &w->norm1_w, &w->norm1_b, eps);
    vr_vit_show(tower, "neck", 1, x, grid);
    x = vr_conv3x3(run, x, grid, &w->conv2_w);
    vr_vit_show(tower, "neck", 2, x, grid);
    x = vr_layer_norm(run, x, &w->norm2_w, &w->norm2_b, eps);
    vr_vit_show(tower, "neck", 3, x, grid);
    return x;
}

static vr_tensor *forward(vr_run *run, const vr_tower *tower, const vr_tensor *pixels) {
    const sam_outer *w = tower->outer;
    vr_tensor *h = vr_patch_embed(run, pixels, &w->patch_w, &w->patch_b);
    if (!h) return NULL;
    vr_grid grid = vr_vit_grid(tower, pixels);
    vr_vit_show(tower, "patch", -1, h, grid);
    if (tower->dims.positions) h = vr_add(run, h, vr_vit_positions(run, tower, &w->position, grid));
    h = neck(run, tower, vr_vit_blocks(run, tower, h, grid), grid);
    return tower->dims.down_sampler ? vr_pixel_unshuffle(run, h, grid) : h;
}

static const vr_measure measures[] = {
    {"patch_embed.proj.weight", 0, 1, offsetof(vr_tower_dims, hidden_size)},
    {"patch_embed.proj.weight", 2, 1, offsetof(vr_tower_dims, patch_size)},
    {"blocks.0.mlp.lin1.weight", 0, 1, offsetof(vr_tower_dims, intermediate_size)},
    {"neck.0.weight", 0, 1, offsetof(vr_tower_dims, out_chans)},
};

extern const vr_tower_arch vr_tower_sam;
const vr_tower_arch vr_tower_sam = {
    .type = "sam",
    .name = "sam",
    .prefix = "vit.sam_featurizer.",
    .gguf_prefix = "v.sam.",
    .signature = "sam_featurizer.neck.0.weight",
    .layer_key = L "norm1.weight",
    .measures = measures,
    .n_measures = VR_COUNT(measures),
    .from_shapes = measure_windows,
    .hidden_act = VR_ACT_GELU,
    .layer_norm_eps = 1e-6f,
    .outer_size = sizeof(sam_outer),
    .layer_size = sizeof(vr_vit_layer),
    .outer_rows = outer_rows,
    .layer_rows = layer_rows,
    .n_outer_rows = VR_COUNT(outer_rows),
    .n_layer_rows = VR_COUNT(layer_rows),
    .at_layer = letters_of_layer,
    .has_neck = true,
    .mean = {0.485f, 0.456f, 0.406f},
    .std = {0.229f, 0.224f, 0.225f},
    .forward = forward,
};
