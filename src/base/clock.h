/* A clock that never goes back. */
#ifndef VR_BASE_CLOCK_H
#define VR_BASE_CLOCK_H
#include <time.h>

static inline double vr_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
#endif
