/* GQA: exact match, by question type, and how far the answers' distribution is from the right one.
 * src: GQA's eval.py, with what needs scene graphs or choices left out as in the original; its published
 * figures take the gold answer `answer`. VisualRWKV v6.0 as published reads a list `answers`, which a
 * later review of the data added: the other figure. */
#include "base/memory.h"
#include "eval/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char single_file[] = "testdev_balanced_questions.json";
static const char multi_file[] = "testdev_balanced_questions_multi.json";

typedef struct gold {
    bool known, balanced;
    vr_slice *answers; /* [n_answers] */
    size_t n_answers;
    const char *joined; /* with ";": a group of the distribution counts by it */
    const char *structural, *semantic, *group, *length, *steps;
} gold;

typedef struct golds {
    size_t n; /* of questions */
    gold *single, *multi; /* [n]; multi NULL: no such file */
    size_t *order, n_order; /* as the gold file lists them */
} golds;

static void free_list(gold *list, size_t n) {
    for (size_t i = 0; list && i < n; i++) {
        for (size_t k = 0; k < list[i].n_answers; k++) free((char *)list[i].answers[k].p);
        free(list[i].answers);
    }
    free(list);
}

static void free_gold(void *data) {
    golds *all = data;
    free_list(all->single, all->n);
    free_list(all->multi, all->n);
    free(all->order);
    free(all);
}

/* ---- the gold file ---- */

/* Steps: the operations that are no mere look at something. */
static size_t count_steps(const json_t *question) {
    static const char *const looks[] = {"exist", "query: name", "choose name"};
    size_t i, steps = 0;
    const json_t *step;
    json_array_foreach(json_object_get(question, "semantic"), i, step) {
        vr_str text = {0};
        bool look = false;
        vr_str_format(&text, "%s: %s", vr_text_or(step, "operation", "None"), vr_text_or(step, "argument", "None"));
        for (size_t k = 0; k < VR_COUNT(looks); k++) look |= strstr(vr_str_text(&text), looks[k]) != NULL;
        steps += !look;
        vr_str_free(&text);
    }
    return steps;
}

static size_t count_words(const char *text) {
    vr_slice rest = vr_slice_of(text), word;
    size_t n = 0;
    while (vr_next_word(&rest, &word)) n++;
    return n;
}

static const char *number_word(vr_set *set, size_t n) {
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", n);
    return vr_set_word(set, digits);
}

static vr_status take_answers(vr_set *set, gold *to, const json_t *value, const vr_where *where, vr_error *err) {
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    vr_str joined = {0};
    to->answers = vr_alloc(n ? n : 1, sizeof *to->answers);
    if (!to->answers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *answer = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(answer)) {
            vr_str_free(&joined);
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the answer is no text", where->path, where->line);
        }
        vr_slice text = vr_json_slice(answer);
        char *copy = vr_slice_copy(text);
        if (copy) to->answers[to->n_answers++] = (vr_slice){copy, text.n};
        if (i) vr_str_add(&joined, ";");
        vr_str_add_slice(&joined, text);
    }
    to->joined = vr_set_word(set, vr_str_text(&joined));
    vr_str_free(&joined);
    return to->n_answers == n ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}

typedef struct taking {
    vr_set *set;
    gold *list;
    const char *key; /* of the answers */
    bool ordered;
} taking;

static vr_status take_question(void *user, const char *id, json_t *question, const vr_where *where, vr_error *err) {
    taking *to = user;
    golds *all = to->set->gold;
    size_t i = id ? vr_set_find_text(to->set, id) : to->set->n;
    if (i == to->set->n) return VRWKV_OK; /* not asked */
    const json_t *types = json_object_get(question, "types"), *groups = json_object_get(question, "groups");
    const char *text, *group = vr_text_or(groups, "global", NULL);
    gold *right = &to->list[i];
    if (right->known) return VRWKV_OK;
    VR_TRY(vr_need_text(question, "question", where, &text, err));
    *right = (gold){.known = true, .balanced = json_is_true(json_object_get(question, "isBalanced"))};
    right->structural = vr_set_word(to->set, vr_text_or(types, "structural", "none"));
    right->semantic = vr_set_word(to->set, vr_text_or(types, "semantic", "none"));
    right->group = group ? vr_set_word(to->set, group) : NULL;
    right->length = number_word(to->set, count_words(text));
    right->steps = number_word(to->set, count_steps(question));
    if (to->ordered) {
        all->order[all->n_order++] = i;
        to->set->questions[i].category = right->structural;
    }
    return take_answers(to->set, right, json_object_get(question, to->key), where, err);
}

