/* bench: each phase of a model of a released size with random weights, or of a model file, and its share of
 * what this machine can do at most.
 *
 * Machines wander by a third within seconds, so a phase and its limit are measured in turns, many times: a
 * phase's time is the median of its turns, its share the median of the turns' own shares. */
#include "base/cpu.h"
#include "bench_limits.h"
#include "bench_plot.h"
#include "common.h"
#include "json_out.h"
#include "ops/quant.h"
#include "verbs.h"
#include "vl/shapes.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHAPES "v6-1b6, v6-3b, v6-7b, v7-0b1, v7-0b4, v7-1b5"

enum { MAX_PHASES = 256, MAX_TURNS = 64, MAX_CONTEXTS = 64, BATCH = 8 };

typedef struct phase {
    const char *name;
    char shape[64];
    vr_dtype type;
    double seconds, tokens_per_s, share, best; /* medians; best: the best turn's share */
    vr_limit limit;
    uint64_t model_bytes;
} phase;

typedef struct bench {
    vr_limit_bench *limits;
    double seen[VR_LIMITS][MAX_PHASES * MAX_TURNS]; /* every measurement of a limit */
    int n_seen[VR_LIMITS];
    phase phases[MAX_PHASES];
    int n_phases;
    int turns, prompt, threads;
    /* the model at hand */
    const char *shape;
    vr_dtype type, vision_type;
    vrwkv_model *model;
    bool packed; /* quantised products are of 8-bit numbers */
    uint64_t decode_bytes; /* weights read per token */
    double load_seconds;
} bench;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int n) {
    double sorted[MAX_PHASES * MAX_TURNS];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* ---- a phase and its limit in turns ---- */

/* What a phase does once, `work` of its limit's unit (bytes, operations) and `tokens` tokens. */
typedef struct task {
    const char *name;
    vr_limit limit;
    vr_dtype type;
    double work, tokens;
    vr_status (*run)(bench *b, void *user, vr_error *err);
    void *user;
} task;

static vr_status measure(bench *b, const task *t, vr_error *err) {
    double seconds[MAX_TURNS], shares[MAX_TURNS];
    VR_TRY(t->run(b, t->user, err)); /* warms up */
    for (int i = 0; i < b->turns; i++) {
        double limit = vr_limit_measure(b->limits, t->limit), start = vr_seconds();
        VR_TRY(t->run(b, t->user, err));
        seconds[i] = vr_seconds() - start;
        shares[i] = t->work / seconds[i] / 1e9 / limit;
        b->seen[t->limit][b->n_seen[t->limit]++] = limit;
    }
    phase *p = &b->phases[b->n_phases++];
    *p = (phase){.name = t->name, .type = t->type, .seconds = median(seconds, b->turns), .share = median(shares, b->turns),
                 .limit = t->limit, .model_bytes = b->decode_bytes};
    snprintf(p->shape, sizeof p->shape, "%s", b->shape);
    p->tokens_per_s = t->tokens / p->seconds;
    for (int i = 0; i < b->turns; i++) p->best = shares[i] > p->best ? shares[i] : p->best;
    return VRWKV_OK;
}

/* ---- how much work it is ---- */

/* What products of weights of this type are made of. */
static vr_limit limit_of(const bench *b, vr_dtype type) { return b->packed && vr_is_quantised(type) ? VR_LIMIT_INT8 : VR_LIMIT_F32; }

typedef void (*row_fn)(const vr_part *part, const vr_row *row, const int64_t *shape, int ndim, double *sum);

/* Over the rows of the language model, or of all else. */
static double sum_rows(const vr_config *c, bool language, bool outer, row_fn fn) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(c, parts);
    double sum = 0;
    for (int p = 0; p < n; p++) {
        if ((strcmp(parts[p].name, "rwkv") == 0) != language || (!outer && parts[p].rows == vr_rwkv_outer_rows)) continue;
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                int64_t shape[VR_MAX_DIMS];
                const vr_row *row = &parts[p].rows[r];
                if (vr_row_exists(row, layer)) fn(&parts[p], row, shape, vr_part_shape(&parts[p], row, layer, shape), &sum);
            }
    }
    return sum;
}

static void add_products(const vr_part *part, const vr_row *row, const int64_t *shape, int ndim, double *sum) {
    int64_t count;
    (void)part;
    vr_shape_count(ndim, shape, &count);
    if (row->kind != VR_VEC) *sum += 2.0 * (double)count;
}

/* Multiply-adds, counted as two, of all matrices of the blocks that a text row passes. */
static double row_work(const bench *b) { return sum_rows(vr_model_config(b->model), true, false, add_products); }

