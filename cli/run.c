/* run: one answer. Model -> pictures -> ids -> state -> tokens -> text or JSON.
 * The numbers of a token are taken from the raw logits at the moment it is chosen, before it is read. */
#include "answer.h"
#include "json_out.h"
#include "verbs.h"

#include "base/io.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct run_args {
    vr_model_args model;
    vr_strings images, stops;
    const char *prompt, *tokens, *state_in, *state_out;
    bool raw, recompute, no_blank_image, half_state, json, greedy;
    int max_tokens, stop_token, ctx_len, manner, pad;
    vrwkv_sampling sampling;
    vr_u64 seed;
} run_args;

#define STOP_TOKEN_UNSET (-2)

typedef struct step {
    int32_t id;
    float logit;
    double logprob;
} step;

typedef struct answer_run {
    const run_args *args;
    vrwkv_model *model;
    vrwkv_context *context; /* NULL with --recompute */
    vr_pictures pictures;
    vr_ids ids;
    bool pictures_unread; /* pictures were given, but the ids have no place for one */
    step *steps;
    size_t n_steps, step_capacity;
    vr_answer answer;
    vr_stream stream; /* of --recompute */
    vrwkv_stop stop;
    size_t image_rows;
    double load_s, vision_s, prefill_s, decode_s;
    vr_status status; /* of the callback */
    vr_error *err;
} answer_run;

/* ---- one token ---- */

/* ln softmax(logits)[id], in double. */
static double log_softmax(const float *logits, int n, int32_t id) {
    double largest = logits[0], sum = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > largest) largest = logits[i];
    for (int i = 0; i < n; i++) sum += exp((double)logits[i] - largest);
    return (double)logits[id] - largest - log(sum);
}

static vr_status record(answer_run *run, int32_t id, float logit, double logprob, vr_error *err) {
    VR_TRY(vr_grow(&run->steps, &run->step_capacity, run->n_steps + 1, sizeof *run->steps, err));
    run->steps[run->n_steps++] = (step){id, logit, logprob};
    if (vr_model_vocab(run->model) || run->args->json) return VRWKV_OK;
    printf(run->n_steps > 1 ? " %d" : "%d", id); /* without a vocabulary the ids are the answer */
    return vr_stdout_flush(err);
}

/* The last token comes a second time where text waited until the end: its number is taken once. */
static int on_token(void *user, int32_t token, const char *text, size_t n) {
    answer_run *run = user;
    const float *logits = vrwkv_logits(run->context);
    if (run->n_steps < (size_t)run->args->max_tokens) {
        int n_vocab = vrwkv_model_info(run->model)->n_vocab;
        run->status = record(run, token, logits[token], log_softmax(logits, n_vocab, token), run->err);
    }
    if (run->status == VRWKV_OK) run->status = vr_answer_add(&run->answer, text, n, run->err);
    return run->status != VRWKV_OK || vr_interrupted();
}

static int on_original_step(void *user, const vr_original_step *made) {
    answer_run *run = user;
    const vr_vocab *vocab = vr_model_vocab(run->model);
    size_t bytes = 0;
    const char *token = vocab ? vr_vocab_token(vocab, made->id, &bytes) : NULL;
    run->status = record(run, made->id, made->logit, log(made->prob), run->err);
    if (token && run->status == VRWKV_OK) {
        char *text = vr_alloc(3 * bytes + 16, 1);
        if (!text) {
            run->status = vr_fail(run->err, VRWKV_ERR_MEMORY, "out of memory for a token of %zu bytes", bytes);
        } else {
            size_t n = vr_stream_push(&run->stream, token, bytes, text);
            run->status = vr_answer_add(&run->answer, text, n, run->err);
        }
        free(text);
    }
    return run->status != VRWKV_OK || vr_interrupted();
}

/* ---- the prompt ---- */

static vr_status read_prompt_text(const run_args *args, vr_buffer *text, vr_error *err) {
    if (strcmp(args->prompt, "-") == 0) return vr_buffer_read(text, stdin, "stdin", err);
    return vr_buffer_add(text, args->prompt, strlen(args->prompt), err);
}

