/* Kind `infer`, second half: generation and states.
 *
 * `greedy` is compared with two ways of generating: the original's, which runs the growing sequence
 * again for every token and cuts it to its last ctx_len rows (recompute.*), and the public interface,
 * which carries the state (state.*). Up to the first cut both must give the same ids; `stateful`,
 * where a case has it, is what the second way gives. The other checks need no reference: a prompt read
 * token by token, a state saved and loaded, and contexts that decode together must give the logits of
 * the prompt read in one go (design: 5e-5 of the largest logit; saved states and batches bit by bit). */
#include "verify/infer.h"

#include "base/memory.h"
#include "vl/pieces.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TOGETHER 3 /* contexts that decode together */
#define BOUND_AVERAGE 6e-4 /* three decimals: half of the last one, and the logits' own error */

/* ---- the answer's text ---- */

/* White space as Python's str.strip sees it (v6 README section 8). */
static bool is_space(uint32_t c) {
    static const uint32_t singles[] = {0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
    if ((c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || (c >= 0x2000 && c <= 0x200a)) return true;
    for (size_t i = 0; i < VR_COUNT(singles); i++)
        if (c == singles[i]) return true;
    return false;
}

/* One character of valid UTF-8 at `text`; *n is how many bytes it has. */
static uint32_t character(const char *text, size_t *n) {
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) return *n = 1, s[0];
    if (s[0] < 0xe0) return *n = 2, (s[0] & 31u) << 6 | (s[1] & 63u);
    if (s[0] < 0xf0) return *n = 3, (s[0] & 15u) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
    return *n = 4, (s[0] & 7u) << 18 | (s[1] & 63u) << 12 | (s[2] & 63u) << 6 | (s[3] & 63u);
}

/* Cut at the first blank line, then without white space at both ends. Text is valid UTF-8. */
static const char *answer_of(const char *text, size_t n, size_t *length) {
    const char *blank = memmem(text, n, "\n\n", 2), *end = blank ? blank : text + n;
    size_t bytes;
    while (text < end && is_space(character(text, &bytes))) text += bytes;
    while (end > text) {
        const char *last = end - 1;
        while (last > text && ((unsigned char)*last & 0xc0) == 0x80) last--;
        if (!is_space(character(last, &bytes))) break;
        end = last;
    }
    *length = (size_t)(end - text);
    return text;
}

static vr_status check_answer(vr_infer *in, const json_t *greedy, const vr_original_step *steps, int count,
                              vr_error *err) {
    const json_t *expected = json_object_get(greedy, "text");
    double sum = 0, log_prob = 0;
    for (int i = 0; i < count; i++) {
        sum += (double)steps[i].logit;
        log_prob += log(steps[i].prob);
    }
    const char *avg_logit = vr_case_text(greedy, "avg_logit", NULL), *avg_prob = vr_case_text(greedy, "avg_prob", NULL);
    if (avg_logit && count) vr_check_value(in->verify, "greedy.avg_logit", sum / count, strtod(avg_logit, NULL), BOUND_AVERAGE);
    if (avg_prob && count)
        vr_check_value(in->verify, "greedy.avg_prob", exp(log_prob / count), strtod(avg_prob, NULL), BOUND_AVERAGE);
    if (!json_is_string(expected)) return VRWKV_OK;
    if (!in->vocab) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "greedy.text is expected, but the model has no vocabulary");
    int32_t *ids = vr_alloc((size_t)count + 1, sizeof *ids);
    char *text = NULL;
    size_t n, length;
    if (!ids) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %d ids", count);
    for (int i = 0; i < count; i++) ids[i] = steps[i].id;
    vr_status status = vr_decode_text(in->vocab, ids, (size_t)count, &text, &n, err);
    if (status == VRWKV_OK) {
        const char *answer = answer_of(text, n, &length);
        vr_check_text(in->verify, "greedy.text", answer, length, json_string_value(expected), json_string_length(expected));
    }
    free(text);
    free(ids);
    return status;
}

/* ---- expected generations ---- */

typedef struct generated {
    int32_t *ids;
    float *logits, *probs;
    size_t n;
} generated;

static vr_status generated_new(generated *out, size_t capacity, vr_error *err) {
    *out = (generated){.ids = vr_alloc(capacity + 1, sizeof(int32_t)),
                       .logits = vr_alloc(capacity + 1, sizeof(float)),
                       .probs = vr_alloc(capacity + 1, sizeof(float))};
    if (out->ids && out->logits && out->probs) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu generated tokens", capacity);
}

