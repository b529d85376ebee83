/* What the files of this room share: the start and the failure of an operation, checks of its
 * inputs, and the matrix product below linear, lora, patch_embed. */
#ifndef VR_OPS_INTERNAL_H
#define VR_OPS_INTERNAL_H
#include "ops/ops.h"
#include "ops/pack.h"
#include "ops/quant.h"
#include "ops/tape.h"

/* False once the run has failed, and (then failing it) where the caller's cancel flag is set. */
bool vr_op_start(vr_run *run);
/* Fails the run unless it has failed before; NULL, so that `return vr_op_fail(...)` reads well. */
void *vr_op_fail(vr_run *run, vr_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Arena memory; NULL after failing the run. */
void *vr_op_memory(vr_run *run, size_t count, size_t size);

/* Checks; each fails the run with the operation's name, what was found and what was expected. */
bool vr_op_is_rows(vr_run *run, const char *op, const char *name, const vr_tensor *x);                  /* f32 [T,C] */
bool vr_op_is_vector(vr_run *run, const char *op, const char *name, const vr_tensor *x, int64_t C);    /* f32, C in all */
bool vr_op_is_like(vr_run *run, const char *op, const char *name, const vr_tensor *x, const vr_tensor *like);
bool vr_op_is_readable(vr_run *run, const char *op, const char *name, const vr_tensor *w);             /* any stored type */
/* Rows f32 [height*width, C], both sides at least 1. */
bool vr_op_is_grid(vr_run *run, const char *op, const vr_tensor *x, vr_grid grid);
/* The spans lie one after another and cover exactly the T rows. */
bool vr_op_spans_cover(vr_run *run, const char *op, const vr_span *spans, int n_spans, int64_t T);

/* Product of the sizes but the last, and the last; ndim 0: 1 and 1. */
static inline int64_t vr_op_columns(const vr_tensor *x) { return x->ndim ? x->shape[x->ndim - 1] : 1; }
static inline int64_t vr_op_rows(const vr_tensor *x) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < x->ndim; i++) rows *= x->shape[i];
    return rows;
}

/* ---- recording and backward passes ---- */

typedef void (*vr_backward_fn)(vr_run *run, const void *saved);

static inline bool vr_op_records(const vr_run *run) { return run->tape && run->tape->recording; }
/* With a tape, appends the operation that made y; `saved` (size bytes, copied) tells its backward pass all
 * it needs. y NULL: the pass itself clears the gradient of what it made. Returns y, or NULL after failing. */
vr_tensor *vr_op_record(vr_run *run, vr_tensor *y, vr_backward_fn backward, const void *saved, size_t size);
/* Copies of spans and states (n pointers each) that the tape can keep, in their place; false after failing. */
bool vr_op_keep_sequences(vr_run *run, const vr_span **spans, float *const **states, int n);
/* A backward pass that has nothing to do but let the gradient be cleared. */
void vr_op_nothing_back(vr_run *run, const void *saved);
/* Runs and forgets the nodes on the tape. */
void vr_op_run_nodes(vr_run *run);
/* Gives scratch back, unless the tape still needs what is in it. */
static inline void vr_op_release(vr_run *run, size_t mark) {
    if (!vr_op_records(run)) vr_arena_release(run->arena, mark);
}

/* Rows [first, end) of a backward pass; sums: vectors [C], cleared, one behind the other, or NULL. */
typedef void (*vr_back_fn)(const void *job, int64_t first, int64_t end, float *sums);
/* Calls fn for chunks of T rows of C numbers, in any order. Where one of to[0..n-1] is not NULL, each chunk
 * has n vectors of its own for sums over its rows, and these are added to to[i] in the order of the rows. */
void vr_op_back_rows(vr_run *run, vr_back_fn fn, const void *job, int64_t T, int64_t C, float *const *to, int n);

/* For g < groups: y_g[t*y_stride + o] = sum_i x_g[t*x_stride + i] w_g[o,i] (+ bias[o]), where x_g and
 * y_g lie x_step and y_step floats after one another and w_g are O stored rows of I each. */
typedef struct vr_matmul {
    float *y;
    const float *x;
    const void *w;
    const float *bias;
    vr_dtype type;
    int64_t y_stride, x_stride, y_step, x_step;
    int64_t groups, T, O, I;
} vr_matmul;

/* Scratch is taken from the arena and given back; false after failing the run. Packed weights come in one
 * group (groups = 1). */
bool vr_op_matmul(vr_run *run, const vr_matmul *m);
/* Up to VR_OP_MATMULS products that do not wait for each other, as one piece of work for the threads. */
enum { VR_OP_MATMULS = 8 };
bool vr_op_matmuls(vr_run *run, const vr_matmul *list, int n);
/* The gradients of such a product, added to dx, dw, db, which lie as x, w (f32) and bias do and may be NULL;
 * dy lies as y. The second is the backward pass of the operation that is such a product: saved is a vr_matmul. */
void vr_op_matmul_back(vr_run *run, const vr_matmul *m, const float *dy, float *dx, float *dw, float *db);
void vr_op_matmul_backward(vr_run *run, const void *saved);

/* Records y[t] = source[index[t]] for the rows of y; a negative index is a row of zeros. */
vr_tensor *vr_op_record_rows(vr_run *run, vr_tensor *y, const void *source, const int32_t *index);
/* The decoder of a stored type, of the rows of a packed one: the kernel set's, or the plain one. NULL: cannot
 * be read. */
vr_decode_fn vr_op_decoder(const vr_run *run, vr_dtype type);
/* Columns from..to-1, whole blocks, of row `row` of a matrix of I columns, packed or not, to f32; scratch holds as
 * many floats. */
void vr_op_read_row(vr_decode_fn decode, vr_dtype type, const void *w, int64_t row, int64_t I, int64_t from, int64_t to,
                    float *out, void *scratch);
#endif
