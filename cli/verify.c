/* verify: runs reference cases and shows, for each expected tensor or value, the worst error, where it
 * is and the bound. What is run and how it is compared is in src/verify/. */
#include "verify/verify.h"

#include "json_out.h"
#include "options.h"
#include "terminal.h"
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shown {
    bool verbose;
    json_t *cases;  /* NULL: text */
    json_t *checks; /* of the case that runs */
} shown;

static const char *const outcomes[] = {[VR_PASSED] = "passed", [VR_FAILED] = "failed", [VR_SKIPPED] = "skipped"};

/* ---- text ---- */

static void print_check(const char *case_name, const vr_check *check, bool verbose) {
    char index[128];
    printf("%s  %s  ", case_name, check->name);
    if (check->measured) {
        printf("abs %.2e  rel %.2e", check->absolute, check->relative);
        if (check->ndim) printf("  at %s", vr_shape_text(check->ndim, check->index, index, sizeof index));
        printf("  bound %.1e", check->bound);
        if (!check->ok || verbose) printf("  found %.9g, expected %.9g", check->found, check->expected);
    } else {
        printf("%s", check->message);
    }
    printf("  %s\n", check->ok ? "ok" : "FAIL");
}

static void print_case(const char *case_name, const char *kind, vr_outcome outcome, const char *message, bool verbose) {
    if (outcome == VR_FAILED)
        printf("%s  FAIL  %s\n", case_name, message);
    else if (outcome == VR_SKIPPED)
        printf("%s  skipped  %s: %s\n", case_name, kind, message);
    else if (verbose)
        printf("%s  passed  %s\n", case_name, kind);
}

/* ---- JSON ---- */

static json_t *check_json(const vr_check *check) {
    json_t *out = json_object();
    json_object_set_new(out, "name", vr_json_text(check->name, strlen(check->name)));
    json_object_set_new(out, "ok", json_boolean(check->ok));
    if (!check->measured) {
        json_object_set_new(out, "message", vr_json_text(check->message, strlen(check->message)));
        return out;
    }
    json_t *index = json_array();
    for (int i = 0; i < check->ndim; i++) json_array_append_new(index, json_integer(check->index[i]));
    json_object_set_new(out, "abs", vr_json_double(check->absolute));
    json_object_set_new(out, "rel", vr_json_double(check->relative));
    json_object_set_new(out, "index", index);
    json_object_set_new(out, "bound", vr_json_double(check->bound));
    json_object_set_new(out, "found", vr_json_double(check->found));
    json_object_set_new(out, "expected", vr_json_double(check->expected));
    return out;
}

static json_t *case_json(shown *to, const char *case_name, const char *kind, vr_outcome outcome, const char *message) {
    json_t *out = json_object();
    json_object_set_new(out, "case", vr_json_text(case_name, strlen(case_name)));
    json_object_set_new(out, "kind", vr_json_text(kind, strlen(kind)));
    json_object_set_new(out, "outcome", json_string(outcomes[outcome]));
    if (message[0]) json_object_set_new(out, "message", vr_json_text(message, strlen(message)));
    json_object_set_new(out, "checks", to->checks ? to->checks : json_array());
    to->checks = NULL;
    return out;
}

/* ---- callbacks ---- */

static void on_check(void *user, const char *case_name, const vr_check *check) {
    shown *to = user;
    if (!to->cases) {
        print_check(case_name, check, to->verbose);
        return;
    }
    if (!to->checks) to->checks = json_array();
    json_array_append_new(to->checks, check_json(check));
}

static void on_case(void *user, const char *case_name, const char *kind, vr_outcome outcome, const char *message) {
    shown *to = user;
    if (to->cases)
        json_array_append_new(to->cases, case_json(to, case_name, kind, outcome, message));
    else
        print_case(case_name, kind, outcome, message, to->verbose);
    fflush(stdout);
}

