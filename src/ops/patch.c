/* The convolution at the entrance of a ViT: kernel = stride = patch, so it is a product of the patches,
 * each laid out as one row [channel, y, x], with the kernel's rows.      src: nn.Conv2d in CLIP */
#include "ops/internal.h"

#include <string.h>

static bool shapes_fit(vr_run *run, const vr_tensor *pixels, const vr_tensor *w) {
    char text1[96], text2[96];
    if (pixels->dtype == VR_F32 && pixels->ndim == 3 && pixels->data && w->ndim == 4 && w->shape[1] == pixels->shape[0] &&
        w->shape[2] == w->shape[3] && w->shape[2] > 0)
        return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE,
               "patch_embed: pixels are %s %s and w is %s, expected f32 [3, height, width] and [C, 3, P, P]",
               vr_dtype_of(pixels->dtype)->name, vr_shape_text(pixels->ndim, pixels->shape, text1, sizeof text1),
               vr_shape_text(w->ndim, w->shape, text2, sizeof text2));
    return false;
}

static void cut_patches(float *rows, const vr_tensor *pixels, int64_t P) {
    int64_t channels = pixels->shape[0], height = pixels->shape[1], width = pixels->shape[2];
    const float *from = pixels->data;
    for (int64_t py = 0; py < height / P; py++)
        for (int64_t px = 0; px < width / P; px++)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t y = 0; y < P; y++, rows += P)
                    memcpy(rows, from + (c * height + py * P + y) * width + px * P, (size_t)P * sizeof(float));
}

/* Pixels want no gradient. */
static void patch_back(vr_run *run, const void *saved) {
    const vr_matmul *m = saved;
    vr_op_matmul_back(run, m, vr_grad(run, m->y), NULL, vr_grad(run, m->w), vr_grad(run, m->bias));
}

vr_tensor *vr_patch_embed(vr_run *run, const vr_tensor *pixels, const vr_tensor *w, const vr_tensor *b) {
    if (!pixels || !w || !vr_op_start(run)) return NULL;
    if (!vr_op_is_readable(run, "patch_embed", "w", w) || !shapes_fit(run, pixels, w)) return NULL;
    int64_t C = w->shape[0], channels = w->shape[1], P = w->shape[2], I = channels * P * P;
    int64_t T = pixels->shape[1] / P * (pixels->shape[2] / P);
    if (b && !vr_op_is_vector(run, "patch_embed", "b", b, C)) return NULL;
    vr_tensor *y = vr_new2(run, T, C);
    if (!y) return NULL;
    size_t mark = vr_arena_mark(run->arena);
    float *rows = vr_op_memory(run, (size_t)(T * I), sizeof(float));
    if (!rows) return NULL;
    cut_patches(rows, pixels, P);
    vr_matmul m = {.y = y->data, .x = rows, .w = w->data, .bias = b ? b->data : NULL, .type = w->dtype,
                   .y_stride = C, .x_stride = I, .groups = 1, .T = T, .O = C, .I = I};
    bool done = vr_op_matmul(run, &m);
    vr_op_release(run, mark);
    return done ? vr_op_record(run, y, patch_back, &m, sizeof m) : NULL;
}
