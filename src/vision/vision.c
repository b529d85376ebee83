/* The table of towers, and pooling. */
#include "vision/vision.h"

#include <string.h>

extern const vr_tower_arch vr_tower_clip; /* clip.c */

static const vr_tower_arch *const towers[] = {&vr_tower_clip};

const vr_tower_arch *vr_tower_arch_at(int index) { return (size_t)index < VR_COUNT(towers) ? towers[index] : NULL; }

const vr_tower_arch *vr_tower_arch_find(const char *type) {
    for (size_t i = 0; i < VR_COUNT(towers); i++)
        if (strcmp(towers[i]->type, type) == 0) return towers[i];
    return NULL;
}

int vr_tower_side(const vr_tower_dims *dims) { return dims->patch_size ? dims->image_size / dims->patch_size : 0; }

int vr_tower_width(const vr_tower_dims *dims) { return dims->hidden_size; }

void vr_tower_letters(vr_dims *dims, const vr_tower_dims *from) {
    int64_t side = from->patch_size ? from->image_size / from->patch_size : 0;
    dims->size['C' - 'A'] = from->hidden_size;
    dims->size['M' - 'A'] = from->intermediate_size;
    dims->size['P' - 'A'] = from->patch_size;
    dims->size['T' - 'A'] = side * side + 1;
}

/* Side of the largest square grid in `patches` rows. */
static int grid_side(int patches) {
    int side = 0;
    while ((side + 1) * (side + 1) <= patches) side++;
    return side;
}

static int pooled_side(int side, int grid_size) {
    int stride = side / grid_size;
    return stride ? (side - stride) / stride + 1 : 0;
}

int vr_grid_rows(int patches, int grid_size) {
    if (grid_size < 0) return patches + 1;
    if (grid_size < 2) return grid_size + 1;
    int side = pooled_side(grid_side(patches), grid_size);
    return side ? side * side + 1 : 0;
}

vr_tensor *vr_grid_pool(vr_run *run, vr_tensor *features, int grid_size) {
    if (!features) return NULL;
    int patches = (int)features->shape[0] - 1, side = grid_side(patches);
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
