/* Operations that move whole rows. Backward, a row's gradient goes back to where the row came from. */
#include "ops/internal.h"

#include <string.h>

static void add_rows(vr_run *run, float *to, const float *from, int64_t n) {
    if (to) run->kernels->add(to, to, from, n);
}

typedef struct concat_rows_node { const float *x, *y, *z; int64_t nx, ny; } concat_rows_node;

static void concat_rows_back(vr_run *run, const void *saved) {
    const concat_rows_node *node = saved;
    const float *dz = vr_grad(run, node->z);
    add_rows(run, vr_grad(run, node->x), dz, node->nx);
    add_rows(run, vr_grad(run, node->y), dz + node->nx, node->ny);
}

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
    concat_rows_node node = {x->data, y->data, z->data, T * C, U * C};
    return vr_op_record(run, z, concat_rows_back, &node, sizeof node);
}

/* One of the parts of concat_columns. */
typedef struct column_node { const float *part, *y; int64_t T, columns, C; } column_node;

static void column_back(vr_run *run, const void *saved) {
    const column_node *node = saved;
    const float *dy = vr_grad(run, node->y);
    float *to = vr_grad(run, node->part);
    for (int64_t t = 0; to && t < node->T; t++) add_rows(run, to + t * node->columns, dy + t * node->C, node->columns);
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
    vr_op_record(run, y, vr_op_nothing_back, NULL, 0); /* runs after the parts' nodes: the gradient is cleared then */
    for (int i = 0; y && i < n; at += parts[i++]->shape[1]) {
        int64_t columns = parts[i]->shape[1];
        const float *from = parts[i]->data;
        for (int64_t t = 0; t < T; t++)
            memcpy((float *)y->data + t * C + at, from + t * columns, (size_t)columns * sizeof(float));
        column_node node = {from, (float *)y->data + at, T, columns, C};
        vr_op_record(run, NULL, column_back, &node, sizeof node);
    }
    return vr_run_status(run) == VRWKV_OK ? y : NULL;
}

enum { COLUMNS = 64 }; /* a row may be taken several times: each thread adds all rows, of its own columns */

typedef struct rows_node {
    const float *y;
    const void *source;
    const int32_t *index;
    int64_t T, C;
} rows_node;

typedef struct rows_job {
    const rows_node *node;
    const vr_kernels *kernels;
    float *to;
    const float *dy;
} rows_job;

static void add_columns(void *data, int64_t block, int thread) {
    const rows_job *job = data;
    int64_t C = job->node->C, first = block * COLUMNS, n = C - first < COLUMNS ? C - first : COLUMNS;
    (void)thread;
    for (int64_t t = 0; t < job->node->T; t++) {
        if (job->node->index[t] < 0) continue;
        float *to = job->to + job->node->index[t] * C + first;
        job->kernels->add(to, to, job->dy + t * C + first, n);
    }
}

static void rows_back(vr_run *run, const void *saved) {
    const rows_node *node = saved;
    rows_job job = {node, run->kernels, vr_grad(run, node->source), vr_grad(run, node->y)};
    if (job.to) vr_pool_run(run->pool, add_columns, &job, (node->C + COLUMNS - 1) / COLUMNS);
}

vr_tensor *vr_op_record_rows(vr_run *run, vr_tensor *y, const void *source, const int32_t *index) {
    if (!y || !vr_op_records(run)) return y;
    rows_node node = {.y = y->data, .source = source, .T = y->shape[0], .C = y->shape[1]};
    int32_t *own = vr_op_memory(run, (size_t)node.T, sizeof *own);
    if (!own) return NULL;
    memcpy(own, index, (size_t)node.T * sizeof *own);
    node.index = own;
    return vr_op_record(run, y, rows_back, &node, sizeof node);
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
    return vr_op_record_rows(run, y, x->data, order);
}

vr_tensor *vr_pick_rows(vr_run *run, const vr_tensor *x, const int32_t *index, int64_t n) {
    if (!x || !index || !vr_op_start(run) || !vr_op_is_rows(run, "pick_rows", "x", x)) return NULL;
    int64_t T = x->shape[0], C = x->shape[1];
    vr_tensor *y = vr_new2(run, n, C);
    for (int64_t t = 0; y && t < n; t++) {
        if (index[t] >= T)
            return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "pick_rows: index[%lld] is %d, expected below %lld", (long long)t,
                              (int)index[t], (long long)T);
        if (index[t] < 0)
            memset((float *)y->data + t * C, 0, (size_t)C * sizeof(float));
        else
            memcpy((float *)y->data + t * C, (const float *)x->data + index[t] * C, (size_t)C * sizeof(float));
    }
    return vr_op_record_rows(run, y, x->data, index);
}
