/* One step's gradients: a batch through the model with a tape, the loss, and backward.
 *
 *     pictures -> towers -> pooling -> projector -> rows of the batch -> language model -> head, loss
 *     frozen towers run ahead, without the tape, and their features can be kept */
#ifndef VR_TRAIN_STEP_H
#define VR_TRAIN_STEP_H
#include "train/batch.h"
#include "train/weights.h"

typedef struct vr_trainer {
    vrwkv_model *model;
    vr_weight_set weights;
    vr_arena arena;
    vr_tape tape;
    bool trains_towers;
    float l2wrap;       /* factor of the pull on the largest logits, 1e-4 in the original */
    bool labelled_only; /* the head runs on rows that have a label: the same gradients where l2wrap is 0 */
    int64_t logits_at_once; /* numbers; the head's rows are cut into pieces of so many, each of them run twice */
    const int *cancel;
} vr_trainer;

/* A picture of a sample: its pixels, or what frozen towers and pooling made of them. */
typedef struct vr_train_image {
    const vr_picture *picture;
    const float *features; /* [rows, channels]; NULL: the towers run in the pass */
    int rows;
} vr_train_image;

/* Until vr_trainer_close the model's numbers are the trained ones. The model must be opened as `exact`: gradients
 * are of f32 products, and frozen weights are written as they are stored.
 * max_bytes: most that activations may take (of address space; gradients take as much again). */
vr_status vr_trainer_open(vr_trainer *trainer, vrwkv_model *model, const vr_weight_choice *choice, uint64_t max_bytes,
                          vr_error *err);
void vr_trainer_close(vr_trainer *trainer);

/* Columns of a picture's features, and the rows that one has before the projector. */
int64_t vr_trainer_channels(const vr_trainer *trainer);
/* Features of a picture, heap, the caller's. */
vr_status vr_trainer_encode(vr_trainer *trainer, const vr_picture *picture, float **features, int *rows, vr_error *err);

/* Adds the gradients of seed * loss to those of the weights. images: of all samples, in their order.
 * watch (may be NULL) sees "pooled" and "image" (rows of all pictures), "embeds", "logits", and "dlogits",
 * the gradient of the last; the last two in pieces where the logits are many. */
vr_status vr_trainer_pass(vr_trainer *trainer, const vr_batch *batch, const vr_train_image *images, int n_images, float seed,
                          vr_watch_fn watch, void *user, double *loss, vr_error *err);
/* The loss alone: weights and gradients stay as they are. */
vr_status vr_trainer_loss(vr_trainer *trainer, const vr_batch *batch, const vr_train_image *images, int n_images,
                          double *loss, vr_error *err);
#endif
