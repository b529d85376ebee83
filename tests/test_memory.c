/* Memory that runs out: every allocation of convert, open, encode, ask, generate, save and load fails in
 * turn. Each failure must come back as an error with a message, or do no harm at all: the same answer.
 * Leaks are what the sanitizer build of this test looks for. The JSON library's own allocations are left
 * out: its parser (jansson 2.14) frees a wrong pointer when one of them fails. */
#include "vl/convert.h"
#include "vl/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CASES VRWKV_SOURCE_DIR "/tests/data/cases/v6/"
#define MODEL CASES "grid-none-first/model.pth"
#define CONFIG CASES "grid-none-first/case.json"
#define PICTURE CASES "grid-none-first/image.png"
#define TOKENS 6

/* ---- allocations that fail ---- */

static _Atomic long countdown = -1; /* the allocation that comes when it is 0 fails; below: none */
static _Atomic long failures;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_mmap(void *at, size_t n, int protection, int flags, int file, off_t offset);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int file, off_t offset);

static bool fails(void) {
    if (countdown < 0 || countdown-- != 0) return false;
    failures++;
    return true;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }

void *__wrap_mmap(void *at, size_t n, int protection, int flags, int file, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap(at, n, protection, flags, file, offset);
}

/* ---- what is done with it ---- */

static char folder[] = "/tmp/vrwkv_memory_XXXXXX";
static char model_path[64], copy_path[64], state_path[64], features_path[64], vocab_path[64];

typedef struct answer {
    int32_t ids[TOKENS];
    int n;
    float logprob;
    uint64_t bytes; /* of the file that was written */
} answer;

static int on_token(void *user, int32_t token, const char *text, size_t n) {
    answer *a = user;
    (void)text, (void)n;
    if (a->n < TOKENS) a->ids[a->n++] = token;
    return 0;
}

typedef vr_status (*deed)(answer *a, vr_error *err);

static vr_status convert(const char *out, vr_error *err) {
    const char *source = MODEL;
    vr_settings *settings = NULL;
    VR_TRY(vr_settings_file(&settings, CONFIG, err));
    vr_convert_options options = {.sources = &source, .n_sources = 1, .out = out, .keep_type = true, .settings = settings,
                                  .vocab_file = vocab_path};
    vr_status status = vr_convert(&options, err);
    vr_settings_free(settings);
    return status;
}

static vr_status converting(answer *a, vr_error *err) {
    struct stat info;
    VR_TRY(convert(copy_path, err));
    a->bytes = stat(copy_path, &info) == 0 ? (uint64_t)info.st_size : 0;
    return VRWKV_OK;
}

static vr_status opening(answer *a, vr_error *err) {
    vrwkv_model *model = NULL;
    (void)a;
    vr_status status = vrwkv_model_open(model_path, &(vrwkv_model_options){.threads = 2}, &model, err);
    vrwkv_model_close(model);
    return status;
}

static vrwkv_model *shared; /* opened once, for what comes after opening */

static vr_status talk(vrwkv_context *context, vrwkv_features *picture, answer *a, vr_error *err) {
    const vrwkv_generate_options options = {.max_tokens = TOKENS, .stop_tokens = &(int32_t){-1}, .n_stop_tokens = 1};
    static const int32_t more[] = {65, 66, 67};
    float logprobs[3];
    VR_TRY(vrwkv_ask(context, "What is this?", picture ? &picture : NULL, picture ? 1 : 0, err));
    VR_TRY(vrwkv_generate(context, &options, on_token, a, NULL, err));
    VR_TRY(vrwkv_score(context, more, 3, logprobs, err));
    a->logprob = logprobs[2];
    return vrwkv_feed_text(context, "ok", 2, err);
}

static vr_status asking(answer *a, vr_error *err) {
    vrwkv_features *picture = NULL;
    vrwkv_context *context = NULL, *fork = NULL;
    const vrwkv_context_options options = {.sampling = {.top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1}};
    vr_status status = vrwkv_encode_file(shared, PICTURE, VRWKV_FRIENDLY, &picture, err);
    if (status == VRWKV_OK) status = vrwkv_context_new(shared, &options, &context, err);
    if (status == VRWKV_OK) status = talk(context, picture, a, err);
    if (status == VRWKV_OK) status = vrwkv_fork(context, &fork, err);
    vrwkv_context_free(fork);
    vrwkv_context_free(context);
    vrwkv_features_free(picture);
    return status;
}

