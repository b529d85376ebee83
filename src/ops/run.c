/* The run: status, memory, views, and the checks that every operation makes of its inputs. */
#include "ops/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

vr_status vr_run_status(const vr_run *run) { return run->status; }

bool vr_op_start(vr_run *run) {
    if (run->status != VRWKV_OK) return false;
    if (run->cancel && __atomic_load_n(run->cancel, __ATOMIC_RELAXED)) {
        vr_op_fail(run, VRWKV_ERR_CANCELLED, "cancelled");
        return false;
    }
    return true;
}

void *vr_op_fail(vr_run *run, vr_status status, const char *format, ...) {
    char text[sizeof run->err->message];
    if (run->status != VRWKV_OK) return NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run->status = vr_fail(run->err, status, "%s", text);
    return NULL;
}

void *vr_op_memory(vr_run *run, size_t count, size_t size) {
    void *memory = vr_arena_get(run->arena, count, size);
    if (memory) return memory;
    return vr_op_fail(run, VRWKV_ERR_MEMORY,
                      "the scratch memory's limit of %zu bytes is reached: %zu in use, %zu x %zu more needed",
                      run->arena->reserved, run->arena->used, count, size);
}

vr_tensor *vr_new(vr_run *run, int ndim, const int64_t *shape) {
    char text[96];
    int64_t count;
    if (run->status != VRWKV_OK) return NULL;
    if (ndim < 0 || ndim > VR_MAX_DIMS || !vr_shape_count(ndim, shape, &count))
        return vr_op_fail(run, VRWKV_ERR_SHAPE, "no tensor can have %d sizes %s", ndim,
                          vr_shape_text(ndim > 0 && ndim <= VR_MAX_DIMS ? ndim : 0, shape, text, sizeof text));
    vr_tensor *tensor = vr_op_memory(run, 1, sizeof *tensor);
    if (!tensor) return NULL;
    *tensor = (vr_tensor){.dtype = VR_F32, .ndim = ndim};
    for (int i = 0; i < ndim; i++) tensor->shape[i] = shape[i];
    tensor->data = vr_op_memory(run, (size_t)count, sizeof(float));
    return tensor->data ? tensor : NULL;
}

vr_tensor *vr_new2(vr_run *run, int64_t rows, int64_t columns) { return vr_new(run, 2, (int64_t[]){rows, columns}); }

vr_tensor *vr_zeros2(vr_run *run, int64_t rows, int64_t columns) {
    vr_tensor *tensor = vr_new2(run, rows, columns);
    if (tensor) memset(tensor->data, 0, (size_t)(rows * columns) * sizeof(float));
    return vr_op_record(run, tensor, vr_op_nothing_back, NULL, 0);
}

vr_tensor *vr_rows(vr_run *run, vr_tensor *x, int64_t start, int64_t n) {
    char text[96];
    if (!x || !vr_op_start(run)) return NULL;
    if (x->dtype != VR_F32 || x->ndim < 1 || start < 0 || n < 0 || start > x->shape[0] || n > x->shape[0] - start)
        return vr_op_fail(run, VRWKV_ERR_SHAPE,
                          "rows: %lld rows from row %lld of %s %s, expected rows that an f32 tensor has", (long long)n,
                          (long long)start, vr_dtype_of(x->dtype)->name,
                          vr_shape_text(x->ndim, x->shape, text, sizeof text));
    vr_tensor *view = vr_op_memory(run, 1, sizeof *view);
    if (!view) return NULL;
    int64_t row = 1;
    for (int i = 1; i < x->ndim; i++) row *= x->shape[i];
    *view = *x;
    view->shape[0] = n;
    view->data = (float *)x->data + start * row;
    return view;
}

/* "f32 [2, 3]", or "nothing" where the tensor has no data. */
static const char *describe(const vr_tensor *x, char *buffer, size_t size) {
    char shape[96];
    if (!x->data) return "nothing";
    snprintf(buffer, size, "%s %s", vr_dtype_of(x->dtype)->name, vr_shape_text(x->ndim, x->shape, shape, sizeof shape));
    return buffer;
}

bool vr_op_is_rows(vr_run *run, const char *op, const char *name, const vr_tensor *x) {
    char text[128];
    if (x->dtype == VR_F32 && x->ndim == 2 && x->data) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: %s is %s, expected f32 [rows, columns]", op, name, describe(x, text, sizeof text));
    return false;
}

bool vr_op_is_vector(vr_run *run, const char *op, const char *name, const vr_tensor *x, int64_t C) {
    char text[128];
    int64_t count;
    if (x->dtype == VR_F32 && x->data && vr_shape_count(x->ndim, x->shape, &count) && count == C) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: %s is %s, expected f32 [%lld]", op, name, describe(x, text, sizeof text),
               (long long)C);
    return false;
}

bool vr_op_is_like(vr_run *run, const char *op, const char *name, const vr_tensor *x, const vr_tensor *like) {
    char text[128], expected[128];
    bool same = x->dtype == like->dtype && x->ndim == like->ndim && x->data;
    for (int i = 0; same && i < x->ndim; i++) same = x->shape[i] == like->shape[i];
    if (same) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: %s is %s, expected %s", op, name, describe(x, text, sizeof text),
               describe(like, expected, sizeof expected));
    return false;
}

