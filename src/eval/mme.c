/* MME: fourteen tasks of yes/no questions, two a picture. src: the official calculation.py; which of
 * the folder's layouts a task has is told by the path of its pictures. */
#include "base/memory.h"
#include "eval/bench.h"
#include "text/unicode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char root[] = "MME_Benchmark_release_version";
static const char request[] = "Please answer yes or no.";

typedef struct task { const char *name; bool cognition; } task;

static const task tasks[] = {
    {"existence", false}, {"count", false},    {"position", false}, {"color", false}, {"posters", false},
    {"celebrity", false}, {"scene", false},    {"landmark", false}, {"artwork", false}, {"OCR", false},
    {"commonsense_reasoning", true}, {"numerical_calculation", true}, {"text_translation", true}, {"code_reasoning", true},
};

typedef struct gold {
    char *question; /* as the text file has it, with the request */
    vr_said truth;
    const char *file; /* "0001.txt"; the set's word */
} gold;

typedef struct golds {
    size_t n;
    gold *items; /* [n] */
} golds;

static void free_gold(void *data) {
    golds *all = data;
    for (size_t i = 0; all->items && i < all->n; i++) free(all->items[i].question);
    free(all->items);
    free(all);
}

/* "count/0001.jpg" -> "count/0001.txt"; "scene/images/0001.jpg" -> "scene/questions_answers_YN/0001.txt". */
static void text_path(const vr_set *set, const char *image, vr_str *out) {
    const char *folder = strstr(image, "/images/"), *ending = strrchr(image, '.');
    size_t end = ending ? (size_t)(ending - image) : strlen(image), from = folder ? (size_t)(folder - image) + 8 : 0;
    vr_str_format(out, "%s/%s/", set->folder, root);
    if (folder) vr_str_format(out, "%.*s/questions_answers_YN/", (int)(folder - image), image);
    vr_str_put(out, image + from, end - from);
    vr_str_add(out, ".txt");
}

/* The question of a line without its request, whatever spaces are before it. */
static vr_slice bare(vr_slice question) {
    const char *at = vr_slice_find(question, request);
    return vr_trim(at ? (vr_slice){question.p, (size_t)(at - question.p)} : question);
}

static vr_slice asked(const vr_question *question) {
    vr_slice text = vr_slice_of(question->text);
    const char *suffix = vr_slice_find(text, VR_SHORT_ANSWER);
    if (suffix) text.n = (size_t)(suffix - text.p);
    if (text.n >= 8 && memcmp(text.p, "<image>\n", 8) == 0) text = (vr_slice){text.p + 8, text.n - 8};
    return bare(text);
}

/* Finds the question among the lines of its text file. */
static vr_status find_line(vr_set *set, size_t i, vr_slice text, const char *path, vr_error *err) {
    golds *all = set->gold;
    vr_slice line, question, answer, want = asked(&set->questions[i]);
    for (size_t number = 1; vr_next_part(&text, "\n", &line); number++) {
        if (!vr_trim(line).n) continue;
        vr_slice rest = line;
        if (!vr_next_part(&rest, "\t", &question) || !vr_next_part(&rest, "\t", &answer))
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: found no tab, expected a question, a tab, and Yes or No", path,
                           number);
        if (!vr_slice_same(bare(question), want)) continue;
        answer = vr_trim(answer);
        bool yes = vr_slice_is(answer, "Yes");
        if (!yes && !vr_slice_is(answer, "No"))
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the answer is '%.*s', expected Yes or No", path, number,
                           (int)answer.n, answer.p);
        const char *name = strrchr(path, '/');
        all->items[i] = (gold){vr_slice_copy(vr_trim(question)), yes ? VR_SAID_YES : VR_SAID_NO,
                               vr_set_word(set, name ? name + 1 : path)};
        return all->items[i].question ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s does not ask \"%.*s\" (%s:%zu)", path, (int)want.n, want.p, set->file,
                   set->questions[i].line);
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    golds *all = set->gold = vr_alloc(1, sizeof *all);
    (void)faults;
    if (!all) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *all = (golds){.n = set->n, .items = vr_alloc(set->n, sizeof *all->items)};
    if (!all->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < set->n; i++) {
        vr_str path = {0};
        vr_map map;
        if (!set->questions[i].image)
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the question names no picture", set->file,
                           set->questions[i].line);
        text_path(set, set->questions[i].image, &path);
        vr_status status = vr_str_check(&path, err);
        if (status == VRWKV_OK) status = vr_map_open(&map, path.data, false, err);
        if (status == VRWKV_OK) {
            status = find_line(set, i, (vr_slice){map.data ? (const char *)map.data : "", map.size}, path.data, err);
            vr_map_close(&map);
        }
        vr_str_free(&path);
        VR_TRY(status);
    }
    set->scorable = true;
    return VRWKV_OK;
}

