/* bench: what this machine can do at most, then what each phase of a model reaches of it. Limits and
 * phases are measured in one process and one minute, because machines wander. */
#include "common.h"
#include "json_out.h"
#include "ops/cpu/kernels.h"
#include "base/cpu.h"
#include "ops/quant.h"
#include "verbs.h"
#include "vl/shapes.h"

#include <stdlib.h>
#include <string.h>

#define READ_BYTES ((size_t)1 << 30) /* far beyond any cache */
#define READ_CHUNK ((size_t)1 << 20)
#define TILE 64 /* rows of each side of the cached product */
#define TILE_DEPTH 256
#define MAX_PHASES 8
#define SHAPES "v6-1b6, v6-3b, v6-7b, v7-0b1, v7-0b4, v7-1b5"

typedef struct limits { double read_gbs, f32_gflops; } limits;

typedef struct phase {
    const char *name;
    double seconds, tokens_per_s, share; /* share < 0: of no limit */
    const char *of;
} phase;

typedef struct bench {
    const char *shape, *type_name;
    int repeats, prompt;
    vrwkv_model *model;
    limits limits;
    phase phases[MAX_PHASES];
    int n_phases;
    uint64_t decode_bytes; /* weights read per token */
} bench;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* ---- limits ---- */

typedef struct read_job { const uint64_t *data; uint64_t *sums; } read_job;

/* Eight streams at once, as the products read eight rows: one stream does not fill the memory's queue. */
static void read_chunk(void *job, int64_t chunk, int thread) {
    const read_job *r = job;
    enum { STREAMS = 8, STEP = 8 };
    const size_t length = READ_CHUNK / sizeof(uint64_t) / STREAMS;
    const uint64_t *at = r->data + (size_t)chunk * (READ_CHUNK / sizeof(uint64_t));
    uint64_t sum[STEP] = {0};
    for (size_t i = 0; i < length; i += STEP)
        for (size_t s = 0; s < STREAMS; s++) {
            __builtin_prefetch(at + s * length + i + 128);
            for (size_t k = 0; k < STEP; k++) sum[k] ^= at[s * length + i + k];
        }
    for (size_t k = 0; k < STEP; k++) r->sums[(size_t)thread * 16] ^= sum[k]; /* a cache line each */
}

typedef struct product_job { const vr_kernels *kernels; float *memory; size_t floats; int rounds; } product_job;

static void product_chunk(void *job, int64_t chunk, int thread) {
    const product_job *p = job;
    (void)chunk;
    float *x = p->memory + (size_t)thread * p->floats, *w = x + TILE * TILE_DEPTH, *y = w + TILE * TILE_DEPTH;
    for (int i = 0; i < p->rounds; i++) p->kernels->gemm(y, TILE, x, TILE_DEPTH, w, TILE_DEPTH, NULL, TILE, TILE, TILE_DEPTH);
}

static vr_status measure_limits(bench *b, int threads, vr_error *err) {
    vr_pool *pool;
    double rates[5];
    VR_TRY(vr_pool_open(&pool, threads, err));
    int n = vr_pool_threads(pool);
    const vr_kernels *kernels = vr_kernels_get(err);
    size_t floats = 2 * TILE * TILE_DEPTH + TILE * TILE;
    uint64_t *data = malloc(READ_BYTES), *sums = calloc((size_t)n * 16, sizeof *sums);
    float *memory = calloc((size_t)n * floats, sizeof *memory);
    vr_status status = data && sums && memory ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for 1 GiB");
    if (status == VRWKV_OK) {
        read_job reading = {data, sums};
        product_job products = {kernels, memory, floats, 400};
        memset(data, 1, READ_BYTES);
        for (int i = 0; i < 5; i++) {
            double start = vr_seconds();
            vr_pool_run(pool, read_chunk, &reading, (int64_t)(READ_BYTES / READ_CHUNK));
            rates[i] = (double)READ_BYTES / (vr_seconds() - start) / 1e9;
        }
        b->limits.read_gbs = median(rates, 5);
        for (int i = 0; i < 5; i++) {
            double start = vr_seconds();
            vr_pool_run(pool, product_chunk, &products, n);
            rates[i] = 2.0 * TILE * TILE * TILE_DEPTH * products.rounds * n / (vr_seconds() - start) / 1e9;
        }
        b->limits.f32_gflops = median(rates, 5);
    }
    free(data);
    free(sums);
    free(memory);
    vr_pool_close(pool);
    return status;
}

/* ---- phases ---- */

static void add_phase(bench *b, const char *name, double seconds, double tokens, double share, const char *of) {
    b->phases[b->n_phases++] = (phase){name, seconds, tokens / seconds, share, of};
}

/* Multiply-adds of all matrices of the blocks that a text row passes, as flops. */
static double row_flops(const vr_config *c) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(c, parts);
    double products = 0;
    for (int p = 0; p < n; p++) {
        if (strcmp(parts[p].name, "rwkv") != 0 || parts[p].rows == vr_rwkv_outer_rows) continue;
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                int64_t count, shape[VR_MAX_DIMS];
                const vr_row *row = &parts[p].rows[r];
                if (row->kind == VR_VEC || !vr_row_exists(row, layer)) continue;
                vr_shape_count(vr_part_shape(&parts[p], row, layer, shape), shape, &count);
                products += (double)count;
            }
    }
    return 2 * products;
}

