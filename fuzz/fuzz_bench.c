/* A benchmark's folder: the first byte chooses which, what follows is cut at its zero bytes into the question
 * file, the files of what is right, and the answers. Whatever loads is scored, reported and made ready to
 * be handed in. */
#include "base/io.h"
#include "eval/report.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Files that are read beside the question list. */
static const struct { const char *bench, *files[3]; } golds[] = {
    {"vqav2", {"v2_mscoco_val2014_annotations.json"}},
    {"gqa", {"testdev_balanced_questions.json", "testdev_balanced_questions_multi.json"}},
    {"scienceqa", {"problems.json", "pid_splits.json"}},
    {"textvqa", {"TextVQA_0.5.1_val.json"}},
    {"pope", {"coco/coco_pope_random.json", "coco/coco_pope_popular.json", "coco/coco_pope_adversarial.json"}},
    {"mme", {"MME_Benchmark_release_version/count/0001.txt"}},
    {"mmbench", {NULL}},
    {"vizwiz", {"val_style_annotations.json"}},
    {"listqa", {NULL}},
    {"mmvet", {NULL}},
    {"easyvqa", {NULL}},
};

static char folder[64], answers_file[128];

static char *below(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void each_file(void (*fn)(const char *path)) {
    static const char *const made[] = {"answers.jsonl", "page.html", "upload"}; /* mme's would be a folder */
    for (size_t b = 0; b < VR_COUNT(golds); b++) {
        fn(below(vr_bench_find(golds[b].bench)->splits[0].questions));
        for (size_t i = 0; i < 3 && golds[b].files[i]; i++) fn(below(golds[b].files[i]));
    }
    for (size_t i = 0; i < VR_COUNT(made); i++) fn(below(made[i]));
}

static const char *const inner[] = {"coco", "test", "MME_Benchmark_release_version", "MME_Benchmark_release_version/count"};

static void remove_one(const char *path) { unlink(path); }

static void remove_folder(void) {
    each_file(remove_one);
    for (size_t i = VR_COUNT(inner); i-- > 0;) rmdir(below(inner[i]));
    rmdir(folder);
}

static void make_folder(void) {
    snprintf(folder, sizeof folder, "%s/vrwkv_fuzz_bench_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder)) abort();
    for (size_t i = 0; i < VR_COUNT(inner); i++)
        if (mkdir(below(inner[i]), 0700) != 0) abort();
    snprintf(answers_file, sizeof answers_file, "%s", below("answers.jsonl"));
    atexit(remove_folder);
}

/* The next part of the input, up to a zero byte, as a file. */
static void put(const char *path, const uint8_t **at, const uint8_t *end) {
    const uint8_t *zero = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    size_t n = (size_t)((zero ? zero : end) - *at);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, *at, n) != (ssize_t)n) abort();
    close(fd);
    *at = zero ? zero + 1 : end;
}

static void score(vr_set *set, vr_faults *faults, uint8_t bits) {
    vr_error err = {0};
    vr_answers answers;
    vr_score made;
    if (vr_answers_read(&answers, set, answers_file, faults, &err) != VRWKV_OK) return;
    if (vr_score_make(&made, set, &answers, &err) == VRWKV_OK) {
        const vr_run_result result = {.record = json_object(), .reuse = "none", .reuse_reason = ""};
        const vr_run_report report = {set, &answers, &made, &result, bits & 1, faults->count, 8};
        json_t *json = vr_report_json(&report);
        char *text = json_dumps(json, JSON_COMPACT);
        if (!text) abort();
        if (bits & 2 && vr_report_html(&report, below("page.html"), &err) != VRWKV_OK && !err.message[0]) abort();
        if (bits & 4 && strcmp(set->bench->name, "mme") != 0) vr_submission_save(set, &answers, &made, below("upload"), &err);
        free(text);
        json_decref(json);
        json_decref(result.record);
        vr_score_free(&made);
    } else if (!err.message[0]) {
        abort();
    }
    vr_answers_free(&answers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vr_faults faults = {.keep_going = true};
    vr_error err = {0};
    vr_set set;
    if (size < 2) return 0;
    if (!folder[0]) make_folder();
    size_t which = data[0] % VR_COUNT(golds);
    const vr_bench *bench = vr_bench_find(golds[which].bench);
    const uint8_t *at = data + 2, *end = data + size;
    put(below(bench->splits[0].questions), &at, end);
    for (size_t i = 0; i < 3 && golds[which].files[i]; i++) put(below(golds[which].files[i]), &at, end);
    put(answers_file, &at, end);
    faults.keep_going = data[1] & 8;
    const vr_set_options options = {.faults = &faults, .limit = data[1] & 16 ? 2 : 0};
    if (vr_set_load(&set, bench, folder, &options, &err) == VRWKV_OK) {
        for (size_t i = 0; i < set.n; i++) {
            vr_str prompt = {0};
            vr_bench_prompt(&set, &set.questions[i], data[1] & 32 ? VR_FAMILY_V7 : VR_FAMILY_V6, &prompt, &err);
            vr_str_free(&prompt);
        }
        score(&set, &faults, data[1]);
        vr_set_free(&set);
    } else if (!err.message[0]) {
        abort();
    }
    return 0;
}