static void generated_free(generated *made) {
    free(made->ids);
    free(made->logits);
    free(made->probs);
    *made = (generated){0};
}

static vr_status check_list(vr_infer *in, const char *label, const char *key, const json_t *object, const float *found,
                            size_t n_found, size_t limit, double bound, vr_error *err) {
    char name[96];
    vr_array expected;
    const json_t *list = json_object_get(object, key);
    if (!json_is_array(list) || !found) return VRWKV_OK;
    VR_TRY(vr_array_list(&expected, list, key, err));
    size_t n = (size_t)expected.shape[0] < limit ? (size_t)expected.shape[0] : limit;
    snprintf(name, sizeof name, "%s.logits", label);
    if (strstr(key, "probs")) snprintf(name, sizeof name, "%s.probs", label);
    vr_check_floats(in->verify, name, found, n_found < limit ? n_found : limit, expected.data, n, bound);
    vr_array_free(&expected);
    return VRWKV_OK;
}

/* The first `limit` entries of {prefix}ids, {prefix}logits, {prefix}probs of `object`. */
static vr_status check_generated(vr_infer *in, const char *label, const json_t *object, const char *prefix,
                                 const generated *made, size_t limit, vr_error *err) {
    char key[64], name[96];
    int32_t *expected;
    size_t n;
    snprintf(key, sizeof key, "%sids", prefix);
    snprintf(name, sizeof name, "%s.ids", label);
    VR_TRY(vr_case_ids(json_object_get(object, key), key, &expected, &n, err));
    vr_report_ids(in->verify, name, made->ids, made->n < limit ? made->n : limit, expected, n < limit ? n : limit);
    free(expected);
    snprintf(key, sizeof key, "%slogits", prefix);
    VR_TRY(check_list(in, label, key, object, made->logits, made->n, limit, vr_case_bound(in->item, "logits"), err));
    snprintf(key, sizeof key, "%sprobs", prefix);
    return check_list(in, label, key, object, made->probs, made->n, limit, vr_case_bound(in->item, "probs"), err);
}

/* ---- the original's way ---- */

static int is_end(void *user, const vr_original_step *step) {
    (void)user;
    return step->id == 0; /* the public demo stops at 0 as well */
}

static vr_status recompute(vr_infer *in, const vr_original_input *input, int ctx_len, int stop, int max, bool zero_stops,
                           vr_original_step *steps, generated *out, vr_error *err) {
    int count = 0;
    VR_TRY(vr_original_generate(in->model, input, ctx_len, stop, max, steps, &count, zero_stops ? is_end : NULL, NULL, err));
    out->n = (size_t)count;
    for (int i = 0; i < count; i++) {
        out->ids[i] = steps[i].id;
        out->logits[i] = steps[i].logit;
        out->probs[i] = (float)steps[i].prob;
    }
    return VRWKV_OK;
}

/* ---- carrying the state ---- */

static vr_status new_context(const vr_infer *in, int no_blank, vrwkv_context **out, vr_error *err) {
    vrwkv_context_options options = {.manner = in->verify->manner, .no_blank_image = no_blank};
    return vrwkv_context_new(in->model, &options, out, err);
}

static vr_status read_prompt(const vr_infer *in, vrwkv_context **out, vr_error *err) {
    VR_TRY(new_context(in, 0, out, err));
    vr_status status = vrwkv_feed(*out, in->ids, in->n, in->images, in->n_images, err);
    if (status == VRWKV_OK && !vrwkv_logits(*out)) status = vr_fail(err, VRWKV_ERR_SHAPE, "no logits after the prompt");
    if (status == VRWKV_OK) return VRWKV_OK;
    vrwkv_context_free(*out);
    *out = NULL;
    return status;
}

