/* convert: checkpoints and model files of any kind to one model file. */
#include "common.h"
#include "json_out.h"
#include "verbs.h"

#include "ops/quant.h"
#include "quantise/quantise.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Options that are settings by case.json's names, and win over --config. */
typedef struct setting {
    const char *key;
    const char *value;
} setting;
enum { VIT_HEADS, GRID_SIZE, IMAGE_POSITION, SCAN, VERSION, NUM_TOKEN, CTX_LEN, N_SETTINGS };

typedef struct convert_args {
    const char *out, *type, *vision_type, *samples, *config, *vocab;
    vr_dtype matrix_type, tower_type; /* what the two types say */
    double bits;                      /* and "auto:BITS" */
    vr_strings vision; /* TYPE=FILE[,TYPE=FILE...] each */
    vr_u64 seed;
    setting settings[N_SETTINGS];
    int threads, rescale;
    bool json, split;
} convert_args;

#define AUTO "auto:"

static bool is_auto(const char *type) { return type && strncmp(type, AUTO, strlen(AUTO)) == 0; }

/* The number of "auto:4.5"; false where there is none. */
static bool parse_bits(const char *type, double *bits) {
    char *end;
    const char *number = type + strlen(AUTO);
    *bits = strtod(number, &end);
    return end != number && !*end && *bits >= VR_QUANTISE_MIN && *bits <= VR_QUANTISE_MAX;
}

static bool is_written(const char *name, vr_dtype *type) {
    return vr_dtype_parse(name, type) && vr_quant_of(*type) && vr_quant_of(*type)->encode;
}

static double file_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (double)info.st_size : 0;
}

/* What the tensors of the sources take, wherever they lie. */
static vr_status source_bytes(const vr_strings *sources, double *bytes, vr_error *err) {
    *bytes = 0;
    for (size_t i = 0; i < sources->n; i++) {
        vr_weights *weights = NULL;
        VR_TRY(vr_weights_open(&weights, sources->items[i], NULL, err));
        for (size_t j = 0; j < vr_weights_count(weights); j++) *bytes += (double)vr_weights_at(weights, j)->bytes;
        vr_weights_close(weights);
    }
    return VRWKV_OK;
}