static vr_status bench_vision(bench *b, vr_error *err) {
    double times[16];
    vr_picture picture;
    VR_TRY(vr_model_zero_picture(b->model, &picture, err));
    vr_status status = VRWKV_OK;
    for (int i = 0; i < b->repeats && status == VRWKV_OK; i++) {
        vrwkv_features *features;
        double start = vr_seconds();
        status = vr_model_encode(b->model, &picture, &features, err);
        times[i] = vr_seconds() - start;
        if (status == VRWKV_OK) vrwkv_features_free(features);
    }
    vr_picture_free(&picture);
    VR_TRY(status);
    const vr_config *config = vr_model_config(b->model);
    double seconds = median(times, b->repeats), flops = 0;
    for (int i = 0; i < config->n_towers; i++) flops += vr_tower_flops(&config->towers[i]);
    add_phase(b, "vision", seconds, vrwkv_model_info(b->model)->image_tokens, flops / seconds / 1e9 / b->limits.f32_gflops, "f32_gflops");
    return VRWKV_OK;
}

static vr_status bench_prefill(bench *b, vrwkv_context *context, vr_error *err) {
    double times[16];
    int32_t *ids = calloc((size_t)b->prompt, sizeof *ids);
    if (!ids) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (int i = 0; i < b->prompt; i++) ids[i] = 1 + i % 250;
    vr_status status = VRWKV_OK;
    for (int i = 0; i < b->repeats && status == VRWKV_OK; i++) {
        vrwkv_context_reset(context);
        double start = vr_seconds();
        status = vrwkv_feed(context, ids, (size_t)b->prompt, NULL, 0, err);
        times[i] = vr_seconds() - start;
    }
    free(ids);
    VR_TRY(status);
    double seconds = median(times, b->repeats), flops = row_flops(vr_model_config(b->model)) * b->prompt;
    add_phase(b, "prefill", seconds, b->prompt, flops / seconds / 1e9 / b->limits.f32_gflops, "f32_gflops");
    return VRWKV_OK;
}

/* n contexts, one token each per step; seconds are per step. */
static vr_status bench_decode(bench *b, const char *name, int n, const vrwkv_context_options *options, vr_error *err) {
    enum { STEPS = 8 };
    vrwkv_context *contexts[8] = {0};
    double times[16];
    vr_status status = VRWKV_OK;
    for (int i = 0; i < n && status == VRWKV_OK; i++) status = vrwkv_context_new(b->model, options, &contexts[i], err);
    for (int i = -1; i < b->repeats && status == VRWKV_OK; i++) { /* the first round warms up */
        double start = vr_seconds();
        for (int step = 0; step < STEPS && status == VRWKV_OK; step++) {
            const int32_t ids[8] = {5, 6, 7, 8, 9, 10, 11, 12};
            status = vrwkv_decode(contexts, (size_t)n, ids, err);
        }
        if (i >= 0) times[i] = (vr_seconds() - start) / STEPS;
    }
    for (int i = 0; i < n; i++) vrwkv_context_free(contexts[i]);
    VR_TRY(status);
    double seconds = median(times, b->repeats);
    double share = n == 1 ? (double)b->decode_bytes / seconds / 1e9 / b->limits.read_gbs
                          : row_flops(vr_model_config(b->model)) * n / seconds / 1e9 / b->limits.f32_gflops;
    add_phase(b, name, seconds, n, share, n == 1 ? "read_gbs" : "f32_gflops");
    return VRWKV_OK;
}

/* What one token reads: all language weights but the embedding table, of which it reads one row. */
static void count_bytes(bench *b, vr_dtype type) {
    const vr_config *c = vr_model_config(b->model);
    int64_t table[2] = {c->lm.n_vocab, c->lm.n_embd};
    uint64_t emb = 0, vision = 0;
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(c, parts);
    vr_shape_bytes(vr_quant_fit(type, table[1]), 2, table, &emb);
    for (int p = 0; p < n; p++) {
        if (strcmp(parts[p].name, "rwkv") == 0) continue;
        for (int r = 0; r < parts[p].n_rows; r++) {
            int64_t shape[VR_MAX_DIMS];
            uint64_t bytes = 0;
            int ndim = vr_part_shape(&parts[p], &parts[p].rows[r], 0, shape);
            vr_kind kind = parts[p].rows[r].kind;
            vr_shape_bytes(kind == VR_VEC ? VR_F32 : kind == VR_LORA ? VR_BF16 : vr_quant_fit(type, shape[ndim - 1]), ndim, shape, &bytes);
            vision += bytes * (uint64_t)parts[p].repeat;
        }
    }
    b->decode_bytes = vrwkv_model_info(b->model)->weight_bytes - emb - vision;
}

