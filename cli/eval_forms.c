/* eval's other forms: text ability, perplexity, comparison of two runs, joining of parts. */
#include "benchmark.h"
#include "json_out.h"

#include "base/memory.h"
#include "eval/lm_run.h"

#include <stdlib.h>
#include <string.h>

/* ---- compare ---- */

static void print_interval(const char *name, const json_t *entry, const char *unit) {
    const json_t *ends = json_object_get(entry, "interval95");
    printf("  %-11s %8.2f %s   95%%: %.2f to %.2f\n", name, json_number_value(json_object_get(entry, "value")), unit,
           json_number_value(json_array_get(ends, 0)), json_number_value(json_array_get(ends, 1)));
}

static void print_comparison(const json_t *block, const char *unit) {
    const json_t *mcnemar = json_object_get(block, "mcnemar");
    print_interval("A", json_object_get(block, "a"), unit);
    print_interval("B", json_object_get(block, "b"), unit);
    print_interval("B - A", json_object_get(block, "difference"), unit);
    printf("  right in A alone %lld, in B alone %lld; McNemar p = %.3g\n",
           (long long)json_integer_value(json_object_get(mcnemar, "only_a_right")),
           (long long)json_integer_value(json_object_get(mcnemar, "only_b_right")),
           json_number_value(json_object_get(mcnemar, "p")));
}

int vr_eval_compare(int argc, char **argv) {
    vr_strings words = {0};
    vr_error err = {0};
    int samples = 2000;
    bool json = false;
    const vr_option options[] = {
        {"samples", 0, VR_OPT_INT, &samples, "N", "bootstrap samples (default 2000)", 10, 99999},
        VR_OPTION_JSON(&json),
    };
    const vr_usage usage = {
        .verb = "eval compare",
        .line = "A.result.json B.result.json",
        .about = "Compares two runs on the same questions: each figure and the difference with 95% bootstrap intervals "
                 "(pictures are drawn, not "
                 "questions), and McNemar's exact test on the questions that one got right and the other wrong.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 2,
        .max_args = 2,
        .arg_name = "FILE",
        .example = "  vrwkv eval compare base.jsonl.result.json tuned.jsonl.result.json",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code != VR_GO_ON) return code;
    json_t *out = NULL;
    code = 0;
    if (vr_compare(&out, words.items[0], words.items[1], samples, &err) != VRWKV_OK) {
        code = vr_report("eval", &err);
    } else if (json) {
        code = vr_json_print(json_incref(out), 1);
    } else if (json_object_get(out, "tasks")) {
        const char *name;
        json_t *task;
        json_object_foreach(json_object_get(out, "tasks"), name, task) {
            printf("%s, %lld documents\n", name, (long long)json_integer_value(json_object_get(task, "documents")));
            print_comparison(task, "%");
        }
    } else {
        printf("%s, %lld questions in %lld groups\n", vr_text_or(out, "benchmark", ""),
               (long long)json_integer_value(json_object_get(out, "questions")),
               (long long)json_integer_value(json_object_get(out, "groups")));
        print_comparison(out, vr_text_or(out, "unit", ""));
    }
    json_decref(out);
    vr_strings_free(&words);
    return code;
}

/* ---- merge ---- */

typedef struct part {
    const char *path;
    json_t *record;
    size_t first, count;
} part;

static int by_first(const void *a, const void *b) {
    const part *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Parts must differ in where they lie and in nothing else. */
static vr_status check_parts(const part *parts, size_t n, vr_error *err) {
    static const char *const own[] = {"first", "count", "chunk"};
    size_t next = 0;
    for (size_t i = 0; i < n; i++) {
        const char *key;
        json_t *value;
        if (parts[i].first != next)
            return vr_fail(err, VRWKV_ERR_ARGUMENT,
                           "%s begins at question %zu, expected %zu: a part is missing or there twice", parts[i].path,
                           parts[i].first, next);
        next += parts[i].count;
        json_object_foreach(parts[0].record, key, value) {
            bool free_to_differ = false;
            for (size_t k = 0; k < VR_COUNT(own); k++) free_to_differ |= strcmp(key, own[k]) == 0;
            if (!free_to_differ && !json_equal(value, json_object_get(parts[i].record, key)))
                return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s and %s were made with another %s", parts[0].path, parts[i].path,
                               key);
        }
    }
    return VRWKV_OK;
}

