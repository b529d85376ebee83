/* Products with stored weights, for linear, lora, patch_embed and convolutions.
 *
 * A product is cut into chunks of weight rows, which threads claim. Cuts never go through a sum, and the
 * kernels sum each output element in one order, so no cut can change a bit. By type and number of rows of x:
 *
 *     packed     int8 products (ops/cpu/packed.h): x is quantised once, into tiles of 4 rows
 *     few rows   weights are used, or decoded in registers, where they lie
 *     many rows  x is copied once, and a thread decodes (or copies) its rows of weights, strip of columns by
 *                strip, into panels that lie densely and fit the cache together. Also packed weights of an
 *                exact run, and where a tape wants gradients: they are of what was computed
 *
 * Few rows of x make short products, of which a token has hundreds: they are helped jobs (base/pool.h), and
 * products that do not wait for each other are one job. */
#include "ops/internal.h"

#include <string.h>

enum {
    CACHE_BYTES = 1 << 17,  /* of packed weights that stay in a core's cache */
    CHUNK_BYTES = 1 << 17,  /* of weights, read in one go from memory */
    CHUNK_LEAST = 1 << 14,
    ROWS_MIN = VR_PACKED_ROWS, /* weight rows of a chunk: multiples of it */
    ROWS_MAX = 64,
    CHUNKS_PER_THREAD = 4,
    HELPED_ROWS = VR_TILE_ROWS, /* of x, at most */
    PAD = 16,                   /* floats between the rows of a panel: rows 4 KB apart share few places in the cache */
    PANEL_ROWS = 24,            /* of x; whole tiles of 2, 3, 4, 6 or 8 */
};

typedef struct part part;

/* n rows of w from row `first` of group g, times all rows of x. */
typedef void (*multiply_fn)(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch);

struct part {
    vr_matmul m; /* y is the result's place; x lies in the job's memory where it is a helped one */
    const vr_kernels *kernels;
    multiply_fn multiply;
    vr_decode_fn decode;
    const void *tiles;   /* int8: x */
    const float *strips; /* many rows: x [groups, strips, T, its columns + PAD] */
    int64_t row_bytes, rows, chunks; /* rows of a chunk, chunks of a group */
};

typedef struct job {
    float *scratch; /* of panels: [threads, scratch_size] */
    int64_t scratch_size;
    int n;
    part parts[VR_OP_MATMULS];
} job;

/* ---- ways to multiply ---- */

static const char *rows_at(const part *p, int64_t g, int64_t first) {
    return (const char *)p->m.w + (g * p->m.O + first) * p->row_bytes;
}

static const float *bias_at(const part *p, int64_t first) { return p->m.bias ? p->m.bias + first : NULL; }

static void multiply_f32(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    const vr_matmul *m = &p->m;
    (void)scratch;
    p->kernels->gemm(y, y_stride, m->x + g * m->x_step, m->x_stride, (const float *)(const void *)rows_at(p, g, first), m->I,
                     bias_at(p, first), m->T, n, m->I);
}

static void multiply_stored(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    const vr_matmul *m = &p->m;
    (void)scratch;
    p->kernels->gemm_stored[m->type](y, y_stride, m->x + g * m->x_step, m->x_stride, rows_at(p, g, first), p->row_bytes,
                                     bias_at(p, first), m->T, n, m->I);
}

static int64_t strip_width(const vr_matmul *m, int64_t from) { return m->I - from < VR_STRIP ? m->I - from : VR_STRIP; }

/* The columns from `from` on of all rows of group g's x. */
static float *strip_at(const part *p, const float *strips, int64_t g, int64_t from) {
    const vr_matmul *m = &p->m;
    int64_t whole = (m->I + VR_STRIP - 1) / VR_STRIP * PAD + m->I;
    return (float *)strips + m->T * (g * whole + from + from / VR_STRIP * PAD);
}

static void multiply_panels(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    const vr_matmul *m = &p->m;
    float *packed = scratch + p->rows * (VR_STRIP + PAD); /* a row on its way */
    for (int64_t from = 0; from < m->I; from += VR_STRIP) {
        int64_t width = strip_width(m, from), stride = width + PAD;
        const float *x = strip_at(p, p->strips, g, from), *bias = from + width == m->I ? bias_at(p, first) : NULL;
        vr_gemm_fn gemm = from ? p->kernels->gemm_add : p->kernels->gemm;
        for (int64_t o = 0; o < n; o++)
            vr_op_read_row(p->decode, m->type, m->w, g * m->O + first + o, m->I, from, from + width, scratch + o * stride, packed);
        for (int64_t t = 0; t < m->T; t += PANEL_ROWS) {
            int64_t count = t + PANEL_ROWS <= m->T ? PANEL_ROWS : m->T - t;
            gemm(y + t * y_stride, y_stride, x + t * stride, stride, scratch, stride, bias, count, n, width);
        }
    }
}

