/* What a run tells: log.jsonl, one object per step, flushed at once; curves.csv, the same numbers;
 * answers.jsonl, what was answered at evaluations; and a picture of the numbers. A resumed run takes up the log where
 * its checkpoint was written. */
#ifndef VR_TRAIN_LOG_H
#define VR_TRAIN_LOG_H
#include "base/status.h"

#include <stdio.h>

typedef struct vr_train_log {
    FILE *lines, *table, *answers;
} vr_train_log;

typedef struct vr_train_log_step {
    int64_t step; /* from 0 */
    double loss, grad_norm, lr, weight_decay, samples_per_s, seconds;
} vr_train_log_step;

/* Keeps what is there of steps below `step`; 0 begins anew. */
vr_status vr_train_log_open(vr_train_log *log, const char *folder, int64_t step, vr_error *err);
void vr_train_log_close(vr_train_log *log);
vr_status vr_train_log_put(vr_train_log *log, const vr_train_log_step *entry, vr_error *err);
vr_status vr_train_log_eval(vr_train_log *log, int64_t step, double loss, vr_error *err);
vr_status vr_train_log_answer(vr_train_log *log, int64_t step, const char *question, const char *expected,
                              const char *answer, vr_error *err);
/* log.jsonl of the folder as curves.svg: loss, its running mean, evaluations, learning rate. */
vr_status vr_train_log_plot(const char *folder, vr_error *err);
#endif