static vr_status read_gold(vr_set *set, const char *name, gold **list, const char *key, bool ordered, vr_error *err) {
    char *path;
    *list = vr_alloc(set->n, sizeof **list);
    if (!*list) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu questions", set->n);
    VR_TRY(vr_join(&path, set->folder, name, err));
    vr_status status = vr_read_list(path, NULL, take_question, &(taking){set, *list, key, ordered}, err);
    for (size_t i = 0; i < set->n && status == VRWKV_OK; i++)
        if (!(*list)[i].known) {
            char digits[24];
            status = vr_fail(err, VRWKV_ERR_FORMAT, "%s has no question %s of %s:%zu", path,
                             vr_id_text(set->questions[i].id, digits), set->file, set->questions[i].line);
        }
    free(path);
    return status;
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    golds *all = set->gold = vr_alloc(1, sizeof *all);
    char *multi;
    (void)faults;
    if (!all) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    all->n = set->n;
    all->order = vr_alloc(set->n, sizeof *all->order);
    if (!all->order) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    VR_TRY(read_gold(set, single_file, &all->single, "answer", true, err));
    VR_TRY(vr_join(&multi, set->folder, multi_file, err));
    vr_status status = vr_exists(multi) ? read_gold(set, multi_file, &all->multi, "answers", false, err) : VRWKV_OK;
    free(multi);
    set->scorable = status == VRWKV_OK;
    return status;
}

/* ---- scores ---- */

/* What the converter keeps: without points at the end, in small letters. */
static void convert(vr_slice answer, vr_str *out) {
    while (answer.n && answer.p[answer.n - 1] == '.') answer.n--;
    vr_str_lower(out, answer);
}

static bool is_right(const gold *right, vr_slice prediction) {
    for (size_t i = 0; i < right->n_answers; i++)
        if (vr_slice_same(right->answers[i], prediction)) return true;
    return false;
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const golds *all = set->gold;
    vr_str said = {0};
    convert(answer, &said);
    verdict->counted = all->single[question].balanced;
    verdict->score = is_right(&all->single[question], vr_str_slice(&said));
    vr_str_free(&said);
}

static void count_up(json_t *groups, const char *group, const char *answer) {
    json_t *counts = json_object_get(groups, group);
    if (!counts) vr_put(groups, group, counts = json_object());
    json_int_t before = json_integer_value(json_object_get(counts, answer));
    vr_put(counts, answer, json_integer(before + 1));
}

/* 1/100 of the mean over groups, weighted by their questions, of chi2 = sum over right answers of
 * (predicted - right)^2 / right. */
static double distribution(const json_t *right, const json_t *said) {
    const char *group, *answer;
    json_t *counts, *count;
    double sum = 0, all = 0;
    json_object_foreach((json_t *)right, group, counts) {
        double chi2 = 0, n = 0;
        const json_t *found = json_object_get(said, group);
        json_object_foreach(counts, answer, count) {
            double e = (double)json_integer_value(count), o = (double)json_integer_value(json_object_get(found, answer));
            chi2 += (o - e) * (o - e) / e;
            n += e;
        }
        sum += chi2 * n;
        all += n;
    }
    return all > 0 ? sum / all / 100 : 0;
}

typedef struct sums { /* percents with their counts */
    vr_means all, kind, structural, semantic, steps, length;
} sums;

static double percent(const vr_means *means, const char *key) {
    for (size_t i = 0; i < means->n; i++)
        if (!key || strcmp(means->items[i].key, key) == 0) return means->items[i].sum / (double)means->items[i].n * 100;
    return 0;
}

static json_t *percents(const vr_means *means) {
    json_t *object = json_object();
    for (size_t i = 0; i < means->n; i++)
        vr_put(object, means->items[i].key,
               json_pack("[f, I]", means->items[i].sum / (double)means->items[i].n * 100, (json_int_t)means->items[i].n));
    return object;
}

static vr_status add_question(sums *to, const gold *right, bool correct, vr_error *err) {
    static const char all[] = "all", open[] = "open", binary[] = "binary";
    VR_TRY(vr_means_add(&to->all, all, correct, err));
    VR_TRY(vr_means_add(&to->kind, strcmp(right->structural, "query") == 0 ? open : binary, correct, err));
    VR_TRY(vr_means_add(&to->structural, right->structural, correct, err));
    VR_TRY(vr_means_add(&to->semantic, right->semantic, correct, err));
    VR_TRY(vr_means_add(&to->steps, right->steps, correct, err));
    return vr_means_add(&to->length, right->length, correct, err);
}

static void put_block(json_t *block, const sums *from, double distance) {
    static const char *const disabled[] = {"consistency", "validity", "plausibility"};
    vr_put(block, "binary", json_real(percent(&from->kind, "binary")));
    vr_put(block, "open", json_real(percent(&from->kind, "open")));
    vr_put(block, "accuracy", json_real(percent(&from->all, NULL)));
    vr_put(block, "distribution", json_real(distance));
    for (size_t i = 0; i < VR_COUNT(disabled); i++) vr_put(block, disabled[i], json_integer(0));
    vr_put(block, "accuracyPerStructuralType", percents(&from->structural));
    vr_put(block, "accuracyPerSemanticType", percents(&from->semantic));
    vr_put(block, "accuracyPerSteps", percents(&from->steps));
    vr_put(block, "accuracyPerLength", percents(&from->length));
}

