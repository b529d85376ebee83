/* What the model answers now: the last answer of a conversation is generated in place of being read. */
#ifndef VR_TRAIN_REPLY_H
#define VR_TRAIN_REPLY_H
#include "train/example.h"

typedef struct vr_reply {
    char *question, *expected, *answer; /* heap; question: the last human turn */
} vr_reply;

/* Greedy. A conversation without an answer gives NULL texts. */
vr_status vr_reply_make(vr_reply *out, const vr_dataset *dataset, int64_t index, vrwkv_model *model,
                         const vr_example_options *options, vr_error *err);
void vr_reply_free(vr_reply *answer);
#endif