static vr_status run_phases(bench *b, const char *json, vr_dtype type, int threads, vr_error *err) {
    vrwkv_model_options options = {.threads = threads};
    vrwkv_context_options blankless = {.no_blank_image = 1};
    vrwkv_context *context = NULL;
    double start = vr_seconds();
    vr_note("making random weights of %s in %s ...", b->shape, b->type_name);
    VR_TRY(vr_model_random(json, type, &options, &b->model, err));
    count_bytes(b, type);
    vr_note("%.1f s; measuring ...", vr_seconds() - start);
    VR_TRY(bench_decode(b, "decode", 1, &blankless, err));
    VR_TRY(bench_decode(b, "batch8", 8, &blankless, err));
    VR_TRY(vrwkv_context_new(b->model, &blankless, &context, err));
    vr_status status = bench_prefill(b, context, err);
    vrwkv_context_free(context);
    VR_TRY(status);
    return vr_model_config(b->model)->n_towers ? bench_vision(b, err) : VRWKV_OK;
}

/* ---- results ---- */

static int print_json(const bench *b) {
    json_t *root = json_object(), *lim = json_object(), *list = json_array();
    json_object_set_new(lim, "read_gbs", vr_json_double(b->limits.read_gbs));
    json_object_set_new(lim, "f32_gflops", vr_json_double(b->limits.f32_gflops));
    for (int i = 0; i < b->n_phases; i++) {
        const phase *p = &b->phases[i];
        json_t *row = json_object();
        json_object_set_new(row, "name", json_string(p->name));
        json_object_set_new(row, "shape", json_string(b->shape));
        json_object_set_new(row, "type", json_string(b->type_name));
        json_object_set_new(row, "tokens_per_s", vr_json_double(p->tokens_per_s));
        json_object_set_new(row, "seconds", vr_json_double(p->seconds));
        json_object_set_new(row, "share", vr_json_double(p->share));
        json_object_set_new(row, "of", json_string(p->of));
        json_array_append_new(list, row);
    }
    json_object_set_new(root, "cpu", json_string(vrwkv_cpu(NULL)));
    json_object_set_new(root, "limits", lim);
    json_object_set_new(root, "phases", list);
    json_object_set_new(root, "model_bytes", vr_json_size(b->decode_bytes));
    return vr_json_print(root, 2);
}

static int print_table(const bench *b, int threads) {
    printf("machine   %s kernels, %d threads: reads %.1f GB/s, f32 products from cache %.0f GFLOP/s\n", vrwkv_cpu(NULL), threads,
           b->limits.read_gbs, b->limits.f32_gflops);
    printf("model     %s in %s: %.2f GB read per token\n\n", b->shape, b->type_name, (double)b->decode_bytes / 1e9);
    printf("%-10s %12s %14s %8s\n", "phase", "seconds", "tokens/s", "share");
    for (int i = 0; i < b->n_phases; i++)
        printf("%-10s %12.4f %14.2f %7.0f%% of %s\n", b->phases[i].name, b->phases[i].seconds, b->phases[i].tokens_per_s,
               100 * b->phases[i].share, b->phases[i].of);
    return 0;
}

int vr_cmd_bench(int argc, char **argv) {
    bench b = {.shape = "v6-1b6", .type_name = "q4_0", .repeats = 3, .prompt = 256};
    int threads = 0;
    bool json = false;
    vr_error err = {0};
    vr_dtype type;
    const vr_option options[] = {
        {"shape", 0, VR_OPT_STRING, &b.shape, "NAME", SHAPES " (default v6-1b6)", 0, 0},
        {"type", 0, VR_OPT_STRING, &b.type_name, "TYPE", "f32, f16, bf16, q8_0 or q4_0 (default q4_0)", 0, 0},
        {"prompt", 0, VR_OPT_INT, &b.prompt, "N", "tokens of the prompt (default 256)", 1, 1 << 20},
        {"repeats", 'r', VR_OPT_INT, &b.repeats, "N", "runs of each phase; the median counts (default 3)", 1, 16},
        VR_OPTION_THREADS(&threads),
        VR_OPTION_JSON(&json),
    };
    const vr_usage usage = {
        .verb = "bench",
        .line = "[OPTION]...",
        .about = "Measures what this machine can do, then each phase of a model of a released size with random weights, and "
                 "the phase's share of the limit. Needs no file.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  vrwkv bench --shape v6-7b --type q4_0",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    const vr_shape *shape = vr_shape_find(b.shape);
    if (!shape) return vr_usage_error(argv[0], "shape '%s' is unknown: " SHAPES, b.shape);
    if (!vr_dtype_parse(b.type_name, &type) || !vr_quant_of(type) || !vr_quant_of(type)->encode)
        return vr_usage_error(argv[0], "type '%s' cannot be written", b.type_name);
    vr_status status = vr_kernels_get(&err) ? measure_limits(&b, threads, &err) : VRWKV_ERR_UNSUPPORTED;
    if (status == VRWKV_OK) status = run_phases(&b, shape->config, type, threads, &err);
    if (status == VRWKV_OK) code = json ? print_json(&b) : print_table(&b, threads ? threads : vr_cpu_get()->cores);
    vrwkv_model_close(b.model);
    return status == VRWKV_OK ? code : vr_report(argv[0], &err);
}
