/* Answer files: one JSON object a line, matched with the questions; and scores made from them. */
#include "eval/bench.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vr_status vr_answers_start(vr_answers *answers, const vr_set *set, const char *path, vr_error *err) {
    *answers = (vr_answers){.path = path, .missing = set->n, .of_question = vr_alloc(set->n, sizeof *answers->of_question)};
    return answers->of_question ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu answers", set->n);
}

void vr_answers_free(vr_answers *answers) {
    for (size_t i = 0; i < answers->n; i++) free(answers->items[i].storage);
    free(answers->items);
    free(answers->of_question);
    *answers = (vr_answers){0};
}

/* Is the question's first line a line of the prompt? There it begins a line, or stands behind "User: ". */
static bool asks(const char *prompt, const vr_question *question) {
    static const char user[] = "User: ";
    vr_slice text = vr_slice_of(question->text), line = {0}, rest;
    while (vr_next_part(&text, "\n", &line) && (vr_trim(line).n == 0 || vr_slice_is(vr_trim(line), "<image>"))) continue;
    for (rest = vr_slice_of(prompt); vr_next_part(&rest, "\n", &text);) {
        if (text.n >= sizeof user - 1 && memcmp(text.p, user, sizeof user - 1) == 0)
            text = (vr_slice){text.p + sizeof user - 1, text.n - (sizeof user - 1)};
        if (vr_slice_same(vr_trim(text), vr_trim(line))) return true;
    }
    return false;
}

/* Of several questions with one id the one that the prompt asks; without a prompt the next unanswered. */
static size_t choose(const vr_answers *answers, const vr_set *set, size_t first, const char *prompt) {
    size_t asked = set->n, open = set->n;
    for (size_t i = first + 1; i > 0; i = set->questions[i - 1].same) {
        bool fits = prompt ? asks(prompt, &set->questions[i - 1]) : true, unanswered = !answers->of_question[i - 1];
        if (fits && asked == set->n) asked = i - 1;
        if (fits && unanswered && open == set->n) open = i - 1;
    }
    return open < set->n ? open : asked;
}

vr_status vr_answers_keep(vr_answers *answers, const vr_set *set, size_t question, vr_slice text, const char *prompt,
                          size_t line, vr_error *err) {
    size_t prompt_bytes = prompt && (set->bench->prompts || set->bench->repeats) ? strlen(prompt) + 1 : 0;
    char *storage = vr_alloc(text.n + 1 + prompt_bytes, 1);
    if (!storage) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for an answer");
    vr_answer_line answer = {.question = question, .storage = storage, .text = {storage, text.n}, .line = line};
    memcpy(storage, text.p, text.n);
    if (prompt_bytes) answer.prompt = memcpy(storage + text.n + 1, prompt, prompt_bytes);
    size_t before = answers->of_question[question];
    if (before) { /* the later line counts, at the place of the earlier */
        free(answers->items[before - 1].storage);
        answers->items[before - 1] = answer;
        return VRWKV_OK;
    }
    vr_status status = vr_grow(&answers->items, &answers->room, answers->n + 1, sizeof *answers->items, err);
    if (status != VRWKV_OK) {
        free(storage);
        return status;
    }
    answers->items[answers->n++] = answer;
    answers->of_question[question] = answers->n;
    answers->missing--;
    return VRWKV_OK;
}

vr_status vr_answers_add(vr_answers *answers, const vr_set *set, const json_t *line, const vr_where *where,
                         vr_faults *faults, vr_error *err) {
    const json_t *id = json_object_get(line, "question_id"), *text = json_object_get(line, "text");
    const char *prompt = json_string_value(json_object_get(line, "prompt"));
    char digits[24];
    if (!json_is_string(id) && !json_is_integer(id))
        return vr_fault(faults, err, "%s:%zu: \"question_id\" is %s", where->path, where->line,
                        id ? "neither a number nor a text" : "missing");
    if (!json_is_string(text))
        return vr_fault(faults, err, "%s:%zu: \"text\", the answer, is %s", where->path, where->line,
                        text ? "no text" : "missing");
    size_t question = vr_set_find(set, id);
    if (question < set->n && set->questions[question].same) question = choose(answers, set, question, prompt);
    if (question == set->n)
        return vr_fault(faults, err, "%s:%zu: id %s is no question of %s%s", where->path, where->line,
                        vr_id_text(id, digits), set->file, vr_set_find(set, id) < set->n ? " with this prompt" : "");
    size_t before = answers->of_question[question];
    if (before)
        VR_TRY(vr_fault(faults, err, "%s:%zu: a second answer to question %s, the first is at line %zu", where->path,
                        where->line, vr_id_text(id, digits), answers->items[before - 1].line));
    return vr_answers_keep(answers, set, question, vr_json_slice(text), prompt, where->line, err);
}

