/* Element types of tensors: names, sizes and block forms. Encoding and decoding of quantised blocks
 * is in ops/quant.h; here is only what files and shapes need. */
#ifndef VR_BASE_DTYPE_H
#define VR_BASE_DTYPE_H
#include "base/status.h"

#include <stdbool.h>

#define VR_MAX_DIMS 5

typedef enum vr_dtype {
    VR_F32, VR_F16, VR_BF16, VR_F64, VR_I8, VR_U8, VR_I16, VR_I32, VR_I64, VR_BOOL,
    VR_Q8_0, VR_Q4_0, VR_Q4_1, VR_Q5_0, VR_Q5_1, VR_Q4_K, VR_Q5_K, VR_Q6_K,
    VR_Q8_0_R8, VR_Q4_0_R8, VR_Q4_K_R8, VR_Q5_K_R8, VR_Q6_K_R8, /* packed order: ops/cpu/packed.h */
    VR_DTYPE_COUNT
} vr_dtype;

typedef struct vr_dtype_info {
    const char *name;        /* "f32", "q8_0": as in --type */
    int block;               /* elements per block, 1 for plain types */
    int bytes;               /* bytes per block */
    int gguf;                /* GGML type id, -1: none */
    const char *safetensors; /* "F32", or NULL */
} vr_dtype_info;

const vr_dtype_info *vr_dtype_of(vr_dtype type);      /* never NULL */
bool vr_dtype_parse(const char *name, vr_dtype *out); /* by name, any case */
static inline bool vr_is_quantised(vr_dtype type) { return type >= VR_Q8_0 && type < VR_DTYPE_COUNT; }

/* Product of the sizes; false where one is negative or the product passes INT64_MAX. ndim 0: 1. */
bool vr_shape_count(int ndim, const int64_t *shape, int64_t *count);
/* Bytes of a row-major tensor; false on overflow or where the last axis is no multiple of the block. */
bool vr_shape_bytes(vr_dtype type, int ndim, const int64_t *shape, uint64_t *bytes);
/* "[2, 3]" into a buffer; returns the buffer. */
const char *vr_shape_text(int ndim, const int64_t *shape, char *buffer, size_t size);

/* A view: row-major, contiguous, owns nothing. */
typedef struct vr_tensor {
    vr_dtype dtype;
    int ndim;
    int64_t shape[VR_MAX_DIMS];
    void *data;
} vr_tensor;
#endif
