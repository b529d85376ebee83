/* Checkpoints of a training, in its folder:
 *
 *     step-000500.safetensors        the whole model under the released keys; trained weights f32, frozen ones
 *                                    as they are stored (quantised ones as f16). Where only states or adapters
 *                                    are trained, these alone, unless they are to be merged into a model
 *     step-000500.optim.safetensors  Adam's two means of every trained weight, "m.KEY" and "v.KEY", and states
 *                                    and adapters themselves, "w.KEY"
 *     latest.json                    which of them is complete, written last
 *     best.safetensors               the model of the best evaluation
 *
 * Each file is written beside its place, synced and renamed: a kill at any moment leaves the checkpoint
 * before, whole. */
#ifndef VR_TRAIN_CHECKPOINT_H
#define VR_TRAIN_CHECKPOINT_H
#include "train/optimizer.h"

typedef struct vr_progress_mark {
    int64_t step;         /* steps that are done */
    double best_loss;     /* of evaluations; infinite: none yet */
    int64_t best_step, without_better; /* evaluations since then */
} vr_progress_mark;

typedef struct vr_checkpoint_place {
    const char *folder;
    int64_t keep;      /* checkpoints */
    bool merged;       /* states and adapters with a whole model, adapters added to their matrices */
    const char *base;  /* the model's file, which a file of adapters names */
} vr_checkpoint_place;

/* Writes the checkpoint of mark->step and removes all but the newest. is_best: best.safetensors too. */
vr_status vr_checkpoint_save(const vr_checkpoint_place *place, const vr_weight_set *set, const vr_adam *adam,
                             const vr_progress_mark *mark, bool is_best, vr_error *err);
/* Whether the folder holds one. */
bool vr_checkpoint_exists(const char *folder);
/* Weights, means and mark of the newest; leftovers of a kill are removed. */
vr_status vr_checkpoint_load(const char *folder, const vr_weight_set *set, vr_adam *adam, vr_progress_mark *mark,
                             vr_error *err);
#endif
