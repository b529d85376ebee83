#include "eval/run.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "eval/log.h"
#include "eval/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct running {
    vr_set *set;
    vrwkv_model *model;
    const vr_run_options *options;
    vr_answers *answers;
    vr_run_result *result;
    vr_log log;
    vr_family family;
    size_t *order; /* [n] open questions, those about one picture being neighbours */
    size_t n;
    double score;  /* sum over judged answers */
    size_t judged;
    bool stopped;
} running;

vr_family vr_family_of(const vrwkv_info *info) { /* v6.20 is a v6 network asked as v7.00 is */
    return strncmp(info->version, "v7", 2) == 0 || strcmp(info->version, "v6.20") == 0 ? VR_FAMILY_V7 : VR_FAMILY_V6;
}

void vr_short_number(double value, char text[40]) {
    int n = snprintf(text, 40, "%.3f", value);
    while (n > 1 && text[n - 1] == '0' && text[n - 2] != '.') text[--n] = 0;
}

/* ---- the record ---- */

static json_t *make_record(const running *r) {
    const vrwkv_info *info = vrwkv_model_info(r->model);
    const vr_run_options *options = r->options;
    json_t *record = json_object(), *config = json_loads(info->config_json, 0, NULL);
    vr_put(record, "benchmark", json_string(r->set->bench->name));
    vr_put(record, "split", json_string(r->set->split->name));
    vr_put(record, "questions", json_string(r->set->file));
    vr_put(record, "images", json_string(r->set->images));
    vr_put(record, "first", json_integer((json_int_t)r->set->offset));
    vr_put(record, "count", json_integer((json_int_t)r->set->n));
    vr_put(record, "model", json_string(options->model_id));
    vr_put(record, "fingerprint", json_string(info->fingerprint));
    vr_put(record, "version", json_string(info->version));
    vr_put(record, "prompt", json_string(vr_text_or(config, "image_position", "first")));
    vr_put(record, "scan", json_string(info->scan));
    vr_put(record, "manner", json_string(options->ask.manner == VRWKV_ORIGINAL ? "original" : "friendly"));
    vr_put(record, "padding", json_string(options->ask.padding == VRWKV_PAD_BY_MANNER ? "by manner"
                                          : options->ask.padding == VRWKV_PAD_ORIGINAL ? "original" : "none"));
    vr_put(record, "max_tokens", json_integer(options->ask.max_tokens));
    vr_put(record, "candidates", options->candidates ? json_string(options->candidates) : json_null());
    vr_put(record, "shortlist", json_integer(options->candidates ? (json_int_t)options->shortlist : 0));
    json_object_update_missing(record, (json_t *)options->settings);
    json_decref(config);
    return record;
}

/* A line that is there already: one of this run's answers. */
static vr_status take_line(void *user, const json_t *line, const vr_where *where, size_t *job, vr_error *err) {
    running *r = user;
    VR_TRY(vr_answers_add(r->answers, r->set, line, where, NULL, err));
    *job = r->answers->items[r->answers->n - 1].question;
    return VRWKV_OK;
}

/* ---- what is open ---- */

static bool needs_picture(const vr_question *question) { return question->image || question->picture.n; }

static bool same_picture(const vr_question *a, const vr_question *b) {
    if (a->picture.n || b->picture.n) return vr_slice_same(a->picture, b->picture);
    return (!a->image && !b->image) || (a->image && b->image && strcmp(a->image, b->image) == 0);
}

/* The original's v7 has no line for a question without a picture. */
static bool left_out(const running *r, const vr_question *question) {
    return r->family == VR_FAMILY_V7 && r->options->ask.manner == VRWKV_ORIGINAL && !needs_picture(question);
}

/* Open questions, ordered so that those about one picture follow each other, pictures as they come. A table
 * in MMBench's way repeats its pictures far apart. */
