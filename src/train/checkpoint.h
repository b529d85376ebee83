/* Checkpoints of a training, in its folder:
 *
 *     step-000500.safetensors        the whole model under the released keys; trained weights f32, frozen ones
 *                                    as they are stored (quantised ones as f16)
 *     step-000500.optim.safetensors  Adam's two means of every trained weight, "m.KEY" and "v.KEY"
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

/* The model's file alone, with its weights as they are now. */
vr_status vr_model_save(const char *path, vrwkv_model *model, vr_error *err);
/* Writes the checkpoint of mark->step and removes all but the `keep` newest. is_best: best.safetensors too. */
vr_status vr_checkpoint_save(const char *folder, vrwkv_model *model, const vr_weight_set *set, const vr_adam *adam,
                             const vr_progress_mark *mark, int64_t keep, bool is_best, vr_error *err);
/* Whether the folder holds one. */
bool vr_checkpoint_exists(const char *folder);
/* Weights, means and mark of the newest; leftovers of a kill are removed. */
vr_status vr_checkpoint_load(const char *folder, const vr_weight_set *set, vr_adam *adam, vr_progress_mark *mark, vr_error *err);
#endif
