/* A packed block is its 8 rows' blocks, cut into units that lie row by row: unit after unit, byte k of a
 * unit of u bytes that begins at byte `start` of a row's block is byte 8*start + row*u + k of the packed
 * block. So a table of units is all that tells one type from another. */
#include "ops/pack.h"
#include "ops/cpu/packed.h"

#include <string.h>

enum { MAX_PARTS = 5 };

typedef struct order {
    vr_dtype plain, packed;
    struct { int units, bytes; } parts[MAX_PARTS]; /* until units is 0 */
} order;

static const order orders[] = {
    {VR_Q8_0, VR_Q8_0_R8, {{1, 2}, {8, 4}}},
    {VR_Q4_0, VR_Q4_0_R8, {{1, 2}, {4, 4}}},
    {VR_Q4_K, VR_Q4_K_R8, {{2, 2}, {12, 1}, {32, 4}}},
    {VR_Q5_K, VR_Q5_K_R8, {{2, 2}, {12, 1}, {8, 4}, {32, 4}}},
    {VR_Q6_K, VR_Q6_K_R8, {{32, 4}, {16, 4}, {16, 1}, {1, 2}}},
};

static const order *order_of(vr_dtype type) {
    for (size_t i = 0; i < VR_COUNT(orders); i++)
        if (orders[i].plain == type || orders[i].packed == type) return &orders[i];
    return NULL;
}

vr_dtype vr_packed_type(vr_dtype plain) {
    const order *o = order_of(plain);
    return o ? o->packed : plain;
}

vr_dtype vr_plain_type(vr_dtype packed) {
    const order *o = order_of(packed);
    return o ? o->plain : packed;
}

bool vr_can_pack(vr_dtype type, int ndim, const int64_t *shape) {
    const order *o = order_of(type);
    return o && o->plain == type && ndim == 2 && shape[0] > 0 && shape[0] % VR_PACKED_ROWS == 0 && shape[1] > 0 &&
           shape[1] % vr_dtype_of(type)->block == 0;
}

/* One row's blocks, between the group they are packed in and where they lie one after another. */
static void move_row(const order *o, unsigned char *plain, unsigned char *group, int row, int64_t blocks, bool pack) {
    for (int64_t b = 0; b < blocks; b++, group += VR_PACKED_ROWS * vr_dtype_of(o->plain)->bytes) {
        unsigned char *at = group;
        for (int p = 0; p < MAX_PARTS && o->parts[p].units; p++) {
            int bytes = o->parts[p].bytes;
            for (int unit = 0; unit < o->parts[p].units; unit++, plain += bytes, at += VR_PACKED_ROWS * bytes) {
                unsigned char *packed = at + row * bytes;
                memcpy(pack ? packed : plain, pack ? plain : packed, (size_t)bytes);
            }
        }
    }
}

static void move(vr_dtype type, unsigned char *plain, unsigned char *packed, int64_t rows, int64_t I, bool pack) {
    const vr_dtype_info *info = vr_dtype_of(type);
    int64_t blocks = I / info->block, row_bytes = blocks * info->bytes;
    for (int64_t r = 0; r < rows; r++)
        move_row(order_of(type), plain + r * row_bytes, packed + r / VR_PACKED_ROWS * VR_PACKED_ROWS * row_bytes, (int)(r % VR_PACKED_ROWS), blocks, pack);
}

void vr_pack(vr_dtype plain, void *packed, const void *rows_in, int64_t rows, int64_t I) {
    move(plain, (unsigned char *)rows_in, packed, rows, I, true); /* only read */
}

void vr_unpack(vr_dtype plain, void *rows_out, const void *packed, int64_t rows, int64_t I) {
    move(plain, rows_out, (unsigned char *)packed, rows, I, false);
}

void vr_unpack_row(vr_dtype plain, void *row_out, const void *group, int row, int64_t I) {
    const vr_dtype_info *info = vr_dtype_of(plain);
    move_row(order_of(plain), row_out, (unsigned char *)group, row, I / info->block, false);
}
