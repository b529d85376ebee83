/* Which weights are trained: the parts that are named, less the first blocks of the language model.
 *
 *     proj   the projector (and a compressor)
 *     rwkv   the language model's blocks, last norm and head
 *     emb    its embedding table
 *     vit    the towers
 *     state  the initial state of every layer, in place of or beside weights
 *     lora   low-rank adapters of the blocks' matrices, which stay as they are
 *
 * With all blocks frozen the rest of the language model is frozen too (stage 1); with some of them, their
 * layers and the embedding are (freeze_rwkv of the original). */
#ifndef VR_TRAIN_PLAN_H
#define VR_TRAIN_PLAN_H
#include "train/weights.h"

typedef struct vr_plan {
    bool proj, rwkv, emb, vit, state, lora;
    int freeze_layers, n_layer;
} vr_plan;

/* The original's: projector and language model, the embedding where its version trains it. */
vr_plan vr_plan_default(const vr_config *config, int freeze_layers);
/* "proj,rwkv": those parts alone. */
vr_status vr_plan_parse(vr_plan *plan, const char *list, vr_error *err);
/* A vr_wanted_fn; user is a vr_plan. */
bool vr_plan_wants(const void *plan, const vr_part *part, const vr_row *row, int layer, const char *name);
#endif
