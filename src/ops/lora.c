/* Low-rank products. The middle [T, G*R] is scratch; group g of the output sees its columns g*R..g*R+R-1.
 *
 *     y[g] = act(x w1^T)[:, g*R..] w2[g]^T     src: RWKV-6 time_maa_w1/w2, time_decay_w1/w2 */
#include "ops/internal.h"

static bool shapes_fit(vr_run *run, const vr_tensor *x, const vr_tensor *w1, const vr_tensor *w2) {
    char text1[96], text2[96];
    int64_t G = w2->ndim == 3 ? w2->shape[0] : 1, R = vr_op_columns(w2);
    if (w1->ndim == 2 && w1->shape[1] == x->shape[1] && (w2->ndim == 2 || w2->ndim == 3) && w1->shape[0] == G * R)
        return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE,
               "lora: w1 is %s and w2 is %s, expected [groups*rank, %lld] and [groups, outputs, rank]",
               vr_shape_text(w1->ndim, w1->shape, text1, sizeof text1),
               vr_shape_text(w2->ndim, w2->shape, text2, sizeof text2), (long long)x->shape[1]);
    return false;
}

static bool compute(vr_run *run, vr_tensor *y, const vr_tensor *x, const vr_tensor *w1, vr_act act, const vr_tensor *w2) {
    bool grouped = w2->ndim == 3;
    int64_t T = x->shape[0], M = w1->shape[0], R = vr_op_columns(w2), O = w2->shape[grouped ? 1 : 0];
    vr_tensor *middle = vr_activate(run, vr_linear(run, x, w1, NULL), act);
    if (!middle) return false;
    vr_matmul m = {.y = y->data, .x = middle->data, .w = w2->data, .type = w2->dtype, .y_stride = O, .x_stride = M,
                   .y_step = T * O, .x_step = R, .groups = grouped ? w2->shape[0] : 1, .T = T, .O = O, .I = R};
    return vr_op_matmul(run, &m) && vr_op_record(run, y, vr_op_matmul_backward, &m, sizeof m);
}

vr_tensor *vr_lora(vr_run *run, const vr_tensor *x, const vr_tensor *w1, vr_act act, const vr_tensor *w2) {
    if (!x || !w1 || !w2 || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "lora", "x", x) || !vr_op_is_readable(run, "lora", "w1", w1) ||
        !vr_op_is_readable(run, "lora", "w2", w2) || !shapes_fit(run, x, w1, w2))
        return NULL;
    int64_t T = x->shape[0];
    vr_tensor *y = w2->ndim == 3 ? vr_new(run, 3, (int64_t[]){w2->shape[0], T, w2->shape[1]})
                                 : vr_new2(run, T, w2->shape[0]);
    if (!y) return NULL;
    size_t mark = vr_arena_mark(run->arena);
    bool done = compute(run, y, x, w1, act, w2);
    vr_op_release(run, mark);
    return done ? y : NULL;
}
