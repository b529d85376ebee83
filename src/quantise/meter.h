/* How far a model's predictions are from what they were. */
#ifndef VR_QUANTISE_METER_H
#define VR_QUANTISE_METER_H
#include "quantise/samples.h"

typedef struct vr_meter vr_meter;

typedef struct vr_distance {
    double kl;   /* KL(before || now) of the next token's distribution in nats, the mean over all positions */
    double same; /* share of the positions at which the likeliest token is the same */
} vr_distance;

/* Reads the samples as the model is now, and keeps the logits: positions * vocabulary floats. Model and samples
 * must outlive the meter. */
vr_status vr_meter_open(vr_meter **out, vrwkv_model *model, const vr_samples *samples, vr_error *err);
/* Reads them again. vision: the pictures are encoded again too; else their features are the old ones. */
vr_status vr_meter_read(vr_meter *meter, bool vision, vr_distance *out, vr_error *err);
void vr_meter_close(vr_meter *meter); /* NULL is fine */
#endif
