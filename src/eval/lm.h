/* Text ability: LAMBADA and multiple choice, as lm-eval 0.4 asks and counts them.
 * A document becomes requests (context, continuation); the model gives each the logarithm of its
 * probability and whether it is what the model would have said itself. */
#ifndef VR_EVAL_LM_H
#define VR_EVAL_LM_H
#include "eval/predict.h"
#include "eval/source.h"

typedef struct vr_request {
    vr_str context, continuation;
    vr_id_list ids;        /* "\n", then context and continuation */
    size_t n_context;  /* ids before the continuation */
    size_t length;     /* characters of the choice, what acc_norm divides by */
    double log_likelihood;
    bool greedy;
} vr_request;

#define VR_MOST_CHOICES 16

typedef struct vr_document {
    vr_request requests[VR_MOST_CHOICES];
    size_t n;
    size_t gold; /* which request is right; of lambada 0 */
} vr_document;

typedef struct vr_lm_task {
    const char *name;        /* beginning of the file's name */
    bool perplexity, normed; /* metrics beside acc */
    /* The requests of a line, without ids yet. */
    vr_status (*make)(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err);
} vr_lm_task;
/* By the beginning of a file's name: "lambada_openai_mt_de" is a lambada. NULL: unknown. */
const vr_lm_task *vr_lm_task_find(const char *name);
const char *vr_lm_task_names(void);

/* One line of the published files to requests with their ids. `document` must be empty. In the original's
 * manner context and continuation are encoded together and parted where the context alone would end, be that
 * in the middle of a token; in friendly manner each is encoded by itself. */
vr_status vr_document_make(vr_document *document, const vr_lm_task *task, const char *name, const json_t *line,
                           const vr_where *where, vrwkv_manner manner, const vr_predictor *with, vr_error *err);
void vr_document_clear(vr_document *document);
/* Fills log_likelihood and greedy; what the requests have in common is read once. */
vr_status vr_document_score(vr_document *document, const vr_predictor *with, vr_error *err);

/* Sums of one task. */
typedef struct vr_lm_sums {
    const vr_lm_task *task;
    size_t n;
    double log_likelihood, right, right_normed;
} vr_lm_sums;
/* Adds a document; *right is whether it counts as right for acc. */
void vr_lm_add(vr_lm_sums *sums, const vr_document *document, bool *right);
/* {"perplexity", "acc"} or {"acc"} or {"acc", "acc_norm"}, as the task has them. */
json_t *vr_lm_metrics(const vr_lm_sums *sums);
json_t *vr_lm_document_metrics(const vr_lm_task *task, const vr_document *document);

/* The paper's averages: English over ten tasks, multilingual over four groups, each a mean over its
 * languages weighted by documents. tasks: name -> {metrics, n}. Members that are not complete are left
 * out of the result. */
json_t *vr_lm_averages(const json_t *tasks);
#endif
