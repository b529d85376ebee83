/* Products with stored weights, and rows of a stored table.
 *
 *     y[T,O] = x[T,I] w[O,I]^T + b[O]        src: nn.Linear */
#include "ops/internal.h"

static const vr_adapter *find_adapter(const vr_run *run, const void *w) {
    int low = 0, high = run->n_adapters;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if ((const char *)run->adapters[middle].w < (const char *)w)
            low = middle + 1;
        else
            high = middle;
    }
    return low < run->n_adapters && run->adapters[low].w == w ? &run->adapters[low] : NULL;
}

/* y, and what the matrix's adapter adds to it where there is one. */
static vr_tensor *adapt(vr_run *run, vr_tensor *y, const vr_tensor *x, const vr_tensor *w) {
    const vr_adapter *adapter = y ? find_adapter(run, w->data) : NULL;
    if (!adapter) return y;
    return vr_add(run, y, vr_linear(run, vr_linear(run, x, &adapter->a, NULL), &adapter->b, NULL));
}

/* Checks, and makes the result and the product's description. */
static vr_tensor *prepare(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b, vr_matmul *m) {
    if (!x || !w || !vr_op_start(run)) return NULL;
    if (!vr_op_is_rows(run, "linear", "x", x) || !vr_op_is_readable(run, "linear", "w", w)) return NULL;
    int64_t T = x->shape[0], I = x->shape[1], O = w->shape[0];
    if (w->ndim != 2 || w->shape[1] != I) {
        char text[96];
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "linear: w is %s, expected [outputs, %lld] for x [%lld, %lld]",
                          vr_shape_text(w->ndim, w->shape, text, sizeof text), (long long)I, (long long)T, (long long)I);
    }
    if (b && !vr_op_is_vector(run, "linear", "b", b, O)) return NULL;
    vr_tensor *y = vr_new2(run, T, O);
    if (!y) return NULL;
    *m = (vr_matmul){.y = y->data, .x = x->data, .w = w->data, .bias = b ? b->data : NULL, .type = w->dtype,
                     .y_stride = O, .x_stride = I, .groups = 1, .T = T, .O = O, .I = I};
    return y;
}

vr_tensor *vr_linear(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b) {
    vr_matmul m;
    vr_tensor *y = prepare(run, x, w, b, &m);
    return y && vr_op_matmul(run, &m) ? adapt(run, vr_op_record(run, y, vr_op_matmul_backward, &m, sizeof m), x, w) : NULL;
}

void vr_linears(vr_run *run, vr_product *list, int n) {
    vr_matmul m[VR_OP_MATMULS] = {0};
    bool done = true;
    if (vr_op_records(run)) { /* each records itself */
        for (int i = 0; i < n; i++) list[i].y = vr_linear(run, list[i].x, list[i].w, NULL);
        return;
    }
    for (int i = 0; i < n && done; i++) done = (list[i].y = prepare(run, list[i].x, list[i].w, NULL, &m[i])) != NULL;
    if (done) done = vr_op_matmuls(run, m, n);
    for (int i = 0; i < n; i++) list[i].y = done ? adapt(run, list[i].y, list[i].x, list[i].w) : NULL;
}

vr_tensor *vr_embed(vr_run *run, const vr_tensor *table, const int32_t *ids, int64_t n) {
    if (!table || !vr_op_start(run) || !vr_op_is_readable(run, "embed", "table", table)) return NULL;
    int64_t V = table->shape[0], C = vr_op_columns(table);
    if (table->ndim != 2)
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "embed: table has %d axes, expected [tokens, channels]", table->ndim);
    for (int64_t t = 0; t < n; t++)
        if (ids[t] < 0 || ids[t] >= V)
            return vr_op_fail(run, VRWKV_ERR_ARGUMENT, "embed: token id %d, expected 0 to %lld", (int)ids[t], (long long)V - 1);
    vr_tensor *y = vr_new2(run, n, C);
    size_t mark = vr_arena_mark(run->arena);
    void *scratch = vr_op_memory(run, (size_t)C, sizeof(float));
    if (!y || !scratch) return NULL;
    for (int64_t t = 0; t < n; t++)
        vr_op_read_row(vr_op_decoder(run, table->dtype), table->dtype, table->data, ids[t], C, 0, C,
                       (float *)y->data + t * C, scratch);
    vr_arena_release(run->arena, mark);
    return vr_op_record_rows(run, y, table->data, ids);
}
