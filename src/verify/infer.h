/* What runners of models share: what a run emitted, and its comparison with what is expected. Then kind
 * `infer`, between the comparison of one pass (infer.c) and of generation (generate.c). */
#ifndef VR_VERIFY_INFER_H
#define VR_VERIFY_INFER_H
#include "verify/verify.h"
#include "vl/model.h"

typedef struct vr_traced {
    char name[64];
    vr_array array;
} vr_traced;

/* What one run emitted, by name. */
typedef struct vr_trace {
    vr_traced *items;
    size_t n, capacity;
    vr_status status; /* of collecting */
    vr_error *err;
} vr_trace;

void vr_trace_free(vr_trace *trace);
/* NULL: nothing of that name was emitted. */
const vr_array *vr_trace_find(const vr_trace *trace, const char *name);
/* Adds an array, or its rows (first axis) behind those of the same name. Copies. */
vr_status vr_trace_add(vr_trace *trace, const char *name, int ndim, const int64_t *shape, const float *data);
/* The same as a vrwkv_trace_fn with a vr_trace as user; a failure is kept in trace->status. */
void vr_trace_collect(void *user, const char *name, int ndim, const int64_t *shape, const float *data);
/* Compares each tensor that the case expects with that of its name in each of n traces, labelled by the
 * trace's label ("pieces." before the name; "" for none). One that no trace has fails. */
vr_status vr_trace_check(vr_verify *verify, const vr_case *item, const vr_trace *traces, const char *const *labels, int n,
                         vr_error *err);
/* The case's model, by its settings; language_only: without the towers that its file may hold. */
vr_status vr_case_model(const vr_verify *verify, const vr_case *item, bool language_only, vrwkv_model **out, vr_error *err);

typedef struct vr_infer {
    vr_verify *verify;
    const vr_case *item;
    vrwkv_model *model;
    const vr_vocab *vocab; /* the model's, or the world's where its size fits; NULL: none */
    int32_t *ids;
    size_t n;
    bool has_place;         /* a VRWKV_IMAGE, or an id of a picture's row, is among the ids */
    vr_picture *pictures;   /* none: zero pictures */
    vrwkv_features **images; /* the pictures through the public interface; none where they have no place */
    size_t n_pictures, n_images;
    vr_trace trace;        /* of the case's own run */
} vr_infer;

/* Runs ids in the original's way, with another scan where `scan` is not NULL. */
vr_status vr_infer_trace(const vr_infer *in, const int32_t *ids, size_t n, const char *scan, vr_trace *out, vr_error *err);

/* `greedy`, `stateful`, `demo`, and that every way of reading the prompt gives one state. */
vr_status vr_infer_generate(vr_infer *in, vr_error *err);
vr_status vr_infer_states(vr_infer *in, vr_error *err);
#endif
