/* Ranking: which of given candidates would the model rather say?
 * src: VisualRWKV v6.0's rank_answer.py. */
#ifndef VR_EVAL_RANK_H
#define VR_EVAL_RANK_H
#include "eval/predict.h"
#include "eval/source.h"

#define VR_RANK_SHORTLIST 5

typedef struct vr_candidate {
    char *text;    /* " " and the candidate, trimmed, its first letter a capital and all others small */
    vr_id_list ids;
} vr_candidate;

typedef struct vr_candidates {
    vr_candidate *items;
    size_t n;
} vr_candidates;

typedef struct vr_ranked {
    size_t candidate;
    double first_logprob; /* of its first token */
    double loss;          /* mean over its tokens of -ln p */
    double avg_logit;
} vr_ranked;

/* A list of texts. */
vr_status vr_candidates_read(vr_candidates *candidates, const json_t *list, const char *path, const vr_predictor *with,
                             vr_error *err);
void vr_candidates_free(vr_candidates *candidates);
/* Orders by first token (the first candidate on ties) and keeps `keep` of them; these are scored by
 * branches, each costing its own tokens only. out [keep] is in the order of the first tokens; *best is the
 * one of the least loss. Fewer candidates than `keep` is an error, as in the original. */
vr_status vr_rank(const vr_candidates *candidates, size_t keep, const vr_predictor *with, vr_ranked *out, size_t *best,
                  vr_error *err);
#endif
