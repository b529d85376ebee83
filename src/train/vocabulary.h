/* A small vocabulary for a small model: id 0 stays free, then the 256 bytes, the blank line that ends every
 * turn, and every token that the data uses, in the order of their ids in the vocabulary they come from.
 * Since it holds every token that the data is cut into, the data is cut in the same way. */
#ifndef VR_TRAIN_VOCABULARY_H
#define VR_TRAIN_VOCABULARY_H
#include "train/data.h"
#include "vl/internal.h"

typedef struct vr_small_vocab {
    vr_vocab *vocab;
    int32_t *old; /* [n] ids where they come from; old[0] = 0 */
    int n;
    int32_t stop, pad; /* new ids of the two that descriptions name */
} vr_small_vocab;

/* From all texts of n data sets; stop and pad are ids of `from`, or -1. */
vr_status vr_small_vocab_make(vr_small_vocab *out, const vr_vocab *from, vr_dataset *const *data, int n, int32_t stop,
                              int32_t pad, vr_error *err);
void vr_small_vocab_free(vr_small_vocab *vocab);
/* Gives the model this vocabulary; of a model that has the larger one, the rows of its embedding and head
 * that belong to it. */
vr_status vr_small_vocab_apply(vr_small_vocab *small, vrwkv_model *model, vr_error *err);
#endif
