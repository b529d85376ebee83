/* A batch: where each of its rows comes from, and what each row is to predict.
 *
 * v5, v6: the picture begins at the same row in every sample, since one range of rows is scanned in all of
 *     them: [token 0 to fill up][text before]picture[text after]. A sample without a picture has rows of
 *     zeros there, in front of its text. Longer samples are cut to ctx_len rows: the first ones, where there
 *     is a label among them, else the last ones.
 * v7: pictures' rows stand where their ids are; ids were cut to ctx_len before.
 * Shorter samples are filled up with rows of zeros behind.
 * Where several processes share a batch, each makes its own samples' rows, as they are in the whole batch: the
 * picture's place and the number of rows follow from all samples, the weights in the loss count all of them.
 * src: VisualRWKV v5.1, v6.0, v7.00 src/model.py, preparing_embedding, training_step */
#ifndef VR_TRAIN_BATCH_H
#define VR_TRAIN_BATCH_H
#include "train/team.h"
#include "vl/internal.h"

/* A conversation as vr_prompt_build gives it. */
typedef struct vr_sample {
    const int32_t *ids, *labels; /* labels -100: not predicted */
    size_t n;
    const int *picture_rows; /* of each of its pictures, in the order of their places */
    int n_pictures;
} vr_sample;

typedef struct vr_batch_options {
    int64_t ctx_len; /* 0: samples are not cut */
    bool original;   /* v7: padding in front; and rows of a picture that was cut go to the next sample, its fault */
    const vr_team *team; /* whose processes share the batch; NULL: it is this one's alone */
} vr_batch_options;

typedef struct vr_batch {
    int64_t n, T, padding; /* samples, rows of each, rows in front of each that belong to no sample */
    int64_t n_all, n_targets; /* of the whole batch: samples, rows that have a target */
    int64_t image_start, image_length; /* the range that is scanned, of T; length 0: none */
    int32_t *ids;          /* [n_ids] of the text rows, in any order */
    int64_t n_ids, n_image_rows; /* rows of all samples' pictures, in their order */
    int32_t *source;       /* [n, padding + T]: a row of [text rows, pictures' rows]; -1: zeros */
    int32_t *labels;       /* [n, T] */
    int32_t *targets;      /* [n, T]: the label of the row behind */
    float *weights;        /* [n, T] of each target in the loss */
} vr_batch;

/* Called by all processes of a team; n may be 0 in some. A failure in one need not be told to the others yet:
 * vr_team_agree is still to come. */
vr_status vr_batch_make(vr_batch *out, const vrwkv_model *model, const vr_sample *samples, int64_t n,
                        const vr_batch_options *options, vr_error *err);
void vr_batch_free(vr_batch *batch);
#endif