static vr_status make_ids(answer_run *run, vr_error *err) {
    const run_args *args = run->args;
    vr_buffer text = {0};
    if (args->tokens) return vr_ids_parse(&run->ids, args->tokens, false, err);
    if (!args->prompt) return VRWKV_OK; /* a loaded state goes on as it is */
    vr_status status = read_prompt_text(args, &text, err);
    if (status == VRWKV_OK && !args->raw && memchr(text.data, 0, text.n))
        status = vr_fail(err, VRWKV_ERR_ARGUMENT, "the question has a zero byte in it; --raw reads any bytes");
    if (status == VRWKV_OK)
        status = args->raw ? vr_ids_raw(&run->ids, run->model, text.data, text.n, args->images.n, err)
                           : vr_ids_prompt(&run->ids, run->model, text.data, args->images.n, err);
    free(text.data);
    return status;
}

/* Every -200 needs a picture: the given ones in order, or the zero picture. */
static vr_status match_pictures(answer_run *run, vr_error *err) {
    size_t places = vr_ids_images(&run->ids), rows = vr_ids_rows(&run->ids, run->model);
    if (places == run->pictures.n && (places || !rows)) return VRWKV_OK;
    if (rows && run->pictures.n) return VRWKV_OK; /* an id for each of their rows */
    if (rows) places = 1;
    if (run->pictures.n == 0) return vr_pictures_zero(&run->pictures, run->model, places, err);
    if (places > 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "the ids have %zu pictures (-200), but %zu are given with -i", places,
                       run->pictures.n);
    run->pictures_unread = true;
    vr_note(run->args->state_in ? "note: no -200 among the ids: the picture is not read"
                                : "note: no -200 among the ids: the picture's rows are zero and stand in front, as in the original");
    return VRWKV_OK;
}

static vr_status prepare(answer_run *run, vr_error *err) {
    const run_args *args = run->args;
    vr_progress progress = {0};
    double began = vr_seconds();
    if (args->state_out) VR_TRY(vr_writer_check(args->state_out, err));
    VR_TRY(vr_model_args_open(&args->model, &progress, &run->model, err));
    run->load_s = vr_seconds() - began;
    if (!vr_model_vocab(run->model) && !args->json) vr_note("note: the model has no vocabulary: the answer is token ids");
    VR_TRY(make_ids(run, err));
    if (!run->ids.n && !args->state_in) return vr_fail(err, VRWKV_ERR_ARGUMENT, "the prompt is empty: there is nothing to read");
    began = vr_seconds();
    if (!args->recompute) {
        VR_TRY(vr_pictures_encode(&run->pictures, run->model, &args->images, (vrwkv_manner)args->manner, err));
        VR_TRY(match_pictures(run, err));
    }
    run->vision_s = vr_seconds() - began;
    return VRWKV_OK;
}

/* ---- from the state ---- */

static vr_status feed(answer_run *run, vr_error *err) {
    double began = vr_seconds();
    uint64_t before = vrwkv_context_length(run->context);
    if (run->ids.n) {
        vr_progress_say("reading the prompt");
        vr_interrupt_target(run->context);
        vr_status status = vrwkv_feed(run->context, run->ids.ids, run->ids.n, run->pictures.items,
                                      run->pictures_unread ? 0 : run->pictures.n, err);
        vr_interrupt_target(NULL);
        vr_progress_end();
        VR_TRY(status);
    }
    run->prefill_s = vr_seconds() - began;
    size_t text_ids = run->ids.n - vr_ids_images(&run->ids) - vr_ids_rows(&run->ids, run->model);
    run->image_rows = (size_t)(vrwkv_context_length(run->context) - before) - text_ids;
    return VRWKV_OK;
}

static vr_status generate(answer_run *run, vr_error *err) {
    const run_args *args = run->args;
    int32_t stop_token = args->stop_token;
    vrwkv_generate_options options = {.max_tokens = args->max_tokens, .stops = args->stops.items, .n_stops = args->stops.n};
    if (args->stop_token != STOP_TOKEN_UNSET) {
        options.stop_tokens = &stop_token;
        options.n_stop_tokens = args->stop_token >= 0;
    }
    vrwkv_result result = {0};
    double began = vr_seconds();
    VR_TRY(vrwkv_generate(run->context, &options, on_token, run, &result, err));
    run->decode_s = vr_seconds() - began;
    run->stop = result.stop;
    return run->status;
}

