/* Values of a fresh model's weights, as its version's constructor sets them: one table of rules by key.
 * src: VisualRWKV v5.1, v6.0 src/model.py; RWKV-LM RWKV-v7 */
#ifndef VR_TRAIN_INIT_H
#define VR_TRAIN_INIT_H
#include "base/rng.h"
#include "vl/config.h"

/* out [count], in the checkpoint's order. */
void vr_init_row(float *out, const vr_config *config, const vr_part *part, const vr_row *row, int layer, vr_rng *rng);
/* A model of the description `json` (the keys of vrwkv.config) with such values, all f32; the weight of the norm
 * before the first block is `ln0`, 1 in all versions. */
vr_status vr_init_model(const char *json, uint64_t seed, float ln0, const vrwkv_model_options *options, vrwkv_model **out,
                        vr_error *err);
#endif
