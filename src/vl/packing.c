/* Quantised matrices to packed order after loading, for files that hold them in plain order. */
#include "ops/cpu/packed.h"
#include "ops/pack.h"
#include "vl/load.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_GROUPS = 16 };

typedef struct packing {
    vr_dtype type;
    const char *from;
    char *to; /* may be `from` */
    char *scratch; /* [threads]: one group in plain order */
    int64_t groups, I, group_bytes;
} packing;

static void pack_chunk(void *job, int64_t chunk, int thread) {
    const packing *p = job;
    char *plain = p->scratch + thread * p->group_bytes;
    int64_t end = (chunk + 1) * CHUNK_GROUPS < p->groups ? (chunk + 1) * CHUNK_GROUPS : p->groups;
    for (int64_t g = chunk * CHUNK_GROUPS; g < end; g++) {
        memcpy(plain, p->from + g * p->group_bytes, (size_t)p->group_bytes);
        vr_pack(p->type, p->to + g * p->group_bytes, plain, VR_PACKED_ROWS, p->I);
    }
}

static bool is_owned(const vr_owned *owned, const void *data) {
    for (size_t i = owned->n; i-- > 0;)
        if (owned->items[i] == data) return true;
    return false;
}

static vr_status pack_tensor(vr_tensor *tensor, vr_owned *owned, vr_pool *pool, vr_error *err) {
    uint64_t bytes;
    if (!tensor->data || !vr_can_pack(tensor->dtype, tensor->ndim, tensor->shape)) return VRWKV_OK;
    vr_shape_bytes(tensor->dtype, tensor->ndim, tensor->shape, &bytes);
    packing p = {.type = tensor->dtype, .from = tensor->data, .groups = tensor->shape[0] / VR_PACKED_ROWS, .I = tensor->shape[1]};
    p.group_bytes = (int64_t)bytes / p.groups;
    p.to = is_owned(owned, tensor->data) ? tensor->data : vr_owned_get(owned, (size_t)bytes, err);
    if (!p.to) return VRWKV_ERR_MEMORY;
    p.scratch = vr_alloc((size_t)vr_pool_threads(pool), (size_t)p.group_bytes);
    if (!p.scratch) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_pool_run(pool, pack_chunk, &p, (p.groups + CHUNK_GROUPS - 1) / CHUNK_GROUPS);
    free(p.scratch);
    tensor->dtype = vr_packed_type(tensor->dtype);
    tensor->data = p.to;
    return VRWKV_OK;
}

vr_status vr_part_pack(const vr_part *part, vr_owned *owned, vr_pool *pool, vr_error *err) {
    for (int layer = 0; layer < part->repeat; layer++)
        for (int r = 0; r < part->n_rows; r++)
            if (part->rows[r].kind == VR_MAT) VR_TRY(pack_tensor(vr_row_tensor(part, &part->rows[r], layer), owned, pool, err));
    return VRWKV_OK;
}
