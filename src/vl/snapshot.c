/* Snapshots: a conversation as a safetensors file.
 *
 *   state.N   [floats of layer N]  f32 or f16: att_shift, ffn_shift, wkv
 *   logits    [n_vocab] f32        after the last row; absent where nothing was read
 *   counts    [n_vocab] f32        of the sampler's penalties
 *   metadata  vrwkv.snapshot (format version), vrwkv.fingerprint, vrwkv.length, vrwkv.rng, vrwkv.manner */
#include "base/half.h"
#include "vl/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "1"

static vr_status put_number(vr_save *save, const char *key, uint64_t number, vr_error *err) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    return vr_save_meta_string(save, key, text, err);
}

static vr_status declare(vr_save *save, const vrwkv_context *context, vr_dtype type, vr_error *err) {
    const vrwkv_model *model = context->model;
    int64_t layer = model->state_floats / model->config.lm.n_layer, vocab = model->config.lm.n_vocab;
    VR_TRY(vr_save_meta_string(save, "vrwkv.snapshot", FORMAT, err));
    VR_TRY(vr_save_meta_string(save, "vrwkv.fingerprint", model->info.fingerprint, err));
    VR_TRY(put_number(save, "vrwkv.length", context->length, err));
    VR_TRY(put_number(save, "vrwkv.rng", context->rng.state, err));
    VR_TRY(vr_save_meta_string(save, "vrwkv.manner", context->manner == VRWKV_ORIGINAL ? "original" : "friendly", err));
    for (int i = 0; i < model->config.lm.n_layer; i++) {
        char name[24];
        snprintf(name, sizeof name, "state.%d", i);
        VR_TRY(vr_save_declare(save, name, type, 1, &layer, err));
    }
    if (context->has_logits) VR_TRY(vr_save_declare(save, "logits", VR_F32, 1, &vocab, err));
    return vr_save_declare(save, "counts", VR_F32, 1, &vocab, err);
}

/* n floats of one tensor, rounded to f16. */
static vr_status put_half(vr_save *save, const float *from, int64_t n, vr_error *err) {
    uint16_t part[512];
    for (int64_t i = 0, count; i < n; i += count) {
        count = n - i < 512 ? n - i : 512;
        for (int64_t k = 0; k < count; k++) {
            part[k] = vr_f32_f16(from[i + k]);
            if (isinf(vr_f16_f32(part[k])))
                return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "the state holds %g, too large for f16: save it in f32", (double)from[i + k]);
        }
        VR_TRY(vr_save_put(save, part, (size_t)count * sizeof *part, err));
    }
    return VRWKV_OK;
}

static vr_status put_state(vr_save *save, const vrwkv_context *context, int half, vr_error *err) {
    const vrwkv_model *model = context->model;
    int64_t layer = model->state_floats / model->config.lm.n_layer;
    size_t vocab = (size_t)model->config.lm.n_vocab;
    for (int i = 0; i < model->config.lm.n_layer; i++) {
        const float *state = context->state + i * layer;
        VR_TRY(half ? put_half(save, state, layer, err) : vr_save_put(save, state, (size_t)layer * sizeof *state, err));
    }
    if (context->has_logits) VR_TRY(vr_save_put(save, context->logits, vocab * sizeof(float), err));
    return vr_save_put(save, context->counts, vocab * sizeof(float), err);
}

vrwkv_status vrwkv_state_save(const vrwkv_context *context, const char *path, int half, vrwkv_error *err) {
    if (!context || !path) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_state_save: context and path must be given");
    vr_save *save;
    VR_TRY(vr_save_open_as(&save, path, VR_FILE_SAFETENSORS, err));
    vr_status status = declare(save, context, half ? VR_F16 : VR_F32, err);
    if (status == VRWKV_OK) status = put_state(save, context, half, err);
    if (status == VRWKV_OK) return vr_save_commit(save, err);
    vr_save_abandon(save);
    return status;
}

const float *vr_context_state(const vrwkv_context *context) { return context->state; }

