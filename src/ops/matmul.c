/* Products with stored weights, for linear, lora, patch_embed and convolutions.
 *
 * A product is cut into chunks of weight rows, which threads claim. Cuts never go through a sum, and the
 * kernels sum each output element in one order, so no cut can change a bit. By type and number of rows:
 *
 *     packed     int8 products (ops/cpu/packed.h): x is quantised once, into tiles of 4 rows
 *     as stored  few rows of x: weights are decoded in registers
 *     decoded    many rows: a thread decodes its rows of weights into its own scratch, once for all rows of
 *                x, a block of which stays in the cache. Also packed weights of an exact run
 *     f32        weights are used where they lie
 *
 * Few rows of x make short products, of which a token has hundreds: they are helped jobs (base/pool.h), and
 * products that do not wait for each other are one job. */
#include "ops/internal.h"

#include <string.h>

enum {
    CACHE_FLOATS = 1 << 17, /* floats of x, and of decoded rows, that stay in a core's cache together */
    CACHE_BYTES = 1 << 17,  /* of packed weights that do */
    CHUNK_BYTES = 1 << 17,  /* of weights, read in one go from memory */
    CHUNK_LEAST = 1 << 14,
    ROWS_MIN = VR_PACKED_ROWS,    /* weight rows of a chunk: multiples of it */
    ROWS_MAX = 64,
    CHUNKS_PER_THREAD = 4,
    HELPED_ROWS = VR_TILE_ROWS,  /* of x, at most */
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
    int64_t row_bytes, rows, chunks, t_block; /* rows of a chunk, chunks of a group */
};

typedef struct job {
    float *scratch; /* of the decoded: [threads, scratch_size] */
    int64_t scratch_size;
    int n;
    part parts[VR_OP_MATMULS];
} job;

/* ---- ways to multiply ---- */

static const char *rows_at(const part *p, int64_t g, int64_t first) {
    return (const char *)p->m.w + (g * p->m.O + first) * p->row_bytes;
}

static const float *bias_at(const part *p, int64_t first) { return p->m.bias ? p->m.bias + first : NULL; }

static void multiply_numbers(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, const float *w) {
    const vr_matmul *m = &p->m;
    for (int64_t t = 0; t < m->T; t += p->t_block) {
        int64_t count = t + p->t_block <= m->T ? p->t_block : m->T - t;
        p->kernels->gemm(y + t * y_stride, y_stride, m->x + g * m->x_step + t * m->x_stride, m->x_stride, w, m->I,
                         bias_at(p, first), count, n, m->I);
    }
}

static void multiply_f32(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    (void)scratch;
    multiply_numbers(p, g, first, n, y, y_stride, (const float *)(const void *)rows_at(p, g, first));
}

static void multiply_stored(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    const vr_matmul *m = &p->m;
    (void)scratch;
    p->kernels->gemm_stored[m->type](y, y_stride, m->x + g * m->x_step, m->x_stride, rows_at(p, g, first), p->row_bytes,
                                     bias_at(p, first), m->T, n, m->I);
}

static void multiply_decoded(const part *p, int64_t g, int64_t first, int64_t n, float *y, int64_t y_stride, float *scratch) {
    const vr_matmul *m = &p->m;
    for (int64_t o = 0; o < n; o++)
        vr_op_read_row(p->decode, m->type, m->w, g * m->O + first + o, m->I, scratch + o * m->I, scratch + p->rows * m->I);
    multiply_numbers(p, g, first, n, y, y_stride, scratch);
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

/* ---- the rows of x, quantised ---- */

typedef struct tiling { const part *p; char *tiles; } tiling;

static void tile_chunk(void *data, int64_t chunk, int thread) {
    const tiling *tiles = data;
    const vr_matmul *m = &tiles->p->m;
    int64_t t = chunk * VR_TILE_ROWS, n = t + VR_TILE_ROWS <= m->T ? VR_TILE_ROWS : m->T - t;
    (void)thread;
    tiles->p->kernels->tile(tiles->tiles + vr_tile_size(t, m->I), m->x + t * m->x_stride, m->x_stride, n, m->I);
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
    } else if (p->multiply == multiply_int8)
        fit = CACHE_BYTES / p->row_bytes;
    else
        fit = 2 * CACHE_FLOATS / m->I;
    int64_t rows = (fair < fit ? fair : fit) / ROWS_MIN * ROWS_MIN;
    return rows < ROWS_MIN ? ROWS_MIN : rows > most ? most : rows;
}

static void plan(vr_run *run, const vr_matmul *m, part *p) {
    const vr_dtype_info *info = vr_dtype_of(m->type);
    bool few = m->T <= HELPED_ROWS;
    *p = (part){.m = *m, .kernels = run->kernels, .row_bytes = m->I / info->block * info->bytes};
    p->t_block = m->I > 0 ? CACHE_FLOATS / m->I / 24 * 24 : 24; /* whole tiles of 2, 3, 4, 6 or 8 rows */
    if (p->t_block < 24) p->t_block = 24;
    if (vr_is_packed(m->type) && !run->exact)
        p->multiply = multiply_int8;
    else if (m->type == VR_F32)
        p->multiply = multiply_f32;
    else if (m->T <= run->kernels->few && run->kernels->gemm_stored[m->type])
        p->multiply = multiply_stored;
    else {
        p->multiply = multiply_decoded;
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
        if (p->m.T > HELPED_ROWS || p->multiply == multiply_decoded) return false;
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

static bool run_plain(vr_run *run, job *j) {
    int threads = vr_pool_threads(run->pool);
    for (int i = 0; i < j->n; i++) {
        part *p = &j->parts[i];
        if (p->multiply == multiply_int8) {
            char *tiles = vr_op_memory(run, input_bytes(p), 1);
            if (!tiles) return false;
            tiling work = {p, tiles};
            vr_pool_run(run->pool, tile_chunk, &work, (p->m.T + VR_TILE_ROWS - 1) / VR_TILE_ROWS);
            p->tiles = tiles;
        } else if (p->multiply == multiply_decoded) {
            int64_t size = (p->rows + 1) * p->m.I; /* and a packed row on its way */
            j->scratch_size = size > j->scratch_size ? size : j->scratch_size;
        }
    }
    if (j->scratch_size) {
        j->scratch = vr_op_memory(run, (size_t)threads * (size_t)j->scratch_size, sizeof(float));
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
