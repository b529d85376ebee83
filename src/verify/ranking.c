/* Kinds `rank` and `text-score`: the rules of ranking and of text tasks with a network whose every logit
 * can be computed again: a hash of the preceding token, the next one and a seed. */
#include "base/memory.h"
#include "eval/lm.h"
#include "eval/rank.h"
#include "text/vocab.h"
#include "verify/verify.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB 65536
#define BOOST 6
#define BOUND 1e-4 /* relative; README of metrics, sections 4 and 5 */

typedef struct hash_net {
    const vr_vocab *vocab;
    const json_t *boost; /* preceding token -> tokens that are likelier */
    uint32_t seed;
    int32_t last;        /* of the prompt */
    float *rows[VR_RANK_SHORTLIST + 1];
} hash_net;

static void fill_row(const hash_net *net, int32_t before, float *row) {
    char key[16];
    size_t i;
    const json_t *next;
    for (uint32_t n = 0; n < VOCAB; n++) {
        uint32_t x = (uint32_t)before * 0x9E3779B1u + n * 0x85EBCA77u + net->seed * 0xC2B2AE3Du;
        x ^= x >> 15;
        x *= 0x2C1B3C6Du;
        x ^= x >> 12;
        x *= 0x297A2D39u;
        x ^= x >> 15;
        row[n] = (float)((x / 4294967296.0 - 0.5) * 8);
    }
    snprintf(key, sizeof key, "%d", before);
    json_array_foreach(json_object_get(net->boost, key), i, next) {
        json_int_t id = json_integer_value(next);
        if (id >= 0 && id < VOCAB) row[id] += BOOST;
    }
}

static vr_status net_encode(void *user, vr_slice text, vr_id_list *ids, vr_error *err) {
    return vr_encode(((hash_net *)user)->vocab, text.p, text.n, &ids->items, &ids->n, &ids->room, err);
}

static vr_status net_decode(void *user, const int32_t *ids, size_t n, vr_str *text, vr_error *err) {
    char *found;
    size_t bytes;
    VR_TRY(vr_decode_text(((hash_net *)user)->vocab, ids, n, &found, &bytes, err));
    vr_str_put(text, found, bytes);
    free(found);
    return vr_str_check(text, err);
}

static const float *net_prompt(void *user) {
    hash_net *net = user;
    fill_row(net, net->last, net->rows[VR_RANK_SHORTLIST]);
    return net->rows[VR_RANK_SHORTLIST];
}

static vr_status net_branch(void *user, const size_t *branches, const int32_t *tokens, size_t n, const float **logits,
                            vr_error *err) {
    hash_net *net = user;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        fill_row(net, tokens[i], net->rows[branches[i]]);
        logits[i] = net->rows[branches[i]];
    }
    return VRWKV_OK;
}

static vr_status net_sequence(void *user, const int32_t *ids, size_t n, size_t from, size_t kept,
                              void (*row)(void *row_user, size_t i, const float *logits), void *row_user, vr_error *err) {
    hash_net *net = user;
    (void)kept;
    (void)err;
    for (size_t i = from; i < n; i++) {
        fill_row(net, ids[i - 1], net->rows[0]);
        row(row_user, i, net->rows[0]);
    }
    return VRWKV_OK;
}

static vr_status net_open(hash_net *net, vr_predictor *with, vr_error *err) {
    *net = (hash_net){0};
    *with = (vr_predictor){.user = net, .n_vocab = VOCAB, .encode = net_encode, .decode = net_decode, .branch = net_branch,
                           .prompt_logits = net_prompt, .sequence = net_sequence};
    for (size_t i = 0; i < VR_COUNT(net->rows); i++)
        if (!(net->rows[i] = vr_alloc(VOCAB, sizeof *net->rows[i])))
            return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for logits");
    return vr_vocab_world(&net->vocab, err);
}