static void multiply_int8(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    const vr_matmul *m = &p->m;
    (void)scratch;
    for (int64_t t = 0; t < m->T; t += VR_TILE_ROWS) {
        int64_t count = t + VR_TILE_ROWS <= m->T ? VR_TILE_ROWS : m->T - t;
        const char *tile = (const char *)p->tiles + vr_tile_size(t, m->I);
        p->kernels->packed[m->type](y + t * y_stride, y_stride, tile, count, rows_at(p, g, first), n / VR_PACKED_ROWS,
                                    bias_at(p, first), m->I);
    }
}

/* ---- chunks ---- */

/* The rows of weights that a job's chunk is. */
typedef struct piece { int64_t g, first, n; } piece;

static const part *part_of(const job *j, int64_t chunk, piece *out) {
    const part *p = j->parts;
    for (; chunk >= p->m.groups * p->chunks; p++) chunk -= p->m.groups * p->chunks;
    out->g = chunk / p->chunks;
    out->first = chunk % p->chunks * p->rows;
    out->n = out->first + p->rows <= p->m.O ? p->rows : p->m.O - out->first;
    return p;
}

static void run_chunk(void *data, int64_t chunk, int thread) {
    const job *j = data;
    piece at;
    const part *p = part_of(j, chunk, &at);
    float *scratch = j->scratch ? j->scratch + thread * j->scratch_size : NULL;
    p->multiply(p, at.g, at.first, at.n, p->m.y + at.g * p->m.y_step + at.first, p->m.y_stride, scratch);
}

static void compute_chunk(const void *data, int64_t chunk, void *result) {
    piece at;
    const part *p = part_of(data, chunk, &at);
    p->multiply(p, at.g, at.first, at.n, result, at.n, NULL);
}

static void publish_chunk(const void *data, int64_t chunk, const void *result) {
    piece at;
    const part *p = part_of(data, chunk, &at);
    for (int64_t t = 0; t < p->m.T; t++)
        memcpy(p->m.y + at.g * p->m.y_step + t * p->m.y_stride + at.first, (const float *)result + t * at.n,
               (size_t)at.n * sizeof(float));
}

static const vr_pool_helped helped = {compute_chunk, publish_chunk};

/* ---- the rows of x: quantised into tiles, or copied strip by strip ---- */

typedef struct input { const part *p; char *tiles; float *strips; } input;

static void tile_chunk(void *data, int64_t chunk, int thread) {
    const input *in = data;
    const vr_matmul *m = &in->p->m;
    int64_t t = chunk * VR_TILE_ROWS, n = t + VR_TILE_ROWS <= m->T ? VR_TILE_ROWS : m->T - t;
    (void)thread;
    in->p->kernels->tile(in->tiles + vr_tile_size(t, m->I), m->x + t * m->x_stride, m->x_stride, n, m->I);
}

static void strip_chunk(void *data, int64_t chunk, int thread) {
    const input *in = data;
    const vr_matmul *m = &in->p->m;
    int64_t g = chunk % m->groups, first = chunk / m->groups * PANEL_ROWS, end = first + PANEL_ROWS < m->T ? first + PANEL_ROWS : m->T;
    (void)thread;
    for (int64_t from = 0; from < m->I; from += VR_STRIP) {
        int64_t width = strip_width(m, from);
        float *strip = strip_at(in->p, in->strips, g, from);
        for (int64_t t = first; t < end; t++)
            memcpy(strip + t * (width + PAD), m->x + g * m->x_step + t * m->x_stride + from, (size_t)width * sizeof *strip);
    }
}

static size_t strips_floats(const part *p) {
    const vr_matmul *m = &p->m;
    return (size_t)(m->groups * m->T * (m->I + (m->I + VR_STRIP - 1) / VR_STRIP * PAD));
}

/* ---- planning ---- */

/* Few rows where a thread would otherwise stand idle; a multiple of ROWS_MIN. */
static int64_t choose_rows(const part *p, int threads, bool few) {
    const vr_matmul *m = &p->m;
    int64_t fair = m->groups * m->O / ((int64_t)threads * CHUNKS_PER_THREAD), fit, most = ROWS_MAX;
    if (few) {
        most = VR_POOL_RESULT_BYTES / (int64_t)sizeof(float) / HELPED_ROWS;
        fit = CHUNK_BYTES / p->row_bytes;
        if (fair * p->row_bytes < CHUNK_LEAST) fair = CHUNK_LEAST / p->row_bytes;
    } else
        fit = p->multiply == multiply_int8 ? CACHE_BYTES / p->row_bytes : ROWS_MAX;
    int64_t rows = (fair < fit ? fair : fit) / ROWS_MIN * ROWS_MIN;
    return rows < ROWS_MIN ? ROWS_MIN : rows > most ? most : rows;
}

