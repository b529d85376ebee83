/* Two runs on the same questions: which is better, and could that be chance?
 *
 * Bootstrap: pictures (or rotations) are drawn with replacement, both runs scored on the same draw, the
 * 2.5th and 97.5th percentile given. McNemar: of the questions that one got right and the other wrong, how
 * uneven is the split. */
#include "base/memory.h"
#include "base/rng.h"
#include "eval/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SAMPLES 100000

/* A result file, as far as a comparison needs it. */
typedef struct side {
    const char *path;
    json_t *json;
    vr_set set;
    vr_verdict *verdicts;
} side;

static void side_free(side *s) {
    free(s->verdicts);
    vr_set_free(&s->set);
    json_decref(s->json);
}

static vr_status load_json(side *s, const char *path, vr_error *err) {
    json_error_t fault;
    *s = (side){.path = path, .json = json_load_file(path, 0, &fault)};
    if (!s->json) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%d: %s", path, fault.line, fault.text);
    const char *kind = vr_text_or(s->json, "kind", "");
    if (strcmp(kind, "benchmark") != 0 && strcmp(kind, "text") != 0)
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s is no result file of `vrwkv eval` (<answers>.result.json)", path);
    return VRWKV_OK;
}

static vr_said said_of(const json_t *word) {
    static const char *const words[] = {"", "yes", "no", "other"};
    for (size_t i = 0; i < VR_COUNT(words); i++)
        if (vr_slice_is(vr_json_slice(word), words[i])) return (vr_said)i;
    return VR_SAID_NOTHING;
}

static vr_status load_questions(side *s, vr_error *err) {
    const json_t *list = json_object_get(s->json, "questions"), *entry;
    size_t i, n = json_array_size(list);
    s->set.bench = vr_bench_find(vr_text_or(s->json, "benchmark", ""));
    s->set.words = json_object();
    s->set.questions = vr_alloc(n ? n : 1, sizeof *s->set.questions);
    s->verdicts = vr_alloc(n ? n : 1, sizeof *s->verdicts);
    if (!s->set.bench)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s: benchmark \"%s\" is unknown", s->path,
                       vr_text_or(s->json, "benchmark", ""));
    if (n == 0)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s: its questions were not scored here, so there is nothing to compare",
                       s->path);
    if (!s->set.words || !s->set.questions || !s->verdicts)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu questions", n);
    json_array_foreach(list, i, entry) {
        const json_t *group = json_array_get(entry, 1), *category = json_array_get(entry, 2);
        if (!json_is_string(group) || !json_is_string(category) || !json_is_number(json_array_get(entry, 3)))
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s: question %zu is damaged", s->path, i);
        s->set.questions[i] = (vr_question){.id = json_incref(json_array_get(entry, 0)),
                                            .group = vr_set_word(&s->set, json_string_value(group)),
                                            .category = vr_set_word(&s->set, json_string_value(category))};
        s->set.n = i + 1;
        s->verdicts[i] = (vr_verdict){.score = json_number_value(json_array_get(entry, 3)),
                                      .counted = json_is_true(json_array_get(entry, 4)),
                                      .truth = said_of(json_array_get(entry, 5)),
                                      .said = said_of(json_array_get(entry, 6))};
    }
    return vr_set_bundle(&s->set, err);
}

static vr_status check_same(const side *a, const side *b, vr_error *err) {
    char x[24], y[24];
    if (a->set.bench != b->set.bench)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s is of %s, %s of %s", a->path, a->set.bench->name, b->path,
                       b->set.bench->name);
    if (a->set.n != b->set.n)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s has %zu questions, %s has %zu", a->path, a->set.n, b->path, b->set.n);
    for (size_t i = 0; i < a->set.n; i++)
        if (!json_equal(a->set.questions[i].id, b->set.questions[i].id))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "question %zu is %s in %s and %s in %s", i + 1,
                           vr_id_text(a->set.questions[i].id, x), a->path, vr_id_text(b->set.questions[i].id, y), b->path);
    return VRWKV_OK;
}

/* ---- statistics ---- */

double vr_mcnemar(size_t b, size_t c) {
    double n = (double)(b + c), low = (double)(b < c ? b : c), p = 0;
    if (n == 0) return 1;
    for (double k = 0; k <= low; k++) p += exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2));
    return 2 * p < 1 ? 2 * p : 1;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Draws n of n with replacement: how often each came. */
static void draw(vr_rng *rng, unsigned *weight, size_t n) {
    memset(weight, 0, n * sizeof *weight);
    for (size_t i = 0; i < n; i++) weight[(size_t)(vr_rng_uniform(rng) * (double)n)]++;
}

static json_t *interval(double *values, size_t n) {
    qsort(values, n, sizeof *values, ascending);
    return json_pack("[f, f]", values[(size_t)(0.025 * (double)(n - 1) + 0.5)],
                     values[(size_t)(0.975 * (double)(n - 1) + 0.5)]);
}

/* The figure of whole sets [3]: a, b, b - a; with intervals. */
typedef double (*figure_of)(const void *side, const unsigned *weight);

