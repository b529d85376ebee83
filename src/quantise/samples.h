/* What a model reads while it is measured: texts, and pictures with a question and the model's own answer. */
#ifndef VR_QUANTISE_SAMPLES_H
#define VR_QUANTISE_SAMPLES_H
#include "vl/model.h"

typedef struct vr_sample_item {
    int32_t *ids; /* [n], heap; VRWKV_IMAGE at the picture */
    size_t n, head; /* the first `head` are read before positions count: all to the picture, at least one */
    bool has_picture;
    vr_picture picture;
    vrwkv_features *features; /* of the unrounded model */
} vr_sample_item;

typedef struct vr_samples {
    vr_sample_item *items;
    size_t n, capacity;
    size_t pictures, positions;
    uint64_t fingerprint; /* of ids and pixels */
} vr_samples;

/* path: a .txt file, a picture, or a folder of them (what is neither is passed over); NULL: the built-in texts
 * and, where the model can look, the built-in picture. Texts are cut after VR_SAMPLE_IDS ids. A model without
 * vocabulary reads ids of a random sequence that is always the same in place of the built-in texts. */
#define VR_SAMPLE_IDS 512
vr_status vr_samples_load(vr_samples *out, vrwkv_model *model, const char *path, vr_error *err);
void vr_samples_free(vr_samples *samples);
#endif
