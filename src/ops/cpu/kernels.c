/* The choice of a kernel set: the last one in the table that this processor supports, or the one that
 * VRWKV_CPU names. Made once; the answer, and the message of a failure, never change afterwards. */
#include "ops/cpu/sets.h"
#include "base/cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Slowest first. */
static const vr_kernels *const sets[] = {
    &vr_kernels_generic,
#if defined(__x86_64__)
    &vr_kernels_avx2,
    &vr_kernels_avx512,
#elif defined(__aarch64__)
    &vr_kernels_neon,
#endif
};

static const vr_kernels *chosen;
static char failure[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

bool vr_has_avx2(void) { return vr_cpu_get()->avx2_fma && vr_cpu_get()->f16c; }
bool vr_has_avx512(void) { return vr_cpu_get()->avx512; }
bool vr_has_neon(void) { return vr_cpu_get()->neon; }

const vr_kernels *vr_kernels_at(int index) { return (size_t)index < VR_COUNT(sets) ? sets[index] : NULL; }

static const vr_kernels *find_built(const char *name) {
    for (size_t i = 0; i < VR_COUNT(sets); i++)
        if (strcmp(sets[i]->name, name) == 0) return sets[i];
    return NULL;
}

const vr_kernels *vr_kernels_find(const char *name) {
    const vr_kernels *set = find_built(name);
    return set && set->supported() ? set : NULL;
}

static void choose(void) {
    const char *name = getenv("VRWKV_CPU");
    if (!name || !*name) {
        for (size_t i = 0; i < VR_COUNT(sets); i++)
            if (sets[i]->supported()) chosen = sets[i];
        return;
    }
    chosen = vr_kernels_find(name);
    if (chosen) return;
    size_t at = (size_t)snprintf(failure, sizeof failure, "VRWKV_CPU is '%.64s', %s; expected one of:", name,
                                 find_built(name) ? "which this processor cannot run" : "which this build does not have");
    for (size_t i = 0; i < VR_COUNT(sets) && at < sizeof failure; i++)
        if (sets[i]->supported()) at += (size_t)snprintf(failure + at, sizeof failure - at, " %s", sets[i]->name);
}

const vr_kernels *vr_kernels_get(vr_error *err) {
    pthread_once(&once, choose);
    if (!chosen) vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s", failure);
    return chosen;
}
