/* scenes-score: asks a model the questions of a folder that scenes made, and tells for each kind how many it
 * answers as they expect, word for word. */
#include "json_out.h"
#include "options.h"
#include "terminal.h"

#include "base/io.h"
#include "base/memory.h"
#include "eval/str.h"

#include <stdlib.h>
#include <string.h>

const char vr_program[] = "";

#define NAME "scenes-score"
#define MOST_TOKENS 64

typedef struct score_args {
    const char *model, *folder, *wrong;
    int split, limit, threads;
    bool json;
} score_args;

/* Of the questions in one row and one column of the table. */
typedef struct tally { int right, asked; } tally;

static const char *const split_names[] = {"test", "train"};

enum { ALL, SEEN, NOVEL, ENGLISH, CHINESE, FOLLOW_UPS, COLUMNS };
static const char *const columns[COLUMNS] = {"all", "seen", "novel", "English", "Chinese", "follow-ups"};
/* As scenes writes them; the last row is all that the model is expected to know. */
static const char *const rows[] = {"colour", "shape", "size", "count", "position", "relation", "exist", "digit",
                                   "word", "caption", "all but word and caption"};
enum { ROWS = VR_COUNT(rows), TOTAL = ROWS - 1, NOT_IN_TOTAL = ROWS - 3 };

typedef struct scorer {
    vrwkv_model *model;
    vrwkv_context *empty, *talk;
    vrwkv_features *picture;
    char *image; /* that `picture` is of */
    tally table[ROWS][COLUMNS];
    FILE *wrong;
} scorer;

typedef struct text { char bytes[1024]; size_t n; } text; /* longer answers are cut: they are wrong */

static int add_text(void *user, int32_t token, const char *bytes, size_t n) {
    text *t = user;
    (void)token;
    if (n > sizeof t->bytes - t->n) n = sizeof t->bytes - t->n;
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    return 0;
}

static const char *word_of(const json_t *question, const char *key) {
    const char *word = json_string_value(json_object_get(question, key));
    return word ? word : "";
}

static vr_status look(scorer *s, const score_args *args, const char *image, vr_error *err) {
    char path[VR_PATH_ROOM];
    if (s->image && strcmp(s->image, image) == 0) return VRWKV_OK;
    VR_TRY(vr_path_make(path, args->folder, image, err));
    vrwkv_features_free(s->picture);
    free(s->image);
    s->picture = NULL;
    s->image = vr_strdup(image);
    if (!s->image) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    return vrwkv_encode_file(s->model, path, VRWKV_FRIENDLY, &s->picture, err);
}

/* One turn; the first one sees the picture. */
static vr_status ask(scorer *s, const char *question, bool first, text *answer, vr_error *err) {
    const vrwkv_generate_options options = {.max_tokens = MOST_TOKENS};
    *answer = (text){.n = 0};
    VR_TRY(vrwkv_ask(s->talk, question, &s->picture, first ? 1 : 0, err));
    return vrwkv_generate(s->talk, &options, add_text, answer, NULL, err);
}

/* What a follow-up refers to is asked before it; the model goes on from its own answers. */
static vr_status answer_question(scorer *s, const score_args *args, const json_t *question, text *answer, vr_error *err) {
    const json_t *history = json_object_get(question, "history");
    size_t before = json_array_size(history) / 2;
    VR_TRY(look(s, args, word_of(question, "image"), err));
    VR_TRY(vrwkv_copy(s->talk, s->empty, err));
    for (size_t i = 0; i < before; i++) {
        const char *earlier = json_string_value(json_array_get(history, 2 * i));
        VR_TRY(ask(s, earlier ? earlier : "", i == 0, answer, err));
    }
    return ask(s, word_of(question, "text"), before == 0, answer, err);
}

static int row_of(const char *kind) {
    for (int r = 0; r < TOTAL; r++)
        if (strcmp(rows[r], kind) == 0) return r;
    return -1;
}

static void count(scorer *s, int row, const json_t *question, bool right) {
    bool novel = json_is_true(json_object_get(question, "novel")), chinese = strcmp(word_of(question, "language"), "zh") == 0;
    const bool belongs[COLUMNS] = {true, !novel, novel, !chinese, chinese, strcmp(word_of(question, "form"), "follow") == 0};
    for (int c = 0; c < COLUMNS; c++) {
        s->table[row][c].asked += belongs[c];
        s->table[row][c].right += belongs[c] && right;
    }
}

static vr_status score_line(scorer *s, const score_args *args, const char *line, int64_t number, vr_error *err) {
    json_error_t fault;
    text answer;
    json_t *question = json_loads(line, 0, &fault);
    if (!question) return vr_fail(err, VRWKV_ERR_FORMAT, "line %lld: %s", (long long)number, fault.text);
    int row = row_of(word_of(question, "kind"));
    vr_status status = row < 0 ? vr_fail(err, VRWKV_ERR_FORMAT, "line %lld: kind '%s' is unknown", (long long)number, word_of(question, "kind"))
                               : answer_question(s, args, question, &answer, err);
    if (status == VRWKV_OK) {
        vr_slice said = vr_trim((vr_slice){answer.bytes, answer.n});
        bool right = vr_slice_is(said, word_of(question, "answer"));
        count(s, row, question, right);
        if (row < NOT_IN_TOTAL) count(s, TOTAL, question, right);
        if (!right && s->wrong)
            fprintf(s->wrong, "%s\t%s\t%s\t%s\t%.*s\n", word_of(question, "image"), rows[row], word_of(question, "text"),
                    word_of(question, "answer"), (int)said.n, said.p);
    }
    json_decref(question);
    return status;
}