bool vr_op_is_readable(vr_run *run, const char *op, const char *name, const vr_tensor *w) {
    char text[128];
    uint64_t bytes;
    bool packed = vr_is_packed(w->dtype), readable = vr_op_decoder(run, w->dtype);
    bool whole = !packed || vr_can_pack(vr_plain_type(w->dtype), w->ndim, w->shape);
    if (w->data && w->ndim >= 2 && readable && whole && vr_shape_bytes(w->dtype, w->ndim, w->shape, &bytes)) return true;
    vr_op_fail(run, readable ? VRWKV_ERR_SHAPE : VRWKV_ERR_UNSUPPORTED,
               "%s: %s is %s, expected a matrix of a type that can be computed with, in whole blocks", op, name,
               describe(w, text, sizeof text));
    return false;
}

bool vr_op_is_grid(vr_run *run, const char *op, const vr_tensor *x, vr_grid grid) {
    const int64_t limit = (int64_t)1 << 30;
    if (!vr_op_is_rows(run, op, "x", x)) return false;
    if (grid.height > 0 && grid.width > 0 && grid.height < limit && grid.width < limit &&
        x->shape[0] == grid.height * grid.width)
        return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: x has %lld rows, expected those of a grid of %lld x %lld", op,
               (long long)x->shape[0], (long long)grid.height, (long long)grid.width);
    return false;
}

bool vr_op_spans_cover(vr_run *run, const char *op, const vr_span *spans, int n_spans, int64_t T) {
    int64_t at = 0;
    for (int i = 0; i < n_spans; i++) {
        if (spans[i].start != at || spans[i].length < 0 || spans[i].length > T - at) {
            vr_op_fail(run, VRWKV_ERR_SHAPE,
                       "%s: sequence %d has %lld rows from row %lld, expected rows from %lld of %lld", op, i,
                       (long long)spans[i].length, (long long)spans[i].start, (long long)at, (long long)T);
            return false;
        }
        at += spans[i].length;
    }
    if (at == T) return true;
    vr_op_fail(run, VRWKV_ERR_SHAPE, "%s: the sequences have %lld rows in all, expected %lld", op, (long long)at,
               (long long)T);
    return false;
}

/* ---- sums over rows in backward passes ---- */

enum { BACK_FLOATS = 1 << 14, SUM_COLUMNS = 256 };

typedef struct back_job {
    vr_back_fn fn;
    const void *job;
    float *sums; /* [chunks, n, C] or NULL */
    float *const *to;
    int64_t T, C, per, chunks, n;
} back_job;

static void back_chunk(void *data, int64_t chunk, int thread) {
    const back_job *b = data;
    int64_t first = chunk * b->per, end = first + b->per < b->T ? first + b->per : b->T;
    float *sums = b->sums ? b->sums + chunk * b->n * b->C : NULL;
    (void)thread;
    if (sums) memset(sums, 0, (size_t)(b->n * b->C) * sizeof *sums);
    b->fn(b->job, first, end, sums);
}

static void add_sums(void *data, int64_t block, int thread) {
    const back_job *b = data;
    int64_t first = block * SUM_COLUMNS, end = first + SUM_COLUMNS < b->C ? first + SUM_COLUMNS : b->C;
    (void)thread;
    for (int64_t i = 0; i < b->n; i++)
        for (int64_t chunk = 0; b->to[i] && chunk < b->chunks; chunk++)
            for (int64_t c = first; c < end; c++) b->to[i][c] += b->sums[(chunk * b->n + i) * b->C + c];
}

void vr_op_back_rows(vr_run *run, vr_back_fn fn, const void *job, int64_t T, int64_t C, float *const *to, int n) {
    back_job b = {.fn = fn, .job = job, .to = to, .T = T, .C = C, .n = n};
    size_t mark = vr_arena_mark(run->arena);
    bool wanted = false;
    if (T == 0 || C == 0) return;
    for (int i = 0; i < n; i++) wanted |= to[i] != NULL;
    b.per = C < BACK_FLOATS ? BACK_FLOATS / C : 1;
    b.chunks = (T + b.per - 1) / b.per;
    if (wanted) b.sums = vr_op_memory(run, (size_t)(b.chunks * n), (size_t)C * sizeof(float));
    if (wanted && !b.sums) return;
    vr_pool_run(run->pool, back_chunk, &b, b.chunks);
    if (wanted) vr_pool_run(run->pool, add_sums, &b, (C + SUM_COLUMNS - 1) / SUM_COLUMNS);
    vr_arena_release(run->arena, mark);
}

vr_decode_fn vr_op_decoder(const vr_run *run, vr_dtype type) {
    if ((unsigned)type >= VR_DTYPE_COUNT) return NULL;
    type = vr_plain_type(type);
    if (run->kernels->decode[type]) return run->kernels->decode[type];
    const vr_quant *quant = vr_quant_of(type);
    return quant ? quant->decode : NULL;
}

void vr_op_read_row(vr_decode_fn decode, vr_dtype type, const void *w, int64_t row, int64_t I, int64_t from, int64_t to,
                    float *out, void *scratch) {
    const vr_dtype_info *info = vr_dtype_of(type);
    int64_t bytes = I / info->block * info->bytes, first = from / info->block * info->bytes;
    const void *at = (const char *)w + row * bytes + first;
    if (vr_is_packed(type)) {
        int64_t group = row / VR_PACKED_ROWS * VR_PACKED_ROWS;
        vr_unpack_row(vr_plain_type(type), scratch, (const char *)w + group * bytes + VR_PACKED_ROWS * first, (int)(row - group), to - from);
        at = scratch;
    }
    decode(out, at, to - from);
}
