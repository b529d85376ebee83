/* eval: runs a benchmark, and the forms beside it: text, perplexity, compare, merge.
 * Questions -> answer file (resumable) -> scores, result file, page. */
#include "benchmark.h"
#include "json_out.h"
#include "verbs.h"

#include "base/memory.h"
#include "eval/folder.h"

#include <stdlib.h>
#include <string.h>

typedef struct eval_args {
    vr_model_args model;
    const char *data, *out, *split, *images, *questions, *chunk, *rank, *check, *submission;
    vr_asking_args asking;
    int limit, max_tokens, rank_top, gallery;
    bool json, keep_going, no_report;
} eval_args;

/* ---- --check ---- */

static void print_finding(void *user, const vr_finding *finding) {
    static const char *const words[] = {[VR_FOUND] = "ok", [VR_DIFFERENT] = "different", [VR_ABSENT] = "missing"};
    json_t *list = *(json_t **)user;
    if (list) {
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:s}", "what", finding->what, "outcome",
                                              words[finding->kind], "found", (json_int_t)finding->found, "expected",
                                              (json_int_t)finding->expected, "message", finding->message));
        return;
    }
    printf("%-10s %s", words[finding->kind], finding->what);
    if (finding->found || finding->expected) printf(": %zu", finding->found);
    if (finding->expected) printf(" of %zu", finding->expected);
    if (finding->message[0]) printf("  (%s)", finding->message);
    putchar('\n');
}

static int check(const eval_args *args, const vr_bench *bench) {
    const vr_set_options options = {.split = args->split, .images = args->images, .questions = args->questions};
    vr_error err = {0};
    size_t bad = 0;
    json_t *list = args->json ? json_array() : NULL;
    if (vr_folder_check(bench, args->check, &options, print_finding, &list, &bad, &err) != VRWKV_OK) {
        json_decref(list);
        return vr_report("eval", &err);
    }
    if (list) return vr_json_print(list, 1) | (bad > 0);
    printf("%s\n", bad ? "not as it should be" : "all there");
    return bad > 0;
}

/* ---- the run ---- */

static int show(void *user, const vr_run_state *status) {
    vr_progress *bar = user;
    if (status->score >= 0) snprintf(bar->note, sizeof bar->note, "%.1f%% right", 100 * status->score);
    return vr_progress_show(bar, "answering", status->done, status->total);
}

static vr_status default_out(const eval_args *args, const vr_bench *bench, int chunk, int chunks, char *buffer, size_t size,
                             vr_error *err) {
    const char *kind = args->rank ? ".ranked" : "";
    int n = args->out ? snprintf(buffer, size, "%s", args->out)
            : chunks  ? snprintf(buffer, size, "%s%s.%d-of-%d.jsonl", bench->name, kind, chunk, chunks)
                      : snprintf(buffer, size, "%s%s.jsonl", bench->name, kind);
    return n > 0 && (size_t)n < size ? VRWKV_OK
                                     : vr_fail(err, VRWKV_ERR_ARGUMENT, "the name of the answer file is too long");
}

static void tell(const vr_run_result *result) {
    if (result->resumed) vr_note("%zu answers were there already", result->resumed);
    if (result->answered)
        vr_note("%zu answers in %.1f s (%.1f a minute), %zu pictures encoded in %.1f s; kept of a picture: %s (%s)",
                result->answered, result->seconds, 60 * (double)result->answered / result->seconds, result->pictures,
                result->vision_seconds, result->reuse, result->reuse_reason);
    if (result->unanswered) vr_note("%zu questions were left out", result->unanswered);
}

static vr_status run_with(const eval_args *args, vr_set *set, vrwkv_model *model, const vr_run_options *options, int chunks,
                          int *code, vr_error *err) {
    vr_answers answers = {0};
    vr_run_result result = {0};
    vr_status status = vr_run_bench(set, model, options, &answers, &result, err);
    vr_progress_end();
    tell(&result);
    const vr_finish how = {.out = options->out,
                           .submission = args->submission,
                           .original = args->asking.manner == VR_MANNER_ORIGINAL,
                           .json = args->json,
                           .no_report = args->no_report,
                           .gallery = args->gallery,
                           .faults = options->faults->count};
    if (status == VRWKV_OK && chunks)
        vr_note("this is a part: `vrwkv eval merge -o OUT PART...` joins and scores them");
    else if (status == VRWKV_OK)
        status = vr_finish_run(&how, set, &answers, &result, code, err);
    vr_answers_free(&answers);
    json_decref(result.record);
    return status;
}

