/* Stored number formats to f32 and back. Quantised blocks are byte-compatible with GGML's; the layouts
 * stand at the head of quant_32.c and quant_k.c. A format is one row of its family's table:
 *
 *   plain      f32 f16 bf16 f64 i8 u8 i16 i32 i64 bool           quant_plain.c
 *   blocks 32  q8_0 q4_0 (written too), q4_1 q5_0 q5_1           quant_32.c
 *   blocks 256 q4_k q5_k q6_k (written too)                      quant_k.c
 *
 * Encoding is deterministic: the same numbers give the same bytes on every machine. */
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
    vr_dtype fallback;   /* of rows that are no multiple of the block: of similar width, or the next wider */
    int n_factors;       /* f16 numbers in a block that all its elements are proportional to .. */
    int factors[2];      /* .. at these bytes */
} vr_quant;

const vr_quant *vr_quant_of(vr_dtype type); /* NULL: neither read nor written as numbers */
/* The type that rows of this length are stored as: the one wanted, or the first of its fallbacks that
 * fits, f16 last. */
vr_dtype vr_quant_fit(vr_dtype wanted, int64_t row_length);
/* "f32, f16, ...": the types that can be written, ascending by loss; a static text. */
const char *vr_quant_writable(void);
/* n stored elements times 2^exponent, in place. Exact but for what leaves the range of the type (of a
 * block's factors). False for types that are only read as numbers. */
bool vr_quant_scale(vr_dtype type, void *data, int64_t n, int exponent);
#endif
