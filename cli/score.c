/* score: an answer file of a benchmark -> its scores, and the file that its server takes. */
#include "benchmark.h"
#include "json_out.h"
#include "options.h"
#include "terminal.h"
#include "verbs.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct score_args {
    const char *data, *answers, *split, *questions, *submission;
    int manner, limit, threads;
    bool json, keep_going;
} score_args;

static int print_json(vr_score *score) { return vr_json_print(json_incref(score->values), 1); }

static vr_status score(const score_args *args, const vr_bench *bench, int *code, vr_error *err) {
    vr_faults faults = vr_faults_of(args->keep_going);
    const vr_set_options options = {
        .split = args->split, .questions = args->questions, .limit = (size_t)args->limit, .faults = &faults};
    vr_set set = {0};
    vr_answers answers = {0};
    vr_score made = {0};
    vr_status status = vr_set_load(&set, bench, args->data, &options, err);
    if (status == VRWKV_OK) status = vr_answers_read(&answers, &set, args->answers, &faults, err);
    if (status == VRWKV_OK) status = vr_score_make(&made, &set, &answers, err);
    if (status == VRWKV_OK && args->submission) status = vr_submission_save(&set, &answers, &made, args->submission, err);
    if (status == VRWKV_OK && args->json) *code = print_json(&made);
    if (status == VRWKV_OK && !args->json) vr_figures_print(&set, &answers, &made, args->manner == VR_MANNER_ORIGINAL);
    if (status == VRWKV_OK && faults.count) vr_note("note: %zu faults in the data were read over", faults.count);
    vr_score_free(&made);
    vr_answers_free(&answers);
    vr_set_free(&set);
    return status;
}

int vr_cmd_score(int argc, char **argv) {
    score_args args = {.manner = -1};
    vr_strings words = {0};
    vr_error err = {0};
    const vr_option options[] = {
        {"data", 'd', VR_OPT_STRING, &args.data, "DIR", "the benchmark's folder (docs/EVAL.md tells what lies in it)", 0, 0},
        {"answers", 'a', VR_OPT_STRING, &args.answers, "FILE", "the answers, one JSON object a line", 0, 0},
        VR_OPTIONS_QUESTIONS(&args.split, &args.questions, &args.limit),
        {"submission", 'o', VR_OPT_STRING, &args.submission, "FILE", "also write what the benchmark's server or tool takes",
         0, 0},
        {"manner", 0, VR_OPT_CHOICE, &args.manner, "original|friendly",
         "original: where the original program's figure differs from the official scorer's, the original's leads", 0, 0},
        VR_OPTION_KEEP_GOING(&args.keep_going),
        VR_OPTION_THREADS(&args.threads), /* as everywhere; scoring is one thread's work */
        VR_OPTION_JSON(&args.json),
    };
    char names[256];
    const vr_usage usage = {
        .verb = "score",
        .line = "BENCH --data DIR --answers FILE [OPTION]...",
        .about = "Scores an answer file exactly as the benchmark's official scorer does. BENCH is one of:",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 1,
        .max_args = 1,
        .arg_name = "BENCH",
        .notes = vr_bench_names(names, sizeof names),
        .example = "  vrwkv score pope --data data/pope --answers answers.jsonl",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code != VR_GO_ON) return code;
    const vr_bench *bench = vr_bench_find(words.items[0]);
    if (!bench)
        code = vr_usage_error("score", "unknown benchmark \"%s\" (known: %s)", words.items[0], names);
    else if (!args.data || !args.answers)
        code = vr_usage_error("score", "%s is missing", args.data ? "--answers FILE" : "--data DIR");
    if (code == VR_GO_ON) {
        code = 0;
        if (score(&args, bench, &code, &err) != VRWKV_OK) code = vr_report("score", &err);
    }
    vr_strings_free(&words);
    return code;
}
