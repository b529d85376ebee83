/* The tape: what a forward pass did, to be run backwards for gradients.
 *
 *     vr_tape_open -> vr_tape_train each trained weight -> vr_tape_begin -> operations -> vr_tape_backward
 *                                                          ^-------------- next step --------------|
 *
 * With run->tape set, every operation appends a node: its backward pass and what that needs. Backward
 * passes stand beside their forward passes. The nodes run last first; each adds to the gradients of its
 * operation's inputs, given the complete gradient of its result.
 *
 * Memory. Nothing that was recorded is given back before the backward pass: activations stay where they
 * are in the arena. Their gradients live in the arena's mirror, a second range of addresses of the same
 * size: the gradient of the float at base + n is at mirror + n, so views and reshaped tensors share their
 * gradients as they share their numbers. The mirror is all zeros between two steps: a result's gradient is
 * cleared as soon as its node has run. Two rules follow. What lies in the arena when recording begins is
 * constant: it has no gradient. What is made afterwards comes out of an operation.
 * A weight has a gradient where the tape was told so; all others are frozen, and backward passes leave
 * their part out. Frozen weights may be of any stored type, trained ones are f32.
 *
 * States of sequences are only read while run->tape is set: a pass can be repeated.
 *
 * Every element of a gradient is summed in an order that depends on sizes alone. */
#ifndef VR_OPS_TAPE_H
#define VR_OPS_TAPE_H
#include "ops/ops.h"

typedef struct vr_node vr_node;

typedef struct vr_trained {
    const char *begin, *end; /* the weight's bytes */
    float *grad;
} vr_trained;

struct vr_tape {
    vr_arena *arena;
    char *mirror;
    size_t floor;         /* the arena's bytes below it are constant */
    bool recording;       /* false: operations run as without a tape, but states stay as they are */
    bool checkpoints;     /* layers keep what they were given only, and run again for their gradients (vr_layer) */
    vr_node *last;
    vr_trained *trained;  /* in the order of addresses */
    size_t n_trained, capacity;
};

vr_status vr_tape_open(vr_tape *tape, vr_arena *arena, vr_error *err);
void vr_tape_close(vr_tape *tape);
/* The gradient of weight [count] is added up in grad [count], which stays the caller's. */
vr_status vr_tape_train(vr_tape *tape, const float *weight, float *grad, int64_t count, vr_error *err);
/* Records the run's operations from here on. */
void vr_tape_begin(vr_run *run, vr_tape *tape);
/* Adds the gradients of `seed` * loss, a single number, to those of all trained weights. The tape is
 * empty and the run without it afterwards, whether or not it succeeds. */
vr_status vr_tape_backward(vr_run *run, const vr_tensor *loss, float seed);

/* Shows the gradient of x when it is complete, under this name. */
void vr_watch_gradient(vr_run *run, const vr_tensor *x, const char *name, vr_watch_fn watch, void *user);

/* ---- for backward passes ---- */

/* Where the gradient of the f32 number at `data` is added up; NULL: none is wanted. */
float *vr_grad(const vr_run *run, const void *data);
#endif
