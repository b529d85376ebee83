#include "train/sampler.h"
#include "base/memory.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

#define SEED 222
#define WORDS 624 /* of the generator's state */
#define SHIFT 397

static bool is_prime(int64_t n) {
    if (n < 2 || (n % 2 == 0 && n > 2)) return false;
    for (int64_t d = 3; d <= n / d; d += 2)
        if (n % d == 0) return false;
    return true;
}

int64_t vr_magic_prime(int64_t n) {
    for (int64_t k = n / 3; k >= 0; k--)
        if (3 * k + 2 < n && is_prime(3 * k + 2)) return 3 * k + 2;
    return 0;
}

int64_t vr_cube_mod(int64_t a, int64_t p) {
    unsigned __int128 base = (unsigned __int128)(a % p);
    return (int64_t)(base * base % (unsigned __int128)p * base % (unsigned __int128)p);
}

/* The Mersenne Twister (Matsumoto, Nishimura 1998) and the shuffle of numpy's RandomState, which the
 * original draws its permutations from. */
typedef struct twister {
    uint32_t words[WORDS];
    int next;
} twister;

static void seed(twister *t, uint32_t value) {
    t->words[0] = value;
    for (uint32_t i = 1; i < WORDS; i++) t->words[i] = 1812433253u * (t->words[i - 1] ^ t->words[i - 1] >> 30) + i;
    t->next = WORDS;
}

static void renew(twister *t) {
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (t->words[i] & 0x80000000u) | (t->words[(i + 1) % WORDS] & 0x7fffffffu);
        t->words[i] = t->words[(i + SHIFT) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    t->next = 0;
}

static uint32_t draw(twister *t) {
    if (t->next == WORDS) renew(t);
    uint32_t y = t->words[t->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* Uniform in 0..most: numbers of just enough bits until one is small enough. */
static uint32_t draw_below(twister *t, uint32_t most) {
    uint32_t mask = most, value;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    do value = draw(t) & mask;
    while (value > most);
    return value;
}

vr_status vr_shuffled_pass(int32_t *order, int64_t n, int64_t pass, vr_error *err) {
    twister t;
    if (n < 0 || n > INT32_MAX || pass < 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "pass %lld over %lld samples, expected up to %d of them",
                       (long long)pass, (long long)n, INT32_MAX);
    seed(&t, SEED);
    for (int64_t p = 0; p <= pass; p++) {
        for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
        for (int64_t i = n - 1; i > 0; i--) {
            uint32_t j = draw_below(&t, (uint32_t)i);
            int32_t keep = order[i];
            order[i] = order[j];
            order[j] = keep;
        }
    }
    return VRWKV_OK;
}

/* ---- the samples of a training, step by step ---- */

vr_status vr_sampler_open(vr_sampler *s, vr_order order, int64_t size, uint64_t seed, vr_error *err) {
    *s = (vr_sampler){.order = order, .size = size, .seed = seed, .prime = vr_magic_prime(size), .pass = -1};
    if (size < 1 || size > INT32_MAX)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%lld samples, expected 1 to %d", (long long)size, INT32_MAX);
    if (order == VR_ORDER_ORIGINAL || s->prime == 0) return VRWKV_OK;
    s->shuffled = vr_alloc((size_t)size, sizeof *s->shuffled);
    return s->shuffled ? VRWKV_OK
                       : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the order of %lld samples", (long long)size);
}

void vr_sampler_close(vr_sampler *s) {
    free(s->shuffled);
    free(s->buckets);
    free(s->window);
    *s = (vr_sampler){0};
}

uint8_t vr_length_bucket(uint32_t length) {
    int octave = 0;
    while (length >> octave > 1) octave++;
    return (uint8_t)(8 * octave + (int)((uint64_t)length << 3 >> octave & 7));
}

vr_status vr_sampler_group(vr_sampler *s, uint8_t *buckets, int64_t batch, int64_t batches, vr_error *err) {
    free(s->buckets);
    s->buckets = buckets;
    s->batch = batch;
    s->batches = batches;
    s->pass = -1;
    if (s->order != VR_ORDER_FAIR || batch < 1 || batches < 1)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "groups of %lld batches of %lld samples", (long long)batches, (long long)batch);
    free(s->window);
    s->window = vr_alloc((size_t)s->size, sizeof *s->window);
    return s->window ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the order of %lld samples", (long long)s->size);
}

static void swap_blocks(int32_t *a, int32_t *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        int32_t keep = a[i];
        a[i] = b[i];
        b[i] = keep;
    }
}

/* Fisher and Yates' shuffle of n blocks of `block` numbers. */
static void shuffle_blocks(int32_t *order, int64_t n, int64_t block, vr_rng *rng) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)(vr_rng_next(rng) % (uint64_t)(i + 1));
        if (i != j) swap_blocks(order + i * block, order + j * block, block);
    }
}

/* Stable, so that a bucket's samples stay shuffled. */
static void sort_by_bucket(vr_sampler *s, int32_t *order, int64_t n) {
    int64_t at[UINT8_MAX + 2] = {0};
    for (int64_t i = 0; i < n; i++) at[s->buckets[order[i]] + 1]++;
    for (int b = 0; b < UINT8_MAX; b++) at[b + 1] += at[b];
    memcpy(s->window, order, (size_t)n * sizeof *order);
    for (int64_t i = 0; i < n; i++) order[at[s->buckets[s->window[i]]]++] = s->window[i];
}

/* Whole batches of a pass; what a batch shares with the pass before or behind stays where it is. */
static void group(vr_sampler *s, int64_t pass, vr_rng *rng) {
    int64_t begin = (s->batch - pass % s->batch * (s->size % s->batch) % s->batch) % s->batch;
    for (int64_t n; begin + s->batch <= s->size; begin += n * s->batch) {
        n = (s->size - begin) / s->batch < s->batches ? (s->size - begin) / s->batch : s->batches;
        sort_by_bucket(s, s->shuffled + begin, n * s->batch);
        shuffle_blocks(s->shuffled + begin, n, s->batch, rng);
    }
}

/* A pass of VR_ORDER_FAIR. */
static void shuffle(vr_sampler *s, int64_t pass) {
    vr_rng rng = {s->seed * 0x9e3779b97f4a7c15u + (uint64_t)pass};
    for (int64_t i = 0; i < s->size; i++) s->shuffled[i] = (int32_t)i;
    shuffle_blocks(s->shuffled, s->size, 1, &rng);
    if (s->buckets) group(s, pass, &rng);
}

vr_status vr_sampler_at(vr_sampler *s, int64_t step, int64_t *sample, vr_error *err) {
    bool fair = s->order == VR_ORDER_FAIR;
    if (s->prime == 0) {
        *sample = step % s->size;
        return VRWKV_OK;
    }
    int64_t pass = step / (fair ? s->size : s->prime), at = fair ? step % s->size : vr_cube_mod(step, s->prime);
    if (pass == 0 && !fair) {
        *sample = at;
    } else if (s->order == VR_ORDER_ORIGINAL) {
        *sample = s->size - 1 - at;
    } else {
        if (pass != s->pass && fair) shuffle(s, pass);
        if (pass != s->pass && !fair) VR_TRY(vr_shuffled_pass(s->shuffled, s->size, pass - 1, err));
        s->pass = pass;
        *sample = s->shuffled[at];
    }
    return VRWKV_OK;
}
