/* Conversations: reading ids and pictures into the state, one chunk or one token at a time. */
#include "vl/pieces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ROWS 256 /* rows per forward pass; a picture is never cut and may exceed it */
#define SCORE_ROWS 32  /* rows whose logits are held at once when scoring */

vrwkv_status vrwkv_context_new(vrwkv_model *model, const vrwkv_context_options *options, vrwkv_context **out, vrwkv_error *err) {
    if (!model || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_context_new: model and out must be given");
    *out = NULL;
    size_t state = (size_t)model->state_floats, vocab = (size_t)model->config.lm.n_vocab;
    vrwkv_context *context = vr_alloc(1, sizeof *context + (2 * state + 3 * vocab) * sizeof(float));
    if (!context) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a conversation of %zu bytes", state * sizeof(float));
    context->model = model;
    context->state = (float *)(context + 1);
    context->logits = context->state + state;
    context->counts = context->logits + vocab;
    context->backup = context->counts + vocab;
    vrwkv_sampling none;
    memset(&none, 0, sizeof none);
    vrwkv_sampling sampling = vrwkv_sampling_default();
    if (options) {
        context->manner = options->manner;
        context->padding = options->padding;
        context->no_blank_image = options->no_blank_image != 0;
        if (memcmp(&options->sampling, &none, sizeof none) != 0) sampling = options->sampling;
    }
    vr_status status = vrwkv_set_sampling(context, &sampling, err);
    if (status != VRWKV_OK) {
        free(context);
        return status;
    }
    *out = context;
    return VRWKV_OK;
}

void vrwkv_context_free(vrwkv_context *context) { free(context); }
vrwkv_model *vrwkv_context_model(const vrwkv_context *context) { return context->model; }
uint64_t vrwkv_context_length(const vrwkv_context *context) { return context->length; }
const float *vrwkv_logits(const vrwkv_context *context) { return context->has_logits ? context->logits : NULL; }
void vrwkv_cancel(vrwkv_context *context) { __atomic_store_n(&context->cancelled, 1, __ATOMIC_RELAXED); }

void vrwkv_set_trace(vrwkv_context *context, vrwkv_trace_fn trace, void *user) {
    context->trace = trace;
    context->trace_user = user;
}

void vrwkv_context_reset(vrwkv_context *context) {
    const vrwkv_model *model = context->model;
    memset(context->state, 0, (size_t)model->state_floats * sizeof(float));
    memset(context->counts, 0, (size_t)model->config.lm.n_vocab * sizeof(float));
    context->has_logits = context->continued = false;
    context->length = 0;
    context->rng.state = context->sampling.seed;
}

vrwkv_status vrwkv_copy(vrwkv_context *to, const vrwkv_context *from, vrwkv_error *err) {
    if (!to || !from || to->model != from->model)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_copy: the contexts belong to different models");
    const vrwkv_model *model = from->model;
    size_t vocab = (size_t)model->config.lm.n_vocab;
    memcpy(to->state, from->state, ((size_t)model->state_floats + 2 * vocab) * sizeof(float)); /* state, logits, counts */
    to->manner = from->manner;
    to->padding = from->padding;
    to->no_blank_image = from->no_blank_image;
    to->has_logits = from->has_logits;
    to->continued = from->continued;
    to->length = from->length;
    to->sampling = from->sampling;
    to->rng = from->rng;
    return VRWKV_OK;
}

vrwkv_status vrwkv_fork(const vrwkv_context *context, vrwkv_context **out, vrwkv_error *err) {
    if (!context || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_fork: context and out must be given");
    VR_TRY(vrwkv_context_new(context->model, NULL, out, err));
    return vrwkv_copy(*out, context, err);
}

vr_status vr_check_ids(const vrwkv_model *model, const int32_t *ids, size_t n, size_t n_images, vr_error *err) {
    int32_t row_id = n_images ? model->config.rules->row_id : 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i] != VRWKV_IMAGE && !(row_id && ids[i] == row_id) && (ids[i] < 0 || ids[i] >= model->config.lm.n_vocab))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "id %d at position %zu is outside the vocabulary 0..%d", ids[i], i,
                           model->config.lm.n_vocab - 1);
    return VRWKV_OK;
}

