/* Recoding by the pool's threads: each decodes a few rows into memory of its own and encodes them. */
#include "vl/recode.h"
#include "base/memory.h"
#include "ops/quant.h"

#include <stdlib.h>

#define CHUNK_ELEMENTS ((int64_t)1 << 14) /* by one thread at a time, or a row */

typedef struct recode {
    const char *in;
    char *out;
    float *scratch; /* [threads, chunk] */
    vr_dtype from, to;
    int64_t count, chunk; /* elements */
} recode;

size_t vr_stored_bytes(vr_dtype type, int64_t count) {
    const vr_dtype_info *info = vr_dtype_of(type);
    return (size_t)(count / info->block) * (size_t)info->bytes;
}

static void recode_chunk(void *work, int64_t chunk, int thread) {
    const recode *r = work;
    int64_t first = chunk * r->chunk, n = r->count - first < r->chunk ? r->count - first : r->chunk;
    float *numbers = r->scratch + thread * r->chunk;
    vr_quant_of(r->from)->decode(numbers, r->in + vr_stored_bytes(r->from, first), n);
    vr_quant_of(r->to)->encode(r->out + vr_stored_bytes(r->to, first), numbers, n);
}

vr_status vr_recode(vr_pool *pool, vr_dtype to, void *out, vr_dtype from, const void *in, int64_t count, int64_t last,
                    vr_error *err) {
    recode r = {.in = in, .out = out, .from = from, .to = to, .count = count};
    r.chunk = last >= CHUNK_ELEMENTS ? last : CHUNK_ELEMENTS / last * last;
    r.scratch = vr_alloc((size_t)vr_pool_threads(pool) * (size_t)r.chunk, sizeof *r.scratch);
    if (!r.scratch) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_pool_run(pool, recode_chunk, &r, (count + r.chunk - 1) / r.chunk);
    free(r.scratch);
    return VRWKV_OK;
}
