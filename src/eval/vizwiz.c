/* VizWiz: answers are uploaded; where annotations in the style of the val split lie beside, TextVQA's
 * accuracy is computed. src: LLaVA's convert_vizwiz_for_submission.py. */
#include "base/memory.h"
#include "eval/bench.h"
#include "eval/humans.h"

#include <stdlib.h>
#include <string.h>

static const char annotations[] = "val_style_annotations.json";

/* Annotations name the picture; there is one question each. */
typedef struct taking {
    vr_set *set;
    json_t *by_picture;
} taking;

static vr_status take_annotation(void *user, const char *key, json_t *entry, const vr_where *where, vr_error *err) {
    taking *to = user;
    vr_human_golds *all = to->set->gold;
    const char *picture;
    (void)key;
    VR_TRY(vr_need_text(entry, "image", where, &picture, err));
    const json_t *at = json_object_get(to->by_picture, picture);
    if (!at) return VRWKV_OK;
    size_t i = (size_t)json_integer_value(at);
    vr_humans_free(&all->items[i]);
    to->set->questions[i].category = vr_set_word(to->set, vr_text_or(entry, "answer_type", "all"));
    return vr_humans_read(&all->items[i], json_object_get(entry, "answers"), where, err);
}

static vr_status read_gold(vr_set *set, const char *path, vr_error *err) {
    vr_human_golds *all = set->gold;
    taking to = {set, json_object()};
    for (size_t i = 0; i < set->n; i++)
        if (set->questions[i].image) vr_put(to.by_picture, set->questions[i].image, json_integer((json_int_t)i));
    vr_status status = vr_read_list(path, NULL, take_annotation, &to, err);
    json_decref(to.by_picture);
    for (size_t i = 0; i < set->n && status == VRWKV_OK; i++)
        if (!all->items[i].n)
            status =
                vr_fail(err, VRWKV_ERR_FORMAT, "%s has no answers for picture %s of %s:%zu", path,
                        set->questions[i].image ? set->questions[i].image : "(none)", set->file, set->questions[i].line);
    set->scorable = status == VRWKV_OK;
    return status;
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    char *path;
    vr_status status = VRWKV_OK;
    (void)faults;
    VR_TRY(vr_join(&path, set->folder, annotations, err));
    if (vr_exists(path)) {
        status = vr_human_golds_new(set, err);
        if (status == VRWKV_OK) status = read_gold(set, path, err);
    }
    free(path);
    return status;
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    json_t *list = json_array();
    vr_str said = {0};
    double sum = 0;
    vr_put(out->values, "submission", list);
    out->submission = list;
    for (size_t i = 0; i < set->n; i++) {
        json_t *entry = json_object();
        vr_str_clear(&said);
        vr_normalise(vr_rule_find("m4c"), vr_answer_of(answers, i), &said);
        vr_put(entry, "image", json_string(set->questions[i].image));
        vr_put(entry, "answer", vr_json_of(vr_str_slice(&said)));
        json_array_append_new(list, entry);
        if (set->scorable) sum += out->verdicts[i].score;
    }
    vr_status status = vr_str_check(&said, err);
    vr_str_free(&said);
    if (!set->scorable) return status;
    double accuracy = 100 * (sum / (double)set->n);
    vr_put(out->values, "accuracy_on_val_style_annotations", json_real(accuracy));
    vr_score_figure(out, "accuracy on the annotations beside", accuracy, 2, false);
    return status;
}

static const vr_split splits[] = {
    {.name = "test",
     .questions = "llava_test.jsonl",
     .images = "test",
     .local = true,
     .needs = {{"llava_test.jsonl", "*", 8000}}},
    {0},
};

const vr_bench vr_bench_vizwiz = {
    .name = "vizwiz",
    .title = "VizWiz",
    .unit = "%",
    .splits = splits,
    .load = vr_load_questions,
    .load_gold = load_gold,
    .free_gold = vr_human_golds_free,
    .judge = vr_human_golds_judge,
    .score = score,
    .right = vr_human_golds_right,
    .upload = ".upload.json",
    .submission = "JSON list for the VizWiz server",
};
