/* Inside of the assembled model, for this room, `verify` and the command line. The public view is
 * vrwkv.h. */
#ifndef VR_VL_MODEL_H
#define VR_VL_MODEL_H
#include "image/image.h"
#include "vl/config.h"

/* As vrwkv_model_open, of any tensor file (a .pth too), with settings that win (may be NULL). */
vr_status vr_model_open(const char *path, const vrwkv_model_options *options, const vr_settings *settings,
                        vrwkv_model **out, vr_error *err);
/* A model of the description `json` (the keys of vrwkv.config, complete) with random weights, matrices
 * stored as `type`: for measuring speed. */
vr_status vr_model_random(const char *json, vr_dtype type, const vrwkv_model_options *options, vrwkv_model **out, vr_error *err);
const vr_config *vr_model_config(const vrwkv_model *model);
const vr_vocab *vr_model_vocab(const vrwkv_model *model); /* NULL: the model has none */
/* All layers' states one after another (rwkv.h), the context's. */
const float *vr_context_state(const vrwkv_context *context);
/* File -> normalised pixels [3,S,S] of tower t; heap, the caller's. */
vr_status vr_model_pixels(vrwkv_model *model, int tower, const vr_image *image, float **pixels, vr_error *err);

/* ---- the original's way, for comparison: assembles the whole sequence, runs it from the empty state ---- */

typedef struct vr_original_input {
    const int32_t *ids; /* with VRWKV_IMAGE at a picture */
    size_t n;
    const float *pixels; /* [3,S,S] of the picture; NULL: the zero picture */
    const char *scan;    /* NULL: the model's */
    /* without a VRWKV_IMAGE among the ids the image rows are zero and stand in front */
} vr_original_input;

/* Emits pixels, vision, image, x.in, x.0.., logits, all rows of each in one call, through `trace`. */
vr_status vr_original_trace(vrwkv_model *model, const vr_original_input *input, vrwkv_trace_fn trace, void *user,
                            vr_error *err);

/* Samples read together as in training, by the model's scan: emits pixels [B,3,S,S], image [B,n,C], x.in,
 * x.0.. [B,T,C], logits [B,T,V]. A sample's own `scan` is not looked at. */
vr_status vr_original_batch(vrwkv_model *model, const vr_original_input *inputs, size_t n, vrwkv_trace_fn trace, void *user,
                            vr_error *err);

typedef struct vr_original_step {
    int32_t id;
    float logit; /* raw */
    double prob; /* softmax probability of id */
} vr_original_step;

/* Greedy; each step runs the whole sequence again, then keeps its last ctx_len rows (the first step
 * sees the prompt uncut; the scanned range is not moved). Stops after stop_token (included) or
 * max_new_tokens. steps has room for max_new_tokens; *count are used. on_step (may be NULL) != 0 stops. */
vr_status vr_original_generate(vrwkv_model *model, const vr_original_input *input, int ctx_len, int32_t stop_token,
                               int max_new_tokens, vr_original_step *steps, int *count,
                               int (*on_step)(void *user, const vr_original_step *step), void *user, vr_error *err);
#endif
