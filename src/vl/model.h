/* Inside of the assembled model, for this room, `verify` and the command line. The public view is
 * vrwkv.h. */
#ifndef VR_VL_MODEL_H
#define VR_VL_MODEL_H
#include "image/image.h"
#include "vl/config.h"

/* As vrwkv_model_open, of any tensor file (a .pth too), with settings that win (may be NULL). */
vr_status vr_model_open(const char *path, const vrwkv_model_options *options, const vr_settings *settings,
                        vrwkv_model **out, vr_error *err);
/* A model of the description `json` (the keys of vrwkv.config, complete) with random weights, the language
 * model's matrices stored as `type`, all others as `vision_type`: for measuring speed. */
vr_status vr_model_random(const char *json, vr_dtype type, vr_dtype vision_type, const vrwkv_model_options *options,
                          vrwkv_model **out, vr_error *err);
/* How its matrices are stored, most of them: the plain types; whether any is in packed order, to be multiplied as 8-bit
 * numbers; and what of the weights one token reads. */
typedef struct vr_weights_summary { vr_dtype language, vision; bool packed; uint64_t token_bytes; } vr_weights_summary;
vr_weights_summary vr_model_summary(const vrwkv_model *model);
const vr_config *vr_model_config(const vrwkv_model *model);
const vr_vocab *vr_model_vocab(const vrwkv_model *model); /* NULL: the model has none */
/* All layers' states one after another (rwkv.h), the context's. */
const float *vr_context_state(const vrwkv_context *context);

/* One picture as the towers want it: for each of them [regions, 3, S, S], heap. */
typedef struct vr_picture {
    int regions;
    float *pixels[VR_MAX_TOWERS];
} vr_picture;

/* Cuts (where the version does), resizes and normalises; the caller's, vr_picture_free. */
vr_status vr_model_picture(const vrwkv_model *model, const vr_image *image, vr_picture *out, vr_error *err);
/* The pixels in a file: tensors `pixels.NAME` of each tower, or `pixels` of the only one; f32 or f16,
 * [3,S,S], with a leading axis of regions where the version cuts pictures. */
vr_status vr_model_given_picture(const vrwkv_model *model, const vr_weights *file, vr_picture *out, vr_error *err);
vr_status vr_model_zero_picture(const vrwkv_model *model, vr_picture *out, vr_error *err);
void vr_picture_free(vr_picture *picture);
vr_status vr_model_encode(vrwkv_model *model, const vr_picture *picture, vrwkv_features **out, vr_error *err);

/* ---- the original's way, for comparison: assembles the whole sequence, runs it from the empty state ---- */

typedef struct vr_original_input {
    const int32_t *ids; /* with VRWKV_IMAGE at a picture, or an id for each of its rows (v7) */
    size_t n;
    const vr_picture *pictures; /* in the order of their places; none: the zero picture at each place */
    size_t n_pictures;
    const char *scan; /* NULL: the model's */
    vrwkv_padding padding;
    /* v5, v6: without a VRWKV_IMAGE among the ids the image rows are zero and stand in front */
} vr_original_input;

/* Emits pixels, vision, image, x.in, x.0.., logits, all rows of each in one call, through `trace`. */
vr_status vr_original_trace(vrwkv_model *model, const vr_original_input *input, vrwkv_trace_fn trace, void *user,
                            vr_error *err);

/* Samples of one picture each read together as in training, by the model's scan: emits image [B,n,C], x.in,
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
