/* Kind `tower`: one vision tower, `pixels` -> `patch`, `block.i`, `neck.i`, `vision`, each compared as
 * the tower shows it. case.json has the tower's description, the pixels' size is that of the tensor.
 *
 * SAM's rows are shown as [height, width, C]; the original has its neck the other way round, [C, height,
 * width]. A tensor may be thinned: by the steps of `thinned` (first part of the name -> one per axis), or,
 * where there are none, by the step that makes its size of ours. */
#include "base/memory.h"
#include "verify/verify.h"
#include "vl/tower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tower_case {
    vr_verify *verify;
    const vr_case *item;
    bool *seen; /* by index in expect.safetensors */
    vr_status status;
    vr_error *err;
} tower_case;

/* [height, width, C] -> [C, height, width] */
static vr_status channels_first(vr_array *array, vr_error *err) {
    int64_t height = array->shape[0], width = array->shape[1], C = array->shape[2];
    float *turned = vr_alloc((size_t)(height * width * C), sizeof *turned);
    if (!turned) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory to turn a tensor");
    for (int64_t t = 0; t < height * width; t++)
        for (int64_t c = 0; c < C; c++) turned[c * height * width + t] = array->data[t * C + c];
    free(array->data);
    *array = (vr_array){.ndim = 3, .shape = {C, height, width}, .data = turned};
    return VRWKV_OK;
}

static vr_status thin(const vr_case *item, const char *name, vr_array *found, const vr_array *expected, vr_error *err) {
    char part[32];
    int64_t step[VR_MAX_DIMS] = {1, 1, 1, 1, 1};
    snprintf(part, sizeof part, "%.*s", (int)strcspn(name, "."), name);
    const json_t *steps = json_object_get(json_object_get(item->json, "thinned"), part);
    for (int i = 0; i < found->ndim && found->ndim == expected->ndim; i++) {
        int64_t size = expected->shape[i];
        step[i] = steps ? json_integer_value(json_array_get(steps, (size_t)i)) : size ? (found->shape[i] + size - 1) / size : 1;
    }
    return vr_array_thin(found, step, err);
}

static vr_status check_tensor(tower_case *c, const char *name, const vr_tensor *value, const vr_entry *entry, vr_error *err) {
    vr_array found = {0}, expected = {0};
    vr_status status = vr_array_make(&found, value->ndim, value->shape, value->data, err);
    if (status == VRWKV_OK && strncmp(name, "neck.", 5) == 0) status = channels_first(&found, err);
    if (status == VRWKV_OK) status = vr_array_load(&expected, c->item->expect, entry, err);
    if (status == VRWKV_OK) status = thin(c->item, name, &found, &expected, err);
    if (status == VRWKV_OK) vr_check_array(c->verify, name, &found, &expected, VR_BOUND_TOWER);
    vr_array_free(&found);
    vr_array_free(&expected);
    return status;
}

/* What a case does not expect is not compared. */
static void watch(void *user, const char *name, const vr_tensor *value) {
    tower_case *c = user;
    for (size_t i = 0; c->status == VRWKV_OK && i < vr_weights_count(c->item->expect); i++) {
        const vr_entry *entry = vr_weights_at(c->item->expect, i);
        if (strcmp(entry->name, name) != 0) continue;
        c->seen[i] = true;
        c->status = check_tensor(c, name, value, entry, c->err);
    }
}

static vr_status run_tower(tower_case *c, vr_tower tower, vr_pool *pool, vr_array *pixels, vr_error *err) {
    vr_arena arena;
    vr_tensor input = {.dtype = VR_F32, .ndim = pixels->ndim, .data = pixels->data};
    memcpy(input.shape, pixels->shape, sizeof input.shape);
    tower.watch = watch;
    tower.user = c;
    vr_run run = {.arena = &arena, .pool = pool, .kernels = vr_kernels_get(err), .err = err};
    if (!run.kernels) return VRWKV_ERR_UNSUPPORTED;
    VR_TRY(vr_arena_open(&arena, (size_t)16 << 30, err));
    vr_tensor *features = tower.arch->forward(&run, &tower, &input);
    if (features) watch(c, "vision", features);
    vr_arena_close(&arena);
    return vr_run_status(&run);
}

static vr_status open_tower(vr_lone_tower *tower, const vr_case *item, vr_error *err) {
    vr_settings *settings = NULL;
    char *path = vr_path_join(item->folder, vr_case_text(item->json, "model", "model.pth"));
    vr_status status = path ? vr_settings_file(&settings, item->path, err) : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    if (status == VRWKV_OK) status = vr_lone_tower_open(tower, path, settings, err);
    vr_settings_free(settings);
    free(path);
    return status;
}

static void check_all_seen(const tower_case *c) {
    for (size_t i = 0; i < vr_weights_count(c->item->expect); i++) {
        const char *name = vr_weights_at(c->item->expect, i)->name;
        if (!c->seen[i] && strcmp(name, "pixels") != 0)
            vr_check_failed(c->verify, name, "expected, but the tower gives nothing of that name");
    }
}

vr_status vr_verify_tower(vr_verify *verify, const vr_case *item, vr_error *err) {
    const vr_entry *entry = item->expect ? vr_weights_find(item->expect, "pixels") : NULL;
    if (!entry) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: the case has no tensor pixels", item->path);
    tower_case c = {.verify = verify, .item = item, .seen = vr_alloc(vr_weights_count(item->expect), sizeof *c.seen), .err = err};
    vr_lone_tower tower = {0};
    vr_pool *pool = NULL;
    vr_array pixels = {0};
    vr_status status = c.seen ? open_tower(&tower, item, err) : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a case");
    if (status == VRWKV_OK) status = vr_pool_open(&pool, verify->threads, err);
    if (status == VRWKV_OK) status = vr_array_load(&pixels, item->expect, entry, err);
    if (status == VRWKV_OK) status = run_tower(&c, tower.tower, pool, &pixels, err);
    if (status == VRWKV_OK) status = c.status;
    if (status == VRWKV_OK) check_all_seen(&c);
    vr_array_free(&pixels);
    vr_pool_close(pool);
    vr_lone_tower_close(&tower);
    free(c.seen);
    return status;
}