static void watch(void *user, const char *name, const vr_tensor *value) {
    const vrwkv_context *context = user;
    vr_emit(context->trace, context->trace_user, name, value);
}

/* One forward pass of rows x [T,D] of one context. A cancelled or failed pass leaves the state of
 * before: it works on the backup and copies back. */
static vr_status read_rows(vrwkv_context *context, vr_run *run, vr_tensor *x, int64_t image_start, int64_t image_length) {
    vrwkv_model *model = context->model;
    int64_t T = x->shape[0];
    float *state = vr_arena_get(run->arena, (size_t)model->state_floats, sizeof *state);
    if (!state) return vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted");
    memcpy(state, context->state, (size_t)model->state_floats * sizeof(float));
    vr_segment segment = {.rows = {0, T}, .state = state, .image_start = image_start, .image_length = image_length};
    vr_tensor *y = vr_rwkv_forward(run, &model->lm, x, &segment, 1, model->scan, context->trace ? watch : NULL, context);
    vr_tensor *rows = context->trace ? y : vr_rows(run, y, T - 1, 1);
    vr_tensor *logits = vr_rwkv_logits(run, &model->lm, rows);
    VR_TRY(vr_run_status(run));
    if (context->trace) vr_emit(context->trace, context->trace_user, "logits", logits);
    size_t vocab = (size_t)model->config.lm.n_vocab;
    memcpy(context->logits, (float *)logits->data + (size_t)(logits->shape[0] - 1) * vocab, vocab * sizeof(float));
    memcpy(context->state, state, (size_t)model->state_floats * sizeof(float));
    context->has_logits = true;
    context->length += (uint64_t)T;
    return VRWKV_OK;
}

/* Up to CHUNK_ROWS text rows and rows of one picture behind them, in one pass. Only a whole picture is
 * scanned: part of one has no grid. */
static vr_status read_chunk(vrwkv_context *context, const vr_piece *piece, vr_error *err) {
    vrwkv_model *model = context->model;
    vr_workspace *workspace;
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, &context->cancelled, err);
    size_t width = (size_t)model->config.lm.n_embd;
    vr_tensor *x = vr_new2(&run, (int64_t)piece->n + piece->rows, (int64_t)width);
    vr_status status = vr_run_status(&run);
    if (x && piece->n) {
        vr_tensor *text = vr_embed(&run, &model->lm.emb, piece->ids, (int64_t)piece->n);
        status = vr_run_status(&run);
        if (text) memcpy(x->data, text->data, piece->n * width * sizeof(float));
    }
    bool whole = piece->image && piece->rows == piece->image->rows;
    float *to = status == VRWKV_OK ? (float *)x->data + piece->n * width : NULL;
    if (to && whole)
        status = vr_place_image(model, model->scan, to, piece->image->data, piece->rows, err);
    else if (to && piece->image)
        memcpy(to, piece->image->data + (size_t)piece->first * width, (size_t)piece->rows * width * sizeof(float));
    if (status == VRWKV_OK) status = read_rows(context, &run, x, (int64_t)piece->n, whole ? vr_scanned_rows(model, piece->rows) : 0);
    vr_workspace_put(model, workspace);
    return status;
}

vr_status vr_feed(vrwkv_context *context, const int32_t *ids, size_t n, vrwkv_features *const *images, size_t n_images,
                  vr_error *err) {
    vr_pieces pieces;
    vr_piece piece;
    vr_pieces_start(&pieces, context->model, ids, n, images, n_images);
    while (vr_pieces_next(&pieces, &piece)) {
        for (; piece.n > CHUNK_ROWS; piece.ids += CHUNK_ROWS, piece.n -= CHUNK_ROWS)
            VR_TRY(read_chunk(context, &(vr_piece){.ids = piece.ids, .n = CHUNK_ROWS}, err));
        if (piece.n || piece.rows) VR_TRY(read_chunk(context, &piece, err));
    }
    return VRWKV_OK;
}

