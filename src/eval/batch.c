#include "eval/batch.h"

#include "base/clock.h"
#include "base/memory.h"
#include "eval/bench.h"
#include "image/image.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEEPEST 32

typedef struct working {
    vrwkv_model *model;
    const vr_batch_options *options;
    vr_batch_result *result;
    vr_log log;
    char **pictures; /* [n] below the folder, sorted */
    size_t n, room;
    size_t done; /* pictures */
    bool stopped;
} working;

/* ---- the folder ---- */

static vr_status add_picture(working *w, char *name, vr_error *err) {
    vr_status status = vr_grow(&w->pictures, &w->room, w->n + 1, sizeof *w->pictures, err);
    if (status == VRWKV_OK)
        w->pictures[w->n++] = name;
    else
        free(name);
    return status;
}

/* Pictures of folder/below; `below` is "" at the top. */
static vr_status list(working *w, const char *below, int depth, vr_error *err) {
    struct dirent **entries = NULL;
    char *folder;
    VR_TRY(vr_join(&folder, w->options->folder, below, err));
    int n = scandir(folder, &entries, NULL, alphasort);
    vr_status status = n < 0 ? vr_fail_io(err, "read the folder", folder) : VRWKV_OK;
    for (int i = 0; i < n; i++) {
        char *name = NULL, *path = NULL;
        struct stat info;
        if (status == VRWKV_OK && entries[i]->d_name[0] != '.') {
            name = *below ? NULL : vr_strdup(entries[i]->d_name);
            if (*below) status = vr_join(&name, below, entries[i]->d_name, err);
            if (status == VRWKV_OK && !name) status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
            if (status == VRWKV_OK) status = vr_join(&path, w->options->folder, name, err);
            bool there = status == VRWKV_OK && stat(path, &info) == 0;
            if (there && S_ISDIR(info.st_mode) && w->options->recursive && depth < DEEPEST) {
                status = list(w, name, depth + 1, err);
            } else if (there && S_ISREG(info.st_mode) && vr_image_name(name)) {
                status = add_picture(w, name, err);
                name = NULL;
            }
        }
        free(name);
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(folder);
    return status;
}

/* ---- lines ---- */

static size_t n_jobs(const working *w) { return w->n * w->options->n_questions; }

static vr_status match_line(void *user, const json_t *line, const vr_where *where, size_t *job, vr_error *err) {
    working *w = user;
    const char *image = vr_text_or(line, "image", ""), *question = vr_text_or(line, "question", "");
    size_t p = 0, q = 0;
    for (size_t low = 0, high = w->n; low < high;) {
        p = low + (high - low) / 2;
        int order = strcmp(w->pictures[p], image);
        if (order == 0) break;
        if (order < 0)
            low = p + 1;
        else
            high = p;
    }
    while (q < w->options->n_questions && strcmp(w->options->questions[q], question) != 0) q++;
    if (p >= w->n || strcmp(w->pictures[p], image) != 0 || q == w->options->n_questions)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s:%zu: no picture %.200s, or no question \"%.200s\", in this run",
                       where->path, where->line, image, question);
    *job = p * w->options->n_questions + q;
    w->result->resumed++;
    return VRWKV_OK;
}

static vr_status take_reply(void *user, const vr_reply *reply, vr_error *err) {
    working *w = user;
    json_t *line = json_object();
    vr_put(line, "image", vr_json_of(vr_slice_of(w->pictures[reply->job / w->options->n_questions])));
    vr_put(line, "question", vr_json_of(vr_slice_of(w->options->questions[reply->job % w->options->n_questions])));
    json_t *shaped =
        w->options->ask.shape && reply->complete ? json_loadb(reply->text.p, reply->text.n, JSON_DECODE_ANY, NULL) : NULL;
    vr_put(line, "answer", shaped ? shaped : vr_json_of(reply->text));
    if (w->options->ask.shape) vr_put(line, "complete", json_boolean(shaped != NULL));
    vr_put(line, "tokens", json_integer(reply->tokens));
    vr_put(line, "avg_prob", json_real(vr_round(reply->avg_prob, 3)));
    vr_status status = vr_log_add(&w->log, reply->job, line, err);
    w->result->answered++;
    json_decref(line);
    return status;
}