typedef struct reading {
    vr_answers *answers;
    const vr_set *set;
    vr_faults *faults;
} reading;

static vr_status read_answer(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    reading *to = user;
    (void)key;
    return vr_answers_add(to->answers, to->set, line, where, to->faults, err);
}

static vr_status check_missing(const vr_answers *answers, const vr_set *set, vr_faults *faults, vr_error *err) {
    char digits[24];
    size_t first = 0;
    if (answers->missing == 0 || set->bench->blanks) return VRWKV_OK;
    while (answers->of_question[first]) first++;
    return vr_fault(faults, err, "%s: %zu of %zu questions have no answer, the first is id %s (%s:%zu)", answers->path,
                    answers->missing, set->n, vr_id_text(set->questions[first].id, digits), set->file,
                    set->questions[first].line);
}

vr_status vr_answers_read(vr_answers *answers, const vr_set *set, const char *path, vr_faults *faults, vr_error *err) {
    VR_TRY(vr_answers_start(answers, set, path, err));
    vr_status status = vr_read_rows(path, faults, read_answer, &(reading){answers, set, faults}, err);
    if (status == VRWKV_OK) status = check_missing(answers, set, faults, err);
    if (status != VRWKV_OK) vr_answers_free(answers);
    return status;
}

vr_slice vr_answer_of(const vr_answers *answers, size_t question) {
    size_t at = answers->of_question[question];
    return at ? answers->items[at - 1].text : (vr_slice){"", 0};
}

/* ---- scores ---- */

void vr_score_figure(vr_score *score, const char *name, double value, int decimals, bool original) {
    if (score->n_figures < VR_MOST_FIGURES)
        score->figures[score->n_figures++] = (vr_figure){name, value, decimals, original};
}

const vr_figure *vr_score_headline(const vr_score *score, bool original) {
    for (size_t i = 0; original && i < score->n_figures; i++)
        if (score->figures[i].original) return &score->figures[i];
    return score->n_figures ? &score->figures[0] : NULL;
}

void vr_score_free(vr_score *score) {
    json_decref(score->values);
    free(score->verdicts);
    *score = (vr_score){0};
}

vr_status vr_score_make(vr_score *score, vr_set *set, const vr_answers *answers, vr_error *err) {
    *score = (vr_score){.values = json_object()};
    if (set->scorable) score->verdicts = vr_alloc(set->n, sizeof *score->verdicts);
    if (!score->values || (set->scorable && !score->verdicts)) {
        vr_score_free(score);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for scores of %zu questions", set->n);
    }
    for (size_t i = 0; set->scorable && i < set->n; i++) {
        score->verdicts[i].counted = true;
        if (answers->of_question[i]) set->bench->judge(set, i, vr_answer_of(answers, i), &score->verdicts[i]);
    }
    vr_status status = set->bench->score(set, answers, score, err);
    if (status != VRWKV_OK) vr_score_free(score);
    return status;
}

double vr_score_weighted(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight) {
    double sum = 0, n = 0;
    if (set->bench->figure) return set->bench->figure(set, verdicts, weight);
    for (size_t i = 0; i < set->n; i++) {
        if (!verdicts[i].counted) continue;
        sum += weight[set->groups.of[i]] * verdicts[i].score;
        n += weight[set->groups.of[i]];
    }
    return 100 * vr_ratio(sum, n);
}

vr_status vr_submission_save(const vr_set *set, const vr_answers *answers, const vr_score *score, const char *path,
                             vr_error *err) {
    const vr_bench *bench = set->bench;
    if (bench->write_submission) return bench->write_submission(set, answers, score, path, err);
    if (score->submission) return vr_json_save(score->submission, path, 0, err);
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s has no file to upload%s", bench->name,
                   bench->submission ? ": the list of all questions to answer is not in the folder" : "");
}