/* The state after the blank image, the same in every conversation: computed once per model. */
static vr_status read_blank(vrwkv_context *context, vr_error *err) {
    vrwkv_model *model = context->model;
    size_t bytes = (size_t)model->state_floats * sizeof(float);
    pthread_mutex_lock(&model->lock);
    const float *known = model->blank_state;
    pthread_mutex_unlock(&model->lock);
    if (known && !context->trace) {
        memcpy(context->state, known, bytes);
        context->length += (uint64_t)model->info.image_tokens;
        return VRWKV_OK;
    }
    size_t rows = (size_t)model->info.image_tokens, width = (size_t)model->config.lm.n_embd;
    vrwkv_features *blank = vr_alloc(1, sizeof *blank + rows * width * sizeof(float));
    if (!blank) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    blank->rows = (int)rows;
    blank->width = (int)width;
    vr_status status = read_chunk(context, &(vr_piece){.image = blank, .rows = blank->rows}, err);
    free(blank);
    VR_TRY(status);
    float *copy = vr_alloc(bytes, 1);
    if (copy) memcpy(copy, context->state, bytes);
    pthread_mutex_lock(&model->lock);
    if (!model->blank_state) {
        model->blank_state = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&model->lock);
    free(copy);
    return VRWKV_OK;
}

/* What of a prompt belongs to its pictures, and whether it fits. */
static vr_status check_feed(const vrwkv_context *context, const int32_t *ids, size_t n, vrwkv_features *const *images, size_t n_images,
                            size_t *places, vr_error *err) {
    const vrwkv_model *model = context->model;
    const vr_version *rules = model->config.rules;
    size_t rows = 0;
    *places = 0;
    VR_TRY(vr_check_ids(model, ids, n, n_images, err));
    for (size_t i = 0; i < n; i++) {
        *places += ids[i] == VRWKV_IMAGE;
        rows += rules->row_id && ids[i] == rules->row_id;
    }
    size_t most = *places > n_images ? *places : n_images;
    if (rules->most_pictures && most > (size_t)rules->most_pictures)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%zu pictures in one prompt: this model takes at most %d", most, rules->most_pictures);
    bool none = *places == 0 && (rows || (rules->blank == VR_BLANK_ROWS && context->manner == VRWKV_ORIGINAL)); /* the original's data code drops it */
    bool dummy = *places == 1 && n_images == 0 && rules->blank == VR_BLANK_PICTURE;
    if (*places != n_images && !none && !dummy)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%zu pictures given, the prompt has places for %zu", n_images, *places);
    for (size_t i = 0; i < n_images; i++)
        if (!images[i] || images[i]->width != model->config.lm.n_embd)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "picture %zu was encoded by another model (%d wide, expected %d)", i + 1,
                           images[i] ? images[i]->width : 0, model->config.lm.n_embd);
    return VRWKV_OK;
}

int64_t vr_left_padding(const vrwkv_model *model, int64_t rows) {
    int multiple = model->config.n_towers ? model->config.rules->pad_multiple : 0;
    return multiple ? (multiple - rows % multiple) % multiple : 0;
}

static vr_status read_padding(vrwkv_context *context, int64_t rows, vr_error *err) {
    const vrwkv_model *model = context->model;
    bool pads = context->padding == VRWKV_PAD_ORIGINAL || (context->padding == VRWKV_PAD_BY_MANNER && context->manner == VRWKV_ORIGINAL);
    int32_t ids[64];
    int64_t n = pads ? vr_left_padding(model, rows) : 0;
    for (int64_t i = 0; i < n; i++) ids[i] = model->config.pad_token;
    return vr_feed(context, ids, (size_t)n, NULL, 0, err);
}

