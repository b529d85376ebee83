/* Kind `text-state`: a language model alone reads ids at once, in pieces, one by one, and behind pad
 * tokens; activations and states after it are compared by name:
 *
 *   x.in, x.i, logits           of all ids from the empty state, in each way of reading
 *   padded.x.i, logits.padded   with pad_left times pad_token in front, whose rows are cut off
 *   end.state.i.PART            of layer i after the last id; PART as in rwkv.h, wkv as [H, value, key]
 *   piece0.state.i.PART         after the first of the `pieces` */
#include "verify/infer.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE, PIECES, ONE_BY_ONE, PADDED, N_WAYS };

static const char *const labels[N_WAYS] = {"", "pieces.", "one-by-one.", ""};

typedef struct text_state {
    const vr_case *item;
    vrwkv_model *model;
    int32_t *ids, *pieces;
    size_t n, n_pieces;
    vr_trace traces[N_WAYS];
} text_state;

static vr_status add_part(vr_trace *trace, const vr_rwkv_arch *arch, const vr_rwkv_dims *dims, const char *when,
                          int layer, int part, const float *state) {
    char name[64];
    int64_t offset, count, shape[VR_MAX_DIMS];
    int ndim = vr_rwkv_state_shape(arch, dims, part, &offset, shape);
    snprintf(name, sizeof name, "%s.state.%d.%s", when, layer, arch->state[part].name);
    if (strcmp(arch->state[part].name, "wkv") != 0) return vr_trace_add(trace, name, ndim, shape, state + offset);
    vr_shape_count(ndim, shape, &count);
    float *turned = vr_alloc((size_t)count, sizeof *turned);
    if (!turned) return vr_fail(trace->err, VRWKV_ERR_MEMORY, "no memory for a state");
    vr_rwkv_turn_wkv(arch, dims, turned, state + offset);
    vr_status status = vr_trace_add(trace, name, ndim, shape, turned);
    free(turned);
    return status;
}

static vr_status add_state(const text_state *in, vr_trace *trace, const char *when, const vrwkv_context *context) {
    const vr_config *config = vr_model_config(in->model);
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(config->rwkv);
    int64_t per_layer = vr_rwkv_state_floats(arch, &config->lm);
    for (int layer = 0; layer < config->lm.n_layer; layer++)
        for (int part = 0; part < arch->n_state; part++)
            VR_TRY(add_part(trace, arch, &config->lm, when, layer, part, vr_context_state(context) + layer * per_layer));
    return VRWKV_OK;
}

/* Ids in pieces of the given lengths; NULL: one by one. */
static vr_status read_ids(const text_state *in, vrwkv_context *context, const int32_t *lengths, size_t n,
                          vr_trace *trace, vr_error *err) {
    size_t at = 0;
    vrwkv_set_trace(context, vr_trace_collect, trace);
    for (size_t i = 0; at < in->n && (!lengths || i < n); i++) {
        size_t length = lengths ? (size_t)lengths[i] : 1;
        VR_TRY(lengths ? vrwkv_feed(context, in->ids + at, length, NULL, 0, err)
                       : vrwkv_decode(&context, 1, in->ids + at, err));
        at += length;
        if (lengths && n > 1 && i == 0) VR_TRY(add_state(in, trace, "piece0", context));
    }
    VR_TRY(trace->status);
    return add_state(in, trace, "end", context);
}

/* Activations of the ids alone, under the names of the padded run. */
static void collect_padded(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    char padded[64];
    snprintf(padded, sizeof padded, strcmp(name, "logits") == 0 ? "%s.padded" : "padded.%s", name);
    vr_trace_collect(user, padded, ndim, shape, data);
}

static vr_status read_padded(const text_state *in, vrwkv_context *context, vr_trace *trace, vr_error *err) {
    int64_t pads = vr_case_int(in->item->json, "pad_left", 0);
    int32_t pad = (int32_t)vr_case_int(in->item->json, "pad_token", 0);
    if (pads < 0 || pads > 4096)
        return vr_fail(err, VRWKV_ERR_FORMAT, "pad_left is %lld, expected 0 to 4096", (long long)pads);
    for (int64_t i = 0; i < pads; i++) VR_TRY(vrwkv_feed(context, &pad, 1, NULL, 0, err));
    vrwkv_set_trace(context, collect_padded, trace);
    VR_TRY(vrwkv_feed(context, in->ids, in->n, NULL, 0, err));
    return trace->status;
}

static vr_status read_way(text_state *in, int way, vr_error *err) {
    vrwkv_context *context = NULL;
    vrwkv_context_options options = {.manner = VRWKV_FRIENDLY}; /* nothing in front: pads are the case's own */
    int32_t whole = (int32_t)in->n;
    vr_trace *trace = &in->traces[way];
    trace->err = err;
    VR_TRY(vrwkv_context_new(in->model, &options, &context, err));
    vr_status status = way == WHOLE    ? read_ids(in, context, &whole, 1, trace, err)
                       : way == PIECES ? read_ids(in, context, in->pieces, in->n_pieces, trace, err)
                       : way == PADDED ? read_padded(in, context, trace, err)
                                       : read_ids(in, context, NULL, 0, trace, err);
    vrwkv_context_free(context);
    return status;
}

static vr_status load(text_state *in, const vr_verify *verify, vr_error *err) {
    const json_t *pieces = json_object_get(in->item->json, "pieces");
    int64_t sum = 0;
    VR_TRY(vr_case_ids(json_object_get(in->item->json, "input_ids"), "input_ids", &in->ids, &in->n, err));
    if (json_is_array(pieces)) VR_TRY(vr_case_ids(pieces, "pieces", &in->pieces, &in->n_pieces, err));
    for (size_t i = 0; i < in->n_pieces; i++) {
        if (in->pieces[i] < 1)
            return vr_fail(err, VRWKV_ERR_FORMAT, "pieces[%zu] is %d, expected at least 1", i, in->pieces[i]);
        sum += in->pieces[i];
    }
    if (in->n < 1 || (in->n_pieces && sum != (int64_t)in->n))
        return vr_fail(err, VRWKV_ERR_FORMAT, "the pieces have %lld ids in all, input_ids has %zu", (long long)sum, in->n);
    return vr_case_model(verify, in->item, true, &in->model, err);
}

static vr_status run_all(text_state *in, vr_verify *verify, vr_error *err) {
    vr_array ids = {.ndim = 1, .shape = {(int64_t)in->n}, .data = vr_alloc(in->n, sizeof(float))};
    if (!ids.data) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu ids", in->n);
    for (size_t i = 0; i < in->n; i++) ids.data[i] = (float)in->ids[i];
    in->traces[WHOLE].err = err;
    vr_status status = vr_trace_add(&in->traces[WHOLE], "tokens", 1, ids.shape, ids.data);
    vr_array_free(&ids);
    for (int way = 0; way < N_WAYS && status == VRWKV_OK; way++)
        if (way != PIECES || in->n_pieces) status = read_way(in, way, err);
    return status == VRWKV_OK ? vr_trace_check(verify, in->item, in->traces, labels, N_WAYS, err) : status;
}

vr_status vr_verify_text_state(vr_verify *verify, const vr_case *item, vr_error *err) {
    text_state in = {.item = item};
    vr_status status = load(&in, verify, err);
    if (status == VRWKV_OK) status = run_all(&in, verify, err);
    for (int way = 0; way < N_WAYS; way++) vr_trace_free(&in.traces[way]);
    vrwkv_model_close(in.model);
    free(in.ids);
    free(in.pieces);
    return status;
}
