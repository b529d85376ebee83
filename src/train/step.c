#include "train/step.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define LOGITS_AT_ONCE ((int64_t)1 << 25)

vr_status vr_trainer_open(vr_trainer *t, vrwkv_model *model, const vr_weight_choice *choice, uint64_t max_bytes,
                          vr_error *err) {
    *t = (vr_trainer){.model = model, .logits_at_once = LOGITS_AT_ONCE};
    if (!model->options.exact)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "a model is trained with exact products: it must be opened as exact");
    VR_TRY(vr_weight_set_open(&t->weights, model, choice, err));
    for (size_t i = 0; i < t->weights.n; i++) t->trains_towers |= strncmp(t->weights.items[i].name, "vit.", 4) == 0;
    vr_status status = vr_arena_open(&t->arena, (size_t)max_bytes, err);
    if (status == VRWKV_OK) status = vr_tape_open(&t->tape, &t->arena, err);
    if (status == VRWKV_OK) status = vr_weight_set_record(&t->weights, &t->tape, err);
    if (status != VRWKV_OK) vr_trainer_close(t);
    return status;
}

void vr_trainer_close(vr_trainer *t) {
    if (t->model) vr_pool_drain(t->model->pool); /* a late thread may still read weights, for a result that nobody waits for */
    vr_tape_close(&t->tape);
    vr_arena_close(&t->arena);
    vr_weight_set_close(&t->weights);
    *t = (vr_trainer){0};
}

static vr_run make_run(vr_trainer *t, vr_error *err) {
    vr_arena_release(&t->arena, 0);
    return (vr_run){.arena = &t->arena, .pool = t->model->pool, .kernels = t->model->kernels, .err = err, .exact = true,
                    .cancel = t->cancel, .adapters = t->model->adapters, .n_adapters = t->model->n_adapters};
}

int64_t vr_trainer_channels(const vr_trainer *t) {
    int64_t channels = 0;
    for (int i = 0; i < t->model->config.n_towers; i++) channels += vr_tower_width(&t->model->towers[i].dims);
    return t->model->config.rules->rows == VR_ROWS_OVERLAID ? 2 * channels : channels;
}

static vr_tensor *encode(vr_run *run, vrwkv_model *model, const vr_picture *picture, int index) {
    return vr_pool_features(run, model, vr_encode_towers(run, model, picture, index, NULL, NULL), picture->regions);
}

vr_status vr_trainer_encode(vr_trainer *t, const vr_picture *picture, float **features, int *rows, vr_error *err) {
    vr_run run = make_run(t, err);
    vr_tensor *x = encode(&run, t->model, picture, 0);
    *features = NULL;
    VR_TRY(vr_run_status(&run));
    size_t bytes = (size_t)(x->shape[0] * x->shape[1]) * sizeof(float);
    *features = vr_alloc(bytes, 1);
    if (!*features) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for features of %zu bytes", bytes);
    memcpy(*features, x->data, bytes);
    *rows = (int)x->shape[0];
    return VRWKV_OK;
}

/* ---- the pass ---- */

typedef struct pass {
    vr_trainer *trainer;
    vrwkv_model *model;
    vr_run *run;
    const vr_batch *batch;
    vr_watch_fn watch;
    void *user;
    bool loss_only;
} pass;

static void show(const pass *p, const char *name, const vr_tensor *x) {
    if (p->watch && x) p->watch(p->user, name, x);
}

/* Given features, side by side in the arena: constants to the tape, which begins behind them. */
static vr_tensor *gather_features(pass *p, const vr_train_image *images, int n) {
    int64_t rows = 0, channels = vr_trainer_channels(p->trainer), at = 0;
    for (int i = 0; i < n; i++) rows += images[i].rows;
    vr_tensor *all = vr_new2(p->run, rows, channels);
    for (int i = 0; all && i < n; at += images[i++].rows)
        memcpy((float *)all->data + at * channels, images[i].features, (size_t)(images[i].rows * channels) * sizeof(float));
    return all;
}

