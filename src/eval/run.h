/* A benchmark run: questions -> answer file, resumable at any point. Lines are
 * appended as answers are finished (log.h); when all are there the file is brought into the order of the
 * questions. */
#ifndef VR_EVAL_RUN_H
#define VR_EVAL_RUN_H
#include "eval/ask.h"
#include "eval/bench.h"
#include "eval/log.h"
#include "eval/rank.h"

typedef struct vr_run_state {
    size_t done, total;   /* questions */
    double score;         /* running mean of what can be judged here, 0 to 1; < 0: nothing */
} vr_run_state;

typedef struct vr_run_options {
    vr_ask_options ask;
    const char *out;          /* answer file */
    const char *model_id;     /* as the original names it: the checkpoint's folder */
    const char *candidates;   /* ranking: a JSON list of texts, or NULL */
    size_t shortlist;         /* of ranking; 0: VR_RANK_SHORTLIST */
    const json_t *settings;   /* further members of the record (chunk, limit, ..); borrowed */
    vr_faults *faults;        /* a picture that cannot be read */
    int (*progress)(void *user, const vr_run_state *status); /* not 0: stop, what is there is kept */
    void *user;
} vr_run_options;

typedef struct vr_run_result {
    json_t *record;           /* the caller's to drop */
    size_t resumed, answered; /* lines that were there, that came */
    size_t pictures;          /* encoded */
    size_t unanswered;        /* left out: no picture, or by the original's rules */
    double seconds, vision_seconds;
    const char *reuse, *reuse_reason;
} vr_run_result;

/* Which prompts the model was made with, told by its version. */
vr_family vr_family_of(const vrwkv_info *info);
vr_status vr_run_bench(vr_set *set, vrwkv_model *model, const vr_run_options *options, vr_answers *answers,
                       vr_run_result *result, vr_error *err);

/* A number with three decimals at most, as Python's str(round(x, 3)): "0.5", "12.0". */
void vr_short_number(double value, char text[40]);
#endif
