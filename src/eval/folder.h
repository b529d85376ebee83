/* Is a benchmark's folder as it should be? */
#ifndef VR_EVAL_FOLDER_H
#define VR_EVAL_FOLDER_H
#include "eval/bench.h"

typedef enum vr_finding_kind { VR_FOUND, VR_DIFFERENT, VR_ABSENT } vr_finding_kind;

typedef struct vr_finding {
    const char *what;    /* the file or folder, below the data folder */
    vr_finding_kind kind;
    size_t found, expected; /* entries; expected 0: unknown */
    const char *message; /* "" or what is wrong */
} vr_finding;

typedef void (*vr_finding_fn)(void *user, const vr_finding *finding);

/* Looks for every file of the split, counts what is in it, and looks for the picture of every question.
 * *bad is how many findings are not VR_FOUND. Errors only where nothing can be looked at. */
vr_status vr_folder_check(const vr_bench *bench, const char *folder, const vr_set_options *options, vr_finding_fn found,
                          void *user, size_t *bad, vr_error *err);
#endif
