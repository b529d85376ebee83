/* Which type each matrix of a model is stored as, so that a number of bits per weight loses least: what
 * `convert --type auto:BITS` asks before it converts.
 *
 * Measured is what counts in the end, and for each matrix by itself: the model reads sample texts and pictures as
 * it is, and once more with that one matrix rounded; the cost is the Kullback-Leibler divergence of the next
 * token's distribution from that of the unrounded model, in nats, the mean over all positions. This sees all that a
 * formula for the error of a product sees (outlier channels of weights and activations), and also what becomes of
 * that error behind it, so costs of different matrices can be compared. It takes one reading of the samples per
 * matrix and type. Wider types are therefore only measured where a matrix may yet get them.
 *
 * Bits are spent where they gain most: all matrices begin with the narrowest type; then, again and again, that
 * matrix gets that wider type whose cost falls most per further bit, as long as the mean stays within BITS.
 *
 *   vr_quantise_plan -> vr_convert_options.types -> vr_convert -> vr_quantise_free
 *
 * The same model, samples and kernel set give the same plan with any number of threads. */
#ifndef VR_QUANTISE_QUANTISE_H
#define VR_QUANTISE_QUANTISE_H
#include "vl/convert.h"

#define VR_QUANTISE_MIN 4.5
#define VR_QUANTISE_MAX 16.0

typedef struct vr_quantise_options {
    const char *model;    /* one complete model file of any kind; its matrices are f32, f16 or bf16 */
    double bits;          /* VR_QUANTISE_MIN to VR_QUANTISE_MAX: per weight, the mean of all matrices that are measured */
    const char *samples;  /* a text (.txt) or picture, or a folder of them; NULL: the built-in ones */
    const vr_dtype *vision_type; /* of the matrices of towers, projector and compressor, which then are not measured.
                                    NULL: measured like all others, where there is a picture among the samples, else q8_0 */
    const vr_settings *settings; /* of the description, may be NULL */
    int threads;                 /* 0: one per core */
    vrwkv_progress_fn progress;
    vrwkv_log_fn log;
    void *user;
} vr_quantise_options;

/* Every matrix's type, and the report (docs/FORMATS.md, "vrwkv.quantisation"). A matrix whose rows fit no narrower
 * type becomes f16 and is not counted. VRWKV_ERR_ARGUMENT: bits out of range, samples that hold neither text nor
 * picture, or text for a model without vocabulary; VRWKV_ERR_UNSUPPORTED: a model with quantised matrices, whose
 * costs could not be told from those that it came with. Other errors are those of opening and running a model. */
vr_status vr_quantise_plan(const vr_quantise_options *options, vr_type_table *out, vr_error *err);
void vr_quantise_free(vr_type_table *table);
#endif