static double picture_work(const bench *b) {
    const vr_config *config = vr_model_config(b->model);
    double work = 0;
    for (int i = 0; i < config->n_towers; i++) work += vr_tower_flops(&config->towers[i]);
    return work;
}

/* ---- phases ---- */

typedef struct decoding { vrwkv_context *contexts[MAX_CONTEXTS]; int n, steps; } decoding;

static vr_status run_decode(bench *b, void *user, vr_error *err) {
    decoding *d = user;
    int32_t ids[MAX_CONTEXTS];
    (void)b;
    for (int i = 0; i < d->n; i++) ids[i] = 5 + i;
    for (int step = 0; step < d->steps; step++) VR_TRY(vrwkv_decode(d->contexts, (size_t)d->n, ids, err));
    return VRWKV_OK;
}

/* n contexts, one token each per step. Alone it is reading that counts, together multiplying. */
static vr_status bench_decode(bench *b, const char *name, int n, vr_error *err) {
    const vrwkv_context_options blankless = {.no_blank_image = 1};
    decoding d = {.n = n, .steps = n == 1 ? 8 : 4};
    vr_status status = VRWKV_OK;
    for (int i = 0; i < n && status == VRWKV_OK; i++) status = vrwkv_context_new(b->model, &blankless, &d.contexts[i], err);
    task t = {name, n == 1 ? VR_LIMIT_READ : limit_of(b, b->type), b->type, 0, (double)n * d.steps, run_decode, &d};
    t.work = d.steps * (n == 1 ? (double)b->decode_bytes : n * row_work(b));
    if (status == VRWKV_OK) status = measure(b, &t, err);
    if (status == VRWKV_OK) b->phases[b->n_phases - 1].seconds /= d.steps;
    for (int i = 0; i < n; i++) vrwkv_context_free(d.contexts[i]);
    return status;
}

typedef struct reading { vrwkv_context *context; int32_t *ids; } reading;

static vr_status run_prefill(bench *b, void *user, vr_error *err) {
    reading *r = user;
    vrwkv_context_reset(r->context);
    return vrwkv_feed(r->context, r->ids, (size_t)b->prompt, NULL, 0, err);
}

static vr_status bench_prefill(bench *b, vr_error *err) {
    const vrwkv_context_options blankless = {.no_blank_image = 1};
    reading r = {.ids = calloc((size_t)b->prompt, sizeof(int32_t))};
    if (!r.ids) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (int i = 0; i < b->prompt; i++) r.ids[i] = 1 + i % 250;
    vr_status status = vrwkv_context_new(b->model, &blankless, &r.context, err);
    task t = {"prefill", limit_of(b, b->type), b->type, row_work(b) * b->prompt, b->prompt, run_prefill, &r};
    if (status == VRWKV_OK) status = measure(b, &t, err);
    vrwkv_context_free(r.context);
    free(r.ids);
    return status;
}

static vr_status run_vision(bench *b, void *user, vr_error *err) {
    vrwkv_features *features;
    VR_TRY(vr_model_encode(b->model, user, &features, err));
    vrwkv_features_free(features);
    return VRWKV_OK;
}

static vr_status bench_vision(bench *b, vr_error *err) {
    vr_picture picture;
    VR_TRY(vr_model_zero_picture(b->model, &picture, err));
    task t = {"vision", limit_of(b, b->vision_type), b->vision_type, picture_work(b), vrwkv_model_info(b->model)->image_tokens,
              run_vision, &picture};
    vr_status status = measure(b, &t, err);
    vr_picture_free(&picture);
    return status;
}

static vr_status run_phases(bench *b, vr_error *err) {
    VR_TRY(bench_decode(b, "decode", 1, err));
    VR_TRY(bench_decode(b, "batch8", BATCH, err));
    VR_TRY(bench_prefill(b, err));
    return vr_model_config(b->model)->n_towers ? bench_vision(b, err) : VRWKV_OK;
}

/* ---- speed and memory along one conversation ---- */

