/* The original's way of reading a batch of samples, as its training does: every picture begins at the same
 * row, so that one range of rows holds for all samples (and a scan may exchange rows between them).
 * src: VisualRWKV v5.1 and v6.0 src/model.py, preparing_embedding; docs/MODEL.md, "Sequence". */
#include "vl/internal.h"

#include <string.h>

typedef struct batch {
    vrwkv_model *model;
    const vr_original_input *inputs;
    int64_t n, T, image_start, image_rows;
    vr_tensor *image; /* [n*image_rows, n_embd], zeros where a sample has no place for its picture */
    vrwkv_trace_fn trace;
    void *user;
} batch;

/* Where the picture stands among a sample's ids; -1: nowhere. */
static int64_t place_of(const vr_original_input *input) {
    for (size_t i = 0; i < input->n; i++)
        if (input->ids[i] == VRWKV_IMAGE) return (int64_t)i;
    return -1;
}

static vr_status measure(batch *b, vr_error *err) {
    const vr_config *config = &b->model->config;
    int64_t after = 0;
    if (b->n < 1) return vr_fail(err, VRWKV_ERR_ARGUMENT, "a batch of no samples");
    if (!config->n_towers)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this model is a language model alone: it cannot look at pictures");
    b->image_rows = vr_config_image_rows(config);
    for (int64_t s = 0; s < b->n; s++) {
        const vr_original_input *input = &b->inputs[s];
        int64_t place = place_of(input), left = (int64_t)input->n;
        VR_TRY(vr_check_ids(b->model, input->ids, input->n, err));
        if (place > b->image_start) b->image_start = place;
        if (place >= 0) left -= place + 1;
        if (left > after) after = left;
        for (int64_t i = place + 1; place >= 0 && i < (int64_t)input->n; i++)
            if (input->ids[i] == VRWKV_IMAGE)
                return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "sample %lld has more than one picture", (long long)s + 1);
    }
    b->T = b->image_start + b->image_rows + after;
    return VRWKV_OK;
}

static vr_status encode_images(batch *b, vr_run *run) {
    int64_t size = b->model->towers[0].dims.image_size, width = b->model->config.lm.n_embd, one = b->image_rows * width;
    vr_tensor *pixels = vr_new(run, 4, (int64_t[]){b->n, 3, size, size});
    b->image = vr_zeros2(run, b->n * b->image_rows, width);
    VR_TRY(vr_run_status(run));
    for (int64_t s = 0; s < b->n; s++) {
        float *own = (float *)pixels->data + s * 3 * size * size;
        size_t bytes = (size_t)(3 * size * size) * sizeof(float), mark = vr_arena_mark(run->arena);
        if (b->inputs[s].pixels)
            memcpy(own, b->inputs[s].pixels, bytes);
        else
            memset(own, 0, bytes);
        vr_tensor *rows = vr_encode_pixels(run, b->model, own, NULL, NULL);
        VR_TRY(vr_run_status(run));
        if (place_of(&b->inputs[s]) >= 0)
            memcpy((float *)b->image->data + s * one, rows->data, (size_t)one * sizeof(float));
        vr_arena_release(run->arena, mark);
    }
    vr_emit(b->trace, b->user, "pixels", pixels);
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
static vr_status fill_sample(batch *b, vr_run *run, float *rows, int64_t s) {
    static const int32_t filler = 0;
    const vr_original_input *input = &b->inputs[s];
    int64_t width = b->model->config.lm.n_embd, place = place_of(input), before = place > 0 ? place : 0;
    int64_t first = b->image_start - before;
    const float *image = (const float *)b->image->data + s * b->image_rows * width;
    for (int64_t i = 0; i < first; i++) VR_TRY(embed(b, run, rows + i * width, &filler, 1));
    VR_TRY(embed(b, run, rows + first * width, input->ids, before));
    rows += b->image_start * width;
    VR_TRY(vr_place_image(b->model, b->model->scan, rows, image, b->image_rows, run->err));
    return embed(b, run, rows + b->image_rows * width, input->ids + place + 1, (int64_t)input->n - place - 1);
}

/* Rows of all samples, one sample after another, as [samples, rows, columns]. */
static void emit_rows(void *user, const char *name, const vr_tensor *value) {
    const batch *b = user;
    if (!value) return;
    vr_tensor view = {VR_F32, 3, {b->n, value->shape[0] / b->n, value->shape[1]}, value->data};
    vr_emit(b->trace, b->user, name, &view);
}

static vr_status run_batch(batch *b, vr_run *run) {
    vrwkv_model *model = b->model;
    int64_t width = model->config.lm.n_embd;
    VR_TRY(encode_images(b, run));
    emit_rows(b, "image", b->image);
    vr_tensor *x = vr_zeros2(run, b->n * b->T, width), *states = vr_zeros2(run, b->n, model->state_floats);
    vr_segment *segments = vr_arena_get(run->arena, (size_t)b->n, sizeof *segments);
    VR_TRY(vr_run_status(run));
    if (!segments) return vr_fail(run->err, VRWKV_ERR_MEMORY, "scratch memory is exhausted");
    for (int64_t s = 0; s < b->n; s++) {
        segments[s] = (vr_segment){{s * b->T, b->T}, (float *)states->data + s * model->state_floats, b->image_start,
                                   vr_scanned_rows(model, b->image_rows)};
        VR_TRY(fill_sample(b, run, (float *)x->data + s * b->T * width, s));
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
    VR_TRY(vr_workspace_get(model, &workspace, err));
    vr_run run = vr_run_make(model, workspace, NULL, err);
    vr_status status = run_batch(&b, &run);
    vr_workspace_put(model, workspace);
    return status;
}