static vr_status run(const eval_args *args, const vr_bench *bench, int chunk, int chunks, int *code, vr_error *err) {
    vr_faults faults = vr_faults_of(args->keep_going);
    const vr_set_options set_options = {.split = args->split,
                                        .images = args->images,
                                        .questions = args->questions,
                                        .limit = (size_t)args->limit,
                                        .chunk = chunk,
                                        .chunks = chunks,
                                        .no_gold = chunks > 0,
                                        .faults = &faults};
    char out[4096], id[256];
    vr_set set = {0};
    vrwkv_model *model = NULL;
    vr_progress bar = {0}, loading = {0};
    VR_TRY(default_out(args, bench, chunk, chunks, out, sizeof out, err));
    json_t *settings =
        json_pack("{s:s*, s:i, s:b}", "chunk", args->chunk, "limit", args->limit, "keep_going", args->keep_going);
    const vrwkv_manner manner = args->asking.manner == VR_MANNER_FRIENDLY ? VRWKV_FRIENDLY : VRWKV_ORIGINAL;
    const vr_run_options options = {.ask = vr_asking(&args->asking, manner, args->max_tokens),
                                    .out = out,
                                    .model_id = vr_model_id(args->model.path, id, sizeof id),
                                    .candidates = args->rank,
                                    .shortlist = (size_t)args->rank_top,
                                    .settings = settings,
                                    .faults = &faults,
                                    .progress = show,
                                    .user = &bar};
    vr_interrupt_install(false);
    vr_status status = vr_set_load(&set, bench, args->data, &set_options, err);
    if (status == VRWKV_OK) status = vr_model_args_open(&args->model, &loading, &model, err);
    if (status == VRWKV_OK) status = run_with(args, &set, model, &options, chunks, code, err);
    if (set.bench) vr_set_free(&set);
    vrwkv_model_close(model);
    json_decref(settings);
    return status;
}

/* ---- usage ---- */

static int eval_bench(const eval_args *args, const char *name) {
    char names[256];
    int chunk = 0, chunks = 0, code = 0;
    vr_error err = {0};
    const vr_bench *bench = vr_bench_find(name);
    if (!bench)
        return vr_usage_error("eval", "unknown benchmark \"%s\" (known: %s; and: text, perplexity, compare, merge)", name,
                              vr_bench_names(names, sizeof names));
    if (args->check) return check(args, bench);
    if (!args->model.path) return vr_usage_error("eval", "-m MODEL is missing");
    if (!args->data) return vr_usage_error("eval", "--data DIR is missing");
    if (args->chunk && !vr_chunk_parse(args->chunk, &chunk, &chunks)) return 2;
    return run(args, bench, chunk, chunks, &code, &err) == VRWKV_OK ? code : vr_report("eval", &err);
}

static const struct { const char *name; int (*run)(int argc, char **argv); } forms[] = {
    {"text", vr_eval_text}, {"perplexity", vr_eval_perplexity}, {"compare", vr_eval_compare}, {"merge", vr_eval_merge}};

int vr_cmd_eval(int argc, char **argv) {
    eval_args args = {.asking = {.manner = -1, .batch = 16}, .max_tokens = 128, .rank_top = VR_RANK_SHORTLIST, .gallery = 48};
    vr_strings words = {0};
    for (size_t i = 0; argc > 1 && i < VR_COUNT(forms); i++)
        if (strcmp(argv[1], forms[i].name) == 0) return forms[i].run(argc - 1, argv + 1);
    const vr_option options[] = {
        VR_GROUP("The benchmark"),
        {"data", 'd', VR_OPT_STRING, &args.data, "DIR", "its folder (docs/EVAL.md tells what lies in it)", 0, 0},
        {"check", 0, VR_OPT_STRING, &args.check, "DIR", "only look whether that folder is complete", 0, 0},
        VR_OPTIONS_QUESTIONS(&args.split, &args.questions, &args.limit),
        {"images", 0, VR_OPT_STRING, &args.images, "DIR", "another folder of pictures than the split's", 0, 0},
        {"chunk", 0, VR_OPT_STRING, &args.chunk, "K/N",
         "only part K of N, K from 0, for many machines; `eval merge` joins the parts", 0, 0},
        VR_OPTION_KEEP_GOING(&args.keep_going),
        VR_GROUP("The model"),
        VR_OPTIONS_MODEL(&args.model),
        VR_OPTION_POSITION(&args.model),
        {"max-tokens", 0, VR_OPT_INT, &args.max_tokens, "N", "longest answer (default 128)", 1, 100000},
        VR_OPTIONS_ASKING(&args.asking, "original|friendly",
                          "pictures, stops and padding as the original's (default) or as people expect; `original` written "
                          "out also lets the original program's figure lead where it differs from the official scorer's"),
        VR_OPTIONS_MEMORY(&args.model),
        VR_GROUP("Ranking"),
        {"rank", 0, VR_OPT_STRING, &args.rank, "FILE",
         "choose among these candidates, a JSON list of texts, instead of generating", 0, 0},
        {"rank-top", 0, VR_OPT_INT, &args.rank_top, "N",
         "candidates compared as a whole, by their first token (default 5, the original's)", 1, 65536},
        VR_GROUP("Results"),
        {"out", 'o', VR_OPT_STRING, &args.out, "FILE",
         "the answer file (default BENCH.jsonl); a run that was stopped goes on from it", 0, 0},
        VR_OPTIONS_RESULTS(&args.submission, &args.gallery, &args.no_report),
        VR_OPTION_JSON(&args.json),
    };
    char names[256], notes[400];
    snprintf(notes, sizeof notes, "BENCH: %s.\n`vrwkv eval text --help` and so on tell the other forms' options.",
             vr_bench_names(names, sizeof names));
    const vr_usage usage = {
        .verb = "eval",
        .line = "BENCH -m MODEL --data DIR [OPTION]... | BENCH --check DIR | text | perplexity | compare | merge",
        .about = "Runs a benchmark: answers to OUT, scores on stdout and in OUT.result.json, a page in OUT.html. "
                 "Kill it at any point; the same command goes on.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 1,
        .max_args = 1,
        .arg_name = "BENCH",
        .notes = notes,
        .example = "  vrwkv eval pope -m model.gguf --data data/pope --out pope.jsonl",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON) code = eval_bench(&args, words.items[0]);
    vr_strings_free(&words);
    return code;
}
