/* Loads the samples of coming batches in a thread of its own, in the sampler's order, while the model
 * computes: files are read, pictures decoded and resized, text becomes ids. */
#ifndef VR_TRAIN_LOADER_H
#define VR_TRAIN_LOADER_H
#include "train/example.h"
#include "train/sampler.h"

typedef struct vr_loader vr_loader;

/* Which of the sampler's steps a batch is made of: first, first + 1, .. (n of them), the next one's `stride` later. */
typedef struct vr_loader_steps { int64_t first, n, stride, n_batches; } vr_loader_steps;

/* At most n_batches are loaded. All that is pointed to must live as long as the loader. */
vr_status vr_loader_open(vr_loader **out, const vr_dataset *dataset, const vrwkv_model *model, vr_sampler *sampler,
                         const vr_example_options *options, vr_loader_steps steps, vr_error *err);
void vr_loader_close(vr_loader *loader); /* NULL is fine */
/* The next batch's examples, the loader's until the next call. */
vr_status vr_loader_next(vr_loader *loader, vr_example **examples, vr_error *err);
#endif