static vr_status bootstrap(json_t *out, figure_of figure, const void *a, const void *b, size_t groups, int samples,
                           vr_error *err) {
    static const char *const names[] = {"a", "b", "difference"};
    size_t n = samples > 0 && samples < MOST_SAMPLES ? (size_t)samples : 2000;
    unsigned *weight = vr_alloc(groups, sizeof *weight);
    double *values = vr_alloc(3 * n, sizeof *values);
    vr_rng rng = {0};
    if (!weight || !values) {
        free(weight);
        free(values);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu samples", n);
    }
    for (size_t g = 0; g < groups; g++) weight[g] = 1;
    double whole[3] = {figure(a, weight), figure(b, weight), 0};
    whole[2] = whole[1] - whole[0];
    for (size_t s = 0; s < n; s++) {
        draw(&rng, weight, groups);
        values[s] = figure(a, weight);
        values[n + s] = figure(b, weight);
        values[2 * n + s] = values[n + s] - values[s];
    }
    for (size_t k = 0; k < 3; k++) {
        json_t *entry = json_object();
        vr_put(entry, "value", json_real(whole[k]));
        vr_put(entry, "interval95", interval(values + k * n, n));
        vr_put(out, names[k], entry);
    }
    vr_put(out, "samples", json_integer((json_int_t)n));
    free(weight);
    free(values);
    return VRWKV_OK;
}

static json_t *mcnemar_json(size_t only_a, size_t only_b) {
    return json_pack("{s:I, s:I, s:f}", "only_a_right", (json_int_t)only_a, "only_b_right", (json_int_t)only_b, "p",
                     vr_mcnemar(only_a, only_b));
}

/* ---- benchmarks ---- */

static double bench_figure(const void *data, const unsigned *weight) {
    const side *s = data;
    return vr_score_weighted(&s->set, s->verdicts, weight);
}

static vr_status compare_bench(json_t *out, side *a, side *b, int samples, vr_error *err) {
    size_t only_a = 0, only_b = 0;
    VR_TRY(load_questions(a, err));
    VR_TRY(load_questions(b, err));
    VR_TRY(check_same(a, b, err));
    for (size_t i = 0; i < a->set.n; i++) {
        bool x = a->verdicts[i].score >= 0.5, y = b->verdicts[i].score >= 0.5;
        if (!a->verdicts[i].counted || !b->verdicts[i].counted) continue;
        only_a += x && !y;
        only_b += y && !x;
    }
    vr_put(out, "benchmark", json_string(a->set.bench->name));
    vr_put(out, "unit", json_string(a->set.bench->unit));
    vr_put(out, "questions", json_integer((json_int_t)a->set.n));
    vr_put(out, "groups", json_integer((json_int_t)a->set.groups.n));
    vr_put(out, "mcnemar", mcnemar_json(only_a, only_b));
    return bootstrap(out, bench_figure, a, b, a->set.groups.n, samples, err);
}

/* ---- text tasks ---- */

typedef struct hits { const json_t *list; } hits; /* 1 or 0 a document */

static double hits_figure(const void *data, const unsigned *weight) {
    const hits *h = data;
    double sum = 0, n = 0;
    for (size_t i = 0; i < json_array_size(h->list); i++) {
        sum += weight[i] * json_number_value(json_array_get(h->list, i));
        n += weight[i];
    }
    return 100 * vr_ratio(sum, n);
}

static vr_status compare_task(json_t *out, const char *name, const json_t *a, const json_t *b, int samples, vr_error *err) {
    hits x = {json_object_get(a, "right")}, y = {json_object_get(b, "right")};
    size_t n = json_array_size(x.list), only_a = 0, only_b = 0;
    if (n == 0 || n != json_array_size(y.list))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "task %s has %zu documents in one file and %zu in the other", name, n,
                       json_array_size(y.list));
    for (size_t i = 0; i < n; i++) {
        double p = json_number_value(json_array_get(x.list, i)), q = json_number_value(json_array_get(y.list, i));
        only_a += p > q;
        only_b += q > p;
    }
    json_t *entry = json_object();
    vr_put(out, name, entry);
    vr_put(entry, "documents", json_integer((json_int_t)n));
    vr_put(entry, "metrics_a", json_incref(json_object_get(a, "metrics")));
    vr_put(entry, "metrics_b", json_incref(json_object_get(b, "metrics")));
    vr_put(entry, "mcnemar", mcnemar_json(only_a, only_b));
    return bootstrap(entry, hits_figure, &x, &y, n, samples, err);
}

static vr_status compare_text(json_t *out, const side *a, const side *b, int samples, vr_error *err) {
    const json_t *theirs = json_object_get(b->json, "tasks");
    json_t *tasks = json_object(), *task;
    const char *name;
    vr_put(out, "tasks", tasks);
    json_object_foreach(json_object_get(a->json, "tasks"), name, task) {
        const json_t *other = json_object_get(theirs, name);
        if (other) VR_TRY(compare_task(tasks, name, task, other, samples, err));
    }
    if (!json_object_size(tasks))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s and %s have no task in common", a->path, b->path);
    vr_put(out, "averages_a", json_incref(json_object_get(a->json, "averages")));
    vr_put(out, "averages_b", json_incref(json_object_get(b->json, "averages")));
    return VRWKV_OK;
}

static vr_status compare_sides(json_t *out, side *a, side *b, int samples, vr_error *err) {
    const char *kind = vr_text_or(a->json, "kind", "");
    if (strcmp(kind, vr_text_or(b->json, "kind", "")) != 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s is of a benchmark, %s of text tasks, or the other way round", a->path,
                       b->path);
    vr_put(out, "kind", json_string(kind));
    return strcmp(kind, "text") == 0 ? compare_text(out, a, b, samples, err) : compare_bench(out, a, b, samples, err);
}

vr_status vr_compare(json_t **out, const char *path_a, const char *path_b, int samples, vr_error *err) {
    side a = {0}, b = {0};
    *out = json_object();
    vr_status status = load_json(&a, path_a, err);
    if (status == VRWKV_OK) status = load_json(&b, path_b, err);
    if (status == VRWKV_OK) status = compare_sides(*out, &a, &b, samples, err);
    side_free(&a);
    side_free(&b);
    if (status == VRWKV_OK) return VRWKV_OK;
    json_decref(*out);
    *out = NULL;
    return status;
}