static vr_status score_variant(const vr_set *set, const vr_answers *answers, const gold *list, json_t *block, json_t *wrong,
                               vr_error *err) {
    const golds *all = set->gold;
    sums to = {0};
    json_t *right_counts = json_object(), *said_counts = json_object();
    vr_status status = VRWKV_OK;
    for (size_t k = 0; k < all->n_order && status == VRWKV_OK; k++) {
        size_t i = all->order[k];
        const gold *right = &list[i];
        vr_str said = {0};
        convert(vr_answer_of(answers, i), &said);
        bool correct = answers->of_question[i] && is_right(right, vr_str_slice(&said));
        if (right->balanced) status = add_question(&to, right, correct, err);
        if (right->balanced && right->group) {
            count_up(right_counts, right->group, right->joined);
            count_up(said_counts, right->group, vr_str_text(&said));
        }
        if (wrong && !correct) json_array_append(wrong, set->questions[i].id);
        if (status == VRWKV_OK) status = vr_str_check(&said, err);
        vr_str_free(&said);
    }
    put_block(block, &to, distribution(right_counts, said_counts));
    json_decref(right_counts);
    json_decref(said_counts);
    vr_means *const own[] = {&to.all, &to.kind, &to.structural, &to.semantic, &to.steps, &to.length};
    for (size_t i = 0; i < VR_COUNT(own); i++) free(own[i]->items);
    return status;
}

static json_t *converted(const vr_set *set, const vr_answers *answers) {
    json_t *list = json_array();
    for (size_t i = 0; i < answers->n; i++) {
        vr_str said = {0};
        json_t *entry = json_object();
        convert(answers->items[i].text, &said);
        vr_put(entry, "questionId", vr_json_id(&set->questions[answers->items[i].question]));
        vr_put(entry, "prediction", vr_json_of(vr_str_slice(&said)));
        json_array_append_new(list, entry);
        vr_str_free(&said);
    }
    return list;
}

static json_t *printed(const json_t *block) {
    static const struct { const char *title, *key, *end;
    } lines[] = {{"Binary", "binary", "%"},
                 {"Open", "open", "%"},
                 {"Accuracy", "accuracy", "%"},
                 {"Validity", "validity", "%"},
                 {"Plausibility", "plausibility", "%"},
                 {"Distribution", "distribution", " (lower is better)"}};
    json_t *list = json_array();
    for (size_t i = 0; i < VR_COUNT(lines); i++) {
        char line[96];
        snprintf(line, sizeof line, "%s: %.2f%s", lines[i].title, json_number_value(json_object_get(block, lines[i].key)),
                 lines[i].end);
        json_array_append_new(list, json_string(line));
    }
    return list;
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    const golds *all = set->gold;
    json_t *block = json_object(), *wrong = json_array();
    vr_put(out->values, "converted", converted(set, answers));
    out->submission = json_object_get(out->values, "converted");
    vr_put(out->values, "single_gold", block);
    vr_put(out->values, "wrong_question_ids", wrong);
    VR_TRY(score_variant(set, answers, all->single, block, wrong, err));
    vr_score_figure(out, "accuracy", json_number_value(json_object_get(block, "accuracy")), 2, false);
    vr_put(out->values, "printed", printed(block));
    if (!all->multi) return VRWKV_OK;
    block = json_object();
    vr_put(out->values, "multi_gold", block);
    VR_TRY(score_variant(set, answers, all->multi, block, NULL, err));
    vr_score_figure(out, "accuracy with several right answers, as VisualRWKV v6.0",
                    json_number_value(json_object_get(block, "accuracy")), 2, true);
    return VRWKV_OK;
}

static void right(const vr_set *set, size_t question, vr_str *out) {
    const golds *all = set->gold;
    if (all->single[question].n_answers) vr_str_add_slice(out, all->single[question].answers[0]);
}

static const vr_split splits[] = {
    {.name = "testdev_balanced", .questions = "llava_gqa_testdev_balanced.jsonl", .images = "images", .local = true,
     .needs = {{"llava_gqa_testdev_balanced.jsonl", "*", 12578}, {single_file, "", 12578}}},
    {0},
};

const vr_bench vr_bench_gqa = {
    .name = "gqa",
    .title = "GQA",
    .unit = "%",
    .splits = splits,
    .load = vr_load_questions,
    .load_gold = load_gold,
    .free_gold = free_gold,
    .judge = judge,
    .score = score,
    .right = right,
    .upload = ".upload.json",
    .submission = "predictions for GQA's eval.py (JSON)",
};
