/* ScienceQA: multiple choice; the published figure is that of the questions with a picture.
 * src: VisualRWKV's eval_science_qa.py (LLaVA's, without its random choice for unreadable answers). */
#include "base/memory.h"
#include "eval/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "ABCDE";
static const char failed[] = "FAILED";

typedef struct gold {
    int answer; /* -1: the problem was not found */
    int choices;
} gold;

/* Problems of the split, in its order: they count whether or not the question list has them. */
typedef struct golds {
    gold *items;          /* [set->n] */
    char **ids;           /* [n] of the split */
    size_t n, room;
} golds;

static void free_gold(void *data) {
    golds *all = data;
    for (size_t i = 0; i < all->n; i++) free(all->ids[i]);
    free(all->ids);
    free(all->items);
    free(all);
}

static vr_status take_problem(void *user, const char *id, json_t *problem, const vr_where *where, vr_error *err) {
    vr_set *set = user;
    golds *all = set->gold;
    size_t i = id ? vr_set_find_text(set, id) : set->n;
    const json_t *answer = json_object_get(problem, "answer");
    json_t *choices;
    if (i == set->n) return VRWKV_OK;
    VR_TRY(vr_need_list(problem, "choices", where, &choices, err));
    if (!json_is_integer(answer) || json_integer_value(answer) < 0 ||
        (size_t)json_integer_value(answer) >= json_array_size(choices))
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the answer of problem %s is no index of its %zu choices", where->path,
                       where->line, id, json_array_size(choices));
    all->items[i] = (gold){(int)json_integer_value(answer), (int)json_array_size(choices)};
    set->questions[i].category = vr_set_word(set, vr_text_or(problem, "subject", "none"));
    return VRWKV_OK;
}

static vr_status take_id(void *user, const char *key, json_t *id, const vr_where *where, vr_error *err) {
    golds *all = user;
    (void)key;
    if (!json_is_string(id)) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: an id is no text", where->path, where->line);
    VR_TRY(vr_grow(&all->ids, &all->room, all->n + 1, sizeof *all->ids, err));
    all->ids[all->n] = vr_slice_copy(vr_json_slice(id));
    return all->ids[all->n++] ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}

static vr_status read_file(vr_set *set, const char *name, const char *list, vr_json_fn fn, void *user, vr_error *err) {
    char *path;
    VR_TRY(vr_join(&path, set->folder, name, err));
    vr_status status = vr_read_list(path, list, fn, user, err);
    free(path);
    return status;
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    golds *all = set->gold = vr_alloc(1, sizeof *all);
    char digits[24];
    (void)faults;
    if (!all) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    all->items = vr_alloc(set->n, sizeof *all->items);
    if (!all->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < set->n; i++) all->items[i].answer = -1;
    VR_TRY(read_file(set, "problems.json", NULL, take_problem, set, err));
    VR_TRY(read_file(set, "pid_splits.json", set->split->name, take_id, all, err));
    for (size_t i = 0; i < set->n; i++)
        if (all->items[i].answer < 0)
            return vr_fail(err, VRWKV_ERR_FORMAT, "problems.json has no problem %s of %s:%zu",
                           vr_id_text(set->questions[i].id, digits), set->file, set->questions[i].line);
    set->scorable = true;
    return VRWKV_OK;
}

/* v7.00 asks for a letter where v6.0 does not. */
static void make_prompt(const vr_set *set, const vr_question *question, vr_family family, vr_str *out) {
    (void)set;
    vr_str_add(out, question->text);
    if (family == VR_FAMILY_V7 && question->turn)
        vr_str_add(out, "\nAnswer with the option's letter from the given choices directly.");
}

static bool is_letter(char c) { return c && strchr(letters, c); }

/* The one match of "The answer is ([A-Z])." where "." is any one character of a line; 0: none or several. */
static char stated_letter(vr_slice text) {
    static const char phrase[] = "The answer is ";
    char found = 0;
    int n = 0;
    for (const char *at; (at = vr_slice_find(text, phrase));) {
        const char *letter = at + sizeof phrase - 1, *end = text.p + text.n;
        bool match = letter + 1 < end && *letter >= 'A' && *letter <= 'Z' && letter[1] != '\n';
        if (match) found = *letter;
        n += match;
        at = match ? letter + 2 : at + 1;
        text = (vr_slice){at, (size_t)(end - at)};
    }
    return n == 1 ? found : 0;
}

