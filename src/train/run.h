/* A training from its settings to its last checkpoint: opens model and data, walks through the steps, logs,
 * evaluates, saves, and goes on where an earlier run was cut off. A resumed run gives the numbers of one that
 * was never cut off, to the bit, on the same kernel set.
 * Several processes share each batch and take the same steps. Process 0 alone logs, writes the folder and reads
 * checkpoints; all read settings, model and data. Where one fails all end with its message. */
#ifndef VR_TRAIN_RUN_H
#define VR_TRAIN_RUN_H
#include "train/settings.h"
#include "train/team.h"
#include "vl/convert.h"

typedef struct vr_train_report {
    int64_t step, steps;   /* steps done, of all */
    double loss, lr, grad_norm, samples_per_s, seconds_left;
    uint64_t memory_bytes; /* of this process */
} vr_train_report;

typedef struct vr_train_hooks {
    void (*report)(void *user, const vr_train_report *report); /* after each step */
    vrwkv_log_fn log;
    vrwkv_progress_fn progress;
    const int *cancel; /* a flag that ends the training after a last checkpoint */
    void *user;
} vr_train_hooks;

/* settings->out is the folder; a new run must not find a checkpoint there, a resumed one takes all its
 * settings from there. Cancelled: VRWKV_ERR_CANCELLED, with the checkpoint written. Whatever stops it, a
 * checkpoint of the last whole step is written first where that is possible. team: NULL: this process alone. */
vr_status vr_train_run(const vr_train_settings *settings, bool resume, const vr_team *team, const vr_train_hooks *hooks,
                       vr_error *err);
#endif
