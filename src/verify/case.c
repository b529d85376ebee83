/* Finds cases, loads them and hands them to the runner of their kind.
 *
 * A case is a folder with case.json; a list file is known by its name. Both tables are below: a new
 * kind is one row and one function. Folders are walked in the order of their names; a case's folder
 * may hold further cases. What this version does not run is skipped when a walk meets it, and fails
 * when it is what the caller named. */
#include "base/memory.h"
#include "verify/verify.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEPEST 32

typedef struct runner_row {
    const char *kind;
    vr_run_fn run;     /* NULL: not run */
    const char *reason; /* why not */
    bool harmless;     /* nothing to run: not even --strict fails it */
} runner_row;

static const runner_row kinds[] = {
    {.kind = "infer", .run = vr_verify_infer},
    {.kind = "infer-batch", .run = vr_verify_infer_batch},
    {.kind = "text-state", .run = vr_verify_text_state},
    {.kind = "tower", .run = vr_verify_tower},
    {.kind = "resample", .run = vr_verify_resample},
    {.kind = "preprocess", .run = vr_verify_preprocess},
    {.kind = "data", .run = vr_verify_data},
    {.kind = "note", .reason = "a note: nothing to run", .harmless = true},
    {.kind = "train", .run = vr_verify_train},
    {.kind = "train-dataset", .run = vr_verify_train_dataset},
    {.kind = "score", .run = vr_verify_score},
    {.kind = "normalise", .run = vr_verify_normalise},
    {.kind = "rank", .run = vr_verify_rank},
    {.kind = "text-score", .run = vr_verify_text_score},
};

static const runner_row lists[] = {
    {.kind = "tokenizer.json", .run = vr_verify_tokenizer},
    {.kind = "prompts.json", .run = vr_verify_prompts},
    {.kind = "scan_orders.json", .run = vr_verify_scans},
    {.kind = "lr_schedule.json", .run = vr_verify_schedule},
    {.kind = "sampler.json", .run = vr_verify_sampler},
    {.kind = "init.json", .run = vr_verify_init},
};

static const runner_row *find_runner(const runner_row *table, size_t n, const char *kind) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].kind, kind) == 0) return &table[i];
    return NULL;
}

/* ---- settings ---- */

char *vr_path_join(const char *folder, const char *relative) {
    size_t n = strlen(folder) + strlen(relative) + 2;
    char *path = vr_alloc(n, 1);
    if (path) snprintf(path, n, "%s/%s", folder, relative);
    return path;
}

vr_status vr_scratch_make(char folder[VR_SCRATCH_ROOM], vr_error *err) {
    const char *parent = getenv("TMPDIR");
    int n = snprintf(folder, VR_SCRATCH_ROOM, "%s/vrwkv-verify-XXXXXX", parent && *parent ? parent : P_tmpdir);
    if (n < 0 || n >= VR_SCRATCH_ROOM)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "TMPDIR is too long: %zu bytes", strlen(parent));
    return mkdtemp(folder) ? VRWKV_OK : vr_fail_io(err, "make the folder", folder);
}

void vr_scratch_remove(const char *folder) {
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *path = entry->d_name[0] == '.' ? NULL : vr_path_join(folder, entry->d_name);
        if (path) unlink(path);
        free(path);
    }
    if (dir) closedir(dir);
    rmdir(folder);
}

int64_t vr_case_int(const json_t *object, const char *key, int64_t otherwise) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}

const char *vr_case_text(const json_t *object, const char *key, const char *otherwise) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : otherwise;
}

vr_status vr_case_ids(const json_t *list, const char *what, int32_t **ids, size_t *n, vr_error *err) {
    *n = json_array_size(list);
    *ids = NULL;
    if (!json_is_array(list)) return vr_fail(err, VRWKV_ERR_FORMAT, "%s is missing or no list", what);
    int32_t *out = vr_alloc(*n ? *n : 1, sizeof *out);
    if (!out) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu ids", *n);
    for (size_t i = 0; i < *n; i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < INT32_MIN || id > INT32_MAX) {
            free(out);
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s[%zu] is no id", what, i);
        }
        out[i] = (int32_t)id;
    }
    *ids = out;
    return VRWKV_OK;
}

static vr_status load_json(json_t **out, const char *path, vr_error *err) {
    json_error_t fault;
    *out = json_load_file(path, JSON_ALLOW_NUL, &fault);
    if (*out) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s: line %d: %s", path, fault.line, fault.text);
}

static void case_free(vr_case *item) {
    free(item->folder);
    free(item->path);
    json_decref(item->json);
    vr_weights_close(item->expect);
    *item = (vr_case){0};
}

static vr_status case_load(vr_case *item, const char *folder, const char *file, bool is_list, vr_error *err) {
    struct stat info;
    *item = (vr_case){.folder = vr_strdup(folder), .path = vr_path_join(folder, file)};
    char *expect = vr_path_join(folder, "expect.safetensors");
    vr_status status = VRWKV_OK;
    if (!item->folder || !item->path || !expect) status = vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    if (status == VRWKV_OK) status = load_json(&item->json, item->path, err);
    if (status == VRWKV_OK && !is_list && !json_is_object(item->json)) /* lists may be arrays */
        status = vr_fail(err, VRWKV_ERR_FORMAT, "%s is no JSON object", item->path);
    if (status == VRWKV_OK && !is_list && stat(expect, &info) == 0)
        status = vr_weights_open(&item->expect, expect, NULL, err);
    free(expect);
    return status;
}

/* ---- one case ---- */

static void finish(vr_verify *verify, const char *kind, vr_outcome outcome, const char *message) {
    int *counts[] = {[VR_PASSED] = &verify->passed, [VR_FAILED] = &verify->failed, [VR_SKIPPED] = &verify->skipped};
    ++*counts[outcome];
    if (verify->on_case) verify->on_case(verify->user, verify->case_name, kind, outcome, message);
}