static void plan(vr_run *run, const vr_matmul *m, part *p) {
    const vr_dtype_info *info = vr_dtype_of(m->type);
    bool few = m->T <= HELPED_ROWS;
    *p = (part){.m = *m, .kernels = run->kernels, .row_bytes = m->I / info->block * info->bytes};
    if (vr_is_packed(m->type) && !run->exact && !run->tape)
        p->multiply = multiply_int8;
    else if (m->T <= run->kernels->few && m->type == VR_F32)
        p->multiply = multiply_f32;
    else if (m->T <= run->kernels->few && run->kernels->gemm_stored[m->type])
        p->multiply = multiply_stored;
    else {
        p->multiply = multiply_panels;
        p->decode = vr_op_decoder(run, m->type);
    }
    p->rows = p->row_bytes ? choose_rows(p, vr_pool_threads(run->pool), few) : ROWS_MAX;
    p->chunks = (m->O + p->rows - 1) / p->rows;
}

/* ---- running ---- */

static int64_t count_chunks(const job *j) {
    int64_t n = 0;
    for (int i = 0; i < j->n; i++) n += j->parts[i].m.groups * j->parts[i].chunks;
    return n;
}

/* Bytes of a part's x in a helped job: the tile, or the rows of all groups side by side. */
static size_t input_bytes(const part *p) {
    if (p->multiply == multiply_int8) return (size_t)vr_tile_size(p->m.T, p->m.I);
    return (size_t)(p->m.T * p->m.groups * p->m.I) * sizeof(float);
}

static bool can_be_helped(const job *j, size_t *bytes) {
    *bytes = sizeof *j;
    for (int i = 0; i < j->n; i++) {
        const part *p = &j->parts[i];
        if (p->m.T > HELPED_ROWS || p->multiply == multiply_panels) return false;
        if (p->m.groups > 1 && p->multiply != multiply_int8 && p->m.x_step != p->m.I) return false;
        *bytes += (input_bytes(p) + 63) / 64 * 64;
    }
    int64_t chunks = count_chunks(j);
    return chunks > 1 && chunks <= VR_POOL_CHUNKS;
}

/* False where it must be run another way. */
static bool run_helped(vr_run *run, const job *j) {
    size_t bytes;
    job *copy = can_be_helped(j, &bytes) ? vr_pool_claim(run->pool, bytes) : NULL;
    if (!copy) return false;
    char *at = (char *)(copy + 1);
    *copy = *j;
    for (int i = 0; i < copy->n; i++) {
        part *p = &copy->parts[i];
        vr_matmul *m = &p->m;
        int64_t width = m->groups * m->I;
        if (p->multiply == multiply_int8) {
            p->kernels->tile(at, m->x, m->x_stride, m->T, m->I);
            p->tiles = at;
        } else {
            for (int64_t t = 0; t < m->T; t++)
                memcpy((float *)(void *)at + t * width, m->x + t * m->x_stride, (size_t)width * sizeof(float));
            m->x = (float *)(void *)at;
            m->x_stride = width;
        }
        at += (input_bytes(p) + 63) / 64 * 64;
    }
    vr_pool_help(run->pool, &helped, count_chunks(copy));
    return true;
}

/* x as the part's products want it. */
static bool prepare_input(vr_run *run, part *p) {
    const vr_matmul *m = &p->m;
    input in = {.p = p};
    if (p->multiply == multiply_int8) {
        if (!(p->tiles = in.tiles = vr_op_memory(run, input_bytes(p), 1))) return false;
        vr_pool_run(run->pool, tile_chunk, &in, (m->T + VR_TILE_ROWS - 1) / VR_TILE_ROWS);
    } else if (p->multiply == multiply_panels) {
        if (!(p->strips = in.strips = vr_op_memory(run, strips_floats(p), sizeof(float)))) return false;
        vr_pool_run(run->pool, strip_chunk, &in, (m->T + PANEL_ROWS - 1) / PANEL_ROWS * m->groups);
    }
    return true;
}

static bool run_plain(vr_run *run, job *j) {
    size_t threads = (size_t)vr_pool_threads(run->pool);
    for (int i = 0; i < j->n; i++) {
        part *p = &j->parts[i];
        if (!prepare_input(run, p)) return false;
        int64_t size = (p->rows + 1) * (VR_STRIP + PAD); /* a panel, and a packed row on its way */
        if (p->multiply == multiply_panels && size > j->scratch_size) j->scratch_size = size;
    }
    if (j->scratch_size) {
        j->scratch = vr_op_memory(run, threads * (size_t)j->scratch_size, sizeof(float));
        if (!j->scratch) return false;
    }
    vr_pool_run(run->pool, run_chunk, j, count_chunks(j));
    return true;
}

bool vr_op_matmuls(vr_run *run, const vr_matmul *list, int n) {
    job j = {.n = 0};
    for (int i = 0; i < n; i++)
        if (list[i].T > 0 && list[i].O > 0) plan(run, &list[i], &j.parts[j.n++]);
    if (j.n == 0 || run_helped(run, &j)) return true;
    size_t mark = vr_arena_mark(run->arena);
    bool done = run_plain(run, &j);
    vr_arena_release(run->arena, mark);
    return done;
}

bool vr_op_matmul(vr_run *run, const vr_matmul *m) { return vr_op_matmuls(run, m, 1); }
