/* What this machine can do at most: bytes read from memory, multiply-adds in f32 and in 8 bit. Measured
 * again before each phase of bench, because machines wander. */
#ifndef VR_CLI_BENCH_LIMITS_H
#define VR_CLI_BENCH_LIMITS_H
#include "base/pool.h"

typedef enum vr_limit { VR_LIMIT_READ, VR_LIMIT_F32, VR_LIMIT_INT8, VR_LIMITS } vr_limit;

typedef struct vr_limit_bench vr_limit_bench;

vr_status vr_limit_open(vr_limit_bench **out, int threads, vr_error *err);
void vr_limit_close(vr_limit_bench *bench);
/* GB/s, GFLOP/s or GOP/s of all threads together, in about a tenth of a second. */
double vr_limit_measure(vr_limit_bench *bench, vr_limit limit);
/* "read_gbs", as it is called in the JSON. */
const char *vr_limit_name(vr_limit limit);
#endif