static vr_status run_from_state(answer_run *run, vr_error *err) {
    const run_args *args = run->args;
    const vrwkv_context_options options = {
        .manner = (vrwkv_manner)args->manner, .padding = (vrwkv_padding)args->pad,
        .no_blank_image = args->no_blank_image, .sampling = args->sampling};
    VR_TRY(vrwkv_context_new(run->model, &options, &run->context, err));
    if (args->state_in) VR_TRY(vrwkv_state_load(run->context, args->state_in, err));
    if (args->seed.given) VR_TRY(vrwkv_set_sampling(run->context, &args->sampling, err)); /* not the state's */
    VR_TRY(feed(run, err));
    run->stop = VRWKV_STOP_LENGTH;
    if (args->max_tokens > 0) VR_TRY(generate(run, err));
    return args->state_out ? vrwkv_state_save(run->context, args->state_out, args->half_state, err) : VRWKV_OK;
}

/* ---- --recompute ---- */

static vr_status run_again_and_again(answer_run *run, vr_error *err) {
    const run_args *args = run->args;
    const vrwkv_info *info = vrwkv_model_info(run->model);
    vr_decoded pictures = {0};
    int count = 0;
    char rest[16];
    double began = vr_seconds();
    vr_status status = vr_decoded_read(&pictures, run->model, &args->images, (vrwkv_manner)args->manner, err);
    run->vision_s = vr_seconds() - began;
    vr_original_step *steps = vr_alloc((size_t)(args->max_tokens ? args->max_tokens : 1), sizeof *steps);
    if (status == VRWKV_OK && !steps)
        status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d steps", args->max_tokens);
    if (status == VRWKV_OK) {
        const vr_original_input input = {.ids = run->ids.ids, .n = run->ids.n, .pictures = pictures.items, .n_pictures = pictures.n,
                                         .scan = args->model.scan, .padding = (vrwkv_padding)args->pad};
        int stop = args->stop_token == STOP_TOKEN_UNSET ? info->stop_token : args->stop_token;
        began = vr_seconds();
        status = vr_original_generate(run->model, &input, args->ctx_len ? args->ctx_len : info->ctx_len, stop,
                                      args->max_tokens, steps, &count, on_original_step, run, err);
        run->decode_s = vr_seconds() - began;
        bool stopped = count > 0 && steps[count - 1].id == stop;
        run->stop = stopped ? VRWKV_STOP_TOKEN : vr_interrupted() ? VRWKV_STOP_CALLBACK : VRWKV_STOP_LENGTH;
        run->image_rows = (size_t)info->image_tokens;
    }
    if (status == VRWKV_OK) status = run->status;
    if (status == VRWKV_OK) status = vr_answer_add(&run->answer, rest, vr_stream_end(&run->stream, rest), err);
    free(steps);
    vr_decoded_free(&pictures);
    return status;
}

/* ---- results ---- */

static uint64_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

/* The original's text is that of all ids together: one U+FFFD where they are no valid UTF-8. */
static json_t *json_answer(const answer_run *run) {
    size_t n, bytes = 0;
    char *text = NULL;
    int32_t *ids = vr_alloc(run->n_steps + 1, sizeof *ids);
    const vr_vocab *vocab = vr_model_vocab(run->model);
    json_t *value = NULL;
    for (size_t i = 0; ids && i < run->n_steps; i++) ids[i] = run->steps[i].id;
    if (run->args->manner == VRWKV_ORIGINAL && vocab && ids &&
        vr_decode_text(vocab, ids, run->n_steps, &text, &bytes, NULL) == VRWKV_OK) {
        const char *blank = memmem(text, bytes, "\n\n", 2);
        const char *stripped = vr_stripped(text, blank ? (size_t)(blank - text) : bytes, &n);
        value = vr_json_text(stripped, n);
    } else {
        const char *shown = vr_answer_text(&run->answer, &n);
        value = vr_json_text(shown, n);
    }
    free(text);
    free(ids);
    return value;
}

