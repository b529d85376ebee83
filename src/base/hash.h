/* FNV-1a, 64 bits (Fowler, Noll, Vo): tells data apart; no defence against those who want a collision. */
#ifndef VR_BASE_HASH_H
#define VR_BASE_HASH_H
#include <stddef.h>
#include <stdint.h>

#define VR_HASH_START 0xcbf29ce484222325u

/* The hash of what gave `hash` followed by data [n]; VR_HASH_START is that of nothing. */
static inline uint64_t vr_hash(uint64_t hash, const void *data, size_t n) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}
#endif