static const char *meta_text(const vr_weights *file, const char *key) {
    const vr_meta *meta = vr_weights_meta(file, key);
    return meta && meta->type == VR_META_STRING ? meta->string : NULL;
}

/* One tensor of n floats, stored as f32 or f16. */
static vr_status get_floats(const vr_weights *file, const char *name, float *to, int64_t n, vr_error *err) {
    const vr_entry *entry = vr_weights_find(file, name);
    char text[64];
    if (!entry) return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has no tensor '%s'", vr_weights_path(file), name);
    if (entry->ndim != 1 || entry->shape[0] != n || (entry->dtype != VR_F32 && entry->dtype != VR_F16))
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s': '%s' is %s %s, expected f32 or f16 [%lld]", vr_weights_path(file), name,
                       vr_dtype_of(entry->dtype)->name, vr_shape_text(entry->ndim, entry->shape, text, sizeof text), (long long)n);
    if (entry->dtype == VR_F32) return vr_weights_read(file, entry, to, err);
    uint16_t *half = vr_alloc((size_t)n, sizeof *half);
    if (!half) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_weights_read(file, entry, half, err);
    for (int64_t i = 0; status == VRWKV_OK && i < n; i++) to[i] = vr_f16_f32(half[i]);
    free(half);
    return status;
}

/* Into `fresh`, which replaces the conversation only when everything was there. */
static vr_status load_into(vrwkv_context *fresh, const vr_weights *file, vr_error *err) {
    const vrwkv_model *model = fresh->model;
    const char *format = meta_text(file, "vrwkv.snapshot"), *print = meta_text(file, "vrwkv.fingerprint");
    const char *length = meta_text(file, "vrwkv.length"), *rng = meta_text(file, "vrwkv.rng");
    int64_t layer = model->state_floats / model->config.lm.n_layer, vocab = model->config.lm.n_vocab;
    if (!format || !print || !length || !rng)
        return vr_fail(err, VRWKV_ERR_FORMAT,
                       "'%s' is neither a saved conversation (no metadata 'vrwkv.snapshot' with its fingerprint, length "
                       "and rng) nor a state tuning file (no tensor 'blocks.0.att.time_state')", vr_weights_path(file));
    if (strcmp(format, FORMAT) != 0)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' has snapshot format %s, this program reads " FORMAT, vr_weights_path(file), format);
    if (strcmp(print, model->info.fingerprint) != 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s' is the state of another model: fingerprint %.16s, this one's is %.16s",
                       vr_weights_path(file), print, model->info.fingerprint);
    for (int i = 0; i < model->config.lm.n_layer; i++) {
        char name[24];
        snprintf(name, sizeof name, "state.%d", i);
        VR_TRY(get_floats(file, name, fresh->state + i * layer, layer, err));
    }
    VR_TRY(get_floats(file, "counts", fresh->counts, vocab, err));
    fresh->has_logits = vr_weights_find(file, "logits") != NULL;
    if (fresh->has_logits) VR_TRY(get_floats(file, "logits", fresh->logits, vocab, err));
    fresh->length = strtoull(length, NULL, 10);
    fresh->rng.state = strtoull(rng, NULL, 10);
    return VRWKV_OK;
}

vrwkv_status vrwkv_state_load(vrwkv_context *context, const char *path, vrwkv_error *err) {
    if (!context || !path) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_state_load: context and path must be given");
    vr_weights *file = NULL;
    vrwkv_context *fresh = NULL;
    VR_TRY(vrwkv_fork(context, &fresh, err));
    vr_status status = vr_weights_open(&file, path, NULL, err);
    if (status == VRWKV_OK)
        status = vr_state_is_tuned(file) ? vr_state_load_tuned(fresh, file, err) : load_into(fresh, file, err);
    if (status == VRWKV_OK) {
        fresh->continued = true;
        status = vrwkv_copy(context, fresh, err);
    }
    vr_weights_close(file);
    vrwkv_context_free(fresh);
    return status;
}
