/* In which order the original sees the samples of its data file: step^3 mod p walks through them, p being
 * the largest prime 3n+2 below their number (cubing permutes the residues of such a prime); later passes
 * walk through another order of the file. src: VisualRWKV src/dataset.py, src/utils.py */
#ifndef VR_TRAIN_SAMPLER_H
#define VR_TRAIN_SAMPLER_H
#include "base/status.h"

#include <stdbool.h>

/* The largest prime of the form 3n+2 below n; 0 where there is none (n < 3). */
int64_t vr_magic_prime(int64_t n);
/* a^3 mod p for any a >= 0, 0 < p. */
int64_t vr_cube_mod(int64_t a, int64_t p);
/* Pass number `pass` (from 0) over n samples in v7.01 and later: a permutation of 0..n-1 into order.
 * Successive calls with pass 0, 1, ... are what the original draws from its generator of seed 222. */
vr_status vr_shuffled_pass(int32_t *order, int64_t n, int64_t pass, vr_error *err);

typedef enum vr_order {
    VR_ORDER_ORIGINAL,  /* cubes; from the second pass on, of the reversed file: up to v7.00 */
    VR_ORDER_SHUFFLED,  /* cubes; from the second pass on, of a shuffled file: v7.01 and later */
    VR_ORDER_FAIR       /* each pass sees every sample once, in an order of its own */
} vr_order;

typedef struct vr_sampler {
    vr_order order;
    int64_t size;   /* samples of the file */
    uint64_t seed;  /* of VR_ORDER_FAIR */
    int64_t prime;
    int64_t pass;   /* that `shuffled` is for; -1: none */
    int32_t *shuffled;
    uint8_t *buckets;       /* [size] of samples' lengths, where they are grouped by it */
    int32_t *window;        /* [size], to sort in */
    int64_t batch, batches; /* samples of a batch; batches that are grouped at a time */
} vr_sampler;

vr_status vr_sampler_open(vr_sampler *sampler, vr_order order, int64_t size, uint64_t seed, vr_error *err);
void vr_sampler_close(vr_sampler *sampler);
/* Eight to a doubling, equally wide, so that what shares one does not share its exact length too, and with it its answer. */
uint8_t vr_length_bucket(uint32_t length);
/* VR_ORDER_FAIR alone: each pass's order is sorted by buckets [size] within windows of so many batches, and the
 * batches of a window are shuffled again: samples of a batch are about equally long, and few rows are filled up.
 * buckets are the sampler's from now on (malloc), also after an error. */
vr_status vr_sampler_group(vr_sampler *sampler, uint8_t *buckets, int64_t batch, int64_t batches, vr_error *err);
/* The sample that is seen at this step (from 0): a number of the file as it is. A file below 3 samples is
 * walked through in its own order, where the original searches for its prime for ever. */
vr_status vr_sampler_at(vr_sampler *sampler, int64_t step, int64_t *sample, vr_error *err);
#endif
