/* Kind `resample`: position tables for another grid. case.json has `cases`: NAME -> {old_grid, new_grid,
 * prefix_tokens}, expect.safetensors the tables NAME.in and NAME.out. */
#include "ops/ops.h"
#include "verify/verify.h"

#include <stdio.h>

#define BOUND 5e-6 /* the original rounds the coordinates of its taps to float32 */

static vr_status check_table(vr_verify *verify, vr_run *run, const char *name, const json_t *about, const vr_array *in,
                             const vr_array *expected, vr_error *err) {
    int64_t old = vr_case_int(about, "old_grid", 0), new = vr_case_int(about, "new_grid", 0);
    vr_tensor table = {VR_F32, in->ndim, {in->shape[0], in->shape[1]}, in->data};
    vr_tensor *out = vr_resample_grid(run, &table, vr_case_int(about, "prefix_tokens", 0), (vr_grid){old, old}, (vr_grid){new, new});
    vr_array found = {0};
    if (!out) return vr_run_status(run);
    VR_TRY(vr_array_make(&found, out->ndim, out->shape, out->data, err));
    vr_check_array(verify, name, &found, expected, BOUND);
    vr_array_free(&found);
    return VRWKV_OK;
}

static vr_status check_case(vr_verify *verify, const vr_case *item, vr_run *run, const char *name, const json_t *about, vr_error *err) {
    char in_name[80], out_name[80];
    vr_array in = {0}, expected = {0};
    snprintf(in_name, sizeof in_name, "%s.in", name);
    snprintf(out_name, sizeof out_name, "%s.out", name);
    const vr_entry *in_entry = vr_weights_find(item->expect, in_name), *out_entry = vr_weights_find(item->expect, out_name);
    if (!in_entry || !out_entry) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: no tensors %s and %s", item->path, in_name, out_name);
    vr_status status = vr_array_load(&in, item->expect, in_entry, err);
    if (status == VRWKV_OK) status = vr_array_load(&expected, item->expect, out_entry, err);
    if (status == VRWKV_OK) status = check_table(verify, run, out_name, about, &in, &expected, err);
    vr_array_free(&in);
    vr_array_free(&expected);
    return status;
}

vr_status vr_verify_resample(vr_verify *verify, const vr_case *item, vr_error *err) {
    const char *name;
    json_t *about, *cases = json_object_get(item->json, "cases");
    vr_arena arena;
    vr_run run = {.arena = &arena, .kernels = vr_kernels_get(err), .err = err};
    vr_status status = VRWKV_OK;
    if (!json_is_object(cases) || !item->expect) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: no object cases, or no tensors", item->path);
    if (!run.kernels) return VRWKV_ERR_UNSUPPORTED;
    VR_TRY(vr_arena_open(&arena, (size_t)1 << 30, err));
    json_object_foreach(cases, name, about)
        if (status == VRWKV_OK) status = check_case(verify, item, &run, name, about, err);
    vr_arena_close(&arena);
    return status;
}
