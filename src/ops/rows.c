/* Operations that move whole rows. */
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

vr_tensor *vr_concat_columns(vr_run *run, const vr_tensor *const *parts, int n) {
    int64_t C = 0, at = 0;
    if (n < 1) return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "concat_columns: %d parts, expected at least 1", n);
    for (int i = 0; i < n; i++)
        if (!parts[i]) return NULL;
    if (!vr_op_start(run)) return NULL;
    for (int i = 0; i < n; i++) {
        if (!vr_op_is_rows(run, "concat_columns", "a part", parts[i])) return NULL;
        if (parts[i]->shape[0] != parts[0]->shape[0])
            return vr_op_fail(run, VRWKV_ERR_SHAPE, "concat_columns: part %d has %lld rows, expected %lld as the first", i,
                              (long long)parts[i]->shape[0], (long long)parts[0]->shape[0]);
        C += parts[i]->shape[1];
    }
    int64_t T = parts[0]->shape[0];
    vr_tensor *y = vr_new2(run, T, C);
    for (int i = 0; y && i < n; at += parts[i++]->shape[1]) {
        int64_t columns = parts[i]->shape[1];
        const float *from = parts[i]->data;
        for (int64_t t = 0; t < T; t++)
            memcpy((float *)y->data + t * C + at, from + t * columns, (size_t)columns * sizeof(float));
    }
    return y;
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
