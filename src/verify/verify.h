/* Reference cases: run what a case describes and compare with what it expects.
 *
 *   vr_verify_path -> walks folders (case.c) -> one runner per kind (infer.c, tower.c, preprocess.c, lists.c, ...)
 *                  -> vr_check_* (report.c) -> on_check for each expected tensor or value
 *                  -> on_case at the end of each case
 *
 * Part of the program, not of the library: it may see every room. It prints nothing; the command line
 * shows what the two callbacks are given. */
#ifndef VR_VERIFY_VERIFY_H
#define VR_VERIFY_VERIFY_H
#include "file/weights.h"

#include <jansson.h>

/* Bounds that hold in every part; those of the parts' READMEs are in trace.c. */
#define VR_BOUND_TOWER 5e-5     /* activations and features of a tower alone, absolute */
#define VR_BOUND_HALF 2e-3      /* expected tensors stored as float16, absolute */
#define VR_BOUND_DEFAULT 1e-4   /* times the largest absolute value, where a README names none */
#define VR_BOUND_SAME_STATE 5e-5 /* times the largest absolute logit: any way of reading one prompt */

/* One compared tensor or value. Errors are of the element `index`, where the absolute error is the
 * largest; `relative` is that error over the largest absolute value that is expected. */
typedef struct vr_check {
    const char *name;
    bool ok;
    bool measured; /* numbers below are meaningful; else `message` alone tells */
    double absolute, relative, bound, found, expected;
    int ndim;
    int64_t index[VR_MAX_DIMS];
    const char *message; /* what was found and expected, or what was compared; "" */
} vr_check;

typedef enum vr_outcome { VR_PASSED, VR_FAILED, VR_SKIPPED } vr_outcome;

typedef struct vr_verify {
    vrwkv_manner manner;
    int threads;
    bool strict; /* what this version does not support fails */
    void (*on_check)(void *user, const char *case_name, const vr_check *check);
    void (*on_case)(void *user, const char *case_name, const char *kind, vr_outcome outcome, const char *message);
    void *user;
    /* results, in cases */
    int passed, failed, skipped, unsupported;
    /* of the case that runs */
    const char *case_name;
    int checks, failed_checks;
} vr_verify;

/* A case, a folder of such (at any depth) or a list file. Fails only where the path cannot be read or
 * holds nothing to verify; results are counted in `verify`. */
vr_status vr_verify_path(vr_verify *verify, const char *path, vr_error *err);

/* ---- for the runners ---- */

typedef struct vr_case {
    char *folder;       /* paths in the case are relative to it */
    json_t *json;       /* case.json, or the list file */
    char *path;         /* of that file */
    vr_weights *expect; /* expect.safetensors; NULL where there is none */
} vr_case;

/* Runs the case and reports by vr_check_*. An error means that it could not be run: it fails. */
typedef vr_status (*vr_run_fn)(vr_verify *verify, const vr_case *item, vr_error *err);

vr_status vr_verify_infer(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_data(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_infer_batch(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_text_state(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_tower(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_resample(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_score(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_normalise(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_rank(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_text_score(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_train(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_train_dataset(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_sampler(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_schedule(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_init(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_preprocess(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_tokenizer(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_prompts(vr_verify *verify, const vr_case *item, vr_error *err);
vr_status vr_verify_scans(vr_verify *verify, const vr_case *item, vr_error *err);

/* folder/relative; heap, the caller's; NULL when out of memory. */
char *vr_path_join(const char *folder, const char *relative);
/* A new folder below TMPDIR for the files of a check; removed with the files in it. */
#define VR_SCRATCH_ROOM 512
vr_status vr_scratch_make(char folder[VR_SCRATCH_ROOM], vr_error *err);
void vr_scratch_remove(const char *folder);
/* Setting of case.json, with a default where it is missing or null. */
int64_t vr_case_int(const json_t *object, const char *key, int64_t otherwise);
const char *vr_case_text(const json_t *object, const char *key, const char *otherwise);
/* A list of whole numbers, heap, the caller's (never NULL on success). */
vr_status vr_case_ids(const json_t *list, const char *what, int32_t **ids, size_t *n, vr_error *err);

/* Row-major floats; owns data. */
typedef struct vr_array {
    int ndim;
    int64_t shape[VR_MAX_DIMS];
    float *data;
} vr_array;

void vr_array_free(vr_array *array);
vr_status vr_array_make(vr_array *out, int ndim, const int64_t *shape, const float *data, vr_error *err); /* copies */
vr_status vr_array_load(vr_array *out, const vr_weights *file, const vr_entry *entry, vr_error *err);
vr_status vr_array_list(vr_array *out, const json_t *list, const char *what, vr_error *err);
/* Every step[i]-th element of each axis, from 0. */
vr_status vr_array_thin(vr_array *array, const int64_t *step, vr_error *err);
double vr_array_largest(const vr_array *array); /* absolute */

/* The absolute bound of the case's version for a tensor or value whose name begins with `part`; negative:
 * none is stated. Then that of an expected tensor, which is never negative. */
double vr_case_bound(const vr_case *item, const char *part);
double vr_case_bound_of(const vr_case *item, const vr_entry *entry, const vr_array *expected);

/* Element by element, |found - expected| <= bound; NaN fails, other shapes fail. */
void vr_check_array(vr_verify *verify, const char *name, const vr_array *found, const vr_array *expected, double bound);
void vr_check_floats(vr_verify *verify, const char *name, const float *found, size_t n_found, const float *expected,
                     size_t n_expected, double bound);
/* As a whole: the length of the difference <= bound * the length of what is expected (1 for zeros). */
void vr_check_norm(vr_verify *verify, const char *name, const float *found, size_t n_found, const float *expected, size_t n_expected,
                   double bound);
void vr_check_value(vr_verify *verify, const char *name, double found, double expected, double bound);
void vr_report_ids(vr_verify *verify, const char *name, const int32_t *found, size_t n_found, const int32_t *expected,
                  size_t n_expected);
void vr_check_text(vr_verify *verify, const char *name, const char *found, size_t n_found, const char *expected,
                   size_t n_expected);
/* Counts of many small comparisons: `first` describes the first difference. */
void vr_check_tally(vr_verify *verify, const char *name, size_t n, size_t different, const char *first);
void vr_check_failed(vr_verify *verify, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
#endif
