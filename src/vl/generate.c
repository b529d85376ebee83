/* Questions and answers: the prompt of a question, and the loop that generates until a stop. */
#include "base/clock.h"
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STOPS 32
#define HELD_BYTES 4096

static vr_status needs_vocab(const vrwkv_model *model, vr_error *err) {
    if (model->vocab) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model has no vocabulary (%d ids): give token ids instead of text",
                   model->config.lm.n_vocab);
}

static void give_ids(const int32_t *from, size_t n, int32_t *ids, size_t capacity, size_t *count) {
    if (n && capacity) memcpy(ids, from, (n < capacity ? n : capacity) * sizeof *ids);
    *count = n;
}

vrwkv_status vrwkv_tokenize(const vrwkv_model *model, const char *text, size_t n, int32_t *ids, size_t capacity, size_t *count,
                            vrwkv_error *err) {
    if (!model || (n && !text) || (capacity && !ids) || !count)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_tokenize: a null pointer was given");
    int32_t *found = NULL;
    size_t n_found = 0, room = 0;
    VR_TRY(needs_vocab(model, err));
    vr_status status = vr_encode(model->vocab, text, n, &found, &n_found, &room, err);
    if (status == VRWKV_OK) give_ids(found, n_found, ids, capacity, count);
    free(found);
    return status;
}

vrwkv_status vrwkv_detokenize(const vrwkv_model *model, const int32_t *ids, size_t n, char *text, size_t capacity, size_t *length,
                              vrwkv_error *err) {
    if (!model || (n && !ids) || (capacity && !text) || !length)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_detokenize: a null pointer was given");
    char *found;
    VR_TRY(needs_vocab(model, err));
    VR_TRY(vr_decode_text(model->vocab, ids, n, &found, length, err));
    size_t fits = *length < capacity ? *length + 1 : capacity;
    if (fits) memcpy(text, found, fits); /* the closing zero too, where there is room */
    free(found);
    return VRWKV_OK;
}

/* The template marks pictures by "<image>" in the question. */
static vr_status build_prompt(const vrwkv_model *model, const char *question, size_t n_images, bool dummy, vr_prompt *prompt,
                              vr_error *err) {
    const char *version = model->config.rules->prompt;
    const vr_template *rules = vr_template_find(version);
    static const char mark[] = "<image>\n";
    vr_prompt_options how = {.has_image = n_images > 0, .dummy = dummy && model->config.n_towers};
    size_t most = (size_t)model->config.rules->most_pictures;
    if (!rules) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "no prompt rules for version '%s' (known: %s)", version, vr_template_names());
    if (most && n_images > most)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%zu pictures in one prompt: this model takes at most %zu", n_images, most);
    vr_position_parse(model->config.image_position, &how.position);
    size_t n = strlen(question), lead = n_images * (sizeof mark - 1);
    char *value = vr_alloc(n + lead + 1, 1);
    if (!value) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < n_images; i++) memcpy(value + i * (sizeof mark - 1), mark, sizeof mark - 1);
    memcpy(value + lead, question, n);
    vr_turn turns[2] = {{"human", value}, {"gpt", ""}};
    vr_status status = vr_prompt_build(prompt, rules, model->vocab, turns, 2, &how, err);
    free(value);
    return status;
}

vrwkv_status vrwkv_prompt(const vrwkv_model *model, const char *question, size_t n_images, int32_t *ids, size_t capacity,
                          size_t *count, vrwkv_error *err) {
    if (!model || !question || (capacity && !ids) || !count)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_prompt: a null pointer was given");
    vr_prompt prompt = {0};
    VR_TRY(needs_vocab(model, err));
    VR_TRY(build_prompt(model, question, n_images, true, &prompt, err));
    give_ids(prompt.ids, prompt.n, ids, capacity, count);
    vr_prompt_free(&prompt);
    return VRWKV_OK;
}

vrwkv_status vrwkv_ask(vrwkv_context *context, const char *question, vrwkv_features *const *images, size_t n_images, vrwkv_error *err) {
    if (!context || !question) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_ask: a null pointer was given");
    vr_prompt prompt = {0};
    VR_TRY(needs_vocab(context->model, err));
    bool first = context->length == 0 && !context->continued && !context->no_blank_image;
    VR_TRY(build_prompt(context->model, question, n_images, first, &prompt, err));
    vr_status status = vrwkv_feed(context, prompt.ids, prompt.n, images, n_images, err);
    vr_prompt_free(&prompt);
    return status;
}

/* ---- generation ---- */

typedef struct stop_rules {
    const char *texts[MAX_STOPS + 1];
    size_t n_texts;
    int32_t own[2];
    const int32_t *tokens;
    size_t n_tokens;
} stop_rules;

/* Text on its way out: bytes that may be the beginning of a stop text wait until that is decided. */
typedef struct outlet {
    const stop_rules *stops;
    vrwkv_token_fn callback;
    void *user;
    vr_stream stream;
    char held[HELD_BYTES];
    size_t n_held;
} outlet;

