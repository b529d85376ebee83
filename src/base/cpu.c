/* Asks the processor and the scheduler once; later calls read the answer. */
#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static vr_cpu found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* The builtin also asks whether the system saves the wide registers. */
static void ask_processor(vr_cpu *cpu) {
    unsigned a, b, c = 0, d;
    __builtin_cpu_init();
    cpu->avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    cpu->f16c = cpu->avx2_fma && __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
    cpu->avx512 = cpu->f16c && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    cpu->avx512_vnni = cpu->avx512 && __builtin_cpu_supports("avx512vnni");
    cpu->avx512_bf16 = cpu->avx512 && __builtin_cpu_supports("avx512bf16");
}
#elif defined(__aarch64__)
static void ask_processor(vr_cpu *cpu) {
    cpu->neon = true; /* part of the base instruction set */
#if defined(__linux__)
    cpu->neon_dotprod = getauxval(AT_HWCAP) >> 20 & 1; /* HWCAP_ASIMDDP */
#endif
}
#else
static void ask_processor(vr_cpu *cpu) { (void)cpu; }
#endif

/* Cores in the affinity mask: what a container or taskset leaves. */
static int count_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1,024 cores do not fit the mask */
    return online > 0 ? (int)online : 1;
}

static void ask(void) {
    ask_processor(&found);
    found.cores = count_cores();
}

const vr_cpu *vr_cpu_get(void) {
    pthread_once(&once, ask);
    return &found;
}
