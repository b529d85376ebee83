/* A model that begins: towers from their own files beside a language model, and a projector with initial
 * values. */
#ifndef VR_VL_FRESH_H
#define VR_VL_FRESH_H
#include "vl/config.h"

/* A tower's own file (CLIP and SigLIP of transformers, DINOv2 and SigLIP of timm, SAM's checkpoint), its
 * tensors named as in a model. `type` as in descriptions ("dinov2") or in activations' names ("dino"). */
vr_status vr_tower_file_open(vr_weights **out, const char *type, const char *path, vr_error *err);

/* The projector of the description with initial values from the seed, as a tensor file in *memory (heap,
 * the caller's, freed after the weights were closed, also where opening failed). */
vr_status vr_fresh_projector(const vr_config *config, uint64_t seed, void **memory, vr_weights **out, vr_error *err);
#endif
