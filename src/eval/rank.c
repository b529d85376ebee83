#include "eval/rank.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double vr_log_softmax(const float *logits, int n, int32_t id) {
    double largest = logits[0], sum = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > largest) largest = logits[i];
    for (int i = 0; i < n; i++) sum += exp((double)logits[i] - largest);
    return (double)logits[id] - largest - log(sum);
}

int32_t vr_likeliest(const float *logits, int n) {
    int32_t best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static vr_status prepare(vr_candidate *candidate, vr_slice text, const vr_predictor *with, vr_error *err) {
    text = vr_trim(text);
    candidate->text = vr_alloc(text.n * VR_CASE_GROWTH + 2, 1);
    if (!candidate->text) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a candidate");
    candidate->text[0] = ' ';
    size_t n = vr_capitalise(text.p, text.n, candidate->text + 1);
    return with->encode(with->user, (vr_slice){candidate->text, n + 1}, &candidate->ids, err);
}

vr_status vr_candidates_read(vr_candidates *candidates, const json_t *list, const char *path, const vr_predictor *with,
                             vr_error *err) {
    size_t n = json_array_size(list);
    *candidates = (vr_candidates){.items = vr_alloc(n, sizeof *candidates->items)};
    if (!json_is_array(list)) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: expected a list of texts", path);
    if (!candidates->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu candidates", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text)) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: candidate %zu is no text", path, i);
        candidates->n = i + 1;
        VR_TRY(prepare(&candidates->items[i], vr_json_slice(text), with, err));
    }
    return VRWKV_OK;
}

void vr_candidates_free(vr_candidates *candidates) {
    for (size_t i = 0; i < candidates->n; i++) {
        free(candidates->items[i].text);
        free(candidates->items[i].ids.items);
    }
    free(candidates->items);
    *candidates = (vr_candidates){0};
}

/* The largest normaliser is the same for all: ln sum exp over the vocabulary, once. */
static vr_status shortlist(const vr_candidates *candidates, size_t keep, const vr_predictor *with, vr_ranked *out,
                           vr_error *err) {
    const float *logits = with->prompt_logits(with->user);
    unsigned char *taken = vr_alloc(candidates->n, 1);
    if (!taken) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    double normaliser = (double)logits[0] - vr_log_softmax(logits, with->n_vocab, 0);
    for (size_t k = 0; k < keep; k++) {
        size_t best = candidates->n;
        for (size_t i = 0; i < candidates->n; i++) {
            int32_t own = candidates->items[i].ids.items[0];
            if (!taken[i] && (best == candidates->n || logits[own] > logits[candidates->items[best].ids.items[0]])) best = i;
        }
        float logit = logits[candidates->items[best].ids.items[0]];
        taken[best] = 1;
        out[k] = (vr_ranked){.candidate = best,
                             .first_logprob = (double)logit - normaliser,
                             .loss = normaliser - (double)logit,
                             .avg_logit = logit};
    }
    free(taken);
    return VRWKV_OK;
}

/* Sums over the tokens behind the first; all branches that still have tokens go on together. */
static vr_status run_branches(const vr_candidates *candidates, size_t keep, const vr_predictor *with, vr_ranked *out,
                              size_t *branches, int32_t *tokens, const float **logits, vr_error *err) {
    for (size_t at = 1;; at++) {
        size_t n = 0;
        for (size_t k = 0; k < keep; k++) {
            const vr_id_list *ids = &candidates->items[out[k].candidate].ids;
            if (at >= ids->n) continue;
            branches[n] = k;
            tokens[n++] = ids->items[at - 1];
        }
        if (n == 0) return VRWKV_OK;
        VR_TRY(with->branch(with->user, branches, tokens, n, logits, err));
        for (size_t i = 0; i < n; i++) {
            vr_ranked *to = &out[branches[i]];
            int32_t token = candidates->items[to->candidate].ids.items[at];
            to->loss -= vr_log_softmax(logits[i], with->n_vocab, token);
            to->avg_logit += logits[i][token];
        }
    }
}

vr_status vr_rank(const vr_candidates *candidates, size_t keep, const vr_predictor *with, vr_ranked *out, size_t *best,
                  vr_error *err) {
    if (candidates->n < keep || keep == 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%zu candidates, expected at least %zu", candidates->n, keep ? keep : 1);
    for (size_t i = 0; i < candidates->n; i++)
        if (!candidates->items[i].ids.n) return vr_fail(err, VRWKV_ERR_ARGUMENT, "candidate %zu has no tokens", i);
    VR_TRY(shortlist(candidates, keep, with, out, err));
    size_t *branches = vr_alloc(keep, sizeof *branches);
    int32_t *tokens = vr_alloc(keep, sizeof *tokens);
    const float **logits = vr_alloc(keep, sizeof *logits);
    vr_status status = branches && tokens && logits
                           ? run_branches(candidates, keep, with, out, branches, tokens, logits, err)
                           : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    free(branches);
    free(tokens);
    free(logits);
    *best = 0;
    for (size_t k = 0; k < keep; k++) {
        double n = (double)candidates->items[out[k].candidate].ids.n;
        out[k].loss /= n;
        out[k].avg_logit /= n;
        if (out[k].loss < out[*best].loss) *best = k;
    }
    return status;
}