/* The letter that an answer names, 0: none that can be read. Not trimmed: "B. " is B, " C" is nothing. */
static char parse(vr_slice t) {
    if (t.n == 1 && is_letter(t.p[0])) return t.p[0];
    if (t.n >= 3 && is_letter(t.p[0]) && t.p[1] == '.' && t.p[2] == ' ') return t.p[0];
    return stated_letter(t);
}

/* Index of the letter among the first choices, -1: it is none of them. */
static int index_of(char letter, int choices) {
    const char *at = is_letter(letter) ? strchr(letters, letter) : NULL;
    return at && at - letters < choices ? (int)(at - letters) : -1;
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const golds *all = set->gold;
    const gold *right = &all->items[question];
    verdict->score = index_of(parse(answer), right->choices) == right->answer;
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    const golds *all = set->gold;
    json_t *parsed = json_object(), *index = json_object();
    json_int_t correct = 0, count = 0, img_correct = 0, img_count = 0;
    (void)err;
    for (size_t i = 0; i < set->n; i++) out->verdicts[i].counted = false;
    for (size_t k = 0; k < all->n; k++) {
        size_t i = vr_set_find_text(set, all->ids[k]);
        if (i == set->n && set->part) continue;
        size_t at = i < set->n ? answers->of_question[i] : 0;
        const char *prompt = at ? answers->items[at - 1].prompt : NULL;
        char letter[2] = {at ? parse(vr_answer_of(answers, i)) : 0, 0};
        int said = i < set->n ? index_of(letter[0], all->items[i].choices) : -1;
        bool hit = i < set->n && at && said == all->items[i].answer, img = prompt && strstr(prompt, "<image>");
        vr_put(parsed, all->ids[k], json_string(letter[0] ? letter : failed));
        vr_put(index, all->ids[k], json_integer(said));
        count++;
        correct += hit;
        img_count += img;
        img_correct += img && hit;
        if (i < set->n) out->verdicts[i].counted = img;
    }
    double acc = count ? (double)correct / (double)count * 100 : 0,
           img_acc = img_count ? (double)img_correct / (double)img_count * 100 : 0;
    char line[160];
    snprintf(line, sizeof line,
             "Task\xEF\xBC\x9A"
             "ScienceQA, Total: %lld, Correct: %lld, Accuracy: %.2f%%, IMG-Accuracy: %.2f%%",
             (long long)count, (long long)correct, acc, img_acc);
    vr_put(out->values, "printed", json_string(line));
    vr_put(out->values, "acc", json_real(acc));
    vr_put(out->values, "correct", json_integer(correct));
    vr_put(out->values, "count", json_integer(count));
    vr_put(out->values, "img_correct", json_integer(img_correct));
    vr_put(out->values, "img_count", json_integer(img_count));
    vr_put(out->values, "img_acc", json_real(img_acc));
    vr_put(out->values, "parsed", parsed);
    vr_put(out->values, "pred_index", index);
    vr_score_figure(out, "IMG accuracy (questions with a picture)", img_acc, 2, false);
    vr_score_figure(out, "accuracy over all questions", acc, 2, false);
    if (answers->missing)
        snprintf(out->notes, sizeof out->notes,
                 "%zu questions have no answer: they are wrong in the total and not in the IMG set", answers->missing);
    if (!img_count) snprintf(out->notes, sizeof out->notes, "no prompt with a picture: the IMG accuracy is given as 0");
    return VRWKV_OK;
}

static void right(const vr_set *set, size_t question, vr_str *out) {
    const golds *all = set->gold;
    int answer = all->items[question].answer;
    if ((size_t)answer < sizeof letters - 1) vr_str_put(out, &letters[answer], 1);
}

static const vr_split splits[] = {
    {.name = "test", .questions = "llava_test_CQM-A.json", .images = "images/test", .local = true,
     .needs = {{"llava_test_CQM-A.json", "", 4241}, {"problems.json", "", 21208}, {"pid_splits.json", NULL, 0}}},
    {0},
};

const vr_bench vr_bench_scienceqa = {
    .name = "scienceqa", .title = "ScienceQA-IMG", .unit = "%", .prompts = true, .blanks = true, .splits = splits,
    .load = vr_load_questions, .load_gold = load_gold, .free_gold = free_gold, .make_prompt = make_prompt,
    .judge = judge, .score = score, .right = right,
};
