/* POPE: is it in the picture? Three categories, each with a label file; the figure is the mean of F1.
 * src: POPE's evaluate.py as LLaVA runs it (eval_pope.py): answers and labels of a category are paired
 * by their position, never by id. So the positions are checked here: a pair must ask the same. */
#include "base/memory.h"
#include "eval/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct golds {
    vr_said *label; /* [set->n] VR_SAID_NOTHING: the label file is shorter than the category */
} golds;

static void free_gold(void *data) {
    golds *all = data;
    free(all->label);
    free(all);
}

typedef struct taking {
    vr_set *set;
    const char *category;
    size_t next; /* question to be labelled, or later */
} taking;

/* The question of a list is that of the label file with the request for a short answer behind it. */
static bool same_question(const vr_question *question, const char *text, const char *image) {
    size_t n = strlen(text);
    const char *own = strncmp(question->text, "<image>\n", 8) == 0 ? question->text + 8 : question->text;
    return strncmp(own, text, n) == 0 && (own[n] == 0 || own[n] == '\n') &&
           (!question->image || !image || !strcmp(question->image, image));
}

static vr_status take_label(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    taking *to = user;
    golds *all = to->set->gold;
    const char *label, *text;
    (void)key;
    VR_TRY(vr_need_text(line, "label", where, &label, err));
    VR_TRY(vr_need_text(line, "text", where, &text, err));
    while (to->next < to->set->n && to->set->questions[to->next].category != to->category) to->next++;
    if (to->next == to->set->n) return VRWKV_OK; /* pairs are cut to the shorter side */
    const vr_question *question = &to->set->questions[to->next];
    if (!same_question(question, text, json_string_value(json_object_get(line, "image"))))
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu asks \"%.80s\", but its pair by position, %s:%zu, asks \"%.80s\"",
                       where->path, where->line, text, to->set->file, question->line, question->text);
    all->label[to->next++] = strcmp(label, "no") == 0 ? VR_SAID_NO : VR_SAID_YES;
    return VRWKV_OK;
}

static vr_status read_category(vr_set *set, const char *category, vr_faults *faults, vr_error *err) {
    char name[128], *path;
    snprintf(name, sizeof name, "coco/coco_pope_%s.json", category);
    VR_TRY(vr_join(&path, set->folder, name, err));
    vr_status status = vr_read_lines(path, faults, take_label, &(taking){.set = set, .category = category}, err);
    free(path);
    return status;
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    golds *all = set->gold = vr_alloc(1, sizeof *all);
    if (!all) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    all->label = vr_alloc(set->n, sizeof *all->label);
    if (!all->label) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (set->part && set->offset)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                       "pope pairs answers with labels by position: a chunk alone cannot be scored, merge first");
    for (size_t i = 0; i < set->n; i++) {
        const char *category = set->questions[i].category;
        bool known = false;
        for (size_t k = 0; k < i && !known; k++) known = set->questions[k].category == category;
        if (!known) VR_TRY(read_category(set, category, faults, err));
    }
    set->scorable = true;
    return VRWKV_OK;
}

/* Up to the first point, without commas: is one of its words, parted by single spaces, a no? */
static vr_said decide(vr_slice answer) {
    static const char *const no[] = {"No", "no", "not"};
    const char *point = vr_slice_find(answer, ".");
    vr_str plain = {0};
    vr_said said = VR_SAID_YES;
    if (point) answer.n = (size_t)(point - answer.p);
    vr_str_replace(&plain, answer, ",", "");
    vr_slice rest = vr_str_slice(&plain), word;
    while (vr_next_part(&rest, " ", &word))
        for (size_t i = 0; i < VR_COUNT(no); i++)
            if (vr_slice_is(word, no[i])) said = VR_SAID_NO;
    vr_str_free(&plain);
    return said;
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const golds *all = set->gold;
    verdict->truth = all->label[question];
    verdict->said = decide(answer);
    verdict->counted = verdict->truth != VR_SAID_NOTHING;
    verdict->score = verdict->said == verdict->truth;
}