static int print_json(const vr_verify *verify, shown *to, double seconds) {
    json_t *all = json_object();
    json_object_set_new(all, "passed", json_integer(verify->passed));
    json_object_set_new(all, "failed", json_integer(verify->failed));
    json_object_set_new(all, "skipped", json_integer(verify->skipped));
    json_object_set_new(all, "seconds", vr_json_double(seconds));
    json_object_set_new(all, "cpu", json_string(vrwkv_cpu(NULL)));
    json_object_set_new(all, "cases", to->cases);
    return vr_json_print(all, 1);
}

static int run(vr_verify *verify, const vr_strings *paths, shown *to) {
    double began = vr_seconds();
    bool wrong_path = false;
    vr_error err = {0};
    if (!vrwkv_cpu(&err)) return vr_report("verify", &err);
    verify->user = to;
    for (size_t i = 0; i < paths->n; i++) {
        if (vr_verify_path(verify, paths->items[i], &err) == VRWKV_OK) continue;
        vr_report("verify", &err);
        wrong_path = true;
    }
    double seconds = vr_seconds() - began;
    if (verify->unsupported && !verify->passed && !verify->failed) {
        vr_note("vrwkv verify: nothing was verified: %d skipped", verify->skipped);
        wrong_path = true;
    }
    if (to->verbose) vr_note("%.1f s, kernels %s", seconds, vrwkv_cpu(NULL));
    if (to->cases) {
        if (print_json(verify, to, seconds)) return 1;
    } else {
        printf("%d passed, %d failed, %d skipped\n", verify->passed, verify->failed, verify->skipped);
    }
    return verify->failed || wrong_path;
}

int vr_cmd_verify(int argc, char **argv) {
    vr_verify verify = {.on_check = on_check, .on_case = on_case};
    shown to = {0};
    vr_strings paths = {0};
    bool json = false;
    int manner = 0, threads = 0;
    const vr_option options[] = {
        {.name = "manner", .kind = VR_OPT_CHOICE, .target = &manner, .value = "original|friendly",
         .help = "decode pictures as the original programs do (default) or as people expect"},
        {.name = "strict", .kind = VR_OPT_FLAG, .target = &verify.strict,
         .help = "cases that this version does not support fail"},
        {.name = "threads", .letter = 't', .kind = VR_OPT_INT, .target = &threads, .value = "N",
         .help = "threads to use (default: one per core)", .min = 1, .max = 1024},
        {.name = "json", .kind = VR_OPT_FLAG, .target = &json, .help = "one JSON value on stdout"},
        {.name = "verbose", .letter = 'v', .kind = VR_OPT_FLAG, .target = &to.verbose,
         .help = "also the values where the error is worst, and the cases that passed"},
    };
    const vr_usage usage = {
        .verb = "verify",
        .line = "PATH...",
        .about = "Runs reference cases and compares element by element. PATH is a case's folder (it holds case.json), "
                 "a folder of such, at any depth, or a list file: tokenizer.json, prompts.json, scan_orders.json.",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .min_args = 1,
        .max_args = -1,
        .arg_name = "PATH",
        .notes = "Each line: case, tensor or value, worst absolute error, the same over the tensor's largest absolute\n"
                 "value, the index where it is, the bound, ok or FAIL. The last line counts cases and list files.\n"
                 "Cases of a kind that this version does not support are skipped inside a folder; named alone they fail.\n"
                 "Exit code: 0 all held, 1 some did not, 2 wrong usage.",
        .example = "  vrwkv verify tests/data/cases",
    };
    int code = vr_options_parse(&usage, argc, argv, &paths);
    if (code == VR_GO_ON) {
        verify.manner = manner ? VRWKV_FRIENDLY : VRWKV_ORIGINAL;
        verify.threads = threads;
        if (json) to.cases = json_array();
        code = run(&verify, &paths, &to);
    }
    vr_strings_free(&paths);
    return code;
}
