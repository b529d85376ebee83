/* What a case expects: bounds by version, and the comparison of whole traces. */
#include "verify/infer.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First part of a name -> absolute bound (oracle READMEs, "Tolerances"). */
typedef struct bound { const char *part; double bound; } bound;

static const bound first_bounds[] = { /* v5, v6 */
    {"tokens", 0}, {"pixels", 1e-5}, {"vision", 1e-4}, {"image", 2e-4},
    {"x", 2e-4},   {"padded", 2e-4}, {"logits", 1e-3}, {"probs", 1e-3},
};
static const bound v7_bounds[] = {
    {"tokens", 0}, {"pixels", 1e-5}, {"vision", 5e-5}, {"image", 1e-4},
    {"x", 1e-4},   {"padded", 1e-4}, {"logits", 1e-4}, {"probs", 1e-4},
};

static const struct {
    const char *version; /* beginning of case.json's `version`; the last row takes all */
    const bound *bounds;
    size_t n;
} families[] = {{"v7", v7_bounds, VR_COUNT(v7_bounds)}, {"", first_bounds, VR_COUNT(first_bounds)}};

double vr_case_bound(const vr_case *item, const char *part) {
    const char *version = vr_case_text(item->json, "version", "");
    size_t family = 0, n = strcspn(part, ".");
    while (strncmp(version, families[family].version, strlen(families[family].version)) != 0) family++;
    for (size_t i = 0; i < families[family].n; i++) {
        const bound *b = &families[family].bounds[i];
        if (strlen(b->part) == n && strncmp(b->part, part, n) == 0) return b->bound;
    }
    return -1;
}

double vr_case_bound_of(const vr_case *item, const vr_entry *entry, const vr_array *expected) {
    double stated = vr_case_bound(item, entry->name);
    if (entry->dtype == VR_F16) return VR_BOUND_HALF;
    if (stated >= 0) return stated;
    bool whole = entry->dtype != VR_F32 && entry->dtype != VR_F64 && entry->dtype != VR_BF16;
    return whole ? 0 : VR_BOUND_DEFAULT * vr_array_largest(expected);
}

/* ---- traces ---- */

void vr_trace_free(vr_trace *trace) {
    for (size_t i = 0; i < trace->n; i++) vr_array_free(&trace->items[i].array);
    free(trace->items);
    *trace = (vr_trace){0};
}

const vr_array *vr_trace_find(const vr_trace *trace, const char *name) {
    for (size_t i = 0; i < trace->n; i++)
        if (strcmp(trace->items[i].name, name) == 0) return &trace->items[i].array;
    return NULL;
}

static vr_status append_rows(vr_array *array, const char *name, int ndim, const int64_t *shape, const float *data,
                             vr_error *err) {
    int64_t old = 0, more = 0;
    bool fits = ndim == array->ndim && ndim > 0;
    for (int i = 1; fits && i < ndim; i++) fits = shape[i] == array->shape[i];
    if (!fits) return vr_fail(err, VRWKV_ERR_SHAPE, "activation %s came in parts of other shapes", name);
    vr_shape_count(ndim, array->shape, &old);
    vr_shape_count(ndim, shape, &more);
    float *wider = realloc(array->data, (size_t)(old + more) * sizeof *wider + 1);
    if (!wider) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %lld more elements of %s", (long long)more, name);
    memcpy(wider + old, data, (size_t)more * sizeof *wider);
    array->data = wider;
    array->shape[0] += shape[0];
    return VRWKV_OK;
}

vr_status vr_trace_add(vr_trace *trace, const char *name, int ndim, const int64_t *shape, const float *data) {
    for (size_t i = 0; i < trace->n; i++)
        if (strcmp(trace->items[i].name, name) == 0)
            return append_rows(&trace->items[i].array, name, ndim, shape, data, trace->err);
    VR_TRY(vr_grow(&trace->items, &trace->capacity, trace->n + 1, sizeof *trace->items, trace->err));
    vr_traced *item = &trace->items[trace->n];
    snprintf(item->name, sizeof item->name, "%s", name);
    VR_TRY(vr_array_make(&item->array, ndim, shape, data, trace->err));
    trace->n++;
    return VRWKV_OK;
}

void vr_trace_collect(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    vr_trace *trace = user;
    if (trace->status == VRWKV_OK) trace->status = vr_trace_add(trace, name, ndim, shape, data);
}

vr_status vr_trace_check(vr_verify *verify, const vr_case *item, const vr_trace *traces, const char *const *labels, int n,
                         vr_error *err) {
    for (size_t i = 0; item->expect && i < vr_weights_count(item->expect); i++) {
        const vr_entry *entry = vr_weights_at(item->expect, i);
        vr_array expected;
        int times = 0;
        VR_TRY(vr_array_load(&expected, item->expect, entry, err));
        for (int t = 0; t < n; t++) {
            char name[128];
            const vr_array *found = vr_trace_find(&traces[t], entry->name);
            if (!found) continue;
            snprintf(name, sizeof name, "%s%s", labels[t], entry->name);
            vr_check_array(verify, name, found, &expected, vr_case_bound_of(item, entry, &expected));
            times++;
        }
        if (!times) vr_check_failed(verify, entry->name, "expected, but the model gives nothing of that name");
        vr_array_free(&expected);
    }
    return VRWKV_OK;
}

/* ---- the model ---- */

vr_status vr_case_model(const vr_verify *verify, const vr_case *item, bool language_only, vrwkv_model **out, vr_error *err) {
    vr_settings *settings = NULL;
    vrwkv_model_options options = {.threads = verify->threads, .exact = 1};
    json_t *json = json_copy(item->json);
    if (language_only) {
        json_object_set_new(json, "towers", json_array());
        json_object_del(json, "version"); /* of the whole model, which this is not */
    }
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    char *path = vr_path_join(item->folder, vr_case_text(item->json, "model", "model.pth"));
    vr_status status = text && path ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for the case's settings");
    if (status == VRWKV_OK) status = vr_settings_parse(&settings, text, strlen(text), err);
    if (status == VRWKV_OK) status = vr_model_open(path, &options, settings, out, err);
    vr_settings_free(settings);
    json_decref(json);
    free(text);
    free(path);
    return status;
}