static void net_close(hash_net *net) {
    for (size_t i = 0; i < VR_COUNT(net->rows); i++) free(net->rows[i]);
}

static bool near(double found, const json_t *object, const char *key) {
    double want = json_number_value(json_object_get(object, key));
    return fabs(found - want) <= BOUND * fmax(fabs(want), 1e-30);
}

static vr_status load(const vr_case *item, const char *name, const char *end, json_t **out, vr_error *err) {
    char file[160];
    json_error_t fault;
    snprintf(file, sizeof file, "%s%s", name, end);
    char *path = vr_path_join(item->folder, file);
    *out = path ? json_load_file(path, JSON_ALLOW_NUL, &fault) : NULL;
    vr_status status = *out ? VRWKV_OK : vr_fail(err, VRWKV_ERR_FORMAT, "%s: line %d: %s", file, fault.line, fault.text);
    free(path);
    return status;
}

/* ---- ranking ---- */

static vr_status check_prepared(vr_verify *verify, const char *name, const vr_candidates *candidates, const json_t *expected,
                                vr_error *err) {
    char label[96], why[300] = "";
    const json_t *texts = json_object_get(expected, "prepared"), *ids = json_object_get(expected, "ids");
    size_t different = candidates->n != json_array_size(texts);
    (void)err;
    for (size_t i = 0; i < candidates->n; i++) {
        const vr_candidate *own = &candidates->items[i];
        const json_t *want = json_array_get(ids, i);
        bool same = vr_slice_is(vr_json_slice(json_array_get(texts, i)), own->text) && json_array_size(want) == own->ids.n;
        for (size_t k = 0; same && k < own->ids.n; k++)
            same = json_integer_value(json_array_get(want, k)) == own->ids.items[k];
        if (!same && !different++)
            snprintf(why, sizeof why, "[%zu]: \"%s\", expected \"%s\", or other ids", i, own->text,
                     vr_json_slice(json_array_get(texts, i)).p);
    }
    snprintf(label, sizeof label, "%s.prepared", name);
    vr_check_tally(verify, label, candidates->n, different, why);
    return VRWKV_OK;
}

static void describe(const vr_candidates *candidates, const vr_ranked *found, const json_t *want, char *why, size_t size) {
    snprintf(why, size, "\"%s\" loss %.9g, avg_logit %.9g, expected \"%s\" loss %.9g, avg_logit %.9g",
             candidates->items[found->candidate].text, found->loss, found->avg_logit,
             vr_json_slice(json_object_get(want, "name")).p, json_number_value(json_object_get(want, "loss")),
             json_number_value(json_object_get(want, "avg_logit")));
}

/* One question: the answer, and the five that were compared. Where candidates tie at the cut-off any of
 * them may have entered. */
static vr_status check_row(const vr_candidates *candidates, const vr_predictor *with, const json_t *row, char *why,
                           size_t size, vr_error *err) {
    vr_ranked found[VR_RANK_SHORTLIST];
    size_t best, i;
    const json_t *want, *list = json_object_get(row, "shortlist");
    VR_TRY(vr_rank(candidates, VR_RANK_SHORTLIST, with, found, &best, err));
    const char *answer = candidates->items[found[best].candidate].text + 1;
    if (!json_is_true(json_object_get(row, "tie_at_cutoff")) &&
        (!vr_slice_is(vr_json_slice(json_object_get(row, "text")), answer) || !near(found[best].loss, row, "loss") ||
         !near(exp(-found[best].loss), row, "avg_prob") || !near(found[best].avg_logit, row, "avg_logit")))
        snprintf(why, size, "\"%s\" loss %.9g, expected \"%s\" loss %.9g", answer, found[best].loss,
                 vr_json_slice(json_object_get(row, "text")).p, json_number_value(json_object_get(row, "loss")));
    json_array_foreach(list, i, want) {
        bool same =
            i < VR_RANK_SHORTLIST &&
            vr_slice_is(vr_json_slice(json_object_get(want, "name")), candidates->items[found[i].candidate].text + 1) &&
            near(found[i].first_logprob, want, "first_logprob") && near(found[i].loss, want, "loss") &&
            near(exp(-found[i].loss), want, "avg_prob") && near(found[i].avg_logit, want, "avg_logit");
        if (!same && !why[0]) describe(candidates, &found[i < VR_RANK_SHORTLIST ? i : 0], want, why, size);
    }
    return VRWKV_OK;
}

