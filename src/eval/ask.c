#include "eval/ask.h"

#include "base/memory.h"
#include "eval/model.h"
#include "eval/shaped.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BATCH 16
#define DEFAULT_TOKENS 128 /* the original's max_new_tokens */

/* One answer under way. */
typedef struct slot {
    vrwkv_context *context;
    bool busy;
    size_t job;
    vr_str prompt;
    vr_id_list ids;      /* of the answer */
    double logits;   /* sum of the chosen ones */
    double product;  /* of their probabilities: a plain product, which a long answer brings to 0 */
    vr_shape_state shape;
} slot;

struct vr_ask {
    vrwkv_model *model;
    const vrwkv_info *info;
    vr_ask_options options;
    vr_reply_fn reply;
    void *user;
    slot *slots;
    vrwkv_context **active; /* [batch] of one step, with their tokens */
    int32_t *tokens;
    vrwkv_features *picture;
    bool keep_state;
    const char *reason;
    vrwkv_context *behind;  /* the state behind the picture; with it the ids that led there */
    vr_id_list lead;
    bool have_behind;
    vr_words words;         /* where answers have a shape */
    vr_id_list prompt;      /* scratch */
    vr_str text;
};

/* ---- text and ids ---- */

/* The prompt as text: what its ids say, "<image>" where a picture is. */
static vr_status prompt_text(vr_ask *ask, const vr_id_list *ids, vr_str *out, vr_error *err) {
    size_t from = 0;
    vr_str_clear(out);
    for (size_t i = 0; i <= ids->n; i++) {
        if (i < ids->n && ids->items[i] != VRWKV_IMAGE) continue;
        if (i > from) VR_TRY(vr_model_decode_text(ask->model, ids->items + from, i - from, out, err));
        if (i < ids->n) vr_str_add(out, "<image>");
        from = i + 1;
    }
    return vr_str_check(out, err);
}

static vr_status prompt_ids(vrwkv_model *model, const char *question, size_t n_images, vr_id_list *ids, vr_error *err) {
    size_t count;
    VR_TRY(vrwkv_prompt(model, question, n_images, NULL, 0, &count, err));
    VR_TRY(vr_grow(&ids->items, &ids->room, count, sizeof *ids->items, err));
    VR_TRY(vrwkv_prompt(model, question, n_images, ids->items, count, &count, err));
    ids->n = count;
    return VRWKV_OK;
}

/* How many ids lead to the picture, it among them. */
static size_t lead_length(const vr_id_list *ids) {
    for (size_t i = 0; i < ids->n; i++)
        if (ids->items[i] == VRWKV_IMAGE) return i + 1;
    return 0;
}

/* Is what precedes the picture the same for every question? Told by the prompts of two. */
static vr_status find_reuse(vr_ask *ask, vr_error *err) {
    vr_id_list other = {0};
    bool pads = ask->options.padding != VRWKV_PAD_NONE && strcmp(ask->info->rwkv, "x070") == 0 &&
                (ask->options.padding == VRWKV_PAD_ORIGINAL || ask->options.manner == VRWKV_ORIGINAL);
    ask->reason = "the picture stands before the question";
    if (ask->options.no_reuse) ask->reason = "switched off";
    if (!ask->info->image_tokens) ask->reason = "the model sees no pictures";
    if (ask->options.no_reuse || !ask->info->image_tokens) return VRWKV_OK;
    vr_status status = prompt_ids(ask->model, "one", 1, &ask->prompt, err);
    if (status == VRWKV_OK) status = prompt_ids(ask->model, "two", 1, &other, err);
    size_t lead = lead_length(&ask->prompt);
    bool first = status == VRWKV_OK && lead && lead == lead_length(&other) &&
                 memcmp(other.items, ask->prompt.items, lead * sizeof *other.items) == 0;
    free(other.items);
    ask->keep_state = first && !pads;
    if (!first) ask->reason = "the prompt puts the question before the picture";
    if (first && pads)
        ask->reason = "the original's left padding depends on the question's length (--pad none keeps the state)";
    return status;
}

/* ---- opening ---- */