static int print_json(const answer_run *run) {
    static const char *const reasons[] = {[VRWKV_STOP_LENGTH] = "length",
                                          [VRWKV_STOP_TOKEN] = "token",
                                          [VRWKV_STOP_STRING] = "string",
                                          [VRWKV_STOP_CALLBACK] = "interrupted"};
    json_t *ids = json_array(), *logits = json_array(), *logprobs = json_array();
    for (size_t i = 0; i < run->n_steps; i++) {
        json_array_append_new(ids, json_integer(run->steps[i].id));
        json_array_append_new(logits, vr_json_float(run->steps[i].logit));
        json_array_append_new(logprobs, vr_json_double(run->steps[i].logprob));
    }
    json_t *timings = json_pack("{s:o, s:o, s:o, s:o}", "load_s", vr_json_double(run->load_s), "vision_s",
                                vr_json_double(run->vision_s), "prefill_s", vr_json_double(run->prefill_s), "decode_s",
                                vr_json_double(run->decode_s));
    return vr_json_print(json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "text", json_answer(run), "ids", ids,
                                   "logits", logits, "logprobs", logprobs, "stop_reason", reasons[run->stop],
                                   "prompt_tokens", vr_json_size(run->ids.n - vr_ids_images(&run->ids)), "image_tokens",
                                   vr_json_size(run->image_rows), "timings", timings, "memory_bytes",
                                   vr_json_size(peak_memory())),
                         1);
}

static int print_result(const answer_run *run) {
    char memory[24];
    if (run->args->json) return print_json(run);
    if (run->n_steps) putchar('\n');
    fflush(stdout);
    if (!isatty(STDERR_FILENO)) return 0;
    double rate = run->decode_s > 0 ? (double)run->n_steps / run->decode_s : 0;
    vr_note("[load %.2f s, vision %.2f s, prompt %zu + %zu rows %.2f s, answer %zu tokens %.1f/s, %s]", run->load_s,
            run->vision_s, run->image_rows, run->ids.n - vr_ids_images(&run->ids), run->prefill_s, run->n_steps, rate,
            vr_size_text((double)peak_memory(), memory));
    return 0;
}

static int answer(const run_args *args) {
    vr_error err = {0};
    answer_run run = {.args = args, .err = &err};
    run.answer.cut_at_blank_line = args->manner == VRWKV_ORIGINAL;
    run.answer.silent = args->json;
    vr_status status = prepare(&run, &err);
    if (status == VRWKV_OK)
        status = args->recompute ? run_again_and_again(&run, &err) : run_from_state(&run, &err);
    int code;
    if (status == VRWKV_OK) {
        code = print_result(&run);
        if (vr_interrupted()) code = vr_interrupt_code();
    } else {
        if (run.n_steps && !args->json) putchar('\n');
        fflush(stdout);
        code = vr_report("run", &err);
    }
    vrwkv_context_free(run.context);
    vr_pictures_free(&run.pictures);
    vr_answer_free(&run.answer);
    free(run.steps);
    free(run.ids.ids);
    vrwkv_model_close(run.model);
    return code;
}

/* ---- usage ---- */

static int check(run_args *args) {
    vr_error err = {0};
    vr_ids list = {0};
    int code = VR_GO_ON;
    if (!args->model.path) return vr_usage_error("run", "-m MODEL is missing");
    if (args->tokens && args->prompt) return vr_usage_error("run", "--tokens and -p exclude each other");
    if (!args->tokens && !args->prompt && !args->state_in)
        return vr_usage_error("run", "nothing to read: give -p TEXT, --tokens IDS or --state-in FILE");
    if (args->raw && !args->prompt) return vr_usage_error("run", "--raw is about the text of -p");
    if (args->images.n && !args->prompt && !args->tokens)
        return vr_usage_error("run", "a picture is read with a prompt: give -p TEXT or --tokens IDS too");
    if (args->half_state && !args->state_out) return vr_usage_error("run", "--half-state is about --state-out");
    if (args->ctx_len && !args->recompute) return vr_usage_error("run", "--ctx-len is the window of --recompute");
    if (args->recompute && (args->state_in || args->state_out))
        return vr_usage_error("run", "--recompute keeps no state: without --state-in and --state-out");
    if (args->recompute && args->stops.n) return vr_usage_error("run", "--recompute knows no --stop texts");
    if (args->tokens) {
        if (vr_ids_parse(&list, args->tokens, false, &err) != VRWKV_OK)
            code = vr_usage_error("run", "--tokens: %s", err.message);
        else if (!list.n)
            code = vr_usage_error("run", "--tokens: there is no id in \"%s\"", args->tokens);
        free(list.ids);
    }
    if (args->greedy) args->sampling.temperature = 0;
    args->sampling.seed = args->seed.value;
    return code;
}

