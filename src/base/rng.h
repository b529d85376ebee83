/* Seeded random numbers, the same on every machine: splitmix64 (Steele, Lea, Flood 2014). */
#ifndef VR_BASE_RNG_H
#define VR_BASE_RNG_H
#include <stdint.h>

typedef struct vr_rng { uint64_t state; } vr_rng;

static inline uint64_t vr_rng_next(vr_rng *rng) {
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1), 53 bits. */
static inline double vr_rng_uniform(vr_rng *rng) { return (double)(vr_rng_next(rng) >> 11) * 0x1p-53; }
#endif