vr_status vr_ask_open(vr_ask **out, vrwkv_model *model, const vr_ask_options *options, vr_reply_fn reply, void *user,
                      vr_error *err) {
    vr_ask *ask = *out = vr_alloc(1, sizeof *ask);
    if (!ask) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *ask = (vr_ask){.model = model, .info = vrwkv_model_info(model), .options = *options, .reply = reply, .user = user};
    if (!ask->options.batch) ask->options.batch = DEFAULT_BATCH;
    if (ask->options.max_tokens <= 0) ask->options.max_tokens = DEFAULT_TOKENS;
    size_t n = ask->options.batch;
    ask->slots = vr_alloc(n, sizeof *ask->slots);
    ask->active = vr_alloc(n, sizeof *ask->active);
    ask->tokens = vr_alloc(n, sizeof *ask->tokens);
    vr_status status = ask->slots && ask->active && ask->tokens
                           ? find_reuse(ask, err)
                           : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu answers at a time", n);
    if (status == VRWKV_OK && options->shape) status = vr_words_make(&ask->words, model, err);
    if (status == VRWKV_OK) return VRWKV_OK;
    vr_ask_close(ask);
    *out = NULL;
    return status;
}

void vr_ask_close(vr_ask *ask) {
    if (!ask) return;
    for (size_t i = 0; ask->slots && i < ask->options.batch; i++) {
        vrwkv_context_free(ask->slots[i].context);
        vr_str_free(&ask->slots[i].prompt);
        free(ask->slots[i].ids.items);
    }
    vrwkv_context_free(ask->behind);
    vrwkv_features_free(ask->picture);
    vr_words_free(&ask->words);
    vr_str_free(&ask->text);
    free(ask->prompt.items);
    free(ask->lead.items);
    free(ask->slots);
    free(ask->active);
    free(ask->tokens);
    free(ask);
}

const char *vr_ask_reuse(const vr_ask *ask) {
    return ask->keep_state ? "state" : ask->info->image_tokens ? "features" : "none";
}
const char *vr_ask_reuse_reason(const vr_ask *ask) { return ask->reason; }

void vr_ask_picture(vr_ask *ask, vrwkv_features *picture) {
    vrwkv_features_share(picture);
    vrwkv_features_free(ask->picture);
    ask->picture = picture;
    ask->have_behind = false;
}

/* ---- reading ---- */

static vr_status new_context(const vr_ask *ask, vrwkv_context **out, vr_error *err) {
    vrwkv_sampling greedy = vrwkv_sampling_default();
    greedy.temperature = 0;
    const vrwkv_context_options options = {
        .manner = ask->options.manner, .padding = ask->options.padding, .sampling = greedy};
    return vrwkv_context_new(ask->model, &options, out, err);
}

/* Feeds ids[0..n), of which the one picture is part or not. */
static vr_status feed(vr_ask *ask, vrwkv_context *context, const int32_t *ids, size_t n, bool pictured, vr_error *err) {
    return vrwkv_feed(context, ids, n, pictured ? &ask->picture : NULL, pictured ? 1 : 0, err);
}

/* The prompt's state in `context`, from the state behind the picture where that is kept. */
static vr_status read_prompt(vr_ask *ask, vrwkv_context *context, const vr_id_list *ids, vr_error *err) {
    size_t lead = ask->picture ? lead_length(ids) : 0;
    vrwkv_context_reset(context);
    if (!ask->keep_state || !lead) return feed(ask, context, ids->items, ids->n, ask->picture != NULL, err);
    bool known =
        ask->have_behind && ask->lead.n == lead && memcmp(ask->lead.items, ids->items, lead * sizeof *ids->items) == 0;
    if (!known) {
        if (!ask->behind) VR_TRY(new_context(ask, &ask->behind, err));
        vrwkv_context_reset(ask->behind);
        ask->have_behind = false;
        VR_TRY(feed(ask, ask->behind, ids->items, lead, true, err));
        VR_TRY(vr_grow(&ask->lead.items, &ask->lead.room, lead, sizeof *ids->items, err));
        memcpy(ask->lead.items, ids->items, lead * sizeof *ids->items);
        ask->lead.n = lead;
        ask->have_behind = true;
    }
    VR_TRY(vrwkv_copy(context, ask->behind, err));
    return feed(ask, context, ids->items + lead, ids->n - lead, false, err);
}

static vr_status read_question(vr_ask *ask, slot *to, const char *question, vr_error *err) {
    if (!to->context) VR_TRY(new_context(ask, &to->context, err));
    VR_TRY(prompt_ids(ask->model, question, ask->picture ? 1 : 0, &ask->prompt, err));
    VR_TRY(prompt_text(ask, &ask->prompt, &to->prompt, err));
    return read_prompt(ask, to->context, &ask->prompt, err);
}