static json_t *make_record(const working *w) {
    const vrwkv_info *info = vrwkv_model_info(w->model);
    json_t *record = json_object(), *questions = json_array();
    for (size_t i = 0; i < w->options->n_questions; i++)
        json_array_append_new(questions, vr_json_of(vr_slice_of(w->options->questions[i])));
    vr_put(record, "folder", json_string(w->options->folder));
    vr_put(record, "questions", questions);
    vr_put(record, "fingerprint", json_string(info->fingerprint));
    vr_put(record, "manner", json_string(w->options->ask.manner == VRWKV_ORIGINAL ? "original" : "friendly"));
    vr_put(record, "padding", json_integer(w->options->ask.padding));
    vr_put(record, "max_tokens", json_integer(w->options->ask.max_tokens));
    vr_put(record, "schema", w->options->schema ? json_incref(w->options->schema) : json_null());
    return record;
}

/* ---- the work ---- */

static bool is_answered(const working *w, size_t picture) {
    for (size_t q = 0; q < w->options->n_questions; q++)
        if (!vr_log_has(&w->log, picture * w->options->n_questions + q)) return false;
    return true;
}

static vr_status ask_about(working *w, vr_ask *ask, size_t picture, vr_error *err) {
    char *path;
    vrwkv_features *features = NULL;
    vr_error why = {0};
    VR_TRY(vr_join(&path, w->options->folder, w->pictures[picture], err));
    vr_status status = vrwkv_encode_file(w->model, path, w->options->ask.manner, &features, &why);
    free(path);
    if (status != VRWKV_OK) {
        w->result->unread++;
        return vr_fault(w->options->faults, err, "%s: %.700s", w->pictures[picture], why.message);
    }
    w->result->encoded++;
    vr_ask_picture(ask, features);
    vrwkv_features_free(features);
    for (size_t q = 0; q < w->options->n_questions && status == VRWKV_OK; q++) {
        size_t job = picture * w->options->n_questions + q;
        if (!vr_log_has(&w->log, job)) status = vr_ask_question(ask, job, w->options->questions[q], err);
    }
    return status;
}

static vr_status ask_all(working *w, vr_error *err) {
    vr_ask *ask;
    VR_TRY(vr_ask_open(&ask, w->model, &w->options->ask, take_reply, w, err));
    w->result->reuse = vr_ask_reuse(ask);
    w->result->reuse_reason = vr_ask_reuse_reason(ask);
    vr_status status = VRWKV_OK;
    for (size_t p = 0; p < w->n && status == VRWKV_OK && !w->stopped; p++) {
        if (!is_answered(w, p)) status = ask_about(w, ask, p, err);
        w->done++;
        if (w->options->progress && w->options->progress(w->options->user, w->done, w->n)) w->stopped = true;
    }
    if (status == VRWKV_OK && !w->stopped) status = vr_ask_finish(ask, err);
    vr_ask_close(ask);
    if (status == VRWKV_OK && w->stopped)
        return vr_fail(err, VRWKV_ERR_CANCELLED, "stopped; the same command goes on from here");
    return status;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* An answer is found again by its question. */
static vr_status check_questions(const vr_batch_options *options, vr_error *err) {
    for (size_t i = 0; i < options->n_questions; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(options->questions[i], options->questions[k]) == 0)
                return vr_fail(err, VRWKV_ERR_ARGUMENT, "\"%.200s\" is asked twice", options->questions[i]);
    return VRWKV_OK;
}

static vr_status work(working *w, vr_error *err) {
    VR_TRY(check_questions(w->options, err));
    VR_TRY(list(w, "", 0, err));
    if (w->n) qsort(w->pictures, w->n, sizeof *w->pictures, by_name);
    w->result->pictures = w->n;
    if (w->n == 0) return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s holds no picture", w->options->folder);
    json_t *record = make_record(w);
    vr_status status = vr_log_open(&w->log, w->options->out, n_jobs(w), record, match_line, w, err);
    json_decref(record);
    VR_TRY(status);
    VR_TRY(ask_all(w, err));
    return vr_log_sort(&w->log, err);
}

vr_status vr_batch_run(vrwkv_model *model, const vr_batch_options *options, vr_batch_result *result, vr_error *err) {
    working w = {.model = model, .options = options, .result = result};
    double began = vr_seconds();
    *result = (vr_batch_result){.reuse = "none", .reuse_reason = ""};
    vr_status status = work(&w, err);
    vr_log_close(&w.log);
    for (size_t i = 0; i < w.n; i++) free(w.pictures[i]);
    free(w.pictures);
    result->seconds = vr_seconds() - began;
    return status;
}