vrwkv_status vrwkv_feed(vrwkv_context *context, const int32_t *ids, size_t n, vrwkv_features *const *images, size_t n_images,
                        vrwkv_error *err) {
    if (!context || (n && !ids) || (n_images && !images))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_feed: a null pointer was given");
    vrwkv_model *model = context->model;
    size_t places;
    vrwkv_features *zero;
    VR_TRY(check_feed(context, ids, n, images, n_images, &places, err));
    if (places && n_images == 0) {
        VR_TRY(vr_zero_picture(model, &zero, err));
        images = &zero;
        n_images = 1;
    }
    __atomic_store_n(&context->cancelled, 0, __ATOMIC_RELAXED);
    bool empty = context->length == 0 && !context->continued;
    if (empty && n && model->config.n_towers) {
        bool blank = places == 0 && model->config.rules->blank == VR_BLANK_ROWS && !context->no_blank_image;
        if (blank) VR_TRY(read_blank(context, err));
        VR_TRY(read_padding(context, vr_pieces_rows(model, ids, n, images, n_images), err));
    }
    return vr_feed(context, ids, n, images, n_images, err);
}

vrwkv_status vrwkv_feed_text(vrwkv_context *context, const char *text, size_t n, vrwkv_error *err) {
    if (!context || (n && !text)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_feed_text: a null pointer was given");
    if (!context->model->vocab) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model has no vocabulary: give token ids instead of text");
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    vr_status status = vr_encode(context->model->vocab, text, n, &ids, &count, &capacity, err);
    __atomic_store_n(&context->cancelled, 0, __ATOMIC_RELAXED);
    if (status == VRWKV_OK) status = vr_check_ids(context->model, ids, count, 0, err);
    if (status == VRWKV_OK) status = vr_feed(context, ids, count, NULL, 0, err);
    free(ids);
    return status;
}

vrwkv_status vrwkv_feed_features(vrwkv_context *context, vrwkv_features *image, vrwkv_error *err) {
    static const int32_t place = VRWKV_IMAGE;
    return vrwkv_feed(context, &place, 1, &image, 1, err);
}

/* ---- many contexts together ---- */

static vr_status check_contexts(vrwkv_context *const *contexts, size_t n, const int32_t *tokens, vr_error *err) {
    if (!contexts || !tokens) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_decode: a null pointer was given");
    for (size_t i = 0; i < n; i++) {
        if (!contexts[i] || contexts[i]->model != contexts[0]->model)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_decode: context %zu belongs to another model", i);
        for (size_t j = 0; j < i; j++)
            if (contexts[j] == contexts[i]) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_decode: context %zu is given twice", i);
        if (tokens[i] < 0 || tokens[i] >= contexts[0]->model->config.lm.n_vocab)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_decode: id %d is outside the vocabulary 0..%d", tokens[i],
                           contexts[0]->model->config.lm.n_vocab - 1);
    }
    return VRWKV_OK;
}

/* Every context is a sequence of one row of the same pass, so each weight is read once. */
static vr_status decode_step(vr_run *run, vrwkv_model *model, vrwkv_context *const *contexts, int64_t n, const int32_t *tokens) {
    vr_segment *segments = vr_arena_get(run->arena, (size_t)n, sizeof *segments);
    if (!segments) return vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted");
    for (int64_t i = 0; i < n; i++) segments[i] = (vr_segment){.rows = {i, 1}, .state = contexts[i]->state};
    vr_tensor *x = vr_embed(run, &model->lm.emb, tokens, n);
    vrwkv_context *traced = n == 1 && contexts[0]->trace ? contexts[0] : NULL;
    vr_tensor *y = vr_rwkv_forward(run, &model->lm, x, segments, (int)n, model->scan, traced ? watch : NULL, traced);
    vr_tensor *logits = vr_rwkv_logits(run, &model->lm, y);
    VR_TRY(vr_run_status(run));
    if (traced) vr_emit(traced->trace, traced->trace_user, "logits", logits);
    size_t vocab = (size_t)model->config.lm.n_vocab;
    for (int64_t i = 0; i < n; i++) {
        memcpy(contexts[i]->logits, (float *)logits->data + (size_t)i * vocab, vocab * sizeof(float));
        contexts[i]->has_logits = true;
        contexts[i]->length++;
    }
    return VRWKV_OK;
}