static int32_t argmax(const float *logits, int n) {
    int best = 0; /* the lowest index on ties */
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static vr_status carry_state(const vr_infer *in, int stop, size_t max, generated *out, vr_error *err) {
    vrwkv_context *chat = NULL;
    int n_vocab = vrwkv_model_info(in->model)->n_vocab;
    VR_TRY(read_prompt(in, &chat, err));
    vr_status status = VRWKV_OK;
    while (status == VRWKV_OK && out->n < max) {
        const float *logits = vrwkv_logits(chat);
        int32_t id = argmax(logits, n_vocab);
        double sum = 0;
        for (int i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - (double)logits[id]);
        out->ids[out->n] = id;
        out->logits[out->n] = logits[id];
        out->probs[out->n++] = (float)(1 / sum);
        if (id == stop) break;
        if (out->n < max) status = vrwkv_decode(&chat, 1, &id, err);
    }
    vrwkv_context_free(chat);
    return status;
}

/* How many generated tokens came before the sequence was first cut: token i is chosen from rows + i
 * rows, and the prompt itself is never cut. */
static size_t uncut(const vr_infer *in, int64_t ctx_len) {
    if (vr_model_config(in->model)->rules->pad_multiple) return 1; /* the original pads anew at each step */
    const vr_array *x = vr_trace_find(&in->trace, "x.in");
    int64_t rows = x && x->ndim == 2 ? x->shape[0] : (int64_t)in->n;
    return ctx_len > rows ? (size_t)(ctx_len - rows) + 1 : 1;
}

static vr_status check_greedy(vr_infer *in, const json_t *greedy, const json_t *stateful, vr_error *err) {
    int64_t max = vr_case_int(greedy, "max_new_tokens", (int64_t)json_array_size(json_object_get(greedy, "ids")));
    int64_t stop = vr_case_int(greedy, "stop_token", -1), ctx_len = vr_case_int(in->item->json, "ctx_len", INT_MAX);
    vr_original_input input = {.ids = in->ids, .n = in->n, .pictures = in->pictures, .n_pictures = in->n_pictures};
    generated again = {0}, carried = {0};
    if (max < 0 || max > 1000000 || ctx_len < 1)
        return vr_fail(err, VRWKV_ERR_FORMAT, "max_new_tokens %lld and ctx_len %lld, expected reasonable ones",
                       (long long)max, (long long)ctx_len);
    if (ctx_len > INT_MAX) ctx_len = INT_MAX;
    vr_original_step *steps = vr_alloc((size_t)max + 1, sizeof *steps);
    vr_status status = steps ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %lld tokens", (long long)max);
    if (status == VRWKV_OK) status = generated_new(&again, (size_t)max, err);
    if (status == VRWKV_OK) status = generated_new(&carried, (size_t)max, err);
    if (status == VRWKV_OK)
        status = recompute(in, &input, (int)ctx_len, (int)stop, (int)max, false, steps, &again, err);
    if (status == VRWKV_OK) status = check_generated(in, "recompute", greedy, "", &again, SIZE_MAX, err);
    if (status == VRWKV_OK) status = check_answer(in, greedy, steps, (int)again.n, err);
    if (status == VRWKV_OK) status = carry_state(in, (int)stop, (size_t)max, &carried, err);
    if (status == VRWKV_OK)
        status = check_generated(in, "state", stateful ? stateful : greedy, "", &carried,
                                 stateful ? SIZE_MAX : uncut(in, ctx_len), err);
    generated_free(&again);
    generated_free(&carried);
    free(steps);
    return status;
}

/* ---- the public demo ---- */

static vr_status check_demo(vr_infer *in, const json_t *demo, vr_error *err) {
    int32_t *prefix = NULL, *suffix = NULL;
    size_t n = 0, m = 0, max = json_array_size(json_object_get(demo, "greedy_ids"));
    generated made = {0};
    vr_original_step *steps = NULL;
    if (!max) return VRWKV_OK;
    vr_status status = vr_case_ids(json_object_get(demo, "prefix_ids"), "demo.prefix_ids", &prefix, &n, err);
    if (status == VRWKV_OK) status = vr_case_ids(json_object_get(demo, "suffix_ids"), "demo.suffix_ids", &suffix, &m, err);
    if (status == VRWKV_OK) status = generated_new(&made, max, err);
    int32_t *all = vr_alloc(n + m + 1, sizeof *all);
    steps = vr_alloc(max, sizeof *steps);
    if (status == VRWKV_OK && (!all || !steps)) status = vr_fail(err, VRWKV_ERR_MEMORY, "no memory for the demo's ids");
    if (status == VRWKV_OK) {
        memcpy(all, prefix, n * sizeof *all);
        all[n] = VRWKV_IMAGE;
        memcpy(all + n + 1, suffix, m * sizeof *all);
        vr_original_input input = {
            .ids = all, .n = n + m + 1, .pictures = in->pictures, .n_pictures = in->n_pictures, .scan = vr_case_text(demo, "scan", "unidirection")};
        int stop = (int)vr_case_int(json_object_get(in->item->json, "greedy"), "stop_token", 261);
        status = recompute(in, &input, INT_MAX, stop, (int)max, true, steps, &made, err);
    }
    if (status == VRWKV_OK) status = check_generated(in, "demo", demo, "greedy_", &made, SIZE_MAX, err);
    generated_free(&made);
    free(prefix);
    free(suffix);
    free(all);
    free(steps);
    return status;
}

vr_status vr_infer_generate(vr_infer *in, vr_error *err) {
    const json_t *greedy = json_object_get(in->item->json, "greedy"), *demo = json_object_get(in->item->json, "demo");
    const json_t *stateful = json_object_get(in->item->json, "stateful");
    if (json_is_object(greedy)) VR_TRY(check_greedy(in, greedy, json_is_object(stateful) ? stateful : NULL, err));
    return json_is_object(demo) ? check_demo(in, demo, err) : VRWKV_OK;
}

/* ---- one prompt, one state ---- */

/* A picture's rows, all of them or the first of them, behind text. */
static vr_status read_rows(const vr_infer *in, const vr_piece *piece, size_t image, vrwkv_context *to, vr_error *err) {
    if (piece->rows == piece->image->rows) return vrwkv_feed_features(to, in->images[image], err);
    int32_t *ids = vr_alloc((size_t)piece->rows, sizeof *ids);
    if (!ids) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %d ids", piece->rows);
    for (int i = 0; i < piece->rows; i++) ids[i] = vr_model_config(in->model)->rules->row_id;
    vr_status status = vrwkv_feed(to, ids, (size_t)piece->rows, &in->images[image], 1, err);
    free(ids);
    return status;
}

static vr_status read_one(vrwkv_context *to, const int32_t *id, vr_error *err) {
    return vrwkv_context_length(to) ? vrwkv_decode(&to, 1, id, err) : vrwkv_feed(to, id, 1, NULL, 0, err);
}

/* Ids one at a time, padding too; a picture is one chunk in any case. */
static vr_status read_slowly(const vr_infer *in, vrwkv_context **out, vr_error *err) {
    /* a blank picture only where the prompt has no place */
    vrwkv_context_options options = {.manner = in->verify->manner, .no_blank_image = in->has_place, .padding = VRWKV_PAD_NONE};
    int64_t padding = vr_left_padding(in->model, vr_pieces_rows(in->model, in->ids, in->n, in->images, in->n_images));
    int32_t pad = vr_model_config(in->model)->pad_token;
    vr_pieces pieces;
    vr_piece piece;
    VR_TRY(vrwkv_context_new(in->model, &options, out, err));
    for (int64_t i = 0; i < padding && in->verify->manner == VRWKV_ORIGINAL; i++) VR_TRY(read_one(*out, &pad, err));
    vr_pieces_start(&pieces, in->model, in->ids, in->n, in->images, in->n_images);
    for (size_t image = 0; vr_pieces_next(&pieces, &piece); image += piece.image != NULL) {
        for (size_t i = 0; i < piece.n; i++) VR_TRY(read_one(*out, &piece.ids[i], err));
        if (piece.rows) VR_TRY(read_rows(in, &piece, image, *out, err));
    }
    return VRWKV_OK;
}

/* The largest absolute value. (A loop of fmax makes GCC 12 for arm64 crash.) */
static double largest_size(const float *values, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double size = fabs((double)values[i]);
        if (size > largest) largest = size;
    }
    return largest;
}

