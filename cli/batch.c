/* batch: a folder of pictures and some questions -> JSON lines. */
#include "benchmark.h"
#include "json_out.h"
#include "verbs.h"

#include "eval/batch.h"

#include <stdlib.h>
#include <string.h>

typedef struct batch_args {
    vr_model_args model;
    vr_strings questions;
    const char *question_file, *out, *schema;
    vr_asking_args asking;
    int max_tokens;
    bool recursive, keep_going, json;
} batch_args;

/* Lines of a file; they point into `text`. */
static vr_status read_questions(vr_strings *questions, const char *path, vr_buffer *text, vr_error *err) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!file) return vr_fail_io(err, "open", path);
    vr_status status = vr_buffer_read(text, file, path, err);
    if (file != stdin) fclose(file);
    for (char *rest = text->data, *line; status == VRWKV_OK && (line = strsep(&rest, "\r\n"));)
        if (*line && !vr_strings_add(questions, line)) status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    return status;
}

static int show(void *user, size_t done, size_t total) { return vr_progress_show(user, "pictures", done, total); }

static int tell(const vr_batch_result *result, const batch_args *args) {
    double minutes = result->seconds / 60, rate = minutes > 0 ? (double)result->encoded / minutes : 0;
    if (args->json)
        return vr_json_print(json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:s}", "out", args->out, "pictures",
                                       (json_int_t)result->pictures, "encoded", (json_int_t)result->encoded, "answers",
                                       (json_int_t)result->answered, "answers_before", (json_int_t)result->resumed, "unread",
                                       (json_int_t)result->unread, "seconds", result->seconds, "pictures_per_minute", rate,
                                       "kept_of_a_picture", result->reuse, "why", result->reuse_reason),
                             1);
    vr_note("%zu answers about %zu pictures in %.1f s (%.1f pictures a minute); %zu answers were there already",
            result->answered, result->encoded, result->seconds, rate, result->resumed);
    if (result->answered) vr_note("kept of a picture: %s (%s)", result->reuse, result->reuse_reason);
    if (result->unread) vr_note("%zu pictures could not be read", result->unread);
    return 0;
}

static vr_status read_schema(const char *path, json_t **schema, vr_shape **shape, vr_error *err) {
    json_error_t fault;
    *schema = json_load_file(path, 0, &fault);
    if (!*schema) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%d: %s", path, fault.line, fault.text);
    return vr_shape_make(shape, *schema, err);
}

static vr_status run(batch_args *args, const char *folder, int *code, vr_error *err) {
    vr_faults faults = vr_faults_of(args->keep_going);
    vr_progress bar = {0}, loading = {0};
    vrwkv_model *model = NULL;
    vr_buffer text = {0};
    vr_batch_result result;
    json_t *schema = NULL;
    vr_shape *shape = NULL;
    vr_status status = args->question_file ? read_questions(&args->questions, args->question_file, &text, err) : VRWKV_OK;
    if (status == VRWKV_OK && !args->questions.n)
        status = vr_fail(err, VRWKV_ERR_ARGUMENT, "%s has no question", args->question_file);
    if (status == VRWKV_OK && args->schema) status = read_schema(args->schema, &schema, &shape, err);
    vr_interrupt_install(false);
    if (status == VRWKV_OK) status = vr_model_args_open(&args->model, &loading, &model, err);
    if (status == VRWKV_OK) {
        vr_ask_options ask = vr_asking(&args->asking, (vrwkv_manner)args->asking.manner, args->max_tokens);
        ask.shape = shape;
        const vr_batch_options options = {.ask = ask,
                                          .folder = folder,
                                          .out = args->out,
                                          .questions = args->questions.items,
                                          .n_questions = args->questions.n,
                                          .recursive = args->recursive,
                                          .schema = schema,
                                          .faults = &faults,
                                          .progress = show,
                                          .user = &bar};
        status = vr_batch_run(model, &options, &result, err);
        vr_progress_end();
        if (status == VRWKV_OK) *code = tell(&result, args);
    }
    free(text.data);
    vr_shape_free(shape);
    json_decref(schema);
    vrwkv_model_close(model);
    return status;
}

int vr_cmd_batch(int argc, char **argv) {
    batch_args args = {.max_tokens = 256, .asking.batch = 16};
    vr_strings words = {0};
    vr_error err = {0};
    const vr_option options[] = {
        VR_GROUP("Work"),
        {"question", 'q', VR_OPT_LIST, &args.questions, "TEXT", "a question about each picture (again for more)", 0, 0},
        {"questions", 0, VR_OPT_STRING, &args.question_file, "FILE", "further questions, one a line (-: stdin)", 0, 0},
        {"out", 'o', VR_OPT_STRING, &args.out, "FILE",
         "the answers, one JSON object a line; a run that was stopped goes on from it", 0, 0},
        {"schema", 0, VR_OPT_STRING, &args.schema, "FILE",
         "answers are JSON of this JSON schema's shape (docs/EVAL.md: which keywords)", 0, 0},
        {"recursive", 'r', VR_OPT_FLAG, &args.recursive, NULL, "pictures of the folders below too", 0, 0},
        {"max-tokens", 'n', VR_OPT_INT, &args.max_tokens, "N", "longest answer (default 256)", 1, 100000},
        {"keep-going", 'k', VR_OPT_FLAG, &args.keep_going, NULL,
         "count and report pictures that cannot be read instead of stopping", 0, 0},
        VR_GROUP("The model"),
        VR_OPTIONS_MODEL(&args.model),
        VR_OPTION_POSITION(&args.model),
        VR_OPTIONS_ASKING(&args.asking, "friendly|original",
                          "pictures, stops and padding as people expect (default) or as the original"),
        VR_OPTIONS_MEMORY(&args.model),
        VR_OPTION_JSON(&args.json),
    };
    const vr_usage usage = {
        .verb = "batch",
        .line = "-m MODEL DIR -q TEXT... -o OUT.jsonl [OPTION]...",
        .about = "Asks every picture of a folder the same questions. Each picture is encoded once; answers are the "
                 "likeliest tokens, so the "
                 "same call gives the same file.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 1,
        .max_args = 1,
        .arg_name = "DIR",
        .example = "  vrwkv batch -m model.gguf photos -q \"What is this?\" -q \"Is it indoors?\" -o answers.jsonl",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON && !args.model.path) code = vr_usage_error("batch", "-m MODEL is missing");
    if (code == VR_GO_ON && !args.out) code = vr_usage_error("batch", "-o FILE is missing");
    if (code == VR_GO_ON && !args.questions.n && !args.question_file)
        code = vr_usage_error("batch", "no question: give -q TEXT or --questions FILE");
    if (code == VR_GO_ON) {
        code = 0;
        if (run(&args, words.items[0], &code, &err) != VRWKV_OK) code = vr_report("batch", &err);
    }
    vr_strings_free(&args.questions);
    vr_strings_free(&words);
    return code;
}
