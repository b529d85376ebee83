/* VQAv2: ten human answers a question, accuracy with one of them left out in turn.
 * src: the official evaluator (vqaEval.py); VisualRWKV's eval_vqa.py, whose human answers go through the
 * punctuation step alone; convert_vqav2_for_submission.py. */
#include "base/memory.h"
#include "eval/bench.h"
#include "eval/humans.h"

#include <stdlib.h>
#include <string.h>

static const char annotations[] = "v2_mscoco_val2014_annotations.json";
static const char upload_list[] = "llava_vqav2_mscoco_test2015.jsonl";

typedef struct gold {
    vr_humans humans;
    const char *question_type, *answer_type; /* the set's words */
} gold;

typedef struct golds {
    size_t n;     /* of questions */
    gold *items;  /* [n] */
    size_t *order; /* [n_order] questions as the annotations list them */
    size_t n_order;
} golds;

static void free_gold(void *data) {
    golds *all = data;
    for (size_t i = 0; all->items && i < all->n; i++) vr_humans_free(&all->items[i].humans);
    free(all->items);
    free(all->order);
    free(all);
}

static vr_status take_annotation(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    vr_set *set = user;
    golds *all = set->gold;
    const json_t *id = json_object_get(line, "question_id");
    (void)key;
    if (!json_is_integer(id))
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: \"question_id\" is no number", where->path, where->line);
    size_t question = vr_set_find(set, id);
    if (question == set->n) return VRWKV_OK; /* not asked: the set is a part */
    gold *to = &all->items[question];
    if (!to->humans.n) all->order[all->n_order++] = question;
    vr_humans_free(&to->humans);
    VR_TRY(vr_humans_read(&to->humans, json_object_get(line, "answers"), where, err));
    to->question_type = vr_set_word(set, vr_text_or(line, "question_type", "none"));
    to->answer_type = vr_set_word(set, vr_text_or(line, "answer_type", "none"));
    set->questions[question].category = to->question_type;
    return VRWKV_OK;
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    golds *all = set->gold = vr_alloc(1, sizeof *all);
    char *path;
    (void)faults;
    if (!all) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *all =
        (golds){.n = set->n, .items = vr_alloc(set->n, sizeof *all->items), .order = vr_alloc(set->n, sizeof *all->order)};
    if (!all->items || !all->order)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for annotations of %zu questions", set->n);
    VR_TRY(vr_join(&path, set->folder, annotations, err));
    vr_status status = vr_read_list(path, "annotations", take_annotation, set, err);
    if (status == VRWKV_OK && all->n_order < set->n)
        status = vr_fail(err, VRWKV_ERR_FORMAT, "%s: %zu of the %zu questions in %s have no annotation", path,
                         set->n - all->n_order, set->n, set->file);
    free(path);
    set->scorable = status == VRWKV_OK;
    return status;
}

/* Where all people said the same it is compared as it is. */
static double accuracy(const vr_humans *humans, vr_slice answer, bool official) {
    const vr_rule *vqa = vr_rule_find("vqa"), *theirs = official ? vqa : vr_rule_find("vqa_gt");
    bool agree = vr_humans_agree(humans);
    return vr_humans_score(humans, answer, official && agree ? NULL : vqa, agree ? NULL : theirs);
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const golds *all = set->gold;
    verdict->score = accuracy(&all->items[question].humans, answer, true);
}

static json_t *percents(const vr_means *means) {
    json_t *object = json_object();
    for (size_t i = 0; i < means->n; i++)
        vr_put(object, means->items[i].key, json_real(vr_round(100 * means->items[i].sum / (double)means->items[i].n, 2)));
    return object;
}

