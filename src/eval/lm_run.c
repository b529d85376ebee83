#include "eval/lm_run.h"

#include "base/memory.h"
#include "eval/bench.h"
#include "eval/model.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char ending[] = ".jsonl";

typedef struct task_run {
    const vr_lm_run_options *options;
    const char *name;
    vr_predictor with;
    vr_document *document;
    vr_lm_sums sums;
    json_t *right; /* [documents] 1 or 0 */
    size_t total;
    bool stopped;
} task_run;

static vr_status one_document(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    task_run *run = user;
    vr_error why = {0};
    bool right = false;
    (void)key;
    if (run->stopped || (run->options->limit && run->sums.n >= run->options->limit)) return VRWKV_OK;
    vr_status status =
        vr_document_make(run->document, run->sums.task, run->name, line, where, run->options->manner, &run->with, &why);
    if (status != VRWKV_OK) {
        vr_document_clear(run->document);
        return vr_fault(run->options->faults, err, "%s", why.message);
    }
    status = vr_document_score(run->document, &run->with, err);
    if (status == VRWKV_OK) {
        vr_lm_add(&run->sums, run->document, &right);
        json_array_append_new(run->right, json_integer(right));
    }
    vr_document_clear(run->document);
    if (status == VRWKV_OK && run->options->progress)
        run->stopped = run->options->progress(run->options->user, run->name, run->sums.n, run->total,
                                              run->sums.right / (double)run->sums.n) != 0;
    return run->stopped ? vr_fail(err, VRWKV_ERR_CANCELLED, "stopped") : status;
}

static vr_status count_line(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    (void)key;
    (void)line;
    (void)where;
    (void)err;
    ++*(size_t *)user;
    return VRWKV_OK;
}

static vr_status run_task(json_t *tasks, vr_lm *lm, const char *path, const char *name, const vr_lm_run_options *options,
                          vr_error *err) {
    vr_faults quiet = {.keep_going = true};
    task_run run = {.options = options,
                    .name = name,
                    .with = vr_lm_predictor(lm),
                    .document = vr_alloc(1, sizeof *run.document),
                    .sums = {.task = vr_lm_task_find(name)},
                    .right = json_array()};
    vr_status status = run.document && run.right ? vr_read_lines(path, &quiet, count_line, &run.total, err)
                                                 : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (options->limit && run.total > options->limit) run.total = options->limit;
    if (status == VRWKV_OK) status = vr_read_lines(path, options->faults, one_document, &run, err);
    if (status == VRWKV_OK && run.sums.n == 0)
        status = vr_fail(err, VRWKV_ERR_FORMAT, "%s: there is no document in it", path);
    if (status == VRWKV_OK) {
        json_t *entry = json_object();
        vr_put(entry, "metrics", vr_lm_metrics(&run.sums));
        vr_put(entry, "documents", json_integer((json_int_t)run.sums.n));
        vr_put(entry, "right", json_incref(run.right));
        vr_put(tasks, name, entry);
    }
    json_decref(run.right);
    free(run.document);
    return status;
}

static bool wanted(const vr_lm_run_options *options, const char *name) {
    for (size_t i = 0; i < options->n_names; i++)
        if (strncmp(name, options->names[i], strlen(options->names[i])) == 0) return true;
    return options->n_names == 0;
}

static vr_status run_folder(json_t *tasks, vr_lm *lm, const char *folder, const vr_lm_run_options *options, vr_error *err) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    vr_status status = n < 0 ? vr_fail_io(err, "read the folder", folder) : VRWKV_OK;
    for (int i = 0; i < n; i++) {
        char name[256], *path = NULL;
        size_t length = strlen(entries[i]->d_name), end = sizeof ending - 1;
        bool file = length > end && length - end < sizeof name && strcmp(entries[i]->d_name + length - end, ending) == 0;
        if (file) snprintf(name, sizeof name, "%.*s", (int)(length - end), entries[i]->d_name);
        if (status == VRWKV_OK && file && wanted(options, name) && vr_lm_task_find(name)) {
            status = vr_join(&path, folder, entries[i]->d_name, err);
            if (status == VRWKV_OK) status = run_task(tasks, lm, path, name, options, err);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    if (status == VRWKV_OK && !json_object_size(tasks))
        status = vr_fail(err, VRWKV_ERR_ARGUMENT, "%s holds no file of a text task%s (<task>.jsonl with task %s)", folder,
                         options->n_names ? " that is wanted" : "", vr_lm_task_names());
    return status;
}

vr_status vr_lm_run(json_t **out, vrwkv_model *model, const char *folder, const vr_lm_run_options *options, vr_error *err) {
    const vrwkv_info *info = vrwkv_model_info(model);
    vr_lm *lm;
    *out = NULL;
    VR_TRY(vr_lm_open(&lm, model, 1, err));
    json_t *tasks = json_object();
    vr_status status = run_folder(tasks, lm, folder, options, err);
    vr_lm_close(lm);
    if (status == VRWKV_OK) {
        *out = json_object();
        vr_put(*out, "kind", json_string("text"));
        vr_put(*out, "program", json_pack("{s:s, s:i}", "version", vrwkv_version(), "scorer", VR_SCORER_VERSION));
        vr_put(*out, "fingerprint", json_string(info->fingerprint));
        vr_put(*out, "manner", json_string(options->manner == VRWKV_ORIGINAL ? "original" : "friendly"));
        vr_put(*out, "averages", vr_lm_averages(tasks));
        vr_put(*out, "tasks", json_incref(tasks));
    }
    json_decref(tasks);
    return status;
}

/* ---- perplexity ---- */

typedef struct counting {
    const int32_t *ids;
    int n_vocab;
    double log_likelihood;
} counting;

static void count_row(void *user, size_t i, const float *logits) {
    counting *to = user;
    to->log_likelihood += vr_log_softmax(logits, to->n_vocab, to->ids[i]);
}

vr_status vr_perplexity_of(vr_perplexity *out, vrwkv_model *model, vr_slice text, vr_error *err) {
    vr_lm *lm;
    vr_id_list ids = {0};
    *out = (vr_perplexity){.bytes = text.n};
    VR_TRY(vr_lm_open(&lm, model, 1, err));
    vr_predictor with = vr_lm_predictor(lm);
    vr_status status = with.encode(with.user, (vr_slice){"\n", 1}, &ids, err);
    size_t lead = ids.n;
    if (status == VRWKV_OK) status = with.encode(with.user, text, &ids, err);
    if (status == VRWKV_OK && ids.n == lead) status = vr_fail(err, VRWKV_ERR_ARGUMENT, "the text is empty");
    if (status == VRWKV_OK) {
        counting to = {ids.items, with.n_vocab, 0};
        status = with.sequence(with.user, ids.items, ids.n, lead, 0, count_row, &to, err);
        out->tokens = ids.n - lead;
        out->log_likelihood = to.log_likelihood;
        out->per_token = exp(-to.log_likelihood / (double)out->tokens);
        out->bits_per_byte = -to.log_likelihood / log(2) / (double)text.n;
    }
    free(ids.items);
    vr_lm_close(lm);
    return status;
}