vrwkv_status vrwkv_decode(vrwkv_context *const *contexts, size_t n, const int32_t *tokens, vrwkv_error *err) {
    if (n == 0) return VRWKV_OK;
    VR_TRY(check_contexts(contexts, n, tokens, err));
    vrwkv_model *model = contexts[0]->model;
    vr_workspace *workspace;
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_status status = VRWKV_OK;
    for (size_t i = 0; i < n && status == VRWKV_OK; i += CHUNK_ROWS) {
        size_t part = n - i < CHUNK_ROWS ? n - i : CHUNK_ROWS;
        /* a step is short and its states are updated in place: it is not cancelled half-way */
        vr_run run = vr_run_make(model, workspace, NULL, err);
        status = decode_step(&run, model, contexts + i, (int64_t)part, tokens + i);
        vr_arena_release(&workspace->arena, 0);
    }
    vr_workspace_put(model, workspace);
    return status;
}

/* ---- scoring ---- */

static double log_softmax_at(const float *logits, int64_t n, int32_t id) {
    double max = logits[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > max) max = logits[i];
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return (double)logits[id] - max - log(sum);
}

static vr_status score_part(vrwkv_context *context, float *state, float *logits, const int32_t *ids, size_t n, float *logprobs,
                            vr_error *err) {
    vrwkv_model *model = context->model;
    int64_t vocab = model->config.lm.n_vocab;
    vr_workspace *workspace;
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, &context->cancelled, err);
    vr_segment segment = {.rows = {0, (int64_t)n}, .state = state};
    vr_tensor *x = vr_embed(&run, &model->lm.emb, ids, (int64_t)n);
    vr_tensor *rows = vr_rwkv_logits(&run, &model->lm, vr_rwkv_forward(&run, &model->lm, x, &segment, 1, model->scan, NULL, NULL));
    vr_status status = vr_run_status(&run);
    for (size_t i = 0; i < n && status == VRWKV_OK; i++) {
        const float *before = i ? (const float *)rows->data + (int64_t)(i - 1) * vocab : logits;
        logprobs[i] = (float)log_softmax_at(before, vocab, ids[i]);
    }
    if (status == VRWKV_OK) memcpy(logits, (float *)rows->data + (int64_t)(n - 1) * vocab, (size_t)vocab * sizeof(float));
    vr_workspace_put(model, workspace);
    return status;
}

vrwkv_status vrwkv_score(vrwkv_context *context, const int32_t *ids, size_t n, float *logprobs, vrwkv_error *err) {
    if (!context || (n && (!ids || !logprobs))) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_score: a null pointer was given");
    if (!context->has_logits)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_score: the conversation is empty, so nothing precedes the ids");
    VR_TRY(vr_check_ids(context->model, ids, n, 0, err));
    for (size_t i = 0; i < n; i++)
        if (ids[i] == VRWKV_IMAGE) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_score: a picture has no probability");
    size_t state = (size_t)context->model->state_floats, vocab = (size_t)context->model->config.lm.n_vocab;
    float *logits = context->backup + state;
    memcpy(context->backup, context->state, state * sizeof(float));
    memcpy(logits, context->logits, vocab * sizeof(float));
    __atomic_store_n(&context->cancelled, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < n; i += SCORE_ROWS)
        VR_TRY(score_part(context, context->backup, logits, ids + i, n - i < SCORE_ROWS ? n - i : SCORE_ROWS, logprobs + i, err));
    return VRWKV_OK;
}
