/* TextVQA: VQAv2's accuracy under M4C's normalisation on both sides. Questions repeat their id, which is
 * the picture's: an annotation is found by picture and question.
 * src: LLaVA's eval_textvqa.py, VisualRWKV's copy of it. */
#include "base/memory.h"
#include "eval/bench.h"
#include "eval/humans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char annotations[] = "TextVQA_0.5.1_val.json";

/* The question stands in the first line of the text; letters are compared small. */
static bool same_question(const vr_question *question, const char *asked) {
    vr_str a = {0}, b = {0};
    vr_slice text = vr_slice_of(question->text), line;
    while (vr_next_part(&text, "\n", &line) && vr_slice_is(vr_trim(line), "<image>")) continue;
    vr_str_lower(&a, line);
    vr_str_lower(&b, vr_slice_of(asked));
    bool same = vr_slice_same(vr_str_slice(&a), vr_str_slice(&b));
    vr_str_free(&a);
    vr_str_free(&b);
    return same;
}

static vr_status take_annotation(void *user, const char *key, json_t *entry, const vr_where *where, vr_error *err) {
    vr_set *set = user;
    vr_human_golds *all = set->gold;
    const char *picture, *asked;
    (void)key;
    VR_TRY(vr_need_text(entry, "image_id", where, &picture, err));
    VR_TRY(vr_need_text(entry, "question", where, &asked, err));
    size_t first = vr_set_find_text(set, picture);
    for (size_t i = first < set->n ? first + 1 : 0; i > 0; i = set->questions[i - 1].same) {
        if (!same_question(&set->questions[i - 1], asked)) continue;
        vr_humans_free(&all->items[i - 1]); /* the last annotation of a question counts, as in the original */
        VR_TRY(vr_humans_read(&all->items[i - 1], json_object_get(entry, "answers"), where, err));
    }
    return VRWKV_OK;
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    char *path, digits[24];
    (void)faults;
    VR_TRY(vr_human_golds_new(set, err));
    const vr_human_golds *all = set->gold;
    VR_TRY(vr_join(&path, set->folder, annotations, err));
    vr_status status = vr_read_list(path, "data", take_annotation, set, err);
    for (size_t i = 0; i < set->n && status == VRWKV_OK; i++)
        if (!all->items[i].n)
            status = vr_fail(err, VRWKV_ERR_FORMAT, "%s has no answers to the question at %s:%zu (picture %s)", path,
                             set->file, set->questions[i].line, vr_id_text(set->questions[i].id, digits));
    free(path);
    set->scorable = status == VRWKV_OK;
    return status;
}

/* The answer file's name without folder and ending: the original prints it. */
static vr_slice experiment(const char *path) {
    const char *name = strrchr(path, '/'), *ending;
    name = name ? name + 1 : path;
    ending = strrchr(name, '.');
    return (vr_slice){name, ending && ending > name ? (size_t)(ending - name) : strlen(name)};
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    json_t *each = json_array(), *plain = json_array();
    vr_str said = {0}, line = {0};
    double sum = 0;
    for (size_t k = 0; k < answers->n; k++) {
        const vr_answer_line *answer = &answers->items[k];
        double score = out->verdicts[answer->question].score;
        sum += score;
        json_array_append_new(each, json_real(score));
        vr_str_clear(&said);
        vr_normalise(vr_rule_find("m4c"), answer->text, &said);
        json_array_append_new(plain, vr_json_of(vr_str_slice(&said)));
    }
    double accuracy = 100 * (sum / (double)set->n);
    vr_slice name = experiment(answers->path);
    vr_str_format(&line, "Task: TextVQA Experiment: %.*s Samples: %zu Accuracy: %.2f%%", (int)name.n, name.p, answers->n,
                  accuracy);
    vr_put(out->values, "printed", json_string(vr_str_text(&line)));
    vr_put(out->values, "accuracy", json_real(accuracy));
    vr_put(out->values, "perQuestion", each);
    vr_put(out->values, "normalised", plain);
    vr_score_figure(out, "accuracy", accuracy, 2, false);
    vr_status status = vr_str_check(said.failed ? &said : &line, err);
    vr_str_free(&said);
    vr_str_free(&line);
    return status;
}

static const vr_split splits[] = {
    {.name = "val", .questions = "llava_textvqa_val_v051_ocr.jsonl", .images = "train_images", .local = true,
     .needs = {{"llava_textvqa_val_v051_ocr.jsonl", "*", 5000}, {annotations, "data", 5000}}},
    {0},
};

const vr_bench vr_bench_textvqa = {
    .name = "textvqa", .title = "TextVQA", .unit = "%", .repeats = true, .splits = splits,
    .load = vr_load_questions, .load_gold = load_gold, .free_gold = vr_human_golds_free,
    .judge = vr_human_golds_judge, .score = score, .right = vr_human_golds_right,
};