vr_status vr_ask_read(vr_ask *ask, const char *question, vrwkv_context **context, vr_slice *prompt, vr_error *err) {
    VR_TRY(read_question(ask, &ask->slots[0], question, err));
    *context = ask->slots[0].context;
    *prompt = vr_str_slice(&ask->slots[0].prompt);
    return VRWKV_OK;
}

/* ---- generating ---- */

/* In friendly manner id 0 ends an answer too, and a blank line, whatever tokens it is made of. */
static vr_status is_finished(vr_ask *ask, const slot *s, bool *finished, vr_error *err) {
    int32_t last = s->ids.items[s->ids.n - 1];
    *finished = last == ask->info->stop_token || s->ids.n >= (size_t)ask->options.max_tokens;
    if (ask->options.shape) *finished |= vr_shape_done(&s->shape);
    if (*finished || ask->options.shape || ask->options.manner == VRWKV_ORIGINAL) return VRWKV_OK;
    vr_str_clear(&ask->text);
    VR_TRY(vr_model_decode_text(ask->model, s->ids.items, s->ids.n, &ask->text, err));
    *finished = last == 0 || (ask->text.n >= 2 && memcmp(ask->text.data + ask->text.n - 2, "\n\n", 2) == 0);
    return VRWKV_OK;
}

static vr_status give_reply(vr_ask *ask, slot *s, vr_error *err) {
    vr_str_clear(&ask->text);
    VR_TRY(vr_model_decode_text(ask->model, s->ids.items, s->ids.n, &ask->text, err));
    vr_slice text = vr_str_slice(&ask->text);
    const char *blank = vr_slice_find(text, "\n\n");
    if (blank) text.n = (size_t)(blank - text.p);
    double n = (double)s->ids.n;
    const vr_reply reply = {.job = s->job,
                            .prompt = vr_str_slice(&s->prompt),
                            .text = vr_trim(text),
                            .avg_logit = s->logits / n,
                            .avg_prob = pow(s->product, 1 / n),
                            .tokens = (int)s->ids.n,
                            .complete = !ask->options.shape || vr_shape_may_end(&s->shape)};
    s->busy = false;
    return ask->reply(ask->user, &reply, err);
}

/* Chooses the next token of an answer. */
static vr_status choose(vr_ask *ask, slot *s, int32_t *token, vr_error *err) {
    const float *logits = vrwkv_logits(s->context);
    *token = ask->options.shape ? vr_words_choose(&ask->words, logits, ask->info->stop_token, &s->shape)
                                : vr_likeliest(logits, ask->info->n_vocab);
    if (*token < 0)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "no token of the vocabulary goes on with the shape that is wanted");
    s->logits += logits[*token];
    s->product *= exp(vr_log_softmax(logits, ask->info->n_vocab, *token));
    VR_TRY(vr_grow(&s->ids.items, &s->ids.room, s->ids.n + 1, sizeof *s->ids.items, err));
    s->ids.items[s->ids.n++] = *token;
    return VRWKV_OK;
}

/* One token of every open answer; those that end with it are given out and free their place. */
static vr_status step(vr_ask *ask, size_t *open, vr_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < ask->options.batch; i++) {
        slot *s = &ask->slots[i];
        bool finished;
        int32_t token;
        if (!s->busy) continue;
        VR_TRY(choose(ask, s, &token, err));
        VR_TRY(is_finished(ask, s, &finished, err));
        if (finished) {
            VR_TRY(give_reply(ask, s, err));
            continue;
        }
        ask->active[n] = s->context;
        ask->tokens[n++] = token;
    }
    *open = n;
    return vrwkv_decode(ask->active, n, ask->tokens, err);
}

vr_status vr_ask_question(vr_ask *ask, size_t job, const char *question, vr_error *err) {
    for (;;) {
        size_t open;
        for (size_t i = 0; i < ask->options.batch; i++) {
            slot *s = &ask->slots[i];
            if (s->busy) continue;
            s->job = job;
            s->ids.n = 0;
            s->logits = 0;
            s->product = 1;
            if (ask->options.shape) vr_shape_start(&s->shape, ask->options.shape);
            VR_TRY(read_question(ask, s, question, err));
            s->busy = true;
            return VRWKV_OK;
        }
        VR_TRY(step(ask, &open, err));
    }
}

vr_status vr_ask_finish(vr_ask *ask, vr_error *err) {
    size_t open = 1;
    while (open) VR_TRY(step(ask, &open, err));
    return VRWKV_OK;
}
