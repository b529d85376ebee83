/* Packed order of quantised matrices (ops/cpu/packed.h): to it, from it, and which matrices take it. */
#ifndef VR_OPS_PACK_H
#define VR_OPS_PACK_H
#include "base/dtype.h"

/* The packed type of a plain one, and the plain type of a packed one; the type itself where there is none. */
vr_dtype vr_packed_type(vr_dtype plain);
vr_dtype vr_plain_type(vr_dtype packed);
static inline bool vr_is_packed(vr_dtype type) { return type >= VR_Q8_0_R8 && type <= VR_Q6_K_R8; }
/* A matrix [O, I] of a plain type that has a packed one: whole groups of 8 rows of whole blocks. */
bool vr_can_pack(vr_dtype type, int ndim, const int64_t *shape);

/* `rows` rows of I numbers, a multiple of 8 and of the block, from the plain type to its packed order, or back;
 * equal numbers of bytes, which may not overlap. */
void vr_pack(vr_dtype plain, void *packed, const void *rows_in, int64_t rows, int64_t I);
void vr_unpack(vr_dtype plain, void *rows_out, const void *packed, int64_t rows, int64_t I);
/* Row 0..7 of a packed group, in the plain type. */
void vr_unpack_row(vr_dtype plain, void *row_out, const void *group, int row, int64_t I);
#endif
