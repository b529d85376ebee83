/* convert: checkpoints and model files of any kind to one model file. */
#include "common.h"
#include "json_out.h"
#include "verbs.h"

#include "vl/convert.h"

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
    const char *out, *type, *config, *vocab;
    setting settings[N_SETTINGS];
    int threads;
    bool json;
} convert_args;

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

static vr_status convert(const convert_args *args, const vr_strings *sources, int *code, vr_error *err) {
    vr_progress progress = {0};
    vr_settings *settings = NULL;
    vr_dtype type = VR_F32;
    double before = 0, began = vr_seconds();
    VR_TRY(source_bytes(sources, &before, err));
    if (args->type && !vr_dtype_parse(args->type, &type))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "--type takes f32, f16, bf16, q8_0 or q4_0, found \"%s\"", args->type);
    vr_status status = gather_settings(args, &settings, err);
    if (status == VRWKV_OK) {
        const vr_convert_options options = {
            .sources = sources->items,
            .n_sources = (int)sources->n,
            .out = args->out,
            .type = type,
            .keep_type = !args->type,
            .settings = settings,
            .vocab_file = args->vocab,
            .progress = vr_progress_show,
            .log = vr_log_note,
            .user = &progress,
        };
        status = vr_convert(&options, err);
        vr_progress_end();
    }
    if (status == VRWKV_OK) *code = print_result(args, before, file_bytes(args->out), vr_seconds() - began);
    vr_settings_free(settings);
    return status;
}

/* What can be told to be wrong before a file is read. */
static int check(const convert_args *args, const vr_strings *sources) {
    vr_error err = {0};
    vr_file_kind kind;
    vr_dtype type;
    if (!args->out) return vr_usage_error("convert", "-o OUT is missing: where the model file goes");
    if (vr_file_kind_of(args->out, &kind, &err) != VRWKV_OK) return vr_usage_error("convert", "%s", err.message);
    const char *version = args->settings[VERSION].value;
    if (version && !vr_template_find(version))
        return vr_usage_error("convert", "--version takes one of %s, found \"%s\"", vr_template_names(), version);
    if (args->type && !vr_dtype_parse(args->type, &type))
        return vr_usage_error("convert", "--type takes f32, f16, bf16, q8_0 or q4_0, found \"%s\"", args->type);
    for (size_t i = 0; i < sources->n; i++)
        if (same_file(sources->items[i], args->out))
            return vr_usage_error("convert", "%s is a source; the result needs another name", args->out);
    return VR_GO_ON;
}

int vr_cmd_convert(int argc, char **argv) {
    convert_args args = {
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
        {"type", 0, VR_OPT_STRING, &args.type, "TYPE", "of the matrices: f32, f16, bf16, q8_0, q4_0 (default: as they came)", 0, 0},
        {"vocab", 0, VR_OPT_STRING, &args.vocab, "FILE", "vocabulary, one line \"ID 'TOKEN' LENGTH\" each (default: the source's; the world vocabulary for 65,536 rows)", 0, 0},
        VR_GROUP("What shapes cannot tell (wins over --config)"),
        {"config", 0, VR_OPT_STRING, &args.config, "FILE", "settings as JSON, by the names of a reference case", 0, 0},
        {"version", 0, VR_OPT_STRING, SETTING(VERSION), "V", "v6.0", 0, 0},
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
        .about = "Writes one model file from checkpoints: .pth, .safetensors (also sharded: name the index) or .gguf. "
                 "Several sources are merged; the first that has a tensor wins. GGUF to GGUF changes the type. "
                 "Memory stays far below the size of the files.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 1,
        .max_args = INT_MAX,
        .arg_name = "a source file",
        .example = "  vrwkv convert VisualRWKV-v060-1B6-v1.0-20240612.pth -o model.gguf --type q8_0",
    };
    int code = vr_options_parse(&usage, argc, argv, &sources);
    if (code == VR_GO_ON) code = check(&args, &sources);
    if (code == VR_GO_ON) {
        code = 0;
        vr_interrupt_install(false);
        if (convert(&args, &sources, &code, &err) != VRWKV_OK) code = vr_report(argv[0], &err);
    }
    vr_strings_free(&sources);
    return code;
}
