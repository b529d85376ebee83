/* Operations that move or average whole rows. */
#include "ops/internal.h"

#include <string.h>

vr_tensor *vr_concat_rows(vr_run *run, const vr_tensor *x, const vr_tensor *y) {
    if (!x || !y || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "concat_rows", "x", x) || !vr_op_is_rows(run, "concat_rows", "y", y)) return NULL;
    int64_t T = x->shape[0], U = y->shape[0], C = x->shape[1];
    if (y->shape[1] != C)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "concat_rows: y is [%lld, %lld], expected %lld columns as x", (long long)U,
                          (long long)y->shape[1], (long long)C);
    vr_tensor *z = vr_new2(run, T + U, C);
    if (!z) return NULL;
    memcpy(z->data, x->data, (size_t)(T * C) * sizeof(float));
    memcpy((float *)z->data + T * C, y->data, (size_t)(U * C) * sizeof(float));
    return z;
}

vr_tensor *vr_permute_rows(vr_run *run, const vr_tensor *x, const int32_t *order) {
    if (!x || !order || !vr_op_start(run) || !vr_op_is_rows(run, "permute_rows", "x", x)) return NULL;
    int64_t T = x->shape[0], C = x->shape[1];
    vr_tensor *y = vr_new2(run, T, C);
    for (int64_t t = 0; y && t < T; t++) {
        if (order[t] < 0 || order[t] >= T)
            return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "permute_rows: order[%lld] is %d, expected 0 to %lld", (long long)t,
                              (int)order[t], (long long)T - 1);
        memcpy((float *)y->data + t * C, (const float *)x->data + order[t] * C, (size_t)C * sizeof(float));
    }
    return y;
}

static void average_cell(float *y, const float *x, int64_t C, int side, int kernel) {
    float area = (float)kernel * (float)kernel;
    for (int64_t i = 0; i < C; i++) y[i] = 0.0f;
    for (int ky = 0; ky < kernel; ky++)
        for (int kx = 0; kx < kernel; kx++) {
            const float *row = x + ((int64_t)ky * side + kx) * C;
            for (int64_t i = 0; i < C; i++) y[i] += row[i];
        }
    for (int64_t i = 0; i < C; i++) y[i] /= area;
}

vr_tensor *vr_avg_pool(vr_run *run, const vr_tensor *x, int side, int kernel, int stride) {
    if (!x || !vr_op_start(run) || !vr_op_is_rows(run, "avg_pool", "x", x)) return NULL;
    int64_t C = x->shape[1];
    if (side < 1 || x->shape[0] != (int64_t)side * side || kernel < 1 || kernel > side || stride < 1)
        return vr_op_fail(run, VRWKV_ERR_SHAPE,
                          "avg_pool: x is [%lld, %lld], side %d, kernel %d, stride %d; expected [side*side, channels], "
                          "kernel 1 to side, stride at least 1",
                          (long long)x->shape[0], (long long)C, side, kernel, stride);
    int out = (side - kernel) / stride + 1;
    vr_tensor *y = vr_new2(run, (int64_t)out * out, C);
    for (int cy = 0; y && cy < out; cy++)
        for (int cx = 0; cx < out; cx++)
            average_cell((float *)y->data + ((int64_t)cy * out + cx) * C,
                         (const float *)x->data + ((int64_t)cy * stride * side + (int64_t)cx * stride) * C, C, side, kernel);
    return y;
}
