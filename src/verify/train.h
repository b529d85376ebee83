/* What the kinds `train` and `train-dataset` share. */
#ifndef VR_VERIFY_TRAIN_H
#define VR_VERIFY_TRAIN_H
#include "train/schedule.h"
#include "verify/verify.h"

/* Settings of a case's `optimizer`. */
vr_schedule vr_case_schedule(const json_t *settings);
vr_adam vr_case_adam(const json_t *settings, bool all_decay);
/* One entry of `steps`: loss, norm of the gradients, rates of the groups that have weights. */
void vr_case_check_step(vr_verify *verify, const char *prefix, const vr_weight_set *set, const json_t *step,
                        double loss, double norm, const vr_rates *rates, bool all_decay);
/* Tensors of expect.safetensors that begin with the prefix ("after.") are weights as they are now; lr: the
 * largest rate that moved them. `later` (or NULL) is the prefix of the last run: the reference program kept one
 * array for all its runs, so that what it wrote under the name of an earlier one may be the last one's. */
vr_status vr_case_check_after(vr_verify *verify, const vr_case *item, const char *prefix, const char *later,
                              const vr_weight_set *set, double lr, vr_error *err);
#endif