static vr_status score_file(scorer *s, const score_args *args, vr_error *err) {
    char path[VR_PATH_ROOM], name[64], *line = NULL;
    size_t room = 0;
    vr_progress bar = {0};
    vr_status status = VRWKV_OK;
    snprintf(name, sizeof name, "%s.questions.jsonl", split_names[args->split]);
    VR_TRY(vr_path_make(path, args->folder, name, err));
    FILE *file = fopen(path, "rb");
    if (!file) return vr_fail(err, VRWKV_ERR_IO, "cannot open '%s'; scenes makes it", path);
    fseek(file, 0, SEEK_END);
    uint64_t size = (uint64_t)ftell(file);
    rewind(file);
    for (int64_t n = 1; status == VRWKV_OK && (!args->limit || n <= args->limit) && getline(&line, &room, file) > 0; n++) {
        status = score_line(s, args, line, n, err);
        if (status == VRWKV_OK && vr_progress_show(&bar, "asking", (uint64_t)ftell(file), size))
            status = vr_fail(err, VRWKV_ERR_CANCELLED, "interrupted");
    }
    vr_progress_end();
    free(line);
    fclose(file);
    return status;
}

static int print_table(const scorer *s) {
    printf("%-26s", "right, in %");
    for (int c = 0; c < COLUMNS; c++) printf("%11s", columns[c]);
    printf("%10s\n", "questions");
    for (int r = 0; r < ROWS; r++) {
        printf("%-26s", rows[r]);
        for (int c = 0; c < COLUMNS; c++) {
            tally t = s->table[r][c];
            if (t.asked)
                printf("%11.1f", 100.0 * t.right / t.asked);
            else
                printf("%11s", "-");
        }
        printf("%10d\n", s->table[r][ALL].asked);
    }
    return 0;
}

static int print_json(const scorer *s) {
    json_t *all = json_object();
    for (int r = 0; r < ROWS; r++) {
        json_t *row = json_object();
        for (int c = 0; c < COLUMNS; c++)
            json_object_set_new(row, columns[c], json_pack("{s:i,s:i}", "right", s->table[r][c].right, "asked", s->table[r][c].asked));
        json_object_set_new(all, rows[r], row);
    }
    return vr_json_print(all, 2);
}

static vr_status run(const score_args *args, int *code, vr_error *err) {
    const vrwkv_model_options options = {.threads = args->threads};
    const vrwkv_context_options greedy = {.sampling = {.top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1}};
    scorer s = {.model = NULL};
    vr_writer wrong = {0};
    vr_status status = vrwkv_model_open(args->model, &options, &s.model, err);
    if (status == VRWKV_OK) status = vrwkv_context_new(s.model, &greedy, &s.empty, err);
    if (status == VRWKV_OK) status = vrwkv_fork(s.empty, &s.talk, err);
    if (status == VRWKV_OK && args->wrong) status = vr_writer_open(&wrong, args->wrong, err);
    s.wrong = wrong.file;
    if (status == VRWKV_OK) status = score_file(&s, args, err);
    if (status == VRWKV_OK && s.wrong) status = vr_writer_commit(&wrong, err);
    else if (s.wrong) vr_writer_abandon(&wrong);
    if (status == VRWKV_OK) *code = (args->json ? print_json : print_table)(&s);
    free(s.image);
    vrwkv_features_free(s.picture);
    vrwkv_context_free(s.talk);
    vrwkv_context_free(s.empty);
    vrwkv_model_close(s.model);
    return status == VRWKV_OK ? vr_stdout_flush(err) : status;
}

int main(int argc, char **argv) {
    score_args args = {.threads = 0};
    vr_error err = {0};
    const vr_option options[] = {
        {"model", 'm', VR_OPT_STRING, &args.model, "FILE", "the model (.gguf, or a checkpoint of train)", 0, 0},
        {"data", 'd', VR_OPT_STRING, &args.folder, "DIR", "what scenes -o wrote", 0, 0},
        {"split", 0, VR_OPT_CHOICE, &args.split, "test|train", "which of the two (default test)", 0, 0},
        {"limit", 'n', VR_OPT_INT, &args.limit, "N", "only the first N questions", 1, 999999},
        {"wrong", 0, VR_OPT_STRING, &args.wrong, "FILE",
         "wrong answers, a line each: picture, kind, question, expected, found", 0, 0},
        {"threads", 't', VR_OPT_INT, &args.threads, "N", "threads to use (default: one per core)", 1, 1024},
        {"json", 0, VR_OPT_FLAG, &args.json, NULL, "counts as JSON", 0, 0},
    };
    const vr_usage usage = {
        .verb = NAME,
        .line = "-m MODEL -d DIR [OPTION]...",
        .about = "Asks a model the questions of a folder that scenes made and counts, for each kind, the answers that are "
                 "word for word the expected ones. Follow-ups come after the questions they refer to.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  scenes --seed 1 -n 1000 --split test -o data && scenes-score -m models/scenes.gguf -d data",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    if (!args.model || !args.folder) return vr_usage_error(NAME, "%s is missing", args.model ? "-d DIR" : "-m MODEL");
    vr_interrupt_install(false);
    return run(&args, &code, &err) == VRWKV_OK ? code : vr_report(NAME, &err);
}