static vr_status saving(answer *a, vr_error *err) {
    vrwkv_features *picture = NULL, *again = NULL;
    vrwkv_context *context = NULL;
    (void)a;
    vr_status status = vrwkv_encode_pixels(shared, NULL, 1, &picture, err);
    if (status == VRWKV_OK) status = vrwkv_features_save(picture, features_path, err);
    if (status == VRWKV_OK) status = vrwkv_features_load(shared, features_path, &again, err);
    if (status == VRWKV_OK) status = vrwkv_context_new(shared, NULL, &context, err);
    if (status == VRWKV_OK) status = vrwkv_ask(context, "Hi", NULL, 0, err);
    if (status == VRWKV_OK) status = vrwkv_state_save(context, state_path, 1, err);
    if (status == VRWKV_OK) status = vrwkv_state_load(context, state_path, err);
    vrwkv_context_free(context);
    vrwkv_features_free(again);
    vrwkv_features_free(picture);
    return status;
}

static vr_status text_to_ids_and_back(answer *a, vr_error *err) {
    char text[64];
    size_t n;
    VR_TRY(vrwkv_prompt(shared, "Hi", 1, a->ids, TOKENS, &n, err));
    VR_TRY(vrwkv_tokenize(shared, "abc", 3, a->ids, TOKENS, &n, err));
    a->n = (int)n;
    return vrwkv_detokenize(shared, a->ids, n, text, sizeof text, &n, err);
}

/* ---- each allocation in turn ---- */

static void fail_in_turn(deed act, const char *name) {
    answer expected = {0};
    vr_error err = {0};
    long n = 0, harmless = 0;
    if (act(&expected, &err) != VRWKV_OK) fail_msg("%s: %s", name, err.message);
    for (;; n++) {
        answer found = {0};
        err = (vr_error){0};
        failures = 0;
        countdown = n;
        vr_status status = act(&found, &err);
        countdown = -1;
        if (!failures) break; /* all have had their turn */
        if (status == VRWKV_OK) {
            harmless++;
            if (memcmp(&found, &expected, sizeof found) != 0) fail_msg("%s: allocation %ld fails unsaid", name, n);
        } else if (status != err.status || !err.message[0]) {
            fail_msg("%s: allocation %ld fails with status %d and message '%s'", name, n, (int)status, err.message);
        }
    }
    printf("%s: %ld allocations, %ld of them not needed\n", name, n, harmless);
    assert_true(n > 0);
}

static void converting_runs_out(void **state) {
    (void)state;
    fail_in_turn(converting, "convert");
    /* failures left the good file as it was */
    vrwkv_model *model = NULL;
    vr_error err = {0};
    if (vrwkv_model_open(copy_path, NULL, &model, &err) != VRWKV_OK) fail_msg("%s", err.message);
    vrwkv_model_close(model);
}

static void opening_runs_out(void **state) {
    (void)state;
    fail_in_turn(opening, "open");
}

static void asking_runs_out(void **state) {
    (void)state;
    fail_in_turn(asking, "encode, ask, generate, score");
}

static void saving_runs_out(void **state) {
    (void)state;
    fail_in_turn(saving, "save, load");
}

static void text_runs_out(void **state) {
    (void)state;
    fail_in_turn(text_to_ids_and_back, "text");
}

static int set_up(void **state) {
    vr_error err = {0};
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(copy_path, sizeof copy_path, "%s/copy.gguf", folder);
    snprintf(state_path, sizeof state_path, "%s/state", folder);
    snprintf(features_path, sizeof features_path, "%s/features", folder);
    snprintf(vocab_path, sizeof vocab_path, "%s/vocab", folder);
    FILE *vocab = fopen(vocab_path, "w");
    for (int i = 0; vocab && i < 256; i++) fprintf(vocab, "%d b'\\x%02x' 1\n", i + 1, i);
    if (!vocab || fclose(vocab) != 0) return -1;
    if (convert(model_path, &err) != VRWKV_OK || vrwkv_model_open(model_path, &(vrwkv_model_options){.threads = 2}, &shared, &err) != VRWKV_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    vrwkv_model_close(shared);
    const char *const files[] = {model_path, copy_path, state_path, features_path, vocab_path};
    for (size_t i = 0; i < VR_COUNT(files); i++) unlink(files[i]);
    return rmdir(folder); /* fails where a temporary file was left */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converting_runs_out), cmocka_unit_test(opening_runs_out), cmocka_unit_test(asking_runs_out),
        cmocka_unit_test(saving_runs_out),     cmocka_unit_test(text_runs_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