static vr_status make_order(running *r, vr_error *err) {
    vr_set *set = r->set;
    size_t *next = vr_alloc(set->n, sizeof *next), *last = vr_alloc(set->n, sizeof *last),
           *heads = vr_alloc(set->n, sizeof *heads), n_heads = 0;
    json_t *known = json_object();
    vr_status status = next && last && heads && known
                           ? VRWKV_OK
                           : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu questions", set->n);
    for (size_t i = 0; i < set->n && status == VRWKV_OK; i++) {
        const vr_question *q = &set->questions[i];
        char key[48];
        if (r->answers->of_question[i] || left_out(r, q)) continue;
        vr_slice text = q->picture.n ? q->picture : vr_slice_of(q->image ? q->image : ""); /* its content or name */
        snprintf(key, sizeof key, "%016llx %zu", (unsigned long long)vr_hash(VR_HASH_START, text.p, text.n), text.n);
        const json_t *at = json_object_get(known, key);
        size_t head = at ? (size_t)json_integer_value(at) : i;
        next[i] = set->n;
        if (at) {
            next[last[head]] = i;
        } else {
            heads[n_heads++] = i;
            json_object_set_new(known, key, json_integer((json_int_t)i));
        }
        last[head] = i;
    }
    for (size_t h = 0; h < n_heads && status == VRWKV_OK; h++)
        for (size_t i = heads[h]; i < set->n; i = next[i]) r->order[r->n++] = i;
    json_decref(known);
    free(next);
    free(last);
    free(heads);
    return status;
}

/* ---- answers ---- */

static vr_status keep_line(running *r, size_t question, const json_t *line, vr_error *err) {
    VR_TRY(vr_answers_keep(r->answers, r->set, question, vr_json_slice(json_object_get(line, "text")),
                           vr_text_or(line, "prompt", ""), r->answers->n + 1, err));
    VR_TRY(vr_log_add(&r->log, question, line, err));
    r->result->answered++;
    return VRWKV_OK;
}

static void judge(running *r, size_t question) {
    vr_verdict verdict = {.counted = true};
    if (!r->set->scorable) return;
    r->set->bench->judge(r->set, question, vr_answer_of(r->answers, question), &verdict);
    if (!verdict.counted) return;
    r->score += verdict.score;
    r->judged++;
}

static void show_progress(running *r) {
    const vr_run_state status = {r->set->n - r->answers->missing + r->result->unanswered, r->set->n,
                                 r->judged ? r->score / (double)r->judged : -1};
    if (r->options->progress && r->options->progress(r->options->user, &status)) r->stopped = true;
}

static json_t *metadata_of(const vr_question *question) {
    json_t *metadata = json_is_object(question->metadata) ? json_copy(question->metadata) : json_object();
    vr_put(metadata, "image_file", question->image ? json_string(question->image) : json_null());
    return metadata;
}

/* The members that every line has, in the original's order; those between are the caller's. */
static json_t *begin_line(const vr_question *question, vr_slice prompt, vr_slice text) {
    json_t *line = json_object();
    vr_put(line, "question_id", vr_json_id(question));
    vr_put(line, "prompt", vr_json_of(prompt));
    vr_put(line, "text", vr_json_of(text));
    return line;
}

static vr_status end_line(running *r, size_t question, json_t *line, vr_error *err) {
    vr_put(line, "model_id", json_string(r->options->model_id));
    vr_put(line, "metadata", metadata_of(&r->set->questions[question]));
    vr_status status = keep_line(r, question, line, err);
    json_decref(line);
    judge(r, question);
    show_progress(r);
    return status;
}

static vr_status take_reply(void *user, const vr_reply *reply, vr_error *err) {
    running *r = user;
    char number[40];
    json_t *line = begin_line(&r->set->questions[reply->job], reply->prompt, reply->text);
    vr_short_number(reply->avg_logit, number);
    vr_put(line, "avg_logit", json_string(number));
    vr_short_number(reply->avg_prob, number);
    vr_put(line, "avg_prob", json_string(number));
    return end_line(r, reply->job, line, err);
}

/* ---- pictures ---- */