/* The task is the first folder of the picture's path; both questions of a picture count together. */
static vr_status load(vr_set *set, vr_faults *faults, vr_error *err) {
    VR_TRY(vr_load_questions(set, faults, err));
    for (size_t i = 0; i < set->n; i++) {
        vr_slice rest = vr_slice_of(set->questions[i].image ? set->questions[i].image : ""), first = {"", 0};
        size_t k = 0;
        vr_next_part(&rest, "/", &first);
        while (k < VR_COUNT(tasks) && !vr_slice_is(first, tasks[k].name)) k++;
        if (k == VR_COUNT(tasks))
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: '%.*s' is no task of MME", set->file, set->questions[i].line,
                           (int)first.n, first.p);
        set->questions[i].category = tasks[k].name;
    }
    return VRWKV_OK;
}

/* Yes or no, else what the first four characters have in them. */
static vr_said decide(vr_slice answer) {
    vr_str small = {0};
    size_t length, bytes = 0;
    vr_str_lower(&small, answer);
    for (int i = 0; i < 4 && bytes < small.n; i++, bytes += length)
        vr_utf8_code(small.data + bytes, small.n - bytes, &length);
    vr_slice head = {vr_str_text(&small), bytes};
    vr_said said = vr_slice_find(head, "yes") ? VR_SAID_YES : vr_slice_find(head, "no") ? VR_SAID_NO : VR_SAID_OTHER;
    vr_str_free(&small);
    return said;
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const golds *all = set->gold;
    verdict->truth = all->items[question].truth;
    verdict->said = decide(answer);
    verdict->score = verdict->said == verdict->truth;
}

/* ---- scores ---- */

typedef struct counts {
    vr_confusion answers;
    double questions, right, pictures, both;
} counts;

/* One task, the questions of picture g counting weight[g] times. */
static vr_status count_task(const vr_set *set, const char *name, const vr_verdict *verdicts, const unsigned *weight,
                            counts *to, vr_error *err) {
    /* of each picture: how many questions, how many right */
    unsigned (*seen)[2] = vr_alloc(set->groups.n, sizeof *seen);
    if (!seen) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *to = (counts){0};
    for (size_t i = 0; i < set->n; i++) {
        size_t picture = set->groups.of[i];
        bool right = verdicts[i].score > 0;
        if (strcmp(set->categories.names[set->categories.of[i]], name) != 0) continue;
        to->questions += weight[picture];
        to->right += right * weight[picture];
        vr_confusion_add(&to->answers, &verdicts[i], weight[picture]);
        seen[picture][0]++;
        seen[picture][1] += right;
    }
    for (size_t g = 0; g < set->groups.n; g++) {
        if (!seen[g][0]) continue;
        to->pictures += weight[g];
        to->both += seen[g][0] == seen[g][1] ? weight[g] : 0;
    }
    free(seen);
    return VRWKV_OK;
}

static json_t *task_json(const counts *c, double points) {
    json_t *block = json_object();
    vr_put(block, "score", json_real(points));
    vr_put(block, "acc", json_real(vr_ratio(c->right, c->questions)));
    vr_put(block, "acc_plus", json_real(vr_ratio(c->both, c->pictures)));
    vr_put(block, "TP", json_integer((json_int_t)c->answers.tp));
    vr_put(block, "FN", json_integer((json_int_t)c->answers.fn));
    vr_put(block, "TN", json_integer((json_int_t)c->answers.tn));
    vr_put(block, "FP", json_integer((json_int_t)c->answers.fp));
    vr_put(block, "other_num", json_integer((json_int_t)c->answers.other));
    return block;
}

