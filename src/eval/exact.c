/* Benchmarks of exact match, whose question files say what is right.
 *
 * listqa: one of a list of answers must be hit (ChartQA, DocVQA, InfographicVQA as VisualRWKV v7.00
 * scores them; src: visualrwkv_eval.py).
 * easyvqa: one drawn shape, thirteen possible answers. The file is a list of [question, answer, number of
 * the picture], pictures are <number>.png; or it is a list of conversations as the training takes them. */
#include "base/memory.h"
#include "eval/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Trimmed, small, without points at both ends. */
static void normalise(vr_slice text, vr_str *out) {
    vr_str small = {0};
    vr_str_lower(&small, vr_trim(text));
    vr_slice s = vr_str_slice(&small);
    for (; s.n && s.p[0] == '.'; s.p++) s.n--;
    while (s.n && s.p[s.n - 1] == '.') s.n--;
    vr_str_add_slice(out, s);
    out->failed |= small.failed;
    vr_str_free(&small);
}

static size_t n_answers(const json_t *answer) { return json_is_array(answer) ? json_array_size(answer) : 1; }
static vr_slice answer_at(const json_t *answer, size_t i) {
    return vr_json_slice(json_is_array(answer) ? json_array_get(answer, i) : answer);
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    (void)faults;
    for (size_t i = 0; i < set->n; i++) {
        const json_t *answer = set->questions[i].answer;
        for (size_t k = 0; k < n_answers(answer); k++)
            if (!json_is_string(json_is_array(answer) ? json_array_get(answer, k) : answer))
                return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the right answer is %s", set->file, set->questions[i].line,
                               answer ? "no text and no list of texts" : "missing");
    }
    set->scorable = true;
    return VRWKV_OK;
}

static vr_said yes_or_no(vr_slice text) {
    return vr_slice_is(text, "yes") ? VR_SAID_YES : vr_slice_is(text, "no") ? VR_SAID_NO : VR_SAID_OTHER;
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const json_t *right = set->questions[question].answer;
    vr_str said = {0}, one = {0};
    normalise(answer, &said);
    for (size_t i = 0; i < n_answers(right); i++) {
        vr_str_clear(&one);
        normalise(answer_at(right, i), &one);
        if (vr_slice_same(vr_str_slice(&said), vr_str_slice(&one))) verdict->score = 1;
    }
    vr_said truth = n_answers(right) == 1 ? yes_or_no(vr_str_slice(&one)) : VR_SAID_OTHER;
    if (set->bench->yes_no && truth != VR_SAID_OTHER) {
        verdict->truth = truth;
        verdict->said = yes_or_no(vr_str_slice(&said));
    }
    vr_str_free(&said);
    vr_str_free(&one);
}

static double accuracy(const vr_set *set, const vr_score *score) {
    size_t hits = 0;
    for (size_t i = 0; i < set->n; i++) hits += score->verdicts[i].score > 0;
    return (double)hits / (double)set->n * 100;
}

static void right(const vr_set *set, size_t question, vr_str *out) {
    vr_str_add_slice(out, answer_at(set->questions[question].answer, 0));
}

/* ---- a list of answers ---- */

static vr_status score_list(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    char text[32];
    double percent = accuracy(set, out);
    (void)answers;
    (void)err;
    snprintf(text, sizeof text, "%.2f", percent);
    vr_put(out->values, "printed_acc", json_string(text));
    vr_score_figure(out, "accuracy", percent, 2, false);
    return VRWKV_OK;
}

static const vr_split list_splits[] = {
    {.name = "test",
     .questions = "annotations.jsonl",
     .images = "images",
     .local = true,
     .needs = {{"annotations.jsonl", "*", 0}}},
    {0},
};

const vr_bench vr_bench_listqa = {
    .name = "listqa", .title = "Questions with a list of answers", .unit = "%", .splits = list_splits,
    .load = vr_load_questions, .load_gold = load_gold, .judge = judge, .score = score_list, .right = right,
};

/* ---- easy-VQA ---- */

typedef struct loading {
    vr_set *set;
    vr_faults *faults;
} loading;

static vr_status load_triple(loading *to, const json_t *entry, const vr_where *where, vr_error *err) {
    const json_t *text = json_array_get(entry, 0), *answer = json_array_get(entry, 1), *picture = json_array_get(entry, 2);
    vr_str turn = {0}, image = {0};
    if (!json_is_string(text) || !json_is_string(answer) || !json_is_integer(picture))
        return vr_fault(to->faults, err, "%s:%zu: expected [question, answer, number of the picture]", where->path,
                        where->line);
    vr_str_format(&turn, "%s%s", json_string_value(text), VR_SHORT_ANSWER);
    vr_str_format(&image, "%lld.png", (long long)json_integer_value(picture));
    vr_question question = {.id = json_integer((json_int_t)to->set->n), .text = turn.data, .image = image.data,
                            .answer = json_incref((json_t *)answer)};
    if (image.data) question.group = vr_set_word(to->set, image.data);
    return vr_set_add(to->set, &question, where, to->faults, err);
}

static vr_status load_entry(void *user, const char *key, json_t *entry, const vr_where *where, vr_error *err) {
    loading *to = user;
    (void)key;
    return json_is_object(entry) ? vr_load_question(to->set, entry, where, to->faults, err)
                                 : load_triple(to, entry, where, err);
}

/* What is asked for, told by the right answer. */
static const char *kind_of(vr_slice answer) {
    static const char *const shapes[] = {"circle", "rectangle", "triangle"};
    if (yes_or_no(answer) != VR_SAID_OTHER) return "yes/no";
    for (size_t i = 0; i < VR_COUNT(shapes); i++)
        if (vr_slice_is(answer, shapes[i])) return "shape";
    return "colour";
}

static vr_status load_easy(vr_set *set, vr_faults *faults, vr_error *err) {
    VR_TRY(vr_read_list(set->file, NULL, load_entry, &(loading){set, faults}, err));
    for (size_t i = 0; i < set->n; i++) set->questions[i].category = kind_of(answer_at(set->questions[i].answer, 0));
    return VRWKV_OK;
}

static vr_status score_easy(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    vr_means kinds = {0};
    vr_status status = VRWKV_OK;
    json_t *blocks = json_object();
    (void)answers;
    for (size_t i = 0; i < set->n && status == VRWKV_OK; i++)
        status = vr_means_add(&kinds, set->questions[i].category, out->verdicts[i].score, err);
    for (size_t i = 0; i < kinds.n; i++)
        vr_put(blocks, kinds.items[i].key, json_real(kinds.items[i].sum / (double)kinds.items[i].n * 100));
    free(kinds.items);
    vr_put(out->values, "accuracy", json_real(accuracy(set, out)));
    vr_put(out->values, "accuracy_by_kind", blocks);
    vr_score_figure(out, "accuracy", accuracy(set, out), 2, false);
    return status;
}

static const vr_split easy_splits[] = {
    {.name = "test", .questions = "test/questions.json", .images = "test/images", .local = true,
     .needs = {{"test/questions.json", "", 9673}, {"answers.txt", NULL, 0}}},
    {.name = "train", .questions = "train/questions.json", .images = "train/images", .local = true,
     .needs = {{"train/questions.json", "", 38575}}},
    {0},
};

const vr_bench vr_bench_easyvqa = {
    .name = "easyvqa", .title = "easy-VQA", .unit = "%", .yes_no = true, .splits = easy_splits,
    .load = load_easy, .load_gold = load_gold, .judge = judge, .score = score_easy, .right = right,
};
