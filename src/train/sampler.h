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
#endif