static vr_status encode_picture(running *r, const vr_question *question, vrwkv_features **out, vr_error *err) {
    vrwkv_manner manner = r->options->ask.manner;
    vr_str bytes = {0};
    char *path = NULL;
    vr_status status;
    if (question->picture.n) {
        status = vr_base64_decode(question->picture, &bytes, err);
        if (status == VRWKV_OK) status = vrwkv_encode_memory(r->model, vr_str_text(&bytes), bytes.n, manner, out, err);
    } else {
        status = vr_join(&path, r->set->images, question->image, err);
        if (status == VRWKV_OK) status = vrwkv_encode_file(r->model, path, manner, out, err);
    }
    free(path);
    vr_str_free(&bytes);
    return status;
}

/* The picture of the questions order[from..to); `ok` is false where it cannot be read and the run goes on. */
static vr_status open_picture(running *r, size_t from, size_t to, vrwkv_features **out, bool *ok, vr_error *err) {
    const vr_question *question = &r->set->questions[r->order[from]];
    char digits[24];
    vr_error why = {0};
    double began = vr_seconds();
    *ok = true;
    if (!needs_picture(question)) return VRWKV_OK;
    vr_status status = encode_picture(r, question, out, &why);
    r->result->vision_seconds += vr_seconds() - began;
    r->result->pictures++;
    if (status == VRWKV_OK) return VRWKV_OK;
    *ok = false;
    r->result->unanswered += to - from;
    return vr_fault(r->options->faults, err, "picture of question %s (%s:%zu): %.600s", vr_id_text(question->id, digits),
                    r->set->file, question->line, why.message);
}

/* ---- asking ---- */

typedef vr_status (*ask_one)(running *r, vr_ask *ask, size_t question, const char *text, void *with, vr_error *err);

static vr_status ask_bundle(running *r, vr_ask *ask, size_t from, size_t to, ask_one one, void *with, vr_error *err) {
    vrwkv_features *picture = NULL;
    vr_str text = {0};
    bool ok;
    VR_TRY(open_picture(r, from, to, &picture, &ok, err));
    if (ok) vr_ask_picture(ask, picture);
    vr_status status = VRWKV_OK;
    for (size_t k = from; ok && k < to && status == VRWKV_OK && !r->stopped; k++) {
        vr_str_clear(&text);
        status = vr_bench_prompt(r->set, &r->set->questions[r->order[k]], r->family, &text, err);
        if (status == VRWKV_OK) status = one(r, ask, r->order[k], vr_str_text(&text), with, err);
        if (status == VRWKV_OK) show_progress(r);
    }
    vrwkv_features_free(picture);
    vr_str_free(&text);
    return status;
}

static vr_status ask_all(running *r, vr_ask *ask, ask_one one, void *with, vr_error *err) {
    for (size_t from = 0, to; from < r->n && !r->stopped; from = to) {
        for (to = from + 1; to < r->n && same_picture(&r->set->questions[r->order[from]], &r->set->questions[r->order[to]]);)
            to++;
        VR_TRY(ask_bundle(r, ask, from, to, one, with, err));
    }
    return r->stopped ? VRWKV_OK : vr_ask_finish(ask, err); /* what is open when stopped is asked again */
}

static vr_status ask_openly(running *r, vr_ask *ask, size_t question, const char *text, void *with, vr_error *err) {
    (void)r;
    (void)with;
    return vr_ask_question(ask, question, text, err);
}

/* ---- ranking ---- */

typedef struct ranking {
    vr_lm *lm;
    vr_predictor predictor;
    vr_candidates candidates;
    vr_ranked *found; /* [shortlist] */
    size_t compared;
} ranking;

