/* Requests scored and counted. src: lm-evaluation-harness 0.4 (api/model.py), VisualRWKV's run_lm_eval.py. */
#include "eval/lm.h"

#include "base/memory.h"
#include "eval/bench.h"
#include "text/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---- */

/* White space at the context's end belongs to the continuation. */
static vr_status encode(vr_request *request, vrwkv_manner manner, const vr_predictor *with, vr_error *err) {
    vr_str whole = {0};
    vr_id_list alone = {0};
    vr_slice context = vr_str_slice(&request->context);
    size_t length;
    while ((length = vr_utf8_space_back(context.p, context.n))) context.n -= length;
    vr_str_add_slice(&whole, vr_str_slice(&request->context));
    vr_str_add_slice(&whole, vr_str_slice(&request->continuation));
    vr_slice all = vr_str_slice(&whole), rest = {all.p + context.n, all.n - context.n};
    vr_status status = vr_str_check(&whole, err);
    if (status == VRWKV_OK) status = with->encode(with->user, (vr_slice){"\n", 1}, &request->ids, err);
    size_t lead = request->ids.n;
    bool apart = manner == VRWKV_FRIENDLY;
    if (status == VRWKV_OK) status = with->encode(with->user, context, apart ? &request->ids : &alone, err);
    request->n_context = apart ? request->ids.n : lead + alone.n;
    if (status == VRWKV_OK) status = with->encode(with->user, apart ? rest : all, &request->ids, err);
    free(alone.items);
    vr_str_free(&whole);
    if (status == VRWKV_OK && request->n_context >= request->ids.n)
        return vr_fail(err, VRWKV_ERR_FORMAT, "\"%.60s\" has no continuation", vr_str_text(&request->context));
    return status;
}

vr_status vr_document_make(vr_document *document, const vr_lm_task *task, const char *name, const json_t *line,
                           const vr_where *where, vrwkv_manner manner, const vr_predictor *with, vr_error *err) {
    VR_TRY(task->make(document, name, line, where, err));
    for (size_t i = 0; i < document->n; i++) {
        VR_TRY(vr_str_check(&document->requests[i].context, err));
        VR_TRY(vr_str_check(&document->requests[i].continuation, err));
        VR_TRY(encode(&document->requests[i], manner, with, err));
    }
    return VRWKV_OK;
}

void vr_document_clear(vr_document *document) {
    for (size_t i = 0; i < document->n; i++) {
        vr_str_free(&document->requests[i].context);
        vr_str_free(&document->requests[i].continuation);
        free(document->requests[i].ids.items);
        document->requests[i] = (vr_request){0};
    }
    document->n = document->gold = 0;
}

typedef struct counting {
    vr_request *request;
    int n_vocab;
} counting;

static void count_row(void *user, size_t i, const float *logits) {
    counting *to = user;
    int32_t id = to->request->ids.items[i];
    to->request->log_likelihood += vr_log_softmax(logits, to->n_vocab, id);
    to->request->greedy &= vr_likeliest(logits, to->n_vocab) == id;
}

/* Ids that the two have in common; at least one of each request's continuation is left out. */
static size_t common(const vr_request *a, const vr_request *b) {
    size_t n = 0, most = a->n_context < b->n_context ? a->n_context : b->n_context;
    while (n < most && a->ids.items[n] == b->ids.items[n]) n++;
    return n;
}

vr_status vr_document_score(vr_document *document, const vr_predictor *with, vr_error *err) {
    for (size_t i = 0; i < document->n; i++) {
        vr_request *request = &document->requests[i];
        size_t kept = i ? common(&document->requests[0], request) : 0;
        request->log_likelihood = 0;
        request->greedy = true;
        VR_TRY(with->sequence(with->user, request->ids.items, request->ids.n, request->n_context, kept, count_row,
                              &(counting){request, with->n_vocab}, err));
    }
    return VRWKV_OK;
}

/* ---- metrics ---- */

