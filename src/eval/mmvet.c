/* MM-Vet: free answers, judged by a language model on a server: here only the file to hand in is made.
 * src: LLaVA's convert_mmvet_for_eval.py. */
#include "eval/bench.h"

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    char digits[24];
    for (size_t i = 0; i < set->n; i++) {
        vr_str key = {0};
        if (!answers->of_question[i]) continue;
        vr_str_format(&key, "v1_%s", vr_id_text(set->questions[i].id, digits));
        VR_TRY(vr_str_check(&key, err));
        vr_put(out->values, key.data, vr_json_of(vr_answer_of(answers, i)));
        vr_str_free(&key);
    }
    out->submission = out->values;
    return VRWKV_OK;
}

/* Indented and without a byte above 126, as Python writes it. */
static vr_status write_submission(const vr_set *set, const vr_answers *answers, const vr_score *scored, const char *path,
                                  vr_error *err) {
    (void)set;
    (void)answers;
    return vr_json_save(scored->submission, path, JSON_INDENT(2) | JSON_ENSURE_ASCII, err);
}

static const vr_split splits[] = {
    {.name = "test",
     .questions = "llava-mm-vet.jsonl",
     .images = "images",
     .needs = {{"llava-mm-vet.jsonl", "*", 218}, {"mm-vet.json", "", 218}}},
    {0},
};

const vr_bench vr_bench_mmvet = {
    .name = "mmvet", .title = "MM-Vet", .unit = "%", .splits = splits, .load = vr_load_questions, .score = score,
    .write_submission = write_submission, .upload = ".upload.json", .submission = "JSON object for the MM-Vet grader",
};