static vr_tensor *encode_all(pass *p, const vr_train_image *images, int n) {
    vr_tensor *all = NULL;
    for (int i = 0; i < n; i++) {
        vr_tensor *x = encode(p->run, p->model, images[i].picture, i);
        all = all ? vr_concat_rows(p->run, all, x) : x;
    }
    return all;
}

/* Features of all pictures -> rows of the language model's width. */
static vr_tensor *project(pass *p, vr_tensor *features, const vr_train_image *images, int n) {
    const vr_config *config = &p->model->config;
    vr_tensor *x = p->model->projector.arch->forward(p->run, &p->model->projector, features), *all = NULL;
    if (!vr_is_compressed(config->rules->rows)) return x;
    int64_t at = 0;
    for (int i = 0; i < n; at += images[i++].rows) {
        int regions = images[i].picture->regions, tokens = config->num_token_per_image;
        if (config->rules->rows == VR_ROWS_REGIONS) tokens *= regions;
        vr_tensor *y = vr_compress(p->run, p->model, vr_rows(p->run, x, at, images[i].rows), tokens, NULL);
        all = all ? vr_concat_rows(p->run, all, y) : y;
    }
    return all;
}

static vr_tensor *assemble(pass *p, const vr_train_image *images, int n) {
    const vr_batch *b = p->batch;
    bool ahead = n > 0 && images[0].features;
    vr_tensor *features = ahead ? gather_features(p, images, n) : NULL, *rows = NULL;
    vr_tape_begin(p->run, &p->trainer->tape);
    p->trainer->tape.recording = !p->loss_only;
    if (n > 0) {
        if (!ahead) features = encode_all(p, images, n);
        rows = project(p, features, images, n);
        show(p, "pooled", features);
        show(p, "image", rows);
        if (!rows) return NULL;
        if (rows->shape[0] != b->n_image_rows)
            p->run->status =
                vr_fail(p->run->err, VRWKV_ERR_SHAPE, "%d pictures have %lld rows, the batch has places for %lld", n,
                        (long long)rows->shape[0], (long long)b->n_image_rows);
    }
    vr_tensor *text = b->n_ids ? vr_embed(p->run, &p->model->lm.emb, b->ids, b->n_ids) : NULL;
    vr_tensor *all = text && rows ? vr_concat_rows(p->run, text, rows) : text ? text : rows;
    return vr_pick_rows(p->run, all, b->source, b->n * (b->padding + b->T));
}

/* Without the rows of the padding; without those that have no label, where that is wanted. */
static vr_tensor *pick_labelled(pass *p, vr_tensor *x, int32_t **targets, float **weights) {
    const vr_batch *b = p->batch;
    bool all = !p->trainer->labelled_only;
    int64_t n = 0, most = b->n * b->T;
    int32_t *index = vr_arena_get(p->run->arena, (size_t)most + 1, sizeof *index);
    *targets = vr_arena_get(p->run->arena, (size_t)most + 1, sizeof **targets);
    *weights = vr_arena_get(p->run->arena, (size_t)most + 1, sizeof **weights);
    if (!index || !*targets || !*weights) {
        p->run->status = vr_fail(p->run->err, VRWKV_ERR_MEMORY, "the limit of memory for activations is reached");
        return NULL;
    }
    for (int64_t i = 0; i < most; i++) {
        if (!all && b->targets[i] < 0) continue;
        index[n] = (int32_t)(i / b->T * (b->padding + b->T) + b->padding + i % b->T);
        (*targets)[n] = b->targets[i];
        (*weights)[n++] = b->weights[i];
    }
    return vr_pick_rows(p->run, x, index, n);
}

/* Pieces of the head, as layers: at[0] the residual stream's rows, at[1] the loss so far. */
typedef struct head {
    const pass *pass;
    const int32_t *targets;
    const float *weights;
    int64_t rows; /* of a piece */
    float pull;
} head;

