/* The weights that are trained: which they are, their numbers in f32, their gradients and what the
 * optimizer keeps for each. Three kinds:
 *
 *     of the model     rows of its tables; while a set is open the model's tensors point into it
 *     of the state     the wkv part of every layer's initial state ("state tuning"), which begins as zeros
 *     of adapters      low-rank weights beside the frozen matrices of the blocks (LoRA): A random, B zeros
 *
 * so that every forward pass sees the weights as they are now. */
#ifndef VR_TRAIN_WEIGHTS_H
#define VR_TRAIN_WEIGHTS_H
#include "ops/tape.h"
#include "vl/internal.h"

typedef enum vr_weight_kind { VR_OF_MODEL, VR_OF_STATE, VR_OF_ADAPTER } vr_weight_kind;

typedef struct vr_trained_weight {
    char name[2 * VR_NAME_SIZE]; /* its checkpoint key, "rwkv.blocks.0.att.key.weight" */
    vr_weight_kind kind;
    vr_tensor *tensor;           /* of the model; else NULL */
    vr_tensor before;            /* what that was before the set was opened */
    float *value, *grad, *m, *v; /* [count]; m, v: Adam's means of gradients and their squares */
    int64_t count;
    int ndim;
    int64_t shape[VR_MAX_DIMS];  /* in the checkpoint; in memory the last two axes may be exchanged: */
    bool transposed;
    bool is_matrix;              /* at least two axes are longer than 1: such weights decay */
} vr_trained_weight;

typedef struct vr_weight_set {
    vrwkv_model *model;
    vr_trained_weight *items;
    size_t n, capacity;
    int64_t count;  /* numbers in all */
    float *numbers; /* [4, count]: all values (of adapters and the model), gradients, m, v, weight after weight */
    float *state;   /* [state_floats] before every sample; zeros where it is not trained */
    vr_adapter *adapters;
    int n_adapters, adapter_room;
} vr_weight_set;

/* Whether the weight of this row and layer is trained; name is its checkpoint key. */
typedef bool (*vr_wanted_fn)(const void *user, const vr_part *part, const vr_row *row, int layer, const char *name);

typedef struct vr_weight_choice {
    vr_wanted_fn wanted; /* of the model */
    const void *user;
    bool state;
    int lora_rank;       /* 0: no adapters */
    int first_layer;     /* of adapters */
    uint64_t seed;
} vr_weight_choice;

vr_status vr_weight_set_open(vr_weight_set *set, vrwkv_model *model, const vr_weight_choice *choice, vr_error *err);
/* Gives the model its old tensors back. */
void vr_weight_set_close(vr_weight_set *set);
/* Tells the tape where the gradients go. */
vr_status vr_weight_set_record(const vr_weight_set *set, vr_tape *tape, vr_error *err);
bool vr_weight_set_has(const vr_weight_set *set, vr_weight_kind kind);
/* One of a weight's arrays, in the order that a checkpoint has; out [count]. */
void vr_weight_export(const vr_trained_weight *weight, const float *numbers, float *out);
void vr_weight_import(const vr_trained_weight *weight, const float *in, float *numbers);
#endif
