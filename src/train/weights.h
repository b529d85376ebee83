/* The weights that are trained: which they are, their numbers in f32, their gradients and what the
 * optimizer keeps for each. They are rows of the model's own tables; while a set is open the model's
 * tensors point into it, so that every forward pass sees the weights as they are now. */
#ifndef VR_TRAIN_WEIGHTS_H
#define VR_TRAIN_WEIGHTS_H
#include "ops/tape.h"
#include "vl/internal.h"

typedef struct vr_trained_weight {
    char name[2 * VR_NAME_SIZE]; /* its checkpoint key, "rwkv.blocks.0.att.key.weight" */
    const vr_row *row;
    vr_tensor *tensor;           /* the model's */
    vr_tensor before;            /* what it was before the set was opened */
    float *value, *grad, *m, *v; /* [count]; m, v: Adam's means of gradients and their squares */
    int64_t count;
    int ndim;
    int64_t shape[VR_MAX_DIMS];  /* in the checkpoint */
    bool is_matrix;              /* at least two axes are longer than 1: such weights decay */
} vr_trained_weight;

typedef struct vr_weight_set {
    vr_trained_weight *items;
    size_t n, capacity;
    int64_t count;  /* numbers in all */
    float *numbers; /* [4, count]: all values, all gradients, all m, all v, weight after weight */
} vr_weight_set;

/* Whether the weight of this row and layer is trained; name is its checkpoint key. */
typedef bool (*vr_wanted_fn)(const void *user, const vr_part *part, const vr_row *row, int layer, const char *name);

vr_status vr_weight_set_open(vr_weight_set *set, vrwkv_model *model, vr_wanted_fn wanted, const void *user, vr_error *err);
/* Gives the model its old tensors back. */
void vr_weight_set_close(vr_weight_set *set);
/* Tells the tape where the gradients go. */
vr_status vr_weight_set_record(const vr_weight_set *set, vr_tape *tape, vr_error *err);
/* One of a weight's arrays, in the order that a checkpoint has; out [count]. */
void vr_weight_export(const vr_trained_weight *weight, const float *numbers, float *out);
void vr_weight_import(const vr_trained_weight *weight, const float *in, float *numbers);
#endif
