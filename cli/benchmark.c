#include "benchmark.h"

#include "json_out.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static void say(void *user, const char *message) {
    (void)user;
    vr_note("skipped: %s", message);
}

vr_faults vr_faults_of(bool keep_going) { return (vr_faults){.keep_going = keep_going, .say = say}; }

vr_ask_options vr_asking(const vr_asking_args *args, vrwkv_manner manner, int max_tokens) {
    return (vr_ask_options){.manner = manner,
                            .padding = (vrwkv_padding)args->pad,
                            .max_tokens = max_tokens,
                            .batch = (size_t)args->batch,
                            .no_reuse = args->no_reuse};
}

bool vr_chunk_parse(const char *text, int *chunk, int *chunks) {
    char *end;
    long k = strtol(text, &end, 10), n = *end == '/' ? strtol(end + 1, &end, 10) : 0;
    if (!*end && n > 0 && n <= 100000 && k >= 0 && k < n) {
        *chunk = (int)k;
        *chunks = (int)n;
        return true;
    }
    vr_usage_error("eval", "--chunk takes K/N with K from 0 to N-1, found \"%s\"", text);
    return false;
}

const char *vr_model_id(const char *path, char *buffer, size_t size) {
    char *real = realpath(path, NULL), *slash = real ? strrchr(real, '/') : NULL;
    snprintf(buffer, size, "model");
    if (slash && slash > real) {
        *slash = 0;
        snprintf(buffer, size, "%s", strrchr(real, '/') + 1);
    }
    free(real);
    return buffer;
}

void vr_figures_print(const vr_set *set, const vr_answers *answers, const vr_score *score, bool original) {
    const vr_figure *headline = vr_score_headline(score, original);
    printf("%s, %s: %zu of %zu questions answered\n", set->bench->title, set->split->name, answers->n, set->n);
    for (size_t i = 0; i < score->n_figures; i++) {
        const vr_figure *figure = &score->figures[i];
        printf("%s %.*f %s  %s\n", figure == headline ? "*" : " ", figure->decimals, figure->value, set->bench->unit,
               figure->name);
    }
    if (!headline)
        printf("  no score here: %s\n",
               set->bench->submission ? "the answers are handed in" : "there is nothing to score by");
    if (score->notes[0]) vr_note("note: %s", score->notes);
}

static vr_status save(const vr_finish *how, const char *ending, const json_t *value, vr_error *err) {
    char *path;
    VR_TRY(vr_beside(&path, how->out, ending, err));
    vr_status status = vr_json_save(value, path, JSON_INDENT(0) | JSON_COMPACT, err);
    if (status == VRWKV_OK) vr_note("wrote %s", path);
    free(path);
    return status;
}

static vr_status save_page(const vr_finish *how, const vr_run_report *report, vr_error *err) {
    char *path;
    VR_TRY(vr_beside(&path, how->out, ".html", err));
    vr_status status = vr_report_html(report, path, err);
    if (status == VRWKV_OK) vr_note("wrote %s", path);
    free(path);
    return status;
}

static vr_status save_upload(const vr_finish *how, const vr_set *set, const vr_answers *answers, const vr_score *score,
                             vr_error *err) {
    char *path;
    if (how->submission) return vr_submission_save(set, answers, score, how->submission, err);
    if (!set->bench->upload || set->part || (!score->submission && !set->scorable)) return VRWKV_OK;
    VR_TRY(vr_beside(&path, how->out, set->bench->upload, err));
    vr_status status = vr_submission_save(set, answers, score, path, err);
    if (status == VRWKV_OK) vr_note("wrote %s", path);
    free(path);
    return status;
}

vr_status vr_finish_run(const vr_finish *how, vr_set *set, const vr_answers *answers, const vr_run_result *result, int *code,
                        vr_error *err) {
    vr_score score = {0};
    vr_status status = vr_score_make(&score, set, answers, err);
    const vr_run_report report = {set, answers, &score, result, how->original, how->faults, (size_t)how->gallery};
    json_t *json = status == VRWKV_OK ? vr_report_json(&report) : NULL;
    if (status == VRWKV_OK) status = save_upload(how, set, answers, &score, err);
    if (status == VRWKV_OK) status = save(how, ".result.json", json, err);
    if (status == VRWKV_OK && !how->no_report) status = save_page(how, &report, err);
    if (status == VRWKV_OK && how->json) {
        json_object_del(json, "questions");
        json_object_del(json, "question_columns");
        *code = vr_json_print(json_incref(json), 1);
    } else if (status == VRWKV_OK) {
        vr_figures_print(set, answers, &score, how->original);
    }
    json_decref(json);
    vr_score_free(&score);
    return status;
}
