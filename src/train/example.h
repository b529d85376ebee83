/* One sample of a data file, ready for a batch: its pictures' pixels, its ids and labels. */
#ifndef VR_TRAIN_EXAMPLE_H
#define VR_TRAIN_EXAMPLE_H
#include "train/batch.h"
#include "train/data.h"

typedef struct vr_example_options {
    const char *image_folder;
    vr_position position;
    size_t ctx_len;        /* ids beyond it are cut off */
    bool fill_up;          /* shorter ones are filled up to it, as in the original */
    vrwkv_manner manner;   /* of decoding pictures */
    uint64_t max_pixels;
    /* [samples of the data] where not NULL, features of the sample's only picture: then it is not decoded */
    float *const *known;
} vr_example_options;

typedef struct vr_example {
    int64_t index; /* in the data file */
    vr_prompt prompt;
    vr_sample sample; /* of the prompt's ids and labels */
    vr_picture *pictures; /* [sample.n_pictures] */
    int *rows;
} vr_example;

/* Safe in any thread. An error names the sample and its line. */
vr_status vr_example_load(vr_example *out, const vr_dataset *dataset, int64_t index, const vrwkv_model *model,
                          const vr_example_options *options, vr_error *err);
/* The same from a record at hand; known features are not asked for. */
vr_status vr_example_of(vr_example *out, const vr_record *record, const vrwkv_model *model,
                        const vr_example_options *options, vr_error *err);
void vr_example_free(vr_example *example);
#endif
