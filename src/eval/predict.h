/* What ranking and text tasks ask of a language model, so that they can also be checked without one:
 * text to ids, and the logits that follow. model.c answers with a real model. */
#ifndef VR_EVAL_PREDICT_H
#define VR_EVAL_PREDICT_H
#include "eval/str.h"

typedef struct vr_id_list {
    int32_t *items;
    size_t n, room;
} vr_id_list;

typedef struct vr_predictor {
    void *user;
    int n_vocab;
    /* Appends the ids of the text. */
    vr_status (*encode)(void *user, vr_slice text, vr_id_list *ids, vr_error *err);
    vr_status (*decode)(void *user, const int32_t *ids, size_t n, vr_str *text, vr_error *err);
    /* Of n branches that begin where the prompt ends: branch branches[i] reads tokens[i], and logits[i] is
     * set to what follows it (valid until the next call). */
    vr_status (*branch)(void *user, const size_t *branches, const int32_t *tokens, size_t n, const float **logits,
                        vr_error *err);
    /* What follows the prompt. */
    const float *(*prompt_logits)(void *user);
    /* ids[0..n) from the empty state: rows(row_user, i, logits) for each i in [from, n), the logits that
     * predict ids[i]; from > 0. Calls with a common beginning may share its work: `kept` of the ids are
     * those of the call before. */
    vr_status (*sequence)(void *user, const int32_t *ids, size_t n, size_t from, size_t kept,
                          void (*row)(void *row_user, size_t i, const float *logits), void *row_user, vr_error *err);
} vr_predictor;

/* ln softmax(logits)[id], in double. */
double vr_log_softmax(const float *logits, int n, int32_t id);
int32_t vr_likeliest(const float *logits, int n); /* the lowest id on ties */
#endif
