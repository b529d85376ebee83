/* The optimizer: AdamW over the trained weights, in two groups, after clipping their gradients together.
 *
 *     g = gradient * min(1, clip / (norm + 1e-6))          norm: of all gradients
 *     m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g^2
 *     p -= lr * ( (m/(1-b1^n)) / (sqrt(v/(1-b2^n)) + eps) + decay * p )      n: steps so far, this one too
 *
 * src: Loshchilov, Hutter 2019; DeepSpeed FusedAdam (adam_w_mode) as the original trains */
#ifndef VR_TRAIN_OPTIMIZER_H
#define VR_TRAIN_OPTIMIZER_H
#include "train/weights.h"

/* Group 0: vectors, which do not decay. Group 1: matrices. */
enum { VR_GROUPS = 2 };
static inline int vr_group_of(const vr_trained_weight *weight, bool all_decay) { return all_decay || weight->is_matrix; }

typedef struct vr_adam {
    double beta1, beta2, eps, clip; /* clip 0: not */
    bool all_decay;                 /* every weight is in group 1 */
    int64_t steps;                  /* taken so far */
} vr_adam;

typedef struct vr_rates { double lr[VR_GROUPS], decay[VR_GROUPS]; } vr_rates;

/* One step; the gradients are zero afterwards. *norm: theirs, before clipping. A norm that is no number, or
 * infinite, is an error and changes nothing. */
vr_status vr_adam_step(vr_adam *adam, const vr_weight_set *set, const vr_rates *rates, vr_pool *pool, double *norm,
                       vr_error *err);
#endif
