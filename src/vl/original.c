/* The original's way of running: assemble the whole embedded sequence, run it from the empty state,
 * and, to generate, run all of it again for every token. For exact comparison.
 * src: VisualRWKV v6.0 src/model.py, preparing_embedding and generate. */
#include "vl/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct sequence {
    float *rows; /* [capacity, n_embd], heap */
    int64_t n, image_start, image_length; /* scanned rows; they do not move when the sequence is cut */
    const vr_scan *scan;
    const vr_tensor *image; /* for the trace */
} sequence;

static vr_status embed_into(vr_run *run, const vrwkv_model *model, float *to, const int32_t *ids, size_t n) {
    if (n == 0) return VRWKV_OK;
    vr_tensor *x = vr_embed(run, &model->lm.emb, ids, (int64_t)n);
    VR_TRY(vr_run_status(run));
    memcpy(to, x->data, n * (size_t)model->config.lm.n_embd * sizeof(float));
    return VRWKV_OK;
}

/* [text before] picture [text after], or, without a place for it, a zero picture and the text. */
static vr_status assemble(vr_run *run, vrwkv_model *model, const vr_original_input *input, int64_t extra, sequence *s,
                          vrwkv_trace_fn trace, void *user) {
    size_t width = (size_t)model->config.lm.n_embd, before = 0, places = 0;
    VR_TRY(vr_check_ids(model, input->ids, input->n, run->err));
    for (size_t i = 0; i < input->n; i++)
        if (input->ids[i] == VRWKV_IMAGE && places++ == 0) before = i;
    if (places > 1) return vr_fail(run->err, VRWKV_ERR_UNSUPPORTED, "%zu pictures in one prompt: this model takes at most one", places);
    s->scan = input->scan ? vr_scan_find(input->scan) : model->scan;
    if (!s->scan) return vr_scan_unknown(input->scan, run->err);
    vr_tensor *image = NULL;
    if (model->config.n_towers) {
        int64_t size = model->towers[0].dims.image_size;
        vr_tensor *zero = input->pixels ? NULL : vr_zeros2(run, 3 * size, size);
        image = vr_encode_pixels(run, model, input->pixels ? input->pixels : zero ? zero->data : NULL, trace, user);
        VR_TRY(vr_run_status(run));
        if (places == 0) memset(image->data, 0, (size_t)image->shape[0] * width * sizeof(float));
    } else if (places) {
        return vr_fail(run->err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    }
    int64_t n_image = image ? image->shape[0] : 0;
    s->image = image;
    s->n = (int64_t)(input->n - places) + n_image;
    if (s->n == 0) return vr_fail(run->err, VRWKV_ERR_ARGUMENT, "the prompt is empty");
    s->rows = vr_alloc((size_t)(s->n + extra) * width, sizeof(float));
    if (!s->rows) return vr_fail(run->err, VRWKV_ERR_MEMORY, "out of memory for %lld rows", (long long)s->n);
    s->image_start = (int64_t)before;
    s->image_length = vr_scanned_rows(model, n_image);
    size_t after = input->n - before - places;
    VR_TRY(embed_into(run, model, s->rows, input->ids, before));
    if (image) VR_TRY(vr_place_image(model, s->scan, s->rows + before * width, image->data, n_image, run->err));
    return embed_into(run, model, s->rows + (before + (size_t)n_image) * width, input->ids + before + places, after);
}

/* The whole sequence from the empty state: the residual stream, in the run's arena. */
static vr_tensor *run_whole(vr_run *run, vrwkv_model *model, const sequence *s, vr_watch_fn watch, void *user) {
    float *state = vr_arena_get(run->arena, (size_t)model->state_floats, sizeof *state);
    vr_tensor *x = vr_new2(run, s->n, model->config.lm.n_embd);
    if (!state || !x) {
        if (run->status == VRWKV_OK) run->status = vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted");
        return NULL;
    }
    memset(state, 0, (size_t)model->state_floats * sizeof(float));
    memcpy(x->data, s->rows, (size_t)s->n * (size_t)model->config.lm.n_embd * sizeof(float));
    int64_t start = s->image_start < s->n ? s->image_start : s->n; /* ranges past the end are clipped */
    int64_t length = s->image_length < s->n - start ? s->image_length : s->n - start;
    vr_segment segment = {{0, s->n}, state, start, length};
    return vr_rwkv_forward(run, &model->lm, x, &segment, 1, s->scan, watch, user);
}

typedef struct tracer {
    vrwkv_trace_fn trace;
    void *user;
} tracer;

static void watch(void *user, const char *name, const vr_tensor *value) {
    const tracer *t = user;
    vr_emit(t->trace, t->user, name, value);
}

/* vr_encode_pixels emits the rows before they are zeroed; what the sequence holds is what counts. */
static void keep_image(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    const tracer *t = user;
    if (strcmp(name, "image") != 0) t->trace(t->user, name, ndim, shape, data);
}

vr_status vr_original_trace(vrwkv_model *model, const vr_original_input *input, vrwkv_trace_fn trace, void *user, vr_error *err) {
    vr_workspace *workspace;
    sequence s = {0};
    tracer t = {trace, user};
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, NULL, err);
    vr_status status = assemble(&run, model, input, 0, &s, keep_image, &t);
    if (status == VRWKV_OK) {
        vr_emit(trace, user, "image", s.image);
        vr_emit(trace, user, "logits", vr_rwkv_logits(&run, &model->lm, run_whole(&run, model, &s, watch, &t)));
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
    vr_tensor *y = run_whole(run, model, s, NULL, NULL);
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
    vr_status status = assemble(&run, model, input, max_new_tokens, &s, NULL, NULL);
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
