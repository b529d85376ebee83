/* Quantised blocks, byte-compatible with GGML's: q8_0, q4_0 read and written here; further types are
 * rows of the same table. d = f16 scale of a block of 32.
 *   q8_0: d = max|x|/127, q = round(x/d)            q4_0: d = (x of the largest |x|)/-8, q = trunc(x/d + 8.5) */
#ifndef VR_OPS_QUANT_H
#define VR_OPS_QUANT_H
#include "base/dtype.h"

/* n elements, a multiple of the type's block; plain types are converted (f16, bf16: nearest even). */
typedef void (*vr_decode_fn)(float *out, const void *in, int64_t n);
typedef void (*vr_encode_fn)(void *out, const float *in, int64_t n);

typedef struct vr_quant {
    vr_dtype type;
    vr_decode_fn decode; /* plain C, the truth; kernel sets may have a faster one with equal bits */
    vr_encode_fn encode; /* NULL: cannot be written */
} vr_quant;

const vr_quant *vr_quant_of(vr_dtype type); /* NULL: neither read nor written as numbers */
/* The widest-to-narrowest rule for rows whose length is no multiple of the block: the type itself, or
 * the next that fits, f16 last. */
vr_dtype vr_quant_fit(vr_dtype wanted, int64_t row_length);
#endif