static bool same_file(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static vr_status gather_settings(const convert_args *args, vr_settings **settings, vr_error *err) {
    if (args->config) VR_TRY(vr_settings_file(settings, args->config, err));
    if (args->vision.n) VR_TRY(vr_settings_put(settings, "fresh_projector", "yes", err));
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (args->settings[i].value) VR_TRY(vr_settings_put(settings, args->settings[i].key, args->settings[i].value, err));
    return VRWKV_OK;
}

static int print_result(const convert_args *args, double before, double after, double seconds) {
    char first[24], second[24];
    if (args->json)
        return vr_json_print(json_pack("{s:o, s:o, s:o, s:o, s:o}", "out", vr_json_text(args->out, strlen(args->out)),
                                       "type", args->type ? json_string(args->type) : json_null(), "source_bytes",
                                       vr_json_size((uint64_t)before), "bytes", vr_json_size((uint64_t)after), "seconds",
                                       vr_json_double(seconds)),
                             0);
    printf("%s: %s, from %s (%.0f%%) in %.1f s\n", args->out, vr_size_text(after, first), vr_size_text(before, second),
           before > 0 ? 100 * after / before : 0.0, seconds);
    return 0;
}

/* Where the file's name ends: at a comma that begins the next TYPE=FILE, or at the end. */
static char *end_of_file(char *at) {
    for (char *comma = at; (comma = strchr(comma, ',')); comma++) {
        size_t letters = strspn(comma + 1, "abcdefghijklmnopqrstuvwxyz0123456789-");
        if (letters && comma[1 + letters] == '=') return comma;
    }
    return at + strlen(at);
}

/* "clip=a.pth", "dinov2=a,siglip=b,sam=c": cuts the texts in place. */
static vr_status parse_vision(vr_strings *vision, vr_tower_file files[VR_MAX_TOWERS], int *n, vr_error *err) {
    *n = 0;
    for (size_t i = 0; i < vision->n; i++)
        for (char *at = (char *)vision->items[i]; *at;) {
            char *equals = strchr(at, '='), *end = end_of_file(equals ? equals + 1 : at);
            if (!equals || equals == at || end == equals + 1)
                return vr_fail(err, VRWKV_ERR_ARGUMENT, "--vision takes TYPE=FILE[,TYPE=FILE...], found \"%s\"", at);
            if (*n == VR_MAX_TOWERS) return vr_fail(err, VRWKV_ERR_ARGUMENT, "--vision: more than %d towers", VR_MAX_TOWERS);
            bool last = !*end;
            *equals = *end = 0;
            files[(*n)++] = (vr_tower_file){at, equals + 1};
            at = last ? end : end + 1;
        }
    return VRWKV_OK;
}

/* Measures, where the types are to be measured; what the plan was made for is then in options->types. */
static vr_status convert_planned(const convert_args *args, vr_convert_options *options, vr_error *err) {
    vr_type_table table = {0};
    vr_quantise_options plan = {
        .model = options->sources[0],
        .bits = args->bits,
        .samples = args->samples,
        .vision_type = options->vision_type,
        .settings = options->settings,
        .threads = args->threads,
        .progress = options->progress,
        .log = options->log,
        .user = options->user,
    };
    if (!is_auto(args->type)) return vr_convert(options, err);
    VR_TRY(vr_quantise_plan(&plan, &table, err));
    options->types = &table;
    vr_status status = vr_convert(options, err);
    vr_quantise_free(&table);
    return status;
}

static vr_status convert(convert_args *args, const vr_strings *sources, int *code, vr_error *err) {
    vr_progress progress = {0};
    vr_settings *settings = NULL;
    double before = 0, began = vr_seconds();
    vr_tower_file towers[VR_MAX_TOWERS];
    int n_towers;
    VR_TRY(parse_vision(&args->vision, towers, &n_towers, err));
    VR_TRY(source_bytes(sources, &before, err));
    vr_status status = gather_settings(args, &settings, err);
    if (status == VRWKV_OK) {
        vr_convert_options options = {
            .sources = sources->items,
            .n_sources = (int)sources->n,
            .towers = towers,
            .n_towers = n_towers,
            .seed = args->seed.value,
            .out = args->out,
            .type = args->matrix_type,
            .vision_type = args->vision_type ? &args->tower_type : NULL,
            .keep_type = !args->type,
            .split = args->split,
            .rescale = args->rescale,
            .threads = args->threads,
            .settings = settings,
            .vocab_file = args->vocab,
            .progress = vr_progress_show,
            .log = vr_log_note,
            .user = &progress,
        };
        status = convert_planned(args, &options, err);
        vr_progress_end();
    }
    if (status == VRWKV_OK) *code = print_result(args, before, file_bytes(args->out), vr_seconds() - began);
    vr_settings_free(settings);
    return status;
}

/* What can be told to be wrong before a file is read; what the types say is kept. */
static int check(convert_args *args, const vr_strings *sources) {
    vr_error err = {0};
    vr_file_kind kind;
    if (!args->out) return vr_usage_error("convert", "-o OUT is missing: where the model file goes");
    if (vr_file_kind_of(args->out, &kind, &err) != VRWKV_OK) return vr_usage_error("convert", "%s", err.message);
    const char *version = args->settings[VERSION].value;
    if (version && !vr_version_find(version))
        return vr_usage_error("convert", "--version takes one of %s, found \"%s\"", vr_version_names(), version);
    if (args->type && !is_auto(args->type) && !is_written(args->type, &args->matrix_type))
        return vr_usage_error("convert", "--type takes auto:BITS or one of %s, found \"%s\"", vr_quant_writable(), args->type);
    if (args->vision_type && !is_written(args->vision_type, &args->tower_type))
        return vr_usage_error("convert", "--vision-type takes one of %s, found \"%s\"", vr_quant_writable(), args->vision_type);
    if (args->samples && !is_auto(args->type)) return vr_usage_error("convert", "--samples needs --type auto:BITS");
    if (is_auto(args->type)) {
        if (!parse_bits(args->type, &args->bits))
            return vr_usage_error("convert", "--type auto:BITS takes %g to %g bits per weight, found \"%s\"", VR_QUANTISE_MIN,
                                  VR_QUANTISE_MAX, args->type);
        if (kind != VR_FILE_GGUF) return vr_usage_error("convert", "--type auto:BITS needs -o NAME.gguf, found \"%s\"", args->out);
        if (sources->n > 1 || args->vision.n)
            return vr_usage_error("convert", "--type auto:BITS measures one complete model: merge the sources first, without --type");
    }
    if (args->split && kind != VR_FILE_GGUF)
        return vr_usage_error("convert", "--split needs -o NAME.gguf, found \"%s\"", args->out);
    for (size_t i = 0; i < sources->n; i++)
        if (same_file(sources->items[i], args->out))
            return vr_usage_error("convert", "%s is a source; the result needs another name", args->out);
    return VR_GO_ON;
}

int vr_cmd_convert(int argc, char **argv) {
    convert_args args = {
        .matrix_type = VR_F16, /* with auto:BITS, of those that are not in the plan */
        .settings = {[VIT_HEADS] = {"vit_heads", NULL},
                     [GRID_SIZE] = {"grid_size", NULL},
                     [IMAGE_POSITION] = {"image_position", NULL},
                     [SCAN] = {"scan", NULL},
                     [VERSION] = {"version", NULL},
                     [NUM_TOKEN] = {"num_token_per_image", NULL},
                     [CTX_LEN] = {"ctx_len", NULL}},
    };
    vr_strings sources = {0};
    vr_error err = {0};
#define SETTING(index) &args.settings[index].value
    const vr_option options[] = {
        VR_GROUP("Result"),
        {"out", 'o', VR_OPT_STRING, &args.out, "OUT", "the file to write: .gguf, .safetensors or .pth", 0, 0},
        {"type", 0, VR_OPT_STRING, &args.type, "TYPE",
         "of the matrices: f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0 (default: as they came); auto:BITS, say auto:5: "
         "measures what rounding each matrix costs and spends BITS per weight where they count, 4.5 to 16", 0, 0},
        {"vision-type", 0, VR_OPT_STRING, &args.vision_type, "TYPE", "of those of towers, projector and compressor (default: as all others)", 0, 0},
        {"samples", 0, VR_OPT_STRING, &args.samples, "PATH", "with auto:BITS: a text (.txt), a picture, or a folder of them (default: a few built-in ones)", 0, 0},
        {"split", 0, VR_OPT_FLAG, &args.split, NULL,
         "write NAME-rwkv.gguf for llama.cpp, and NAME-mmproj.gguf for run --mmproj, beside NAME.gguf", 0, 0},
        {"rescale-every", 0, VR_OPT_INT, &args.rescale, "N",
         "in NAME-rwkv.gguf halve the activations after every N layers (for llama.cpp in half precision)", 0, 4096},
        {"vocab", 0, VR_OPT_STRING, &args.vocab, "FILE", "vocabulary, one line \"ID 'TOKEN' LENGTH\" each (default: the source's; the world vocabulary for 65,536 rows)", 0, 0},
        VR_GROUP("A model that begins"),
        {"vision", 0, VR_OPT_LIST, &args.vision, "TYPE=FILE,...", "towers of their own files beside the language model: clip, siglip-hf, dinov2, siglip, sam", 0, 0},
        {"seed", 0, VR_OPT_U64, &args.seed, "N", "of the fresh projector's random numbers (default 0)", 0, 0},
        VR_GROUP("What shapes cannot tell (wins over --config)"),
        {"config", 0, VR_OPT_STRING, &args.config, "FILE", "settings as JSON, by the names of a reference case", 0, 0},
        {"version", 0, VR_OPT_STRING, SETTING(VERSION), "V", "v5.1, v6.0, v6.20, hd, uhd, v7.00 to v7.04 (default: the first with these parts)", 0, 0},
        {"vit-heads", 0, VR_OPT_STRING, SETTING(VIT_HEADS), "N", "attention heads of the vision tower", 0, 0},
        {"grid-size", 0, VR_OPT_STRING, SETTING(GRID_SIZE), "N", "pooling of the picture's rows: -1 none, 0, 1, N", 0, 0},
        {"num-token-per-image", 0, VR_OPT_STRING, SETTING(NUM_TOKEN), "N", "rows of one picture", 0, 0},
        {"image-position", 0, VR_OPT_STRING, SETTING(IMAGE_POSITION), "WHERE", "first, last or middle", 0, 0},
        {"scan", 0, VR_OPT_STRING, SETTING(SCAN), "NAME", "unidirection, bidirection, multidirection, rotation, spiral, snake, zigzag", 0, 0},
        {"ctx-len", 0, VR_OPT_STRING, SETTING(CTX_LEN), "N", "the window of training", 0, 0},
        VR_GROUP("Other"),
        VR_OPTION_THREADS(&args.threads),
        VR_OPTION_JSON(&args.json),
    };
#undef SETTING
    const vr_usage usage = {
        .verb = "convert",
        .line = "SRC... -o OUT [OPTION]...",
        .about = "Writes one model file from checkpoints: .pth, .safetensors (also sharded: name the index), .gguf "
                 "(of llama.cpp too) or .bin of rwkv.cpp. "
                 "Several sources are merged; the first that has a tensor wins. GGUF to GGUF changes the type. "
                 "Memory stays far below the size of the files.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 1,
        .max_args = INT_MAX,
        .arg_name = "a source file",
        .example = "  vrwkv convert VisualRWKV-v060-1B6-v1.0-20240612.pth -o model.gguf --type q8_0\n"
                   "  vrwkv convert model-f16.gguf -o small.gguf --type auto:5 --samples my-pictures\n"
                   "  vrwkv convert RWKV-x060-World-1B6.pth --vision clip=clip-l-336.safetensors -o start.gguf",
    };
    int code = vr_options_parse(&usage, argc, argv, &sources);
    if (code == VR_GO_ON) code = check(&args, &sources);
    if (code == VR_GO_ON) {
        code = 0;
        vr_interrupt_install(false);
        if (convert(&args, &sources, &code, &err) != VRWKV_OK) code = vr_report(argv[0], &err);
    }
    vr_strings_free(&sources);
    vr_strings_free(&args.vision);
    return code;
}
