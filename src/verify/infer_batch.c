/* Kind `infer-batch`: samples that are read together, one pass from empty states. Which way a batch is
 * made follows from what the case holds: the table below. */
#include "verify/infer.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct batch {
    const vr_case *item;
    vrwkv_model *model;
    vr_original_input *inputs; /* ids of each are its own */
    size_t n;
    vr_trace trace;
} batch;

static vr_status load_ids(batch *in, vr_error *err) {
    const json_t *samples = json_object_get(in->item->json, "input_ids");
    size_t n = json_array_size(samples);
    if (!n) return vr_fail(err, VRWKV_ERR_FORMAT, "input_ids is no list of samples");
    in->inputs = vr_alloc(n, sizeof *in->inputs);
    if (!in->inputs) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu samples", n);
    for (; in->n < n; in->n++) {
        vr_original_input *input = &in->inputs[in->n];
        int32_t *ids;
        VR_TRY(vr_case_ids(json_array_get(samples, in->n), "input_ids of a sample", &ids, &input->n, err));
        input->ids = ids;
    }
    return VRWKV_OK;
}

/* tokens [B, len], where all samples have the same length */
static vr_status add_tokens(batch *in, vr_error *err) {
    size_t length = in->inputs[0].n;
    for (size_t s = 1; s < in->n; s++)
        if (in->inputs[s].n != length) return VRWKV_OK;
    float *tokens = vr_alloc(in->n * length + 1, sizeof *tokens);
    if (!tokens) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu ids", in->n * length);
    for (size_t s = 0; s < in->n; s++)
        for (size_t i = 0; i < length; i++) tokens[s * length + i] = (float)in->inputs[s].ids[i];
    vr_status status = vr_trace_add(&in->trace, "tokens", 2, (int64_t[]){(int64_t)in->n, (int64_t)length}, tokens);
    free(tokens);
    return status;
}

/* ---- one picture each, its pixels given: v5, v6 ---- */

static bool has_pixels(const vr_case *item) { return item->expect && vr_weights_find(item->expect, "pixels"); }

static vr_status run_pixels(batch *in, vr_error *err) {
    vr_array pixels;
    VR_TRY(vr_array_load(&pixels, in->item->expect, vr_weights_find(in->item->expect, "pixels"), err));
    const vr_config *config = vr_model_config(in->model);
    int64_t size = config->n_towers ? config->towers[0].image_size : 0, one = 3 * size * size;
    bool fits = pixels.ndim == 4 && pixels.shape[0] == (int64_t)in->n && pixels.shape[1] == 3 && pixels.shape[2] == size &&
                pixels.shape[3] == size;
    vr_status status = VRWKV_OK;
    if (!fits)
        status = vr_fail(err, VRWKV_ERR_SHAPE, "pixels: expected [%zu, 3, %lld, %lld], one picture per sample", in->n,
                         (long long)size, (long long)size);
    for (size_t s = 0; fits && s < in->n; s++) in->inputs[s].pixels = pixels.data + (int64_t)s * one;
    if (status == VRWKV_OK) status = vr_original_batch(in->model, in->inputs, in->n, vr_trace_collect, &in->trace, err);
    vr_array_free(&pixels);
    return status == VRWKV_OK ? in->trace.status : status;
}

static const struct {
    bool (*fits)(const vr_case *item);
    vr_status (*run)(batch *in, vr_error *err); /* fills the trace */
} ways[] = {{has_pixels, run_pixels}};

static vr_status run_all(batch *in, vr_verify *verify, vr_error *err) {
    static const char *const label = "";
    size_t way = 0;
    while (way < VR_COUNT(ways) && !ways[way].fits(in->item)) way++;
    if (way == VR_COUNT(ways))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                       "a batch without the `pixels` of its samples is not supported by this version");
    VR_TRY(load_ids(in, err));
    VR_TRY(vr_case_model(verify, in->item, false, &in->model, err));
    VR_TRY(add_tokens(in, err));
    VR_TRY(ways[way].run(in, err));
    return vr_trace_check(verify, in->item, &in->trace, &label, 1, err);
}

vr_status vr_verify_infer_batch(vr_verify *verify, const vr_case *item, vr_error *err) {
    batch in = {.item = item, .trace = {.err = err}};
    vr_status status = run_all(&in, verify, err);
    vr_trace_free(&in.trace);
    vrwkv_model_close(in.model);
    for (size_t s = 0; in.inputs && s < in.n; s++) free((int32_t *)(uintptr_t)in.inputs[s].ids);
    free(in.inputs);
    return status;
}
