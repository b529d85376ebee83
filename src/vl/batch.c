/* The original's way of reading a batch of samples, as its training does. v5, v6: every picture begins at
 * the same row, so that one range of rows holds for all samples (and a scan may exchange rows between
 * them). v7: pictures' rows stand where their ids are, and the batch is padded on the left.
 * src: VisualRWKV v5.1, v6.0, v7.03 src/model.py, preparing_embedding; docs/MODEL.md, "Sequence". */
#include "vl/pieces.h"

#include <stdlib.h>
#include <string.h>

typedef struct batch {
    vrwkv_model *model;
    const vr_original_input *inputs;
    int64_t n, T, padding; /* rows of a sample; rows in front of each that are not shown */
    int64_t image_start, image_length; /* scanned rows of each sample */
    vrwkv_features **images; /* one of each sample; its rows are zero where the sample has no place for it */
    vrwkv_trace_fn trace;
    void *user;
} batch;

/* Where the picture stands among a sample's ids; -1: nowhere. */
static int64_t place_of(const vr_original_input *input) {
    for (size_t i = 0; i < input->n; i++)
        if (input->ids[i] == VRWKV_IMAGE) return (int64_t)i;
    return -1;
}

/* ---- pictures ---- */

static int most_regions(const batch *b) {
    int most = 1;
    for (int64_t s = 0; s < b->n; s++)
        if (b->inputs[s].n_pictures && b->inputs[s].pictures[0].regions > most) most = b->inputs[s].pictures[0].regions;
    return most;
}

/* Before a compressor, samples with fewer regions get zero features in front. */
static vr_tensor *even_out(vr_run *run, const batch *b, vr_tensor *features, int regions, int most) {
    if (!features || regions == most || b->model->config.rules->rows == VR_ROWS_POOLED) return features;
    int64_t rows = features->shape[0] / regions;
    return vr_concat_rows(run, vr_zeros2(run, (most - regions) * rows, features->shape[1]), features);
}

/* A sample's own activations carry its number; `image` is shown of all samples together. */
static void own_names(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    const batch *b = user;
    if (strncmp(name, "image", 5) != 0) b->trace(b->user, name, ndim, shape, data);
}

static vr_status encode_image(batch *b, vr_run *run, int64_t s, const vr_picture *picture, int most) {
    size_t mark = vr_arena_mark(run->arena);
    vr_tensor *x = vr_encode_towers(run, b->model, picture, (int)s, NULL, NULL);
    bool compressed = b->model->config.rules->rows != VR_ROWS_POOLED;
    x = even_out(run, b, x, picture->regions, most);
    x = vr_project(run, b->model, x, compressed ? most : picture->regions, (int)s, own_names, b);
    VR_TRY(vr_run_status(run));
    if (b->model->config.rules->blank == VR_BLANK_ROWS && place_of(&b->inputs[s]) < 0)
        memset(x->data, 0, (size_t)(x->shape[0] * x->shape[1]) * sizeof(float));
    vr_status status = vr_features_make(b->model, (int)x->shape[0], (int)x->shape[1], x->data, &b->images[s], run->err);
    vr_arena_release(run->arena, mark);
    return status;
}

/* pixels [B,3,S,S] of the only tower, where pictures are whole. */
static vr_status emit_pixels(batch *b, vr_run *run) {
    if (b->model->config.n_towers > 1 || b->model->config.rules->cut != VR_CUT_NONE) return VRWKV_OK;
    int64_t size = b->model->config.towers[0].image_size, floats = 3 * size * size;
    vr_tensor *pixels = vr_zeros2(run, b->n * 3 * size, size);
    for (int64_t s = 0; pixels && s < b->n; s++)
        if (b->inputs[s].n_pictures)
            memcpy((float *)pixels->data + s * floats, b->inputs[s].pictures[0].pixels[0], (size_t)floats * sizeof(float));
    if (pixels) b->trace(b->user, "pixels", 4, (int64_t[]){b->n, 3, size, size}, pixels->data);
    return vr_run_status(run);
}

