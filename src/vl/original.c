/* The original's way of running: assemble the whole embedded sequence, run it from the empty state,
 * and, to generate, run all of it again for every token. For exact comparison.
 * src: VisualRWKV v6.0 src/model.py, preparing_embedding and generate. */
#include "vl/pieces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct sequence {
    float *rows; /* [capacity, n_embd], heap */
    int64_t n, image_start, image_length; /* scanned rows; they do not move when the sequence is cut */
    const vr_scan *scan;
    bool pads;
} sequence;

static vr_status embed_into(vr_run *run, const vrwkv_model *model, float *to, const int32_t *ids, size_t n) {
    if (n == 0) return VRWKV_OK;
    vr_tensor *x = vr_embed(run, &model->lm.emb, ids, (int64_t)n);
    VR_TRY(vr_run_status(run));
    memcpy(to, x->data, n * (size_t)model->config.lm.n_embd * sizeof(float));
    return VRWKV_OK;
}

typedef struct tracer {
    vrwkv_trace_fn trace;
    void *user;
    int64_t padding; /* rows in front that are not shown */
} tracer;

static void trace_rows(void *user, const char *name, const vr_tensor *value) {
    const tracer *t = user;
    int64_t shape[2] = {value->shape[0] - t->padding, value->shape[1]};
    t->trace(t->user, name, 2, shape, (const float *)value->data + t->padding * value->shape[1]);
}

/* The encoder emits the rows before they are zeroed; what the sequence holds is what counts. */
static void keep_image(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    const tracer *t = user;
    if (strcmp(name, "image") != 0) t->trace(t->user, name, ndim, shape, data);
}

/* ---- pictures ---- */

typedef struct album {
    vrwkv_features **images;
    size_t n;
} album;

static void album_free(album *a) {
    for (size_t i = 0; i < a->n; i++) vrwkv_features_free(a->images[i]);
    free(a->images);
}

/* `blank`: the rows are zero, whatever the picture. */
static vr_status encode_one(vr_run *run, vrwkv_model *model, const vr_picture *picture, int index, bool blank, const tracer *t,
                            vrwkv_features **out) {
    size_t mark = vr_arena_mark(run->arena);
    vrwkv_trace_fn trace = !t->trace ? NULL : blank ? keep_image : t->trace;
    vr_tensor *image = vr_encode_picture(run, model, picture, index, trace, blank ? (void *)t : t->user);
    VR_TRY(vr_run_status(run));
    if (blank) memset(image->data, 0, (size_t)(image->shape[0] * image->shape[1]) * sizeof(float));
    if (blank) vr_emit(t->trace, t->user, "image", image);
    vr_status status = vr_features_make(model, (int)image->shape[0], (int)image->shape[1], image->data, out, run->err);
    vr_arena_release(run->arena, mark);
    return status;
}

/* Encodes what the prompt needs: the pictures given, else a zero picture for each place; in versions with
 * blank rows one picture always, whose rows are zero where the prompt has no place for it. */
