/* Learning rate and weight decay at each step. Steps of the schedule are micro batches, as in the original:
 *
 *     real = step * accumulate + epoch_begin * epoch_steps,  total = (epoch_begin + epoch_count) * epoch_steps
 *     progress = clamp((real - warmup + 1) / (total - warmup), 0, 1)
 *     lr = lr_final + (lr_init - lr_final) * (1 + cos(pi progress)) / 2,  times 0.1 + 0.9 real/warmup before warmup
 *     decay = decay_init * (decay_final / decay_init)^progress
 *
 * src: VisualRWKV src/trainer.py */
#ifndef VR_TRAIN_SCHEDULE_H
#define VR_TRAIN_SCHEDULE_H
#include "train/optimizer.h"

typedef struct vr_schedule {
    double lr_init, lr_final, decay_init, decay_final; /* decay_final <= 0: constant */
    int64_t warmup, epoch_begin, epoch_count, epoch_steps, accumulate;
    bool original; /* a group that decays keeps lr_init for ever, which is the original's fault */
} vr_schedule;

/* *lr, *decay (may be NULL): what the formulas give; the result is what the groups get. */
vr_rates vr_schedule_at(const vr_schedule *schedule, int64_t step, double *lr, double *decay);
#endif
