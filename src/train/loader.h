/* Loads the samples of coming batches in a thread of its own, in the sampler's order, while the model
 * computes: files are read, pictures decoded and resized, text becomes ids. */
#ifndef VR_TRAIN_LOADER_H
#define VR_TRAIN_LOADER_H
#include "train/example.h"
#include "train/sampler.h"

typedef struct vr_loader vr_loader;

/* Batches of `batch` samples, beginning with the sampler's step `first`; at most n_batches are loaded. All
 * arguments must live as long as the loader. */
vr_status vr_loader_open(vr_loader **out, const vr_dataset *dataset, const vrwkv_model *model, vr_sampler *sampler,
                         const vr_example_options *options, int64_t first, int64_t batch, int64_t n_batches, vr_error *err);
void vr_loader_close(vr_loader *loader); /* NULL is fine */
/* The next batch's examples, the loader's until the next call. */
vr_status vr_loader_next(vr_loader *loader, vr_example **examples, vr_error *err);
#endif