static bool run_head(vr_run *run, const void *context, int piece, vr_tensor *at[VR_STREAMS]) {
    const head *h = context;
    int64_t first = piece * h->rows, left = at[0]->shape[0] - first;
    vr_tensor *logits =
        vr_rwkv_logits(run, &h->pass->model->lm, vr_rows(run, at[0], first, left < h->rows ? left : h->rows));
    if (run->tape->recording) show(h->pass, "logits", logits);
    if (h->pass->watch) vr_watch_gradient(run, logits, "dlogits", h->pass->watch, h->pass->user);
    vr_tensor *loss = vr_cross_entropy(run, logits, h->targets + first, h->weights + first, h->pull);
    at[1] = at[1] ? vr_add(run, at[1], loss) : loss;
    return at[1] != NULL;
}

static vr_tensor *run_heads(pass *p, vr_tensor *x, const int32_t *targets, const float *weights) {
    int64_t V = p->model->config.lm.n_vocab, n = x ? x->shape[0] : 0, rows = p->trainer->logits_at_once / V;
    vr_tape *tape = &p->trainer->tape;
    bool checkpoints = tape->checkpoints;
    if (n == 0) return vr_zeros2(p->run, 1, 1); /* nothing is labelled */
    if (rows < 1) rows = 1;
    head *h = vr_arena_get(p->run->arena, 1, sizeof *h);
    if (!h) return NULL;
    *h = (head){p, targets, weights, rows, p->trainer->l2wrap / (float)(p->batch->n_all * p->batch->T)};
    vr_streams streams = {.at = {x}};
    tape->checkpoints = n > rows;
    for (int piece = 0; piece * rows < n; piece++)
        if (!vr_layer(p->run, run_head, h, piece, &streams)) return NULL;
    tape->checkpoints = checkpoints;
    return streams.at[1];
}

static vr_tensor *forward(pass *p, const vr_train_image *images, int n_images) {
    const vr_batch *b = p->batch;
    int64_t rows = b->padding + b->T;
    vr_segment *segments = vr_arena_get(p->run->arena, (size_t)b->n, sizeof *segments);
    int32_t *targets;
    float *weights;
    if (!segments) return NULL;
    for (int64_t s = 0; s < b->n; s++)
        segments[s] = (vr_segment){.rows = {s * rows, rows}, .state = p->trainer->weights.state,
                                   .image_start = b->image_start, .image_length = b->image_length};
    vr_tensor *x = assemble(p, images, n_images);
    show(p, "embeds", x);
    x = vr_rwkv_forward_samples(p->run, &p->model->lm, x, segments, (int)b->n, p->model->scan, NULL, NULL);
    if (!x) return NULL;
    x = pick_labelled(p, x, &targets, &weights);
    return x ? run_heads(p, x, targets, weights) : NULL;
}

/* The result of a forward pass; NULL: it failed, the status is *status. */
static vr_tensor *run_pass(pass *p, const vr_train_image *images, int n_images, double *loss, vr_status *status) {
    vr_tensor *result = forward(p, images, n_images);
    *status = p->run->status;
    if (result) {
        *loss = (double)*(const float *)result->data;
        return result;
    }
    p->run->tape = NULL;
    if (*status == VRWKV_OK)
        *status = vr_fail(p->run->err, VRWKV_ERR_MEMORY, "the limit of memory for activations is reached");
    return NULL;
}

vr_status vr_trainer_pass(vr_trainer *t, const vr_batch *batch, const vr_train_image *images, int n_images, float seed,
                          vr_watch_fn watch, void *user, double *loss, vr_error *err) {
    vr_run run = make_run(t, err);
    vr_status status;
    pass p = {.trainer = t, .model = t->model, .run = &run, .batch = batch, .watch = watch, .user = user};
    vr_tensor *result = run_pass(&p, images, n_images, loss, &status);
    return result ? vr_tape_backward(&run, result, seed) : status;
}

vr_status vr_trainer_loss(vr_trainer *t, const vr_batch *batch, const vr_train_image *images, int n_images,
                          double *loss, vr_error *err) {
    vr_run run = make_run(t, err);
    vr_status status;
    pass p = {.trainer = t, .model = t->model, .run = &run, .batch = batch, .loss_only = true};
    run_pass(&p, images, n_images, loss, &status);
    return status;
}