/* verdicts: the official scores, which were judged before; NULL: the other rules. */
static vr_status score_variant(const vr_set *set, const vr_answers *answers, const vr_verdict *verdicts, json_t *block,
                               double *overall, vr_error *err) {
    const golds *all = set->gold;
    vr_means by_question = {0}, by_answer = {0};
    json_t *each = json_object(), *zero = json_array();
    double sum = 0;
    char digits[24];
    vr_status status = VRWKV_OK;
    for (size_t k = 0; k < all->n_order && status == VRWKV_OK; k++) {
        size_t i = all->order[k];
        const gold *right = &all->items[i];
        double score = verdicts                  ? verdicts[i].score
                       : answers->of_question[i] ? accuracy(&right->humans, vr_answer_of(answers, i), false)
                                                 : 0;
        sum += score;
        status = vr_means_add(&by_question, right->question_type, score, err);
        if (status == VRWKV_OK) status = vr_means_add(&by_answer, right->answer_type, score, err);
        vr_put(each, vr_id_text(set->questions[i].id, digits), json_real(vr_round(100 * score, 2)));
        if (score == 0) json_array_append(zero, set->questions[i].id);
    }
    *overall = vr_round(100 * sum / (double)all->n_order, 2);
    vr_put(block, "overall", json_real(*overall));
    vr_put(block, "perQuestionType", percents(&by_question));
    vr_put(block, "perAnswerType", percents(&by_answer));
    vr_put(block, "perQuestion", each);
    if (verdicts)
        json_decref(zero);
    else
        vr_put(block, "zero_score_questions", zero);
    free(by_question.items);
    free(by_answer.items);
    return status;
}

/* ---- the file to upload ---- */

typedef struct uploading {
    const vr_set *set;
    const vr_answers *answers;
    json_t *list;
} uploading;

static vr_status put_upload(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    uploading *to = user;
    const json_t *id = json_object_get(line, "question_id");
    vr_str plain = {0};
    (void)key;
    if (!json_is_integer(id))
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: \"question_id\" is no number", where->path, where->line);
    size_t question = vr_set_find(to->set, id);
    if (question < to->set->n && to->answers->of_question[question])
        vr_normalise(vr_rule_find("m4c"), vr_answer_of(to->answers, question), &plain);
    json_t *entry = json_object();
    vr_put(entry, "question_id", json_incref((json_t *)id));
    vr_put(entry, "answer", vr_json_of(vr_str_slice(&plain)));
    json_array_append_new(to->list, entry);
    vr_status status = vr_str_check(&plain, err);
    vr_str_free(&plain);
    return status;
}

/* The server wants all questions of test2015, the ones not asked with an empty answer. */
static vr_status make_upload(const vr_set *set, const vr_answers *answers, vr_score *score, vr_error *err) {
    char *path;
    uploading to = {set, answers, json_array()};
    VR_TRY(vr_join(&path, set->folder, upload_list, err));
    vr_status status = vr_exists(path) ? vr_read_rows(path, NULL, put_upload, &to, err) : VRWKV_OK;
    if (status == VRWKV_OK && json_array_size(to.list)) {
        vr_put(score->values, "submission", to.list);
        score->submission = to.list;
    } else {
        json_decref(to.list);
    }
    free(path);
    return status;
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    static const struct { const char *key, *name; bool official; } variants[] = {
        {"official", "VQA accuracy, official rules", true}, {"visualrwkv", "VQA accuracy, VisualRWKV's eval_vqa.py", false}};
    for (size_t i = 0; set->scorable && i < VR_COUNT(variants); i++) {
        json_t *block = json_object();
        double overall = 0;
        vr_put(out->values, variants[i].key, block);
        VR_TRY(score_variant(set, answers, variants[i].official ? out->verdicts : NULL, block, &overall, err));
        vr_score_figure(out, variants[i].name, overall, 2, !variants[i].official);
    }
    return make_upload(set, answers, out, err);
}

static void right(const vr_set *set, size_t question, vr_str *out) {
    const golds *all = set->gold;
    vr_str_add_slice(out, vr_humans_usual(&all->items[question].humans));
}

static const vr_split splits[] = {
    {.name = "val", .questions = "visualrwkv_vqav2_mscoco_val2014.jsonl", .images = "val2014", .local = true,
     .needs = {{"visualrwkv_vqav2_mscoco_val2014.jsonl", "*", 214354}, {annotations, "annotations", 214354}}},
    {.name = "test-dev", .questions = "llava_vqav2_mscoco_test-dev2015.jsonl", .images = "test2015",
     .needs = {{"llava_vqav2_mscoco_test-dev2015.jsonl", "*", 107394}, {upload_list, "*", 447793}}},
    {.name = "test", .questions = upload_list, .images = "test2015", .needs = {{upload_list, "*", 447793}}},
    {0},
};

const vr_bench vr_bench_vqav2 = {
    .name = "vqav2", .title = "VQAv2", .unit = "%", .splits = splits,
    .load = vr_load_questions, .load_gold = load_gold, .free_gold = free_gold,
    .judge = judge, .score = score, .right = right, .upload = ".upload.json", .submission = "JSON list for the VQA server",
};