static vr_status encode_all(vr_run *run, vrwkv_model *model, const vr_original_input *input, const tracer *t, album *out, bool *blank) {
    const vr_version *rules = model->config.rules;
    size_t places = 0, rows = 0;
    VR_TRY(vr_check_ids(model, input->ids, input->n, 1, run->err));
    for (size_t i = 0; i < input->n; i++) {
        places += input->ids[i] == VRWKV_IMAGE;
        rows += rules->row_id && input->ids[i] == rules->row_id;
    }
    if (model->config.n_towers == 0)
        return places ? vr_fail(run->err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures") : VRWKV_OK;
    *blank = rules->blank == VR_BLANK_ROWS && !places;
    size_t n = input->n_pictures ? input->n_pictures : places ? places : *blank || rows ? 1 : 0;
    if (rules->most_pictures && n > (size_t)rules->most_pictures)
        return vr_fail(run->err, VRWKV_ERR_UNSUPPORTED, "%zu pictures in one prompt: this model takes at most %d", n, rules->most_pictures);
    if (n != places && !*blank && !rows)
        return vr_fail(run->err, VRWKV_ERR_ARGUMENT, "%zu pictures given, the prompt has places for %zu", n, places);
    vr_picture zero = {0};
    if (n && !input->n_pictures) VR_TRY(vr_model_zero_picture(model, &zero, run->err));
    out->images = vr_alloc(n ? n : 1, sizeof *out->images);
    vr_status status = out->images ? VRWKV_OK : vr_fail(run->err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < n && status == VRWKV_OK; i++) {
        const vr_picture *picture = input->n_pictures ? &input->pictures[i] : &zero;
        status = encode_one(run, model, picture, n > 1 ? (int)i : -1, *blank, t, &out->images[i]);
        if (status == VRWKV_OK) out->n++;
    }
    vr_picture_free(&zero);
    return status;
}

/* ---- the sequence ---- */

static vr_status put_piece(vr_run *run, vrwkv_model *model, const vr_piece *piece, sequence *s) {
    size_t width = (size_t)model->config.lm.n_embd;
    VR_TRY(embed_into(run, model, s->rows + (size_t)s->n * width, piece->ids, piece->n));
    s->n += (int64_t)piece->n;
    if (!piece->image) return VRWKV_OK;
    float *to = s->rows + (size_t)s->n * width;
    bool whole = piece->rows == piece->image->rows;
    if (s->scan->when != VR_SCAN_NONE && (s->image_length || !whole))
        return vr_fail(run->err, VRWKV_ERR_UNSUPPORTED, "scan '%s' with several pictures, or with part of one, is run only with the state carried over", s->scan->name);
    if (whole) {
        s->image_start = s->n;
        s->image_length = vr_scanned_rows(model, piece->rows);
        VR_TRY(vr_place_image(model, s->scan, to, piece->image->data, piece->rows, run->err));
    } else {
        memcpy(to, piece->image->data + (size_t)piece->first * width, (size_t)piece->rows * width * sizeof(float));
    }
    s->n += piece->rows;
    return VRWKV_OK;
}

/* Embedded text and pictures, `extra` rows of room behind; blank rows stand in front. */
static vr_status assemble(vr_run *run, vrwkv_model *model, const vr_original_input *input, int64_t extra, const tracer *t, sequence *s) {
    album pictures = {0};
    vr_pieces pieces;
    vr_piece piece;
    bool blank = false;
    s->scan = input->scan ? vr_scan_find(input->scan) : model->scan;
    s->pads = input->padding != VRWKV_PAD_NONE;
    if (!s->scan) return vr_scan_unknown(input->scan, run->err);
    vr_status status = encode_all(run, model, input, t, &pictures, &blank);
    bool in_front = status == VRWKV_OK && blank;
    int64_t n = 0;
    if (status == VRWKV_OK) {
        n = vr_pieces_rows(model, input->ids, input->n, pictures.images, pictures.n) + (in_front ? pictures.images[0]->rows : 0);
        if (n == 0) status = vr_fail(run->err, VRWKV_ERR_ARGUMENT, "the prompt is empty");
    }
    if (status == VRWKV_OK) {
        s->rows = vr_alloc((size_t)(n + extra) * (size_t)model->config.lm.n_embd, sizeof(float));
        if (!s->rows) status = vr_fail(run->err, VRWKV_ERR_MEMORY, "out of memory for %lld rows", (long long)n);
    }
    if (status == VRWKV_OK && in_front)
        status = put_piece(run, model, &(vr_piece){.image = pictures.images[0], .rows = pictures.images[0]->rows}, s);
    vr_pieces_start(&pieces, model, input->ids, input->n, pictures.images, pictures.n);
    while (status == VRWKV_OK && vr_pieces_next(&pieces, &piece)) status = put_piece(run, model, &piece, s);
    album_free(&pictures);
    return status;
}

/* The whole sequence from the empty state, padded anew: the residual stream of its rows, in the run's
 * arena. */
static vr_tensor *run_whole(vr_run *run, vrwkv_model *model, const sequence *s, tracer *t) {
    int64_t padding = s->pads ? vr_left_padding(model, s->n) : 0, width = model->config.lm.n_embd;
    vr_tensor *state = vr_zeros2(run, 1, model->state_floats), *x = vr_new2(run, padding + s->n, width);
    if (!state || !x) return NULL;
    for (int64_t i = 0; i < padding; i++)
        if (embed_into(run, model, (float *)x->data + i * width, &model->config.pad_token, 1) != VRWKV_OK) return NULL;
    memcpy((float *)x->data + padding * width, s->rows, (size_t)(s->n * width) * sizeof(float));
    int64_t start = s->image_start < s->n ? s->image_start : s->n; /* ranges past the end are clipped */
    int64_t length = s->image_length < s->n - start ? s->image_length : s->n - start;
    vr_segment segment = {.rows = {0, padding + s->n}, .state = state->data, .image_start = padding + start, .image_length = length};
    t->padding = padding;
    vr_tensor *y = vr_rwkv_forward(run, &model->lm, x, &segment, 1, s->scan, t->trace ? trace_rows : NULL, t);
    return y ? vr_rows(run, y, padding, s->n) : NULL;
}

vr_status vr_original_trace(vrwkv_model *model, const vr_original_input *input, vrwkv_trace_fn trace, void *user, vr_error *err) {
    vr_workspace *workspace;
    sequence s = {0};
    tracer t = {trace, user, 0};
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, NULL, err);
    vr_status status = assemble(&run, model, input, 0, &t, &s);
    if (status == VRWKV_OK) {
        vr_tensor *x = run_whole(&run, model, &s, &t);
        if (model->config.rules->trace_out)
            vr_emit(trace, user, "x.out", vr_layer_norm(&run, x, &model->lm.ln_out_w, &model->lm.ln_out_b, model->lm.dims.norm_eps));
        vr_emit(trace, user, "logits", vr_rwkv_logits(&run, &model->lm, x));
        status = vr_run_status(&run);
    }
    free(s.rows);
    vr_workspace_put(model, workspace);
    return status;
}