static vr_status encode_images(batch *b, vr_run *run) {
    vr_picture zero;
    VR_TRY(vr_model_zero_picture(b->model, &zero, run->err));
    int most = most_regions(b);
    vr_status status = VRWKV_OK;
    for (int64_t s = 0; s < b->n && status == VRWKV_OK; s++)
        status = encode_image(b, run, s, b->inputs[s].n_pictures ? b->inputs[s].pictures : &zero, most);
    vr_picture_free(&zero);
    VR_TRY(status);
    int64_t rows = b->images[0]->rows, width = b->images[0]->width;
    vr_tensor *all = vr_new(run, 3, (int64_t[]){b->n, rows, width});
    for (int64_t s = 0; all && s < b->n; s++) {
        if (b->images[s]->rows != rows) return VRWKV_OK; /* regions that are not compressed: no common shape */
        memcpy((float *)all->data + s * rows * width, b->images[s]->data, (size_t)(rows * width) * sizeof(float));
    }
    vr_emit(b->trace, b->user, "image", all);
    return vr_run_status(run);
}

/* ---- rows ---- */

static vr_status measure(batch *b, vr_error *err) {
    const vr_config *config = &b->model->config;
    int64_t after = 0;
    if (b->n < 1) return vr_fail(err, VRWKV_ERR_ARGUMENT, "a batch of no samples");
    if (!config->n_towers) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    for (int64_t s = 0; s < b->n; s++) {
        const vr_original_input *input = &b->inputs[s];
        int64_t place = place_of(input), left = (int64_t)input->n;
        VR_TRY(vr_check_ids(b->model, input->ids, input->n, 1, err));
        if (place > b->image_start) b->image_start = place;
        if (place >= 0) left -= place + 1;
        if (left > after) after = left;
        for (int64_t i = place + 1; place >= 0 && i < (int64_t)input->n; i++)
            if (input->ids[i] == VRWKV_IMAGE)
                return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "sample %lld has more than one picture", (long long)s + 1);
    }
    b->T = b->image_start + vr_config_image_rows(config) + after;
    return VRWKV_OK;
}

static vr_status measure_rows(batch *b) {
    b->T = 0;
    for (int64_t s = 0; s < b->n; s++) {
        int64_t rows = vr_pieces_rows(b->model, b->inputs[s].ids, b->inputs[s].n, &b->images[s], 1);
        if (rows > b->T) b->T = rows;
    }
    b->image_start = 0;
    b->padding = vr_left_padding(b->model, b->T);
    return VRWKV_OK;
}

static vr_status embed(batch *b, vr_run *run, float *to, const int32_t *ids, int64_t n) {
    size_t mark = vr_arena_mark(run->arena);
    vr_tensor *x = n ? vr_embed(run, &b->model->lm.emb, ids, n) : NULL;
    if (x) memcpy(to, x->data, (size_t)(n * x->shape[1]) * sizeof(float));
    vr_arena_release(run->arena, mark);
    return vr_run_status(run);
}

/* [token 0 to fill up] [text before] picture [text after] [zero rows to fill up] */
static vr_status fill_at_common_place(batch *b, vr_run *run, float *rows, int64_t s) {
    static const int32_t filler = 0;
    const vr_original_input *input = &b->inputs[s];
    int64_t width = b->model->config.lm.n_embd, place = place_of(input), before = place > 0 ? place : 0, first = b->image_start - before;
    for (int64_t i = 0; i < first; i++) VR_TRY(embed(b, run, rows + i * width, &filler, 1));
    VR_TRY(embed(b, run, rows + first * width, input->ids, before));
    rows += b->image_start * width;
    VR_TRY(vr_place_image(b->model, b->model->scan, rows, b->images[s]->data, b->images[s]->rows, run->err));
    return embed(b, run, rows + b->images[s]->rows * width, input->ids + place + 1, (int64_t)input->n - place - 1);
}

