/* What a training reads. The first byte chooses: the rest is its data, its settings (run.json), or one of the
 * three files of a checkpoint, beside which the other two are whole. */
#include "train/checkpoint.h"
#include "train/init.h"
#include "train/settings.h"
#include "train/vocabulary.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) abort();                                                                         \
    } while (0)

/* ---- data ---- */

/* A list is the list that a whole parser sees. */
static void compare_with_whole(const uint8_t *data, size_t size, int64_t n) {
    size_t mark = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    json_error_t fault;
    json_t *whole = json_loadb((const char *)data + mark, size - mark, JSON_REJECT_DUPLICATES, &fault);
    bool too_deep = !whole && json_error_code(&fault) == json_error_stack_overflow; /* one deeper than its samples */
    if (!too_deep && (!json_is_array(whole) || (int64_t)json_array_size(whole) != n)) abort();
    json_decref(whole);
}

static bool has_text_of(const vr_vocab *vocab, const char *text) {
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    bool known = vr_encode(vocab, text, strlen(text), &ids, &n, &capacity, NULL) == VRWKV_OK;
    free(ids);
    return known;
}

static void read_data(const uint8_t *data, size_t size, bool with_vocabulary) {
    char path[64];
    vr_error err = {0};
    vr_dataset *set = NULL;
    vr_small_vocab small = {0};
    const vr_vocab *world;
    int fd = memfd_create("data", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    vr_status status = vr_dataset_open(&set, path, NULL, NULL, &err);
    close(fd);
    if (status != VRWKV_OK) {
        if (!err.message[0] || set) abort();
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '{') break;
        if (data[i] == '[') {
            compare_with_whole(data, size, vr_dataset_size(set));
            break;
        }
    }
    if (with_vocabulary) {
        OK(vr_vocab_world(&world, &err));
        if (vr_small_vocab_make(&small, world, &set, 1, 261, 0, &err) != VRWKV_OK && !err.message[0]) abort();
    }
    for (int64_t i = 0; i < vr_dataset_size(set); i++) {
        vr_record record;
        OK(vr_dataset_read(set, i, &record, &err)); /* the index has read it once */
        for (size_t k = 0; small.vocab && k < record.n_turns; k++)
            if (!has_text_of(small.vocab, record.turns[k].value)) abort();
        vr_record_free(&record);
    }
    vr_small_vocab_free(&small);
    vr_dataset_close(set);
}

/* ---- settings ---- */

static void read_settings(const uint8_t *data, size_t size) {
    vr_train_settings settings, again;
    vr_error err = {0};
    vr_train_settings_default(&settings);
    vr_train_settings_default(&again);
    if (vr_train_settings_parse(&settings, (const char *)data, size, &err) == VRWKV_OK) {
        char *text = vr_train_settings_json(&settings), *twice = NULL;
        if (!text) abort();
        OK(vr_train_settings_parse(&again, text, strlen(text), &err));
        twice = vr_train_settings_json(&again);
        if (!twice || strcmp(text, twice) != 0) abort(); /* what is written is read back as it was */
        free(text);
        free(twice);
    } else if (!err.message[0]) {
        abort();
    }
    vr_train_settings_free(&settings);
    vr_train_settings_free(&again);
}

/* ---- checkpoints ---- */

static const char description[] =
    "{\"version\":\"v6.0\",\"rwkv\":\"x060\",\"n_layer\":1,\"n_embd\":8,\"dim_att\":8,\"head_size\":4,\"vocab_size\":5,"
    "\"dim_ffn\":8,\"rank_mix\":1,\"rank_decay\":1,\"towers\":[]}";
static const char *const files[] = {"latest.json", "step-000001.safetensors", "step-000001.optim.safetensors"};
enum { N_FILES = 3 };
static char folders[N_FILES][64]; /* file i of folder i is the input */
static vr_weight_set set;

static bool is_wanted(const void *user, const vr_part *part, const vr_row *row, int layer, const char *name) {
    (void)user, (void)part, (void)row, (void)layer;
    return strstr(name, "att.time_") != NULL;
}

static void remove_folders(void) {
    char path[128];
    for (int k = 0; k < N_FILES; k++) {
        for (int i = 0; i < N_FILES; i++) {
            snprintf(path, sizeof path, "%s/%s", folders[k], files[i]);
            unlink(path);
        }
        rmdir(folders[k]);
    }
}

static void make_checkpoints(void) {
    const vr_weight_choice choice = {.wanted = is_wanted, .state = true, .lora_rank = 1};
    const vr_progress_mark mark = {.step = 1, .best_loss = 2.5, .best_step = 1};
    const vr_adam adam = {.steps = 1};
    vrwkv_model *model;
    vr_error err;
    OK(vr_init_model(description, 1, 1, &(vrwkv_model_options){.threads = 1}, &model, &err));
    OK(vr_weight_set_open(&set, model, &choice, &err));
    for (int k = 0; k < N_FILES; k++) {
        snprintf(folders[k], sizeof folders[k], "%s/vrwkv_fuzz_train_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (!mkdtemp(folders[k])) abort();
        OK(vr_checkpoint_save(&(vr_checkpoint_place){.folder = folders[k], .keep = 1}, &set, &adam, &mark, false, &err));
    }
    atexit(remove_folders);
}

static void read_checkpoint(int which, const uint8_t *data, size_t size) {
    char path[128];
    vr_progress_mark mark;
    vr_adam adam = {0};
    vr_error err = {0};
    if (!set.model) make_checkpoints();
    snprintf(path, sizeof path, "%s/%s", folders[which], files[which]);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    close(fd);
    if (vr_checkpoint_load(folders[which], &set, &adam, &mark, &err) != VRWKV_OK && !err.message[0]) abort();
    if (which > 0 && mark.step != 1) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    switch (data[0] % 6) {
    case 0: read_data(data + 1, size - 1, false); break;
    case 1: read_data(data + 1, size - 1, true); break;
    case 2: read_settings(data + 1, size - 1); break;
    default: read_checkpoint(data[0] % 6 - 3, data + 1, size - 1);
    }
    return 0;
}