static vr_status join(const part *parts, size_t n, const char *out, vr_error *err) {
    vr_writer file;
    VR_TRY(vr_writer_open(&file, out, err));
    vr_status status = VRWKV_OK;
    for (size_t i = 0; i < n && status == VRWKV_OK; i++) {
        vr_map map;
        status = vr_map_open(&map, parts[i].path, false, err);
        if (status == VRWKV_OK) status = vr_writer_put(&file, map.data, map.size, err);
        if (status == VRWKV_OK && map.size && map.data[map.size - 1] != '\n')
            status =
                vr_fail(err, VRWKV_ERR_FORMAT, "%s ends in the middle of a line: its run is not finished", parts[i].path);
        vr_map_close(&map);
    }
    if (status == VRWKV_OK) return vr_writer_commit(&file, err);
    vr_writer_abandon(&file);
    return status;
}

static vr_status score_joined(const vr_finish *how, const char *data, json_t *record, vr_faults *faults, int *code,
                              vr_error *err) {
    const vr_bench *bench = vr_bench_find(vr_text_or(record, "benchmark", ""));
    const vr_set_options options = {.split = vr_text_or(record, "split", NULL),
                                    .questions = vr_text_or(record, "questions", NULL),
                                    .images = vr_text_or(record, "images", NULL),
                                    .limit = (size_t)json_integer_value(json_object_get(record, "limit")),
                                    .faults = faults};
    vr_set set;
    vr_answers answers = {0};
    if (!bench)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "benchmark \"%s\" is unknown", vr_text_or(record, "benchmark", ""));
    VR_TRY(vr_set_load(&set, bench, data, &options, err));
    vr_status status = vr_answers_read(&answers, &set, how->out, faults, err);
    vr_run_result result = {.record = record, .resumed = answers.n, .reuse = "none", .reuse_reason = "joined from parts"};
    if (status == VRWKV_OK) status = vr_finish_run(how, &set, &answers, &result, code, err);
    vr_answers_free(&answers);
    vr_set_free(&set);
    return status;
}

static vr_status merge(const vr_strings *paths, const char *data, vr_finish *how, bool keep_going, int *code,
                       vr_error *err) {
    vr_faults faults = vr_faults_of(keep_going);
    part *parts = vr_alloc(paths->n, sizeof *parts);
    vr_status status = parts ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    size_t total = 0;
    for (size_t i = 0; i < paths->n && status == VRWKV_OK; i++) {
        parts[i].path = paths->items[i];
        status = vr_record_load(&parts[i].record, parts[i].path, err);
        parts[i].first = (size_t)json_integer_value(json_object_get(parts[i].record, "first"));
        parts[i].count = (size_t)json_integer_value(json_object_get(parts[i].record, "count"));
        total += parts[i].count;
    }
    if (status == VRWKV_OK) {
        qsort(parts, paths->n, sizeof *parts, by_first);
        status = check_parts(parts, paths->n, err);
    }
    if (status == VRWKV_OK) status = join(parts, paths->n, how->out, err);
    if (status == VRWKV_OK) {
        char *path = NULL;
        json_t *record = json_deep_copy(parts[0].record);
        json_object_del(record, "chunk");
        vr_put(record, "first", json_integer(0));
        vr_put(record, "count", json_integer((json_int_t)total));
        status = vr_beside(&path, how->out, ".run.json", err);
        if (status == VRWKV_OK) status = vr_json_save(record, path, JSON_INDENT(1), err);
        if (status == VRWKV_OK) status = score_joined(how, data, record, &faults, code, err);
        free(path);
        json_decref(record);
    }
    for (size_t i = 0; parts && i < paths->n; i++) json_decref(parts[i].record);
    free(parts);
    return status;
}