/* [padding] text and pictures' rows as the ids say [zero rows to fill up] */
static vr_status fill_in_place(batch *b, vr_run *run, float *rows, int64_t s) {
    size_t width = (size_t)b->model->config.lm.n_embd;
    vr_pieces pieces;
    vr_piece piece;
    for (int64_t i = 0; i < b->padding; i++, rows += width) VR_TRY(embed(b, run, rows, &b->model->config.pad_token, 1));
    vr_pieces_start(&pieces, b->model, b->inputs[s].ids, b->inputs[s].n, &b->images[s], 1);
    while (vr_pieces_next(&pieces, &piece)) {
        VR_TRY(embed(b, run, rows, piece.ids, (int64_t)piece.n));
        rows += piece.n * width;
        if (piece.image) memcpy(rows, piece.image->data + (size_t)piece.first * width, (size_t)piece.rows * width * sizeof(float));
        rows += (size_t)piece.rows * width;
    }
    return VRWKV_OK;
}

/* Rows of all samples, one sample after another, as [samples, rows, columns] without the padding. */
static void emit_rows(void *user, const char *name, const vr_tensor *value) {
    const batch *b = user;
    if (!value) return;
    int64_t all = value->shape[0] / b->n, columns = value->shape[1];
    float *shown = vr_alloc((size_t)(b->n * b->T * columns), sizeof *shown);
    for (int64_t s = 0; shown && s < b->n; s++)
        memcpy(shown + s * b->T * columns, (const float *)value->data + (s * all + b->padding) * columns,
               (size_t)(b->T * columns) * sizeof *shown);
    if (shown) b->trace(b->user, name, 3, (int64_t[]){b->n, b->T, columns}, shown);
    free(shown);
}

static vr_status run_batch(batch *b, vr_run *run) {
    vrwkv_model *model = b->model;
    bool in_place = model->config.rules->row_id != 0;
    int64_t width = model->config.lm.n_embd;
    VR_TRY(emit_pixels(b, run));
    VR_TRY(encode_images(b, run));
    if (in_place) VR_TRY(measure_rows(b));
    int64_t T = b->padding + b->T;
    vr_tensor *x = vr_zeros2(run, b->n * T, width), *states = vr_zeros2(run, b->n, model->state_floats);
    vr_segment *segments = vr_arena_get(run->arena, (size_t)b->n, sizeof *segments);
    VR_TRY(vr_run_status(run));
    if (!segments) return vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted");
    for (int64_t s = 0; s < b->n; s++) {
        segments[s] = (vr_segment){.rows = {s * T, T}, .state = (float *)states->data + s * model->state_floats};
        segments[s].image_start = b->image_start;
        segments[s].image_length = in_place ? 0 : vr_scanned_rows(model, b->images[s]->rows);
        VR_TRY((in_place ? fill_in_place : fill_at_common_place)(b, run, (float *)x->data + s * T * width, s));
    }
    vr_tensor *y = vr_rwkv_forward_samples(run, &model->lm, x, segments, (int)b->n, model->scan, emit_rows, b);
    emit_rows(b, "logits", vr_rwkv_logits(run, &model->lm, y));
    return vr_run_status(run);
}

vr_status vr_original_batch(vrwkv_model *model, const vr_original_input *inputs, size_t n, vrwkv_trace_fn trace, void *user,
                            vr_error *err) {
    batch b = {.model = model, .inputs = inputs, .n = (int64_t)n, .trace = trace, .user = user};
    vr_workspace *workspace;
    VR_TRY(measure(&b, err));
    b.images = vr_alloc(n, sizeof *b.images);
    if (!b.images) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu pictures", n);
    vr_status status = vr_workspace_get(model, &workspace, err);
    if (status == VRWKV_OK) {
        vr_run run = vr_run_make(model, workspace, NULL, err);
        status = run_batch(&b, &run);
        vr_workspace_put(model, workspace);
    }
    for (size_t s = 0; s < n; s++) vrwkv_features_free(b.images[s]);
    free(b.images);
    return status;
}
