/* What a run gave, for people (HTML) and for programs (JSON): figures, categories, confusion, wrong
 * answers; and the comparison of two such files. */
#ifndef VR_EVAL_REPORT_H
#define VR_EVAL_REPORT_H
#include "eval/run.h"

typedef struct vr_run_report {
    vr_set *set;
    const vr_answers *answers;
    const vr_score *score;
    const vr_run_result *result;
    bool original;   /* the original program's figure leads */
    size_t faults;   /* read over */
    size_t gallery;  /* most wrong answers shown */
} vr_run_report;

/* {"kind": "benchmark", "figures", "scores", "record", "timing", "questions": [..]}. */
json_t *vr_report_json(const vr_run_report *report);
vr_status vr_report_html(const vr_run_report *report, const char *path, vr_error *err);

/* Two result files of the same questions -> figures with bootstrap intervals, the difference with its
 * interval, McNemar's test. Pictures are drawn as a whole: questions about one are not independent. */
vr_status vr_compare(json_t **out, const char *a, const char *b, int samples, vr_error *err);

/* Two-sided exact McNemar: how likely so uneven a split of b + c differing questions is by chance. */
double vr_mcnemar(size_t b, size_t c);
#endif
