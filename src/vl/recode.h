/* Stored numbers of one type to another. */
#ifndef VR_VL_RECODE_H
#define VR_VL_RECODE_H
#include "base/dtype.h"
#include "base/pool.h"

#define VR_RECODE_ELEMENTS ((int64_t)1 << 20) /* a good number to recode at once: 4 MB of f32 */

/* Bytes of `count` stored elements, a multiple of the type's block. */
size_t vr_stored_bytes(vr_dtype type, int64_t count);
/* `count` elements, whole rows of `last`; `to` must be a type that is written. out holds vr_stored_bytes(to, count). */
vr_status vr_recode(vr_pool *pool, vr_dtype to, void *out, vr_dtype from, const void *in, int64_t count, int64_t last,
                    vr_error *err);
#endif