static vr_status make_rules(stop_rules *rules, const vrwkv_context *context, const vrwkv_generate_options *options, vr_error *err) {
    const vr_config *config = &context->model->config;
    *rules = (stop_rules){.own = {config->stop_token, 0}};
    rules->tokens = rules->own;
    rules->n_tokens = context->manner == VRWKV_FRIENDLY ? 2 : 1;
    if (options && options->n_stops > MAX_STOPS)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%zu stop texts, at most %d are possible", options->n_stops, MAX_STOPS);
    for (size_t i = 0; options && i < options->n_stops; i++) {
        if (!options->stops[i][0] || strlen(options->stops[i]) > HELD_BYTES / 4)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "stop text %zu is empty or longer than %d bytes", i + 1, HELD_BYTES / 4);
        rules->texts[rules->n_texts++] = options->stops[i];
    }
    if (options && options->stop_tokens) {
        rules->tokens = options->stop_tokens;
        rules->n_tokens = options->n_stop_tokens;
    } else if (context->manner == VRWKV_FRIENDLY) {
        /* after some characters a blank line is two tokens, and the stop token never comes */
        rules->texts[rules->n_texts++] = "\n\n";
    }
    return VRWKV_OK;
}

static bool is_stop_token(const stop_rules *rules, int32_t token) {
    for (size_t i = 0; i < rules->n_tokens; i++)
        if (rules->tokens[i] == token) return true;
    return false;
}

/* How many of the held bytes may go out; *stopped where a stop text is complete (then: those before it). */
static size_t releasable(const outlet *out, bool *stopped) {
    size_t keep = 0;
    *stopped = false;
    for (size_t at = 0; at < out->n_held; at++)
        for (size_t s = 0; s < out->stops->n_texts; s++) {
            size_t n = strlen(out->stops->texts[s]), rest = out->n_held - at;
            if (memcmp(out->held + at, out->stops->texts[s], n < rest ? n : rest) != 0) continue;
            if (n <= rest) {
                *stopped = true;
                return at;
            }
            if (rest > keep) keep = rest;
        }
    return out->n_held - keep;
}

static void hold(outlet *out, const char *text, size_t n) {
    size_t room = sizeof out->held - out->n_held;
    if (n > room) n = room; /* stop texts are shorter than a quarter of it: only absurd tokens are cut */
    memcpy(out->held + out->n_held, text, n);
    out->n_held += n;
}

/* Takes a token's text in; `last`: nothing follows, so what waits goes out with it. Calls the callback
 * once. Sets *stop and returns false where a stop text or the callback ends the answer. */
static bool put_token(outlet *out, const vrwkv_model *model, int32_t token, bool shown, bool last, vrwkv_stop *stop) {
    char text[3 * 256 + 12];
    size_t bytes = 0;
    bool stopped = false;
    const char *raw = shown && model->vocab ? vr_vocab_token(model->vocab, token, &bytes) : NULL;
    for (size_t at = 0; raw && at < bytes; at += 256) {
        size_t n = vr_stream_push(&out->stream, raw + at, bytes - at < 256 ? bytes - at : 256, text);
        hold(out, text, n);
    }
    size_t go = releasable(out, &stopped);
    if (last && !stopped) {
        hold(out, text, vr_stream_end(&out->stream, text));
        go = out->n_held;
    }
    int ended = out->callback ? out->callback(out->user, token, out->held, go) : 0;
    memmove(out->held, out->held + go, out->n_held - go);
    out->n_held -= go;
    if (stopped) *stop = VRWKV_STOP_STRING;
    if (ended) *stop = VRWKV_STOP_CALLBACK;
    return !stopped && !ended;
}

vrwkv_status vrwkv_generate(vrwkv_context *context, const vrwkv_generate_options *options, vrwkv_token_fn callback, void *user,
                            vrwkv_result *result, vrwkv_error *err) {
    if (!context) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_generate: the context must be given");
    stop_rules rules;
    VR_TRY(make_rules(&rules, context, options, err));
    outlet out = {.stops = &rules, .callback = callback, .user = user};
    vrwkv_result done = {.stop = VRWKV_STOP_LENGTH};
    int limit = options && options->max_tokens > 0 ? options->max_tokens : 512;
    double start = vr_seconds();
    bool going = true;
    __atomic_store_n(&context->cancelled, 0, __ATOMIC_RELAXED);
    while (going && done.tokens < limit) {
        int32_t token;
        if (__atomic_load_n(&context->cancelled, __ATOMIC_RELAXED)) return vr_fail(err, VRWKV_ERR_CANCELLED, "cancelled");
        VR_TRY(vrwkv_sample(context, &token, err));
        done.tokens++;
        bool ends = is_stop_token(&rules, token);
        if (ends) done.stop = VRWKV_STOP_TOKEN; /* its own text is no part of the answer */
        going = put_token(&out, context->model, token, !ends, ends || done.tokens == limit, &done.stop) && !ends;
        VR_TRY(vrwkv_decode(&context, 1, &token, err));
    }
    done.seconds = vr_seconds() - start;
    if (result) *result = done;
    return VRWKV_OK;
}
