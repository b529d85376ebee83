#include "base/dtype.h"

#include <stdio.h>
#include <strings.h>

static const vr_dtype_info table[VR_DTYPE_COUNT] = {
    [VR_F32] = {"f32", 1, 4, 0, "F32"},        [VR_F16] = {"f16", 1, 2, 1, "F16"},
    [VR_BF16] = {"bf16", 1, 2, 30, "BF16"},    [VR_F64] = {"f64", 1, 8, 28, "F64"},
    [VR_I8] = {"i8", 1, 1, 24, "I8"},          [VR_U8] = {"u8", 1, 1, -1, "U8"},
    [VR_I16] = {"i16", 1, 2, 25, "I16"},       [VR_I32] = {"i32", 1, 4, 26, "I32"},
    [VR_I64] = {"i64", 1, 8, 27, "I64"},       [VR_BOOL] = {"bool", 1, 1, -1, "BOOL"},
    [VR_Q8_0] = {"q8_0", 32, 34, 8, NULL},     [VR_Q4_0] = {"q4_0", 32, 18, 2, NULL},
    [VR_Q4_1] = {"q4_1", 32, 20, 3, NULL},     [VR_Q5_0] = {"q5_0", 32, 22, 6, NULL},
    [VR_Q5_1] = {"q5_1", 32, 24, 7, NULL},     [VR_Q4_K] = {"q4_k", 256, 144, 12, NULL},
    [VR_Q5_K] = {"q5_k", 256, 176, 13, NULL},  [VR_Q6_K] = {"q6_k", 256, 210, 14, NULL},
    [VR_Q8_0_R8] = {"q8_0_r8", 32, 34, -1, NULL},   [VR_Q4_0_R8] = {"q4_0_r8", 32, 18, -1, NULL},
    [VR_Q4_K_R8] = {"q4_k_r8", 256, 144, -1, NULL}, [VR_Q5_K_R8] = {"q5_k_r8", 256, 176, -1, NULL},
    [VR_Q6_K_R8] = {"q6_k_r8", 256, 210, -1, NULL},
};

const vr_dtype_info *vr_dtype_of(vr_dtype type) { return &table[(unsigned)type < VR_DTYPE_COUNT ? type : VR_F32]; }

bool vr_dtype_parse(const char *name, vr_dtype *out) {
    for (int i = 0; i < VR_DTYPE_COUNT; i++)
        if (strcasecmp(name, table[i].name) == 0) {
            *out = (vr_dtype)i;
            return true;
        }
    return false;
}

bool vr_shape_count(int ndim, const int64_t *shape, int64_t *count) {
    int64_t product = 1;
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) return false;
        if (shape[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(product, shape[i], &product))
            return false;
    }
    *count = empty ? 0 : product;
    return true;
}

bool vr_shape_bytes(vr_dtype type, int ndim, const int64_t *shape, uint64_t *bytes) {
    const vr_dtype_info *info = vr_dtype_of(type);
    int64_t count;
    if (!vr_shape_count(ndim, shape, &count)) return false;
    if (info->block > 1 && (ndim == 0 || shape[ndim - 1] % info->block != 0)) return false;
    return !__builtin_mul_overflow((uint64_t)count / (uint64_t)info->block, (uint64_t)info->bytes, bytes);
}

const char *vr_shape_text(int ndim, const int64_t *shape, char *buffer, size_t size) {
    size_t at = (size_t)snprintf(buffer, size, "[");
    for (int i = 0; i < ndim && at < size; i++)
        at += (size_t)snprintf(buffer + at, size - at, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (at < size) snprintf(buffer + at, size - at, "]");
    return buffer;
}
