/* What ten people answered, and the accuracy of VQA that goes by them. */
#ifndef VR_EVAL_HUMANS_H
#define VR_EVAL_HUMANS_H
#include "eval/bench.h"
#include "eval/normalise.h"

typedef struct vr_humans {
    vr_slice *answers; /* [n]; with the texts behind them in one piece of memory */
    size_t n;
} vr_humans;

/* A list of texts, or of objects with a text `answer`. */
vr_status vr_humans_read(vr_humans *humans, const json_t *list, const vr_where *where, vr_error *err);
void vr_humans_free(vr_humans *humans);
bool vr_humans_agree(const vr_humans *humans); /* all said the same, spaces at the ends aside */
vr_slice vr_humans_usual(const vr_humans *humans); /* the most frequent, the first on ties */
/* Leave one out: the mean over people i of min(1, others than i who said it / 3). The prediction and each
 * human answer go through their rule first (NULL: only line ends and outer spaces are evened out). */
double vr_humans_score(const vr_humans *humans, vr_slice prediction, const vr_rule *own, const vr_rule *theirs);

/* The human answers to all questions of a set: what its `gold` is where nothing else is known of them. */
typedef struct vr_human_golds {
    size_t n;
    vr_humans *items; /* [n] */
} vr_human_golds;

vr_status vr_human_golds_new(vr_set *set, vr_error *err); /* into set->gold; nobody has answered yet */
/* Rows of the table of benchmarks: both sides are compared under M4C's normalisation. */
void vr_human_golds_free(void *golds);
void vr_human_golds_judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict);
void vr_human_golds_right(const vr_set *set, size_t question, vr_str *out);
#endif