static uint64_t resident_bytes(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Reads on to each length in turn, and measures a few tokens there. */
static vr_status bench_lengths(bench *b, vr_plot *plot, vr_error *err) {
    enum { STEPS = 8, TURNS = 5, CHUNK = 1024 };
    const vrwkv_context_options blankless = {.no_blank_image = 1};
    vrwkv_context *context;
    int32_t ids[CHUNK];
    for (int i = 0; i < CHUNK; i++) ids[i] = 1 + i % 250;
    VR_TRY(vrwkv_context_new(b->model, &blankless, &context, err));
    vr_status status = VRWKV_OK;
    for (int i = 0; i < plot->n && status == VRWKV_OK; i++) {
        double seconds[TURNS];
        vr_note("reading up to %.0f tokens ...", plot->x[i]);
        while (status == VRWKV_OK && (double)vrwkv_context_length(context) < plot->x[i]) {
            double left = plot->x[i] - (double)vrwkv_context_length(context);
            status = vrwkv_feed(context, ids, left < CHUNK ? (size_t)left : CHUNK, NULL, 0, err);
        }
        for (int turn = 0; turn < TURNS && status == VRWKV_OK; turn++) {
            double start = vr_seconds();
            for (int step = 0; step < STEPS && status == VRWKV_OK; step++) status = vrwkv_decode(&context, 1, ids, err);
            seconds[turn] = (vr_seconds() - start) / STEPS;
        }
        if (status != VRWKV_OK) break;
        plot->y[0][i] = 1 / median(seconds, TURNS);
        plot->y[1][i] = (double)resident_bytes() / 1e9;
    }
    vrwkv_context_free(context);
    return status;
}

/* ---- results ---- */

static const phase *find_phase(const bench *b, const char *name) {
    for (int i = b->n_phases; i-- > 0;)
        if (strcmp(b->phases[i].name, name) == 0) return &b->phases[i];
    return NULL;
}

static json_t *phase_json(const phase *p) {
    json_t *row = json_object();
    json_object_set_new(row, "name", json_string(p->name));
    json_object_set_new(row, "shape", json_string(p->shape));
    json_object_set_new(row, "type", json_string(vr_dtype_of(p->type)->name));
    json_object_set_new(row, "tokens_per_s", vr_json_double(p->tokens_per_s));
    json_object_set_new(row, "seconds", vr_json_double(p->seconds));
    json_object_set_new(row, "share", vr_json_double(p->share));
    json_object_set_new(row, "best_share", vr_json_double(p->best));
    json_object_set_new(row, "of", json_string(vr_limit_name(p->limit)));
    json_object_set_new(row, "model_bytes", vr_json_size(p->model_bytes));
    return row;
}

/* Of the last model: load (of a file), vision, the prompt, one token. */
static json_t *first_token_json(const bench *b) {
    static const struct { const char *key, *phase; } parts[] = {
        {"vision_s", "vision"}, {"prefill_s", "prefill"}, {"decode_s", "decode"}};
    json_t *row = json_object();
    json_object_set_new(row, "load_s", b->load_seconds >= 0 ? vr_json_double(b->load_seconds) : json_null());
    for (size_t i = 0; i < VR_COUNT(parts); i++) {
        const phase *p = find_phase(b, parts[i].phase);
        json_object_set_new(row, parts[i].key, p ? vr_json_double(p->seconds) : json_null());
    }
    return row;
}

static int print_json(const bench *b, const vr_plot *plot) {
    json_t *root = json_object(), *limits = json_object(), *list = json_array(), *lengths = json_array();
    for (int i = 0; i < VR_LIMITS; i++)
        json_object_set_new(limits, vr_limit_name((vr_limit)i), vr_json_double(median(b->seen[i], b->n_seen[i])));
    for (int i = 0; i < b->n_phases; i++) json_array_append_new(list, phase_json(&b->phases[i]));
    for (int i = 0; i < plot->n; i++) {
        json_t *row = json_object();
        json_object_set_new(row, "tokens", json_integer((json_int_t)plot->x[i]));
        json_object_set_new(row, "tokens_per_s", vr_json_double(plot->y[0][i]));
        json_object_set_new(row, "memory_bytes", vr_json_size((uint64_t)(plot->y[1][i] * 1e9)));
        json_array_append_new(lengths, row);
    }
    json_object_set_new(root, "cpu", json_string(vrwkv_cpu(NULL)));
    json_object_set_new(root, "threads", json_integer(b->threads));
    json_object_set_new(root, "limits", limits);
    json_object_set_new(root, "phases", list);
    json_object_set_new(root, "first_token", first_token_json(b));
    json_object_set_new(root, "lengths", lengths);
    json_object_set_new(root, "model_bytes", vr_json_size(b->decode_bytes));
    return vr_json_print(root, 2);
}

static void print_limits(const bench *b) {
    printf("machine   %s kernels, %d threads; memory %.1f GB/s, f32 %.0f GFLOP/s, 8 bit %.0f GOP/s\n\n", vrwkv_cpu(NULL), b->threads,
           median(b->seen[VR_LIMIT_READ], b->n_seen[VR_LIMIT_READ]), median(b->seen[VR_LIMIT_F32], b->n_seen[VR_LIMIT_F32]),
           median(b->seen[VR_LIMIT_INT8], b->n_seen[VR_LIMIT_INT8]));
}

static int print_table(const bench *b, const vr_plot *plot) {
    print_limits(b);
    printf("%-8s %-6s %-8s %10s %11s %8s\n", "model", "type", "phase", "seconds", "tokens/s", "share");
    for (int i = 0; i < b->n_phases; i++) {
        const phase *p = &b->phases[i];
        printf("%-8s %-6s %-8s %10.4f %11.2f %7.0f%% of %s, best %.0f%%\n", p->shape, vr_dtype_of(p->type)->name, p->name, p->seconds,
               p->tokens_per_s, 100 * p->share, vr_limit_name(p->limit), 100 * p->best);
    }
    const phase *vision = find_phase(b, "vision"), *prefill = find_phase(b, "prefill"), *decode = find_phase(b, "decode");
    printf("\nfirst token of %s: ", b->shape);
    if (b->load_seconds >= 0) printf("load %.2f s, ", b->load_seconds);
    if (vision) printf("vision %.2f s, ", vision->seconds);
    printf("%d tokens of prompt %.2f s, decode %.3f s\n", b->prompt, prefill->seconds, decode->seconds);
    for (int i = 0; i < plot->n; i++)
        printf("%s%8.0f tokens read: %8.2f tokens/s, %.2f GB\n", i ? "" : "\n", plot->x[i], plot->y[0][i], plot->y[1][i]);
    return 0;
}

/* ---- one model after another ---- */

/* The limits that a model's phases left out. */
static void complete_limits(bench *b) {
    for (int i = 0; i < VR_LIMITS; i++)
        while (b->n_seen[i] < 3) b->seen[i][b->n_seen[i]++] = vr_limit_measure(b->limits, (vr_limit)i);
}

static vr_status run_model(bench *b, const char *config, const vr_model_args *args, vr_plot *plot, vr_error *err) {
    const vrwkv_model_options options = {.threads = args->threads};
    double start = vr_seconds();
    vrwkv_model_close(b->model);
    b->model = NULL;
    if (config) vr_note("making random weights of %s in %s ...", b->shape, vr_dtype_of(b->type)->name);
    VR_TRY(config ? vr_model_random(config, b->type, b->vision_type, &options, &b->model, err)
                  : vr_model_args_open(args, NULL, &b->model, err));
    b->load_seconds = config ? -1 : vr_seconds() - start;
    vr_weights_summary weights = vr_model_summary(b->model);
    b->decode_bytes = weights.token_bytes;
    b->packed = weights.packed;
    b->type = weights.language;
    b->vision_type = weights.vision;
    vr_note("%s: %.1f s; measuring ...", b->shape, vr_seconds() - start);
    if (b->n_phases + 4 > MAX_PHASES) return vr_fail(err, VRWKV_ERR_ARGUMENT, "more than %d phases", MAX_PHASES);
    VR_TRY(run_phases(b, err));
    return plot->n ? bench_lengths(b, plot, err) : VRWKV_OK;
}

/* "q4_0,q8_0" word by word, into `word`; false at the end. */
static bool next_word(const char **list, char *word, size_t size) {
    size_t n = strcspn(*list, ",");
    if (n == 0 || n >= size) return false;
    memcpy(word, *list, n);
    word[n] = 0;
    *list += n + ((*list)[n] == ',');
    return true;
}

static bool parse_type(const char *word, vr_dtype *type) {
    return vr_dtype_parse(word, type) && vr_quant_of(*type) && vr_quant_of(*type)->encode;
}

/* Every shape in every type; the words were checked. */
static vr_status run_models(bench *b, const char *shapes, const char *types, const char *vision, const vr_model_args *args,
                            vr_plot *plot, vr_error *err) {
    char shape[32], type[32];
    vr_status status = VRWKV_OK;
    while (status == VRWKV_OK && next_word(&shapes, shape, sizeof shape))
        for (const char *rest = types; status == VRWKV_OK && next_word(&rest, type, sizeof type);) {
            b->shape = vr_shape_find(shape)->name;
            parse_type(type, &b->type);
            b->vision_type = b->type;
            if (vision) parse_type(vision, &b->vision_type);
            else if (vr_is_quantised(b->type)) b->vision_type = VR_Q8_0;
            status = run_model(b, vr_shape_find(shape)->config, args, plot, err);
        }
    return status;
}

/* 2 after saying what is wrong, else 0. */
static int check_words(const char *verb, const char *shapes, const char *types, const char *vision, const char *lengths, vr_plot *plot) {
    char word[32];
    vr_dtype type;
    const char *at = shapes;
    while (next_word(&at, word, sizeof word))
        if (!vr_shape_find(word)) return vr_usage_error(verb, "shape '%s' is unknown: " SHAPES, word);
    if (*at || at == shapes) return vr_usage_error(verb, "shapes '%s': " SHAPES ", or several with commas between", shapes);
    at = types;
    while (next_word(&at, word, sizeof word))
        if (!parse_type(word, &type)) return vr_usage_error(verb, "type '%s' cannot be written, only %s", word, vr_quant_writable());
    if (*at || at == types) return vr_usage_error(verb, "types '%s': %s, or several with commas between", types, vr_quant_writable());
    if (vision && !parse_type(vision, &type)) return vr_usage_error(verb, "type '%s' cannot be written, only %s", vision, vr_quant_writable());
    for (at = lengths; at && next_word(&at, word, sizeof word); plot->n++) {
        char *end;
        long n = strtol(word, &end, 10);
        if (*end || n < 1 || n > 1 << 30 || plot->n >= VR_PLOT_POINTS || (plot->n && (double)n <= plot->x[plot->n - 1]))
            return vr_usage_error(verb, "lengths '%s': up to %d rising numbers of tokens with commas between", lengths, VR_PLOT_POINTS);
        plot->x[plot->n] = (double)n;
    }
    return 0;
}

int vr_cmd_bench(int argc, char **argv) {
    static bench b;
    static vr_plot plot = {.x_name = "tokens read before", .names = {"tokens per second", "memory in use, GB"}};
    const char *shapes = "v6-1b6", *types = "q4_0", *vision = NULL, *lengths = NULL, *plot_file = NULL;
    vr_model_args args = {0};
    bool json = false;
    vr_error err = {0};
    b.turns = 5, b.prompt = 256;
    const vr_option options[] = {
        {"shape", 0, VR_OPT_STRING, &shapes, "NAMES", SHAPES "; several with commas between (default v6-1b6)", 0, 0},
        {"type", 0, VR_OPT_STRING, &types, "TYPES", "of the matrices, as in convert; several with commas between (default q4_0)", 0, 0},
        {"vision-type", 0, VR_OPT_STRING, &vision, "TYPE", "of the towers' (default: q8_0 where TYPE is quantised, else TYPE)", 0, 0},
        {"model", 'm', VR_OPT_STRING, &args.path, "FILE", "measure this model instead", 0, 0},
        {"prompt", 0, VR_OPT_INT, &b.prompt, "N", "tokens of the prompt (default 256)", 1, 1 << 20},
        {"repeats", 'r', VR_OPT_INT, &b.turns, "N", "turns of each phase and its limit; the median counts (default 5)", 1, MAX_TURNS},
        {"lengths", 0, VR_OPT_STRING, &lengths, "N,N,...", "speed and memory after so many tokens, too", 0, 0},
        {"plot", 0, VR_OPT_STRING, &plot_file, "FILE.svg", "them as a picture", 0, 0},
        VR_OPTION_THREADS(&args.threads),
        VR_OPTION_JSON(&json),
    };
    const vr_usage usage = {
        .verb = "bench",
        .line = "[OPTION]...",
        .about = "Measures each phase of a model of a released size with random weights, in turns with what this machine can do "
                 "at most, and the phase's share of that limit. Needs no file.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  vrwkv bench --shape v6-7b --type q4_0,q8_0\n  vrwkv bench -m model.gguf --lengths 1024,8192,24576 --plot speed.svg",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    code = check_words(argv[0], shapes, types, vision, lengths, &plot);
    if (code) return code;
    if (plot_file && !plot.n) return vr_usage_error(argv[0], "--plot needs --lengths");
    b.threads = args.threads ? args.threads : vr_cpu_get()->cores;
    vr_status status = vr_limit_open(&b.limits, args.threads, &err);
    b.shape = args.path;
    if (status == VRWKV_OK)
        status = args.path ? run_model(&b, NULL, &args, &plot, &err) : run_models(&b, shapes, types, vision, &args, &plot, &err);
    if (status == VRWKV_OK) complete_limits(&b);
    if (status == VRWKV_OK) code = json ? print_json(&b, &plot) : print_table(&b, &plot);
    if (status == VRWKV_OK && plot_file) status = vr_plot_write(&plot, plot_file, &err);
    vrwkv_model_close(b.model);
    vr_limit_close(b.limits);
    return status == VRWKV_OK ? code : vr_report(argv[0], &err);
}