static void compare_contexts(const vr_infer *in, const char *name, const vrwkv_context *found,
                             const vrwkv_context *expected, double relative) {
    size_t n = (size_t)vrwkv_model_info(in->model)->n_vocab;
    const float *a = vrwkv_logits(found), *b = vrwkv_logits(expected);
    if (!a || !b) {
        vr_check_failed(in->verify, name, "no logits");
        return;
    }
    vr_check_floats(in->verify, name, a, n, b, n, relative * largest_size(b, n));
}

static vr_status check_slowly(const vr_infer *in, const vrwkv_context *whole, vr_error *err) {
    vrwkv_context *slow = NULL;
    vr_status status = read_slowly(in, &slow, err);
    if (status == VRWKV_OK) compare_contexts(in, "state.one-by-one", slow, whole, VR_BOUND_SAME_STATE);
    vrwkv_context_free(slow);
    return status;
}

/* Saved in f32 and loaded is exact: the next token gives the same bits. */
static vr_status reload(const vr_infer *in, const vrwkv_context *whole, const char *path, vr_error *err) {
    vrwkv_context *on = NULL, *loaded = NULL;
    int32_t next = argmax(vrwkv_logits(whole), vrwkv_model_info(in->model)->n_vocab);
    vr_status status = vrwkv_fork(whole, &on, err);
    if (status == VRWKV_OK) status = vrwkv_state_save(whole, path, 0, err);
    if (status == VRWKV_OK) status = new_context(in, 0, &loaded, err);
    if (status == VRWKV_OK) status = vrwkv_state_load(loaded, path, err);
    if (status == VRWKV_OK) status = vrwkv_decode(&on, 1, &next, err);
    if (status == VRWKV_OK) status = vrwkv_decode(&loaded, 1, &next, err);
    if (status == VRWKV_OK) compare_contexts(in, "state.saved", loaded, on, 0);
    vrwkv_context_free(on);
    vrwkv_context_free(loaded);
    return status;
}