/* The likeliest request, by log-likelihood per character where `normed`; the first on ties. */
static size_t chosen(const vr_document *document, bool normed) {
    size_t best = 0;
    double most = -INFINITY;
    for (size_t i = 0; i < document->n; i++) {
        const vr_request *request = &document->requests[i];
        double value = request->log_likelihood / (normed ? (double)request->length : 1);
        if (!(value > most)) continue;
        most = value;
        best = i;
    }
    return best;
}

static bool is_right(const vr_lm_task *task, const vr_document *document, bool normed) {
    return task->perplexity ? document->requests[0].greedy : chosen(document, normed) == document->gold;
}

void vr_lm_add(vr_lm_sums *sums, const vr_document *document, bool *right) {
    *right = is_right(sums->task, document, false);
    sums->n++;
    sums->log_likelihood += document->requests[0].log_likelihood;
    sums->right += *right;
    sums->right_normed += is_right(sums->task, document, true);
}

json_t *vr_lm_metrics(const vr_lm_sums *sums) {
    json_t *out = json_object();
    double n = (double)sums->n;
    if (sums->task->perplexity) vr_put(out, "perplexity", json_real(exp(-sums->log_likelihood / n)));
    vr_put(out, "acc", json_real(sums->right / n));
    if (sums->task->normed) vr_put(out, "acc_norm", json_real(sums->right_normed / n));
    return out;
}

json_t *vr_lm_document_metrics(const vr_lm_task *task, const vr_document *document) {
    json_t *out = json_object();
    if (task->perplexity) vr_put(out, "perplexity", json_real(document->requests[0].log_likelihood));
    vr_put(out, "acc", json_real(is_right(task, document, false)));
    if (task->normed) vr_put(out, "acc_norm", json_real(is_right(task, document, true)));
    return out;
}

/* ---- the paper's averages ---- */

typedef struct member { const char *task, *metric; } member;

static const member english[] = {
    {"lambada_openai", "acc"}, {"piqa", "acc"},           {"storycloze_2016", "acc"},
    {"hellaswag", "acc_norm"}, {"winogrande", "acc"},     {"arc_challenge", "acc_norm"},
    {"arc_easy", "acc"},       {"headqa_en", "acc_norm"}, {"openbookqa", "acc_norm"},
    {"sciq", "acc"},
};

static const char *const groups[][2] = {{"lambada_multilingual", "lambada_openai_mt_"},
                                        {"xstorycloze", "xstorycloze_"},
                                        {"xwinograd", "xwinograd_"},
                                        {"xcopa", "xcopa_"}};

static double metric_of(const json_t *results, const char *task, const char *metric, double *n) {
    const json_t *entry = json_object_get(results, task);
    *n = json_number_value(json_object_get(entry, "documents"));
    return json_number_value(json_object_get(json_object_get(entry, "metrics"), metric));
}

/* Mean accuracy over the languages of a group, weighted by documents; false: there is none. */
static bool group_mean(const json_t *results, const char *prefix, double *mean) {
    const char *name;
    json_t *entry;
    double sum = 0, all = 0, n;
    json_object_foreach((json_t *)results, name, entry) {
        if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
        double value = metric_of(results, name, "acc", &n);
        sum += value * n;
        all += n;
    }
    *mean = all > 0 ? sum / all : 0;
    return all > 0;
}

json_t *vr_lm_averages(const json_t *results) {
    json_t *out = json_object(), *languages = json_object();
    double sum = 0, n, mean;
    size_t found = 0;
    for (size_t i = 0; i < VR_COUNT(english); i++) {
        if (!json_object_get(results, english[i].task)) continue;
        sum += metric_of(results, english[i].task, english[i].metric, &n);
        found++;
    }
    if (found == VR_COUNT(english)) vr_put(out, "english", json_real(100 * sum / (double)found));
    sum = 0;
    for (size_t i = 0; i < VR_COUNT(groups); i++) {
        if (!group_mean(results, groups[i][1], &mean)) continue;
        vr_put(languages, groups[i][0], json_real(100 * mean));
        sum += mean;
    }
    found = json_object_size(languages);
    if (found) vr_put(out, "groups", languages);
    if (found == VR_COUNT(groups)) vr_put(out, "multilingual", json_real(100 * sum / (double)found));
    if (!found) json_decref(languages);
    return out;
}