/* Perception [0] and cognition [1]; `blocks`, where given, gets a member per task. */
static vr_status sum_up(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight, double sums[2],
                        json_t *blocks, vr_error *err) {
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < VR_COUNT(tasks); i++) {
        counts c;
        VR_TRY(count_task(set, tasks[i].name, verdicts, weight, &c, err));
        double points = vr_ratio(c.right, c.questions) * 100 + vr_ratio(c.both, c.pictures) * 100;
        sums[tasks[i].cognition] += points;
        if (blocks && c.questions > 0) vr_put(blocks, tasks[i].name, task_json(&c, points));
    }
    return VRWKV_OK;
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    static const char *const words[] = {"other", "yes", "no", "other"};
    json_t *blocks = json_object(), *decisions = json_array();
    double sums[2];
    unsigned *once = vr_alloc(set->groups.n, sizeof *once);
    vr_put(out->values, "tasks", blocks);
    vr_put(out->values, "decision", decisions);
    if (!once) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < set->groups.n; i++) once[i] = 1;
    vr_status status = sum_up(set, out->verdicts, once, sums, blocks, err);
    free(once);
    VR_TRY(status);
    for (size_t i = 0; i < answers->n; i++)
        json_array_append_new(decisions, json_string(words[out->verdicts[answers->items[i].question].said]));
    vr_put(out->values, "perception", json_real(sums[0]));
    vr_put(out->values, "cognition", json_real(sums[1]));
    vr_score_figure(out, "perception", sums[0], 1, false);
    vr_score_figure(out, "cognition", sums[1], 1, false);
    return VRWKV_OK;
}

static double figure(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight) {
    double sums[2] = {0, 0};
    sum_up(set, verdicts, weight, sums, NULL, NULL);
    return sums[0];
}

static void right(const vr_set *set, size_t question, vr_str *out) {
    const golds *all = set->gold;
    vr_str_add(out, all->items[question].truth == VR_SAID_YES ? "Yes" : "No");
}

/* ---- the official tool's tables: <task>.txt, a picture's lines being neighbours ---- */

static void put_row(const vr_set *set, const vr_answers *answers, size_t i, vr_str *out) {
    const golds *all = set->gold;
    vr_slice said = vr_answer_of(answers, i);
    vr_str_format(out, "%s\t%s\t%s\t", all->items[i].file, all->items[i].question,
                  all->items[i].truth == VR_SAID_YES ? "Yes" : "No");
    for (size_t k = 0; k < said.n; k++) vr_str_put(out, strchr("\n\r\t", said.p[k]) && said.p[k] ? " " : said.p + k, 1);
    vr_str_add(out, "\n");
}

static void put_task(const vr_set *set, const vr_answers *answers, const char *name, vr_str *out) {
    for (size_t i = 0; i < set->n; i++) {
        if (set->questions[i].category != name) continue;
        bool again = false;
        for (size_t k = 0; k < i && !again; k++) again = set->questions[k].group == set->questions[i].group;
        for (size_t k = i; k < set->n && !again; k++)
            if (set->questions[k].group == set->questions[i].group) put_row(set, answers, k, out);
    }
}

static vr_status write_submission(const vr_set *set, const vr_answers *answers, const vr_score *scored, const char *path,
                                  vr_error *err) {
    (void)scored;
    if (!set->scorable) return vr_fail(err, VRWKV_ERR_ARGUMENT, "the tables need the questions of %s", root);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return vr_fail_io(err, "create the folder", path);
    for (size_t i = 0; i < VR_COUNT(tasks); i++) {
        vr_str text = {0}, name = {0};
        put_task(set, answers, tasks[i].name, &text);
        vr_str_format(&name, "%s/%s.txt", path, tasks[i].name);
        vr_status status = vr_str_check(text.failed ? &text : &name, err);
        if (status == VRWKV_OK && text.n) status = vr_file_write(name.data, text.data, text.n, err);
        vr_str_free(&text);
        vr_str_free(&name);
        VR_TRY(status);
    }
    return VRWKV_OK;
}

static const vr_split splits[] = {
    {.name = "test", .questions = "llava_mme.jsonl", .images = "MME_Benchmark_release_version", .local = true,
     .needs = {{"llava_mme.jsonl", "*", 2374}, {"MME_Benchmark_release_version/existence", NULL, 0}}},
    {0},
};

const vr_bench vr_bench_mme = {
    .name = "mme",
    .title = "MME",
    .unit = "points",
    .repeats = true,
    .yes_no = true,
    .splits = splits,
    .load = load,
    .load_gold = load_gold,
    .free_gold = free_gold,
    .judge = judge,
    .score = score,
    .figure = figure,
    .right = right,
    .write_submission = write_submission,
    .upload = ".upload",
    .submission = "a folder of tables for the official calculation.py",
};
