/* The table of towers, and pooling. */
#include "vision/vision.h"

#include <string.h>

extern const vr_tower_arch vr_tower_clip, vr_tower_dinov2, vr_tower_siglip, vr_tower_siglip_hf, vr_tower_sam;

/* Features of several towers stand side by side in this order. */
static const vr_tower_arch *const towers[] = {&vr_tower_clip, &vr_tower_dinov2, &vr_tower_siglip, &vr_tower_siglip_hf, &vr_tower_sam};

const vr_tower_arch *vr_tower_arch_at(int index) { return (size_t)index < VR_COUNT(towers) ? towers[index] : NULL; }

const vr_tower_arch *vr_tower_arch_find(const char *type) {
    for (size_t i = 0; i < VR_COUNT(towers); i++)
        if (strcmp(towers[i]->type, type) == 0) return towers[i];
    return NULL;
}

/* Patches of a row of the square picture. */
static int patch_side(const vr_tower_dims *dims) { return dims->patch_size ? dims->image_size / dims->patch_size : 0; }

void vr_tower_letters(vr_dims *dims, const vr_tower_dims *from) {
    dims->size['C' - 'A'] = from->hidden_size;
    dims->size['M' - 'A'] = from->intermediate_size;
    dims->size['P' - 'A'] = from->patch_size;
    dims->size['T' - 'A'] = from->positions;
    dims->size['R' - 'A'] = from->prefix_tokens - 1;
    dims->size['G' - 'A'] = patch_side(from);
    dims->size['N' - 'A'] = from->num_attention_heads ? from->hidden_size / from->num_attention_heads : 0;
    dims->size['O' - 'A'] = from->out_chans;
}

void vr_tower_defaults(vr_tower_dims *dims, const vr_tower_arch *arch) {
    *dims = (vr_tower_dims){.positions = -1, .taken_block = -1, .resample = 3, .prefix_tokens = arch->prefix_tokens,
                            .hidden_act = arch->hidden_act, .layer_norm_eps = arch->layer_norm_eps};
    memcpy(dims->image_mean, arch->mean, sizeof dims->image_mean);
    memcpy(dims->image_std, arch->std, sizeof dims->image_std);
}

void vr_tower_complete(vr_tower_dims *dims, const vr_tower_arch *arch) {
    int side = patch_side(dims);
    if (dims->positions < 0 && side <= VR_MAX_PIXELS) dims->positions = side * side + (arch->has_class_row ? 1 : 0);
    if (dims->taken_block < 0) dims->taken_block = dims->num_hidden_layers - 1 - arch->unused_blocks;
}

void vr_tower_set_side(vr_tower_dims *dims, int64_t side) {
    dims->image_size = side * dims->patch_size <= VR_MAX_PIXELS ? (int)(side * dims->patch_size) : 0;
}

int vr_tower_side(const vr_tower_dims *dims) { return patch_side(dims) / (dims->down_sampler ? 2 : 1); }

int vr_tower_width(const vr_tower_dims *dims) {
    return dims->out_chans ? dims->out_chans * (dims->down_sampler ? 4 : 1) : dims->hidden_size;
}

double vr_tower_flops(const vr_tower_dims *dims) {
    double side = patch_side(dims), P = dims->patch_size, C = dims->hidden_size, M = dims->intermediate_size, O = dims->out_chans;
    double patches = side * side, T = patches + dims->prefix_tokens, sum = patches * (3 * P * P * C + C * O + 9 * O * O);
    for (int i = 0; i <= dims->taken_block; i++) {
        double window = !dims->window_size || dims->global_attn_indexes >> i & 1 ? 0 : dims->window_size;
        double across = window ? (double)(((int)side + (int)window - 1) / (int)window) * window : 0;
        double rows = window ? across * across : T, keys = window ? window * window : T;
        sum += rows * (3 * C * C + 2 * keys * C) + T * (C * C + 2 * C * M);
    }
    return 2 * sum;
}

int vr_square_side(int n) {
    int side = 0;
    while ((int64_t)(side + 1) * (side + 1) <= n) side++;
    return side;
}

static int pooled_side(int side, int grid_size) {
    int stride = side / grid_size;
    return stride ? (side - stride) / stride + 1 : 0;
}

int vr_grid_rows(int patches, int grid_size) {
    if (grid_size < 0) return patches + 1;
    if (grid_size < 2) return grid_size + 1;
    int side = pooled_side(vr_square_side(patches), grid_size);
    return side ? side * side + 1 : 0;
}

vr_tensor *vr_grid_pool(vr_run *run, vr_tensor *features, int grid_size) {
    if (!features) return NULL;
    int patches = (int)features->shape[0] - 1, side = vr_square_side(patches);
    vr_tensor *class_row = vr_rows(run, features, 0, 1);
    vr_tensor *grid = vr_rows(run, features, 1, patches);
    if (grid_size == 0) return class_row;
    if (grid_size > 0) {
        /* one cell: the mean of all patches, which a grid that is no square has too */
        int stride = grid_size == 1 ? side : side / grid_size;
        if (stride == 0) {
            run->status = vr_fail(run->err, VRWKV_ERR_ARGUMENT, "grid_size %d is larger than the tower's grid of %d x %d",
                                  grid_size, side, side);
            return NULL;
        }
        grid = vr_avg_pool(run, grid, side, stride, stride);
    }
    return vr_concat_rows(run, grid, class_row);
}