static void measure_step(const float *logits, int64_t n, vr_original_step *step) {
    int64_t best = 0;
    double sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i; /* the lowest index on ties */
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - (double)logits[best]);
    *step = (vr_original_step){(int32_t)best, logits[best], 1 / sum};
}

static vr_status one_step(vr_run *run, vrwkv_model *model, sequence *s, int ctx_len, vr_original_step *step) {
    size_t width = (size_t)model->config.lm.n_embd;
    tracer none = {0};
    vr_tensor *y = run_whole(run, model, s, &none);
    vr_tensor *logits = vr_rwkv_logits(run, &model->lm, y ? vr_rows(run, y, s->n - 1, 1) : NULL);
    VR_TRY(vr_run_status(run));
    measure_step(logits->data, model->config.lm.n_vocab, step);
    VR_TRY(embed_into(run, model, s->rows + (size_t)s->n * width, &step->id, 1));
    if (++s->n > ctx_len) {
        memmove(s->rows, s->rows + (size_t)(s->n - ctx_len) * width, (size_t)ctx_len * width * sizeof(float));
        s->n = ctx_len;
    }
    return VRWKV_OK;
}

vr_status vr_original_generate(vrwkv_model *model, const vr_original_input *input, int ctx_len, int32_t stop_token,
                               int max_new_tokens, vr_original_step *steps, int *count,
                               int (*on_step)(void *user, const vr_original_step *step), void *user, vr_error *err) {
    vr_workspace *workspace;
    sequence s = {0};
    *count = 0;
    if (ctx_len < 1) return vr_fail(err, VRWKV_ERR_ARGUMENT, "ctx_len %d is too small", ctx_len);
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, NULL, err);
    vr_status status = assemble(&run, model, input, max_new_tokens, &(tracer){0}, &s);
    while (status == VRWKV_OK && *count < max_new_tokens) {
        vr_arena_release(&workspace->arena, 0);
        vr_original_step *step = &steps[*count];
        status = one_step(&run, model, &s, ctx_len, step);
        if (status != VRWKV_OK) break;
        ++*count;
        if ((on_step && on_step(user, step)) || step->id == stop_token) break;
    }
    free(s.rows);
    vr_workspace_put(model, workspace);
    return status;
}