static vr_status check_ranking(vr_verify *verify, const vr_case *item, const char *name, hash_net *net,
                               const vr_predictor *with, vr_error *err) {
    json_t *list = NULL, *expected = NULL;
    vr_candidates candidates = {0};
    char label[96], first[600] = "";
    size_t i, different = 0;
    const json_t *row;
    vr_status status = load(item, name, ".candidates.json", &list, err);
    if (status == VRWKV_OK) status = load(item, name, ".expected.json", &expected, err);
    if (status == VRWKV_OK) status = vr_candidates_read(&candidates, list, name, with, err);
    if (status == VRWKV_OK) status = check_prepared(verify, name, &candidates, expected, err);
    net->boost = json_object_get(expected, "boost");
    net->last = (int32_t)vr_case_int(expected, "prompt_last_token", 59);
    json_array_foreach(json_object_get(expected, "rows"), i, row) {
        char why[600] = "";
        net->seed = (uint32_t)vr_case_int(row, "s", 0);
        if (status == VRWKV_OK) status = check_row(&candidates, with, row, why, sizeof why, err);
        if (why[0] && !different++) snprintf(first, sizeof first, "[%zu]: %.500s", i, why);
    }
    snprintf(label, sizeof label, "%s.rows", name);
    if (status == VRWKV_OK)
        vr_check_tally(verify, label, json_array_size(json_object_get(expected, "rows")), different, first);
    vr_candidates_free(&candidates);
    json_decref(expected);
    json_decref(list);
    return status;
}

vr_status vr_verify_rank(vr_verify *verify, const vr_case *item, vr_error *err) {
    static const char ending[] = ".candidates.json";
    hash_net net;
    vr_predictor with;
    struct dirent **entries = NULL;
    vr_status status = net_open(&net, &with, err);
    int n = scandir(item->folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char name[64];
        size_t length = strlen(entries[i]->d_name), end = sizeof ending - 1;
        if (status == VRWKV_OK && length > end && length - end < sizeof name &&
            strcmp(entries[i]->d_name + length - end, ending) == 0) {
            snprintf(name, sizeof name, "%.*s", (int)(length - end), entries[i]->d_name);
            status = check_ranking(verify, item, name, &net, &with, err);
        }
        free(entries[i]);
    }
    free(entries);
    net_close(&net);
    return status;
}

/* ---- text tasks ---- */

typedef struct checking {
    const vr_lm_task *task;
    const char *name;
    const json_t *docs; /* expected */
    const vr_predictor *with;
    vr_lm_sums sums;
    size_t at, different;
    char first[600];
} checking;

static bool same_ids(const json_t *want, const int32_t *ids, size_t n) {
    bool same = json_array_size(want) == n;
    for (size_t i = 0; same && i < n; i++) same = json_integer_value(json_array_get(want, i)) == ids[i];
    return same;
}

/* What is wrong with a request, or NULL. The first id is the line end in front of all. */
static const char *compare_request(const vr_request *found, const json_t *want) {
    if (!vr_slice_same(vr_str_slice(&found->context), vr_json_slice(json_object_get(want, "context"))))
        return "another context";
    if (!vr_slice_same(vr_str_slice(&found->continuation), vr_json_slice(json_object_get(want, "continuation"))))
        return "another continuation";
    if (!same_ids(json_object_get(want, "context_ids"), found->ids.items + 1, found->n_context - 1))
        return "other ids of the context";
    if (!same_ids(json_object_get(want, "continuation_ids"), found->ids.items + found->n_context,
                  found->ids.n - found->n_context))
        return "other ids of the continuation";
    if (!near(found->log_likelihood, want, "loglikelihood")) return "another log-likelihood";
    return found->greedy == json_is_true(json_object_get(want, "greedy")) ? NULL : "greedy differs";
}