int vr_eval_merge(int argc, char **argv) {
    vr_strings words = {0};
    vr_error err = {0};
    const char *data = NULL;
    int manner = -1;
    bool keep_going = false;
    vr_finish how = {.gallery = 48};
    const vr_option options[] = {
        {"out", 'o', VR_OPT_STRING, &how.out, "FILE", "the joined answer file", 0, 0},
        {"data", 'd', VR_OPT_STRING, &data, "DIR", "the benchmark's folder, to score the whole", 0, 0},
        {"manner", 0, VR_OPT_CHOICE, &manner, "original|friendly",
         "original: the original program's figure leads where it differs", 0, 0},
        VR_OPTIONS_RESULTS(&how.submission, &how.gallery, &how.no_report),
        VR_OPTION_KEEP_GOING(&keep_going),
        VR_OPTION_JSON(&how.json),
    };
    const vr_usage usage = {
        .verb = "eval merge", .line = "--data DIR -o OUT PART...",
        .about = "Joins the answer files of `eval BENCH --chunk K/N` in order and scores the whole.",
        .options = options, .n_options = VR_COUNT(options), .min_args = 1, .max_args = -1, .arg_name = "PART",
        .example = "  vrwkv eval merge --data data/gqa -o gqa.jsonl gqa.*-of-4.jsonl",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON && (!how.out || !data))
        code = vr_usage_error("eval merge", "%s is missing", how.out ? "--data DIR" : "-o OUT");
    if (code == VR_GO_ON) {
        code = 0;
        how.original = manner == VR_MANNER_ORIGINAL;
        if (merge(&words, data, &how, keep_going, &code, &err) != VRWKV_OK) code = vr_report("eval", &err);
    }
    vr_strings_free(&words);
    return code;
}

/* ---- text ---- */

typedef struct text_args {
    vr_model_args model;
    vr_strings tasks;
    const char *data, *out;
    int limit, manner;
    bool json, keep_going;
} text_args;

static int show_task(void *user, const char *task, size_t done, size_t total, double accuracy) {
    vr_progress *bar = user;
    snprintf(bar->note, sizeof bar->note, "%.1f%% right", 100 * accuracy);
    return vr_progress_show(bar, task, done, total);
}

static void print_tasks(const json_t *result) {
    const char *name, *metric;
    json_t *task, *value;
    json_object_foreach(json_object_get(result, "tasks"), name, task) {
        printf("%-28s", name);
        json_object_foreach(json_object_get(task, "metrics"), metric, value) {
            bool share = strcmp(metric, "perplexity") != 0;
            printf("  %s %.*f%s", metric, 2, json_number_value(value) * (share ? 100 : 1), share ? "%" : "");
        }
        printf("  (%lld documents)\n", (long long)json_integer_value(json_object_get(task, "documents")));
    }
    json_object_foreach(json_object_get(result, "averages"), name, value) {
        if (json_is_number(value)) printf("%-28s  average %.2f%%\n", name, json_number_value(value));
    }
}

static vr_status run_text(const text_args *args, int *code, vr_error *err) {
    vr_faults faults = vr_faults_of(args->keep_going);
    vr_progress bar = {0}, loading = {0};
    vrwkv_model *model = NULL;
    json_t *result = NULL;
    char id[256];
    const vr_lm_run_options options = {.names = args->tasks.items,
                                       .n_names = args->tasks.n,
                                       .limit = (size_t)args->limit,
                                       .manner = args->manner == VR_MANNER_FRIENDLY ? VRWKV_FRIENDLY : VRWKV_ORIGINAL,
                                       .faults = &faults,
                                       .progress = show_task,
                                       .user = &bar};
    vr_interrupt_install(false);
    vr_status status = vr_model_args_open(&args->model, &loading, &model, err);
    if (status == VRWKV_OK) status = vr_lm_run(&result, model, args->data, &options, err);
    vr_progress_end();
    if (status == VRWKV_OK) {
        vr_put(result, "model", json_string(vr_model_id(args->model.path, id, sizeof id)));
        vr_put(result, "limit", json_integer(args->limit));
        vr_put(result, "faults", json_integer((json_int_t)faults.count));
        if (args->out) status = vr_json_save(result, args->out, JSON_COMPACT, err);
    }
    if (status == VRWKV_OK && args->json)
        *code = vr_json_print(json_incref(result), 1);
    else if (status == VRWKV_OK)
        print_tasks(result);
    json_decref(result);
    vrwkv_model_close(model);
    return status;
}

