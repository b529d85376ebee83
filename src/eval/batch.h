/* A folder of pictures and some questions about each: one JSON line per picture and question, in that
 * order; resumable. */
#ifndef VR_EVAL_BATCH_H
#define VR_EVAL_BATCH_H
#include "eval/ask.h"
#include "eval/log.h"

typedef struct vr_batch_options {
    vr_ask_options ask;
    const char *folder, *out;
    const char *const *questions;
    size_t n_questions;
    bool recursive;
    json_t *schema;    /* that ask.shape was made from, for the record; or NULL; borrowed */
    vr_faults *faults; /* a picture that cannot be read */
    int (*progress)(void *user, size_t done, size_t total); /* pictures; not 0: stop */
    void *user;
} vr_batch_options;

typedef struct vr_batch_result {
    size_t pictures, encoded, resumed, answered, unread;
    double seconds;
    const char *reuse, *reuse_reason;
} vr_batch_result;

vr_status vr_batch_run(vrwkv_model *model, const vr_batch_options *options, vr_batch_result *result, vr_error *err);
#endif