static vr_status check_document(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    checking *to = user;
    vr_document *document = vr_alloc(1, sizeof *document);
    const json_t *want = json_array_get(to->docs, to->at);
    const char *why = NULL;
    bool right;
    (void)key;
    if (!document) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a document");
    vr_status status = vr_document_make(document, to->task, to->name, line, where, VRWKV_ORIGINAL, to->with, err);
    if (status == VRWKV_OK) status = vr_document_score(document, to->with, err);
    if (status == VRWKV_OK) {
        const json_t *requests = json_object_get(want, "requests"), *expected = json_object_get(want, "metrics");
        json_t *metrics = vr_lm_document_metrics(to->task, document);
        const char *name;
        json_t *value;
        if (json_array_size(requests) != document->n) why = "another number of requests";
        for (size_t i = 0; i < document->n && !why; i++)
            why = compare_request(&document->requests[i], json_array_get(requests, i));
        json_object_foreach((json_t *)expected, name, value) {
            if (!why && !near(json_number_value(json_object_get(metrics, name)), expected, name)) why = name;
        }
        json_decref(metrics);
        vr_lm_add(&to->sums, document, &right);
    }
    if (why && !to->different++) snprintf(to->first, sizeof to->first, "[%zu]: %s", to->at, why);
    to->at++;
    vr_document_clear(document);
    free(document);
    return status;
}

static vr_status check_task(vr_verify *verify, const vr_case *item, const char *name, const json_t *expected, hash_net *net,
                            const vr_predictor *with, vr_error *err) {
    checking to = {.task = vr_lm_task_find(name), .name = name, .docs = json_object_get(expected, "docs"), .with = with};
    char label[160];
    if (!to.task) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "text task \"%s\" is none of %s", name, vr_lm_task_names());
    to.sums.task = to.task;
    net->boost = json_object_get(expected, "boost");
    snprintf(label, sizeof label, "%s.jsonl", name);
    char *path = vr_path_join(item->folder, label);
    vr_status status =
        path ? vr_read_lines(path, NULL, check_document, &to, err) : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    free(path);
    VR_TRY(status);
    snprintf(label, sizeof label, "%.100s.documents", name);
    if (to.at != json_array_size(to.docs) && !to.different++)
        snprintf(to.first, sizeof to.first, "%zu documents, expected %zu", to.at, json_array_size(to.docs));
    vr_check_tally(verify, label, to.at, to.different, to.first);
    json_t *metrics = vr_lm_metrics(&to.sums), *value;
    const char *metric;
    json_object_foreach(json_object_get(expected, "metrics"), metric, value) {
        double want = json_number_value(value);
        snprintf(label, sizeof label, "%.100s.%.40s", name, metric);
        vr_check_value(verify, label, json_number_value(json_object_get(metrics, metric)), want, BOUND * fabs(want));
    }
    json_decref(metrics);
    return VRWKV_OK;
}

vr_status vr_verify_text_score(vr_verify *verify, const vr_case *item, vr_error *err) {
    hash_net net;
    vr_predictor with;
    json_t *expected = NULL, *block;
    const char *name;
    vr_status status = net_open(&net, &with, err);
    if (status == VRWKV_OK) status = load(item, "expected", ".json", &expected, err);
    net.seed = (uint32_t)vr_case_int(expected, "s", 0);
    json_object_foreach(expected, name, block) {
        if (status == VRWKV_OK && json_is_object(block)) status = check_task(verify, item, name, block, &net, &with, err);
    }
    json_decref(expected);
    net_close(&net);
    return status;
}
