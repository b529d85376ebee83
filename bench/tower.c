/* Released vision towers with random weights: seconds of one picture, the rate of multiply-adds, and the
 * scratch memory that it takes.
 *
 *     tower [name [type [threads]]]      all towers, f16, one thread per core */
#include "vl/shapes.h"
#include "vl/tower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vr_status measure(const vr_lone_tower *t, const char *name, vr_pool *pool, vr_error *err) {
    vr_arena arena;
    VR_TRY(vr_arena_open(&arena, (size_t)16 << 30, err));
    vr_run run = {.arena = &arena, .pool = pool, .kernels = vr_kernels_get(err), .err = err};
    int64_t size = t->tower.dims.image_size;
    vr_tensor *pixels = run.kernels ? vr_zeros2(&run, 3 * size, size) : NULL;
    vr_tensor input = {VR_F32, 3, {3, size, size}, pixels ? pixels->data : NULL};
    double start = now();
    vr_tensor *features = t->tower.arch->forward(&run, &t->tower, &input);
    double seconds = now() - start;
    if (features)
        printf("%-14s %6.1f M weights  [%lld, %lld]  %7.2f s  %6.1f GFLOP/s  %6.0f MB of scratch memory\n", name,
               (double)t->info.parameters / 1e6, (long long)features->shape[0], (long long)features->shape[1], seconds,
               vr_tower_flops(&t->tower.dims) / seconds / 1e9, (double)arena.peak / 1e6);
    vr_arena_close(&arena);
    return run.kernels ? vr_run_status(&run) : VRWKV_ERR_UNSUPPORTED;
}

static vr_status run(const vr_shape *shape, vr_dtype type, vr_pool *pool, vr_error *err) {
    vr_lone_tower tower = {0};
    vr_settings *settings = NULL;
    VR_TRY(vr_settings_parse(&settings, shape->config, strlen(shape->config), err));
    vr_status status = vr_lone_tower_random(&tower, settings, type, true, err);
    if (status == VRWKV_OK) status = measure(&tower, shape->name, pool, err);
    vr_lone_tower_close(&tower);
    vr_settings_free(settings);
    return status;
}

int main(int argc, char **argv) {
    vr_error err = {0};
    vr_dtype type = VR_F16;
    vr_pool *pool = NULL;
    if (argc > 2 && !vr_dtype_parse(argv[2], &type)) {
        fprintf(stderr, "type '%s' is unknown\n", argv[2]);
        return 1;
    }
    vr_status status = vr_pool_open(&pool, argc > 3 ? atoi(argv[3]) : 0, &err);
    for (int i = 0; status == VRWKV_OK && vr_tower_shape_at(i); i++)
        if (argc < 2 || strcmp(argv[1], vr_tower_shape_at(i)->name) == 0) status = run(vr_tower_shape_at(i), type, pool, &err);
    vr_pool_close(pool);
    if (status != VRWKV_OK) fprintf(stderr, "%s\n", err.message);
    return status != VRWKV_OK;
}