static void run_loaded(vr_verify *verify, const vr_case *item, const runner_row *runner, vr_error *err) {
    char message[1200] = "";
    vr_outcome outcome = VR_PASSED;
    vr_status status = runner->run(verify, item, err);
    if (status != VRWKV_OK) {
        outcome = VR_FAILED;
        snprintf(message, sizeof message, "%s", err->message);
    } else if (verify->failed_checks) {
        outcome = VR_FAILED;
        snprintf(message, sizeof message, "%d of %d checks failed", verify->failed_checks, verify->checks);
    } else if (verify->checks == 0) {
        outcome = VR_FAILED;
        snprintf(message, sizeof message, "the case expects nothing");
    }
    if (outcome == VR_FAILED && json_is_true(json_object_get(item->json, "optional"))) {
        char reason[1300];
        snprintf(reason, sizeof reason, "optional, and did not hold: %s", message);
        finish(verify, runner->kind, VR_SKIPPED, reason);
        return;
    }
    finish(verify, runner->kind, outcome, message);
}

/* `explicit`: the caller named this very case. */
static void run_case(vr_verify *verify, const char *name, const char *folder, const char *file, bool explicit) {
    vr_error err = {0};
    vr_case item;
    bool is_list = strcmp(file, "case.json") != 0;
    const char *kind = file;
    verify->case_name = name;
    verify->checks = verify->failed_checks = 0;
    if (case_load(&item, folder, file, is_list, &err) != VRWKV_OK) {
        finish(verify, is_list ? file : "", VR_FAILED, err.message);
        case_free(&item);
        return;
    }
    if (!is_list) kind = vr_case_text(item.json, "kind", "");
    const runner_row *runner =
        is_list ? find_runner(lists, VR_COUNT(lists), kind) : find_runner(kinds, VR_COUNT(kinds), kind);
    if (!runner) {
        vr_fail(&err, VRWKV_ERR_UNSUPPORTED, "kind \"%s\" is unknown", kind);
        finish(verify, kind, VR_FAILED, err.message);
    } else if (runner->run) {
        run_loaded(verify, &item, runner, &err);
    } else if (runner->harmless || json_is_true(json_object_get(item.json, "optional"))) {
        finish(verify, kind, VR_SKIPPED, runner->reason);
    } else {
        verify->unsupported++;
        finish(verify, kind, verify->strict || explicit ? VR_FAILED : VR_SKIPPED, runner->reason);
    }
    case_free(&item);
}

/* ---- walking ---- */

typedef struct ancestor { /* folders on the way down: a link back to one of them is not followed */
    const struct ancestor *up;
    dev_t device;
    ino_t inode;
    int depth;
} ancestor;

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void walk(vr_verify *verify, const char *name, const char *folder, const ancestor *up, bool explicit) {
    struct stat info;
    struct dirent **entries = NULL;
    ancestor here = {.up = up, .depth = up ? up->depth + 1 : 0};
    if (stat(folder, &info) != 0 || here.depth > DEEPEST) return;
    here.device = info.st_dev;
    here.inode = info.st_ino;
    for (const ancestor *i = up; i; i = i->up)
        if (i->device == here.device && i->inode == here.inode) return;
    int n = scandir(folder, &entries, visible, alphasort);
    bool is_case = false; /* then lists beside case.json are parts of that case */
    for (int i = 0; i < n; i++) is_case |= strcmp(entries[i]->d_name, "case.json") == 0;
    for (int i = 0; i < n; i++) {
        const char *entry = entries[i]->d_name;
        char *path = vr_path_join(folder, entry), *label = vr_path_join(name, entry);
        if (path && label && stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode))
                walk(verify, label, path, &here, false);
            else if (strcmp(entry, "case.json") == 0)
                run_case(verify, name, folder, entry, explicit);
            else if (!is_case && find_runner(lists, VR_COUNT(lists), entry))
                run_case(verify, label, folder, entry, false);
        }
        free(path);
        free(label);
        free(entries[i]);
    }
    free(entries);
}

/* A list file, or the case.json of a case, named by itself. */
static vr_status verify_file(vr_verify *verify, char *path, vr_error *err) {
    char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path, *folder = slash ? path : ".";
    if (strcmp(file, "case.json") != 0 && !find_runner(lists, VR_COUNT(lists), file))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s is neither a case's folder nor a list file known by its name", path);
    if (slash) *slash = 0;
    if (slash == path) folder = "/";
    run_case(verify, strcmp(file, "case.json") == 0 ? folder : file, folder, file, true);
    return VRWKV_OK;
}

vr_status vr_verify_path(vr_verify *verify, const char *path, vr_error *err) {
    struct stat info;
    int before = verify->passed + verify->failed + verify->skipped;
    if (stat(path, &info) != 0) return vr_fail_io(err, "open", path);
    char *copy = vr_strdup(path);
    if (!copy) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    vr_status status = VRWKV_OK;
    if (S_ISDIR(info.st_mode)) {
        size_t n = strlen(copy);
        while (n > 1 && copy[n - 1] == '/') copy[--n] = 0;
        const char *slash = strrchr(copy, '/');
        walk(verify, slash && slash[1] ? slash + 1 : copy, copy, NULL, true);
        if (verify->passed + verify->failed + verify->skipped == before)
            status = vr_fail(err, VRWKV_ERR_ARGUMENT, "%s holds no case: no case.json and no list file below it", path);
    } else {
        status = verify_file(verify, copy, err);
    }
    verify->case_name = NULL;
    free(copy);
    return status;
}