static double score_category(json_t *to, const vr_confusion *c, size_t samples, size_t yes) {
    double values[] = {vr_ratio(c->tp + c->tn, c->tp + c->fp + c->tn + c->fn), vr_ratio(c->tp, c->tp + c->fp),
                       vr_ratio(c->tp, c->tp + c->fn), vr_confusion_f1(c), vr_ratio((double)yes, (double)samples)};
    static const char *const names[] = {"accuracy", "precision", "recall", "f1", "yes_ratio"};
    json_t *printed = json_array();
    vr_put(to, "samples", json_integer((json_int_t)samples));
    vr_put(to, "TP", json_integer((json_int_t)c->tp));
    vr_put(to, "FP", json_integer((json_int_t)c->fp));
    vr_put(to, "TN", json_integer((json_int_t)c->tn));
    vr_put(to, "FN", json_integer((json_int_t)c->fn));
    for (size_t i = 0; i < VR_COUNT(values); i++) {
        char text[32];
        snprintf(text, sizeof text, "%.3f", values[i]);
        vr_put(to, names[i], json_real(values[i]));
        json_array_append_new(printed, json_string(text));
    }
    vr_put(to, "printed", printed);
    return values[3];
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    json_t *categories = json_object(), *decisions = json_array();
    double sum = 0;
    (void)err;
    for (size_t k = 0; k < set->categories.n; k++) {
        vr_confusion c = {0};
        size_t samples = 0, yes = 0;
        for (size_t i = 0; i < set->n; i++) {
            if (set->categories.of[i] != k || !answers->of_question[i]) continue;
            samples++;
            yes += out->verdicts[i].said == VR_SAID_YES;
            vr_confusion_add(&c, &out->verdicts[i], 1);
        }
        json_t *block = json_object();
        vr_put(categories, set->categories.names[k], block);
        sum += score_category(block, &c, samples, yes);
        if (c.tp + c.fp == 0 || c.tp + c.fn == 0)
            snprintf(out->notes, sizeof out->notes,
                     "%s: a ratio has nothing below the line and is given as 0 (the original stops)",
                     set->categories.names[k]);
    }
    for (size_t i = 0; i < answers->n; i++)
        json_array_append_new(decisions,
                              json_string(out->verdicts[answers->items[i].question].said == VR_SAID_NO ? "no" : "yes"));
    double mean = sum / (double)set->categories.n;
    vr_put(out->values, "categories", categories);
    vr_put(out->values, "mean_f1", json_real(mean));
    vr_put(out->values, "decision", decisions);
    vr_score_figure(out, "mean F1", 100 * mean, 1, false);
    return VRWKV_OK;
}

static double figure(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight) {
    double sum = 0;
    for (size_t k = 0; k < set->categories.n; k++) {
        vr_confusion c = {0};
        for (size_t i = 0; i < set->n; i++)
            if (set->categories.of[i] == k) vr_confusion_add(&c, &verdicts[i], weight[set->groups.of[i]]);
        sum += vr_confusion_f1(&c);
    }
    return 100 * sum / (double)set->categories.n;
}

static void right(const vr_set *set, size_t question, vr_str *out) {
    const golds *all = set->gold;
    vr_str_add(out, all->label[question] == VR_SAID_NO ? "no" : "yes");
}

static const vr_split splits[] = {
    {.name = "coco", .questions = "llava_pope_test.jsonl", .images = "val2014", .local = true,
     .needs = {{"llava_pope_test.jsonl", "*", 8910},
               {"coco/coco_pope_adversarial.json", "*", 3000},
               {"coco/coco_pope_popular.json", "*", 3000},
               {"coco/coco_pope_random.json", "*", 2910}}},
    {0},
};

const vr_bench vr_bench_pope = {
    .name = "pope", .title = "POPE", .unit = "%", .yes_no = true, .splits = splits,
    .load = vr_load_questions, .load_gold = load_gold, .free_gold = free_gold,
    .judge = judge, .score = score, .figure = figure, .right = right,
};
