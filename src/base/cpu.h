/* What this processor can do, asked once. */
#ifndef VR_BASE_CPU_H
#define VR_BASE_CPU_H
#include <stdbool.h>

typedef struct vr_cpu {
    bool avx2_fma, f16c;                /* x86-64 */
    bool avx512, avx512_vnni, avx512_bf16; /* avx512: F, BW, DQ, VL */
    bool neon, neon_dotprod;            /* arm64 */
    int cores;                          /* this process may use */
} vr_cpu;

const vr_cpu *vr_cpu_get(void);
#endif