int vr_eval_text(int argc, char **argv) {
    text_args args = {0};
    vr_strings words = {0};
    vr_error err = {0};
    const vr_option options[] = {
        VR_OPTIONS_MODEL(&args.model),
        {"data", 'd', VR_OPT_STRING, &args.data, "DIR", "folder of <task>.jsonl files in the published row formats", 0, 0},
        {"task", 0, VR_OPT_LIST, &args.tasks, "NAME", "only tasks that begin so (again for more)", 0, 0},
        {"limit", 'n', VR_OPT_INT, &args.limit, "N", "only the first N documents of each", 0, INT32_MAX},
        {"manner", 0, VR_OPT_CHOICE, &args.manner, "original|friendly",
         "context and choice encoded together (default), or each by itself", 0, 0},
        {"out", 'o', VR_OPT_STRING, &args.out, "FILE", "also write the result, for `eval compare`", 0, 0},
        VR_OPTION_KEEP_GOING(&args.keep_going),
        VR_OPTIONS_MEMORY(&args.model),
        VR_OPTION_JSON(&args.json),
    };
    const vr_usage usage = {
        .verb = "eval text",
        .line = "-m MODEL --data DIR [OPTION]...",
        .about = "Text ability, zero-shot, as lm-eval counts it: LAMBADA (accuracy, perplexity) and multiple choice (acc, "
                 "acc_norm), with the "
                 "paper's English and multilingual averages where all their tasks are there.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 0,
        .max_args = 0,
        .arg_name = "",
        .example = "  vrwkv eval text -m model.gguf --data data/text --task lambada --task piqa -o model.text.json",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON && !args.model.path) code = vr_usage_error("eval text", "-m MODEL is missing");
    if (code == VR_GO_ON && !args.data) code = vr_usage_error("eval text", "--data DIR is missing");
    if (code == VR_GO_ON) {
        code = 0;
        if (run_text(&args, &code, &err) != VRWKV_OK) code = vr_report("eval", &err);
    }
    vr_strings_free(&args.tasks);
    vr_strings_free(&words);
    return code;
}

/* ---- perplexity ---- */

static vr_status run_perplexity(const vr_model_args *args, const char *path, bool json, int *code, vr_error *err) {
    vr_progress loading = {0};
    vrwkv_model *model = NULL;
    vr_map map = {0};
    vr_perplexity p;
    vr_status status = vr_map_open(&map, path, false, err);
    if (status == VRWKV_OK) status = vr_model_args_open(args, &loading, &model, err);
    if (status == VRWKV_OK)
        status = vr_perplexity_of(&p, model, (vr_slice){map.data ? (const char *)map.data : "", map.size}, err);
    if (status == VRWKV_OK && json)
        *code = vr_json_print(json_pack("{s:I, s:I, s:f, s:f, s:f}", "tokens", (json_int_t)p.tokens, "bytes",
                                        (json_int_t)p.bytes, "log_likelihood", p.log_likelihood, "perplexity", p.per_token,
                                        "bits_per_byte", p.bits_per_byte),
                              1);
    else if (status == VRWKV_OK)
        printf("perplexity %.4f a token, %.4f bits a byte (%zu tokens, %zu bytes)\n", p.per_token, p.bits_per_byte, p.tokens,
               p.bytes);
    vr_map_close(&map);
    vrwkv_model_close(model);
    return status;
}

int vr_eval_perplexity(int argc, char **argv) {
    vr_model_args model = {0};
    vr_strings words = {0};
    vr_error err = {0};
    bool json = false;
    const vr_option options[] = {VR_OPTIONS_MODEL(&model), VR_OPTIONS_MEMORY(&model), VR_OPTION_JSON(&json)};
    const vr_usage usage = {
        .verb = "eval perplexity", .line = "-m MODEL FILE",
        .about = "How surprised the model is by a text, read from beginning to end in one state.",
        .options = options, .n_options = VR_COUNT(options), .min_args = 1, .max_args = 1, .arg_name = "FILE",
        .example = "  vrwkv eval perplexity -m model.gguf book.txt",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON && !model.path) code = vr_usage_error("eval perplexity", "-m MODEL is missing");
    if (code == VR_GO_ON) {
        code = 0;
        if (run_perplexity(&model, words.items[0], json, &code, &err) != VRWKV_OK) code = vr_report("eval", &err);
    }
    vr_strings_free(&words);
    return code;
}