static vr_status ask_ranked(running *r, vr_ask *ask, size_t question, const char *text, void *with, vr_error *err) {
    ranking *rank = with;
    vrwkv_context *context;
    vr_slice prompt;
    size_t best;
    VR_TRY(vr_ask_read(ask, text, &context, &prompt, err));
    vr_lm_prompt(rank->lm, context);
    VR_TRY(vr_rank(&rank->candidates, rank->compared, &rank->predictor, rank->found, &best, err));
    const vr_ranked *answer = &rank->found[best];
    const char *name = rank->candidates.items[answer->candidate].text;
    json_t *line = begin_line(&r->set->questions[question], prompt, vr_trim(vr_slice_of(name)));
    vr_put(line, "loss", json_real(answer->loss));
    vr_put(line, "avg_logit", json_real(answer->avg_logit));
    vr_put(line, "avg_prob", json_real(exp(-answer->loss)));
    return end_line(r, question, line, err);
}

static vr_status open_ranking(running *r, ranking *rank, vr_error *err) {
    json_error_t fault;
    const vr_run_options *options = r->options;
    *rank = (ranking){.compared = options->shortlist ? options->shortlist : VR_RANK_SHORTLIST};
    VR_TRY(vr_lm_open(&rank->lm, r->model, rank->compared, err));
    rank->predictor = vr_lm_predictor(rank->lm);
    rank->found = vr_alloc(rank->compared, sizeof *rank->found);
    if (!rank->found) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    json_t *list = json_load_file(options->candidates, 0, &fault);
    if (!list) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%d: %s", options->candidates, fault.line, fault.text);
    vr_status status = vr_candidates_read(&rank->candidates, list, options->candidates, &rank->predictor, err);
    json_decref(list);
    /* fewer than are to be compared: an error in the original */
    bool few = rank->candidates.n && rank->candidates.n < rank->compared;
    if (few && options->ask.manner == VRWKV_FRIENDLY) rank->compared = rank->candidates.n;
    return status;
}

static void close_ranking(ranking *rank) {
    vr_candidates_free(&rank->candidates);
    vr_lm_close(rank->lm);
    free(rank->found);
}

/* ---- the run ---- */

static vr_status ask_questions(running *r, vr_error *err) {
    vr_ask *ask;
    ranking rank = {0};
    VR_TRY(vr_ask_open(&ask, r->model, &r->options->ask, take_reply, r, err));
    r->result->reuse = vr_ask_reuse(ask);
    r->result->reuse_reason = vr_ask_reuse_reason(ask); /* a constant text */
    vr_status status = r->options->candidates ? open_ranking(r, &rank, err) : VRWKV_OK;
    if (status == VRWKV_OK) status = ask_all(r, ask, r->options->candidates ? ask_ranked : ask_openly, &rank, err);
    close_ranking(&rank);
    vr_ask_close(ask);
    return status;
}

static vr_status run(running *r, vr_error *err) {
    r->result->record = make_record(r);
    VR_TRY(vr_answers_start(r->answers, r->set, r->options->out, err));
    VR_TRY(vr_log_open(&r->log, r->options->out, r->set->n, r->result->record, take_line, r, err));
    r->result->resumed = r->answers->n;
    for (size_t i = 0; i < r->set->n; i++) {
        if (r->answers->of_question[i]) judge(r, i);
        if (left_out(r, &r->set->questions[i])) r->result->unanswered++;
    }
    r->order = vr_alloc(r->set->n, sizeof *r->order);
    if (!r->order) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    VR_TRY(make_order(r, err));
    if (r->n) VR_TRY(ask_questions(r, err));
    if (r->stopped) return vr_fail(err, VRWKV_ERR_CANCELLED, "stopped; the same command goes on from here");
    return vr_log_sort(&r->log, err);
}

vr_status vr_run_bench(vr_set *set, vrwkv_model *model, const vr_run_options *options, vr_answers *answers,
                       vr_run_result *result, vr_error *err) {
    running r = {.set = set, .model = model, .options = options, .answers = answers, .result = result,
                 .family = vr_family_of(vrwkv_model_info(model))};
    double began = vr_seconds();
    *result = (vr_run_result){.reuse = "none", .reuse_reason = ""};
    *answers = (vr_answers){0};
    vr_status status = run(&r, err);
    vr_log_close(&r.log);
    result->seconds = vr_seconds() - began;
    free(r.order);
    return status;
}