static vr_status check_saved(const vr_infer *in, const vrwkv_context *whole, vr_error *err) {
    char folder[VR_SCRATCH_ROOM], path[VR_SCRATCH_ROOM + 32];
    VR_TRY(vr_scratch_make(folder, err));
    snprintf(path, sizeof path, "%s/state.safetensors", folder);
    vr_status status = reload(in, whole, path, err);
    vr_scratch_remove(folder);
    return status;
}

/* Three conversations that differ, one step together and one step each alone. */
static vr_status decode_together(const vr_infer *in, const vrwkv_context *whole, vrwkv_context **together,
                                 vrwkv_context **alone, vr_error *err) {
    int n_vocab = vrwkv_model_info(in->model)->n_vocab, best = argmax(vrwkv_logits(whole), n_vocab);
    int32_t next[N_TOGETHER];
    for (int i = 0; i < N_TOGETHER; i++) {
        int32_t first = (best + 7 * i) % n_vocab;
        next[i] = (best + 3 * i + 1) % n_vocab;
        VR_TRY(vrwkv_fork(whole, &together[i], err));
        VR_TRY(vrwkv_decode(&together[i], 1, &first, err));
        VR_TRY(vrwkv_fork(together[i], &alone[i], err));
        VR_TRY(vrwkv_decode(&alone[i], 1, &next[i], err));
    }
    return vrwkv_decode(together, N_TOGETHER, next, err);
}

static vr_status check_together(const vr_infer *in, const vrwkv_context *whole, vr_error *err) {
    vrwkv_context *together[N_TOGETHER] = {0}, *alone[N_TOGETHER] = {0};
    vr_status status = decode_together(in, whole, together, alone, err);
    for (int i = 0; i < N_TOGETHER; i++) {
        char name[32];
        snprintf(name, sizeof name, "state.together.%d", i);
        if (status == VRWKV_OK) compare_contexts(in, name, together[i], alone[i], 0);
        vrwkv_context_free(together[i]);
        vrwkv_context_free(alone[i]);
    }
    return status;
}

/* The public interface's picture and logits against those of the one pass. */
static void check_whole(const vr_infer *in, const vrwkv_context *whole) {
    const vr_array *logits = vr_trace_find(&in->trace, "logits");
    for (size_t i = 0; i < in->n_images; i++) {
        char name[32];
        int rows, width;
        const float *data = vrwkv_features_rows(in->images[i], &rows, &width);
        snprintf(name, sizeof name, in->n_images > 1 ? "image.%zu" : "image", i);
        const vr_array *image = vr_trace_find(&in->trace, name);
        if (!image) continue;
        size_t n = (size_t)rows * (size_t)width, m = 1;
        for (int axis = 0; axis < image->ndim; axis++) m *= (size_t)image->shape[axis];
        snprintf(name, sizeof name, in->n_images > 1 ? "state.image.%zu" : "state.image", i);
        vr_check_floats(in->verify, name, data, n, image->data, m, VR_BOUND_SAME_STATE * vr_array_largest(image));
    }
    if (logits && logits->ndim == 2 && logits->shape[0] > 0) {
        size_t n = (size_t)logits->shape[1];
        const float *last = logits->data + (size_t)(logits->shape[0] - 1) * n;
        vr_check_floats(in->verify, "state.prompt", vrwkv_logits(whole), (size_t)vrwkv_model_info(in->model)->n_vocab,
                        last, n, VR_BOUND_SAME_STATE * largest_size(last, n));
    }
}

vr_status vr_infer_states(vr_infer *in, vr_error *err) {
    vrwkv_context *whole = NULL;
    if (!in->n) return VRWKV_OK;
    VR_TRY(read_prompt(in, &whole, err));
    check_whole(in, whole);
    vr_status status = check_slowly(in, whole, err);
    if (status == VRWKV_OK) status = check_saved(in, whole, err);
    if (status == VRWKV_OK) status = check_together(in, whole, err);
    vrwkv_context_free(whole);
    return status;
}