int vr_cmd_run(int argc, char **argv) {
    run_args args = {.max_tokens = 512, .stop_token = STOP_TOKEN_UNSET, .sampling = vrwkv_sampling_default()};
    vr_strings words = {0};
    const vr_option options[] = {
        VR_GROUP("Model"),
        VR_OPTIONS_MODEL(&args.model),
        VR_GROUP("What it reads"),
        {"image", 'i', VR_OPT_LIST, &args.images, "FILE", "a picture; several in order", 0, 0},
        {"prompt", 'p', VR_OPT_STRING, &args.prompt, "TEXT", "the question; - reads it from stdin", 0, 0},
        {"tokens", 0, VR_OPT_STRING, &args.tokens, "IDS", "token ids instead of text: 1,2,-200,5; -200 is a picture", 0, 0},
        {"raw", 0, VR_OPT_FLAG, &args.raw, NULL, "the text as it stands, no prompt around it; pictures at its <image> marks, else in front", 0, 0},
        VR_OPTION_POSITION(&args.model),
        {"pad", 0, VR_OPT_CHOICE, &args.pad, "manner|original|none", "rows of padding in front of the prompt (v7): as the manner says (default), as the original, none", 0, 0},
        {"no-blank-image", 0, VR_OPT_FLAG, &args.no_blank_image, NULL, "no zero rows before a question without a picture", 0, 0},
        {"manner", 0, VR_OPT_CHOICE, &args.manner, "friendly|original", "how pictures are decoded and where to stop (default friendly)", 0, 0},
        VR_GROUP("The answer"),
        {"max-tokens", 'n', VR_OPT_INT, &args.max_tokens, "N", "at most N tokens; 0 only reads (default 512)", 0, 100000000},
        VR_OPTIONS_SAMPLING(&args.sampling, &args.greedy, &args.seed),
        {"stop", 0, VR_OPT_LIST, &args.stops, "TEXT", "ends the answer and is not part of it; several", 0, 0},
        {"stop-token", 0, VR_OPT_INT, &args.stop_token, "ID", "ends the answer; -1: none (default: the model's)", -1, INT32_MAX},
        VR_OPTION_JSON(&args.json),
        VR_GROUP("State"),
        {"state-in", 0, VR_OPT_STRING, &args.state_in, "FILE", "go on from this saved conversation or tuned state", 0, 0},
        {"state-out", 0, VR_OPT_STRING, &args.state_out, "FILE", "save the state after the last token", 0, 0},
        {"half-state", 0, VR_OPT_FLAG, &args.half_state, NULL, "save it in f16, half the size", 0, 0},
        VR_GROUP("Comparison with the original"),
        {"recompute", 0, VR_OPT_FLAG, &args.recompute, NULL, "run the whole sequence again for each token, greedy", 0, 0},
        {"ctx-len", 0, VR_OPT_INT, &args.ctx_len, "N", "its window (default: the model's)", 1, INT32_MAX},
        VR_GROUP("Machine"),
        VR_OPTIONS_MEMORY(&args.model),
    };
    const vr_usage usage = {
        .verb = "run",
        .line = "-m MODEL [-i IMAGE]... (-p TEXT | --tokens IDS) [OPTION]...",
        .about = "Answers a question, about a picture or not, and prints the answer as it comes.",
        .options = options,
        .n_options = VR_COUNT(options),
        .notes = "--json prints {text, ids, logits, logprobs, stop_reason, prompt_tokens, image_tokens,\n"
                 "timings, memory_bytes}: one entry per generated token, the stop token included.",
        .example = "  vrwkv run -m model.gguf -i photo.jpg -p \"What is in this picture?\"",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON) code = check(&args);
    if (code == VR_GO_ON) {
        vr_interrupt_install(false);
        code = answer(&args);
    }
    vr_strings_free(&args.images);
    vr_strings_free(&args.stops);
    vr_strings_free(&words);
    return code;
}
