/* chat: a conversation. The history is the state: nothing is ever read twice. Before each turn the
 * conversation is forked, so that /undo is a copy. Works in pipes too: one line in, one answer out. */
#include "answer.h"
#include "verbs.h"

#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNDO_DEPTH 16
#define MAX_PENDING 8 /* pictures that wait for the next question */

/* The conversation as it was before a turn, with the pictures that the turn took. */
typedef struct snapshot {
    vrwkv_context *context;
    vrwkv_features *pictures[MAX_PENDING];
    size_t n_pictures;
} snapshot;

typedef struct chat {
    vr_model_args model_args;
    vr_strings images;
    const char *state_in;
    bool greedy, no_blank_image;
    int max_tokens, manner;
    vrwkv_sampling sampling;
    vr_u64 seed;

    vrwkv_model *model;
    vrwkv_context *context;
    vrwkv_features *pending[MAX_PENDING];
    size_t n_pending;
    snapshot undo[UNDO_DEPTH]; /* the oldest first */
    size_t n_undo;
    vr_answer answer;
    bool terminal, quit;
} chat;

/* ---- snapshots ---- */

static void snapshot_free(snapshot *old) {
    for (size_t i = 0; i < old->n_pictures; i++) vrwkv_features_free(old->pictures[i]);
    vrwkv_context_free(old->context);
    *old = (snapshot){0};
}

static vr_status remember(chat *c, vr_error *err) {
    snapshot now = {0};
    if (c->n_undo == UNDO_DEPTH) { /* the oldest gives its memory to the newest */
        snapshot oldest = c->undo[0];
        memmove(c->undo, c->undo + 1, (UNDO_DEPTH - 1) * sizeof *c->undo);
        c->n_undo--;
        now.context = oldest.context;
        oldest.context = NULL;
        snapshot_free(&oldest);
        VR_TRY(vrwkv_copy(now.context, c->context, err));
    } else {
        VR_TRY(vrwkv_fork(c->context, &now.context, err));
    }
    for (size_t i = 0; i < c->n_pending; i++) now.pictures[i] = vrwkv_features_share(c->pending[i]);
    now.n_pictures = c->n_pending;
    c->undo[c->n_undo++] = now;
    return VRWKV_OK;
}

static void drop_pending(chat *c) {
    for (size_t i = 0; i < c->n_pending; i++) vrwkv_features_free(c->pending[i]);
    c->n_pending = 0;
}

/* Back to before the last turn; its pictures wait again. False: there is nothing to take back. */
static bool take_back(chat *c) {
    if (!c->n_undo) return false;
    snapshot *last = &c->undo[--c->n_undo];
    vr_error err = {0};
    if (vrwkv_copy(c->context, last->context, &err) != VRWKV_OK) vr_note("%s", err.message);
    drop_pending(c);
    memcpy(c->pending, last->pictures, sizeof c->pending);
    c->n_pending = last->n_pictures;
    last->n_pictures = 0;
    snapshot_free(last);
    return true;
}

/* ---- a turn ---- */

static int on_token(void *user, int32_t token, const char *text, size_t n) {
    chat *c = user;
    vr_error err = {0};
    (void)token;
    return vr_answer_add(&c->answer, text, n, &err) != VRWKV_OK || vr_interrupted();
}

/* An answer that did not end by itself is closed, so that the next question begins a new turn. */
static vr_status close_turn(chat *c, const vrwkv_result *result, vr_error *err) {
    if (result->stop == VRWKV_STOP_TOKEN || result->stop == VRWKV_STOP_STRING) return VRWKV_OK;
    return vrwkv_feed_text(c->context, "\n\n", 2, err);
}

static vr_status reply(chat *c, const char *question, vr_error *err) {
    const vrwkv_generate_options options = {.max_tokens = c->max_tokens};
    vrwkv_result result = {0};
    if (c->n_pending) vr_progress_say("reading the picture and the question");
    vr_interrupt_target(c->context);
    vr_status status = vrwkv_ask(c->context, question, c->pending, c->n_pending, err);
    vr_interrupt_target(NULL);
    vr_progress_end();
    VR_TRY(status);
    drop_pending(c);
    VR_TRY(vrwkv_generate(c->context, &options, on_token, c, &result, err));
    return close_turn(c, &result, err);
}

static vr_status turn(chat *c, const char *question, vr_error *err) {
    vr_answer_free(&c->answer);
    c->answer.cut_at_blank_line = c->manner == VRWKV_ORIGINAL;
    VR_TRY(remember(c, err));
    vr_status status = reply(c, question, err);
    putchar('\n');
    if (c->terminal) putchar('\n');
    fflush(stdout);
    if (status != VRWKV_OK) take_back(c);
    if (status == VRWKV_ERR_CANCELLED) {
        vr_note("(the question was not read)");
        return VRWKV_OK;
    }
    return status;
}

/* ---- commands ---- */

static vr_status add_picture(chat *c, const char *path, vr_error *err) {
    vr_image image = {0};
    if (c->n_pending == MAX_PENDING)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%d pictures wait already for the next question", MAX_PENDING);
    VR_TRY(vr_image_decode_file(&image, path, (vrwkv_manner)c->manner, 0, err));
    vr_preview(&image);
    double began = vr_seconds();
    vrwkv_features *features = NULL;
    int width = image.width, height = image.height;
    vr_image_free(&image);
    vr_progress_say("looking at the picture");
    vr_status status = vrwkv_encode_file(c->model, path, (vrwkv_manner)c->manner, &features, err);
    vr_progress_end();
    VR_TRY(status);
    int rows = 0;
    vrwkv_features_rows(features, &rows, NULL);
    if (c->n_pending == 1 && vrwkv_model_info(c->model)->image_tokens > 0) {
        drop_pending(c); /* these models take one picture per question */
        vr_note("(instead of the picture before)");
    }
    c->pending[c->n_pending++] = features;
    vr_note("(%s: %d x %d pixels, %d rows, %.2f s; ask about it)", path, width, height, rows, vr_seconds() - began);
    return VRWKV_OK;
}

static vr_status cmd_image(chat *c, const char *path, vr_error *err) { return add_picture(c, path, err); }

static vr_status cmd_save(chat *c, const char *path, vr_error *err) {
    VR_TRY(vrwkv_state_save(c->context, path, 0, err));
    vr_note("(saved to %s)", path);
    return VRWKV_OK;
}

static vr_status cmd_load(chat *c, const char *path, vr_error *err) {
    VR_TRY(remember(c, err));
    vr_status status = vrwkv_state_load(c->context, path, err);
    if (status != VRWKV_OK) {
        take_back(c);
        return status;
    }
    drop_pending(c);
    vr_note("(goes on from %s: %llu rows read)", path, (unsigned long long)vrwkv_context_length(c->context));
    return VRWKV_OK;
}

static vr_status cmd_undo(chat *c, const char *rest, vr_error *err) {
    (void)rest;
    (void)err;
    if (!take_back(c))
        vr_note("(nothing to undo)");
    else
        vr_note("(undone%s)", c->n_pending ? "; its picture waits for the next question" : "");
    return VRWKV_OK;
}

static vr_status cmd_reset(chat *c, const char *rest, vr_error *err) {
    (void)rest;
    VR_TRY(remember(c, err));
    drop_pending(c);
    vrwkv_context_reset(c->context);
    vr_note("(a new conversation)");
    return VRWKV_OK;
}

static vr_status cmd_quit(chat *c, const char *rest, vr_error *err) {
    (void)rest;
    (void)err;
    c->quit = true;
    return VRWKV_OK;
}

static vr_status cmd_help(chat *c, const char *rest, vr_error *err);

typedef struct command {
    const char *name, *argument, *help;
    vr_status (*run)(chat *c, const char *rest, vr_error *err);
} command;

static const command commands[] = {
    {"image", "FILE", "show it a picture; the next question is about it", cmd_image},
    {"undo", NULL, "take the last turn back (up to 16)", cmd_undo},
    {"reset", NULL, "begin a new conversation", cmd_reset},
    {"save", "FILE", "save the conversation's state", cmd_save},
    {"load", "FILE", "go on from a saved state", cmd_load},
    {"help", NULL, "this list", cmd_help},
    {"quit", NULL, "end (Ctrl-D too); Ctrl-C stops an answer", cmd_quit},
};

static vr_status cmd_help(chat *c, const char *rest, vr_error *err) {
    (void)c;
    (void)rest;
    (void)err;
    for (size_t i = 0; i < VR_COUNT(commands); i++)
        vr_note("  /%-6s%-5s %s", commands[i].name, commands[i].argument ? commands[i].argument : "", commands[i].help);
    vr_note("A line that ends in \\ goes on in the next one.");
    return VRWKV_OK;
}

static const char *command_name(const void *user, size_t i) {
    (void)user;
    return i < VR_COUNT(commands) ? commands[i].name : NULL;
}

static vr_status run_command(chat *c, char *line, vr_error *err) {
    size_t n, length = strcspn(line, " \t");
    const char *rest = vr_stripped(line + length, strlen(line + length), &n);
    char *argument = line + (rest - line);
    argument[n] = 0;
    line[length] = 0;
    for (size_t i = 0; i < VR_COUNT(commands); i++) {
        if (strcmp(commands[i].name, line) != 0) continue;
        if (!commands[i].argument == !*argument) return commands[i].run(c, argument, err);
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "/%s takes %s", line, commands[i].argument ? "a FILE" : "nothing");
    }
    const char *nearest = vr_nearest(line, command_name, NULL);
    if (nearest) return vr_fail(err, VRWKV_ERR_ARGUMENT, "unknown command /%s; did you mean /%s?", line, nearest);
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "unknown command /%s; /help lists them", line);
}

/* ---- the loop ---- */

/* One question, of one or more lines. False at the end of the input. */
static bool read_question(const chat *c, vr_buffer *question, vr_error *err) {
    char *line = NULL;
    size_t capacity = 0;
    bool more = true, found = false;
    question->n = 0;
    while (more) {
        if (c->terminal) {
            fputs(found ? ". " : "> ", stderr);
            fflush(stderr);
        }
        errno = 0;
        ssize_t n = getline(&line, &capacity, stdin);
        if (n < 0 && errno == EINTR && vr_interrupted()) { /* Ctrl-C at the prompt: a fresh line */
            clearerr(stdin);
            vr_interrupt_clear();
            fputc('\n', stderr);
            question->n = 0;
            found = false;
            continue;
        }
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
        more = n > 0 && line[n - 1] == '\\';
        if (found && vr_buffer_add(question, "\n", 1, err) != VRWKV_OK) break;
        if (vr_buffer_add(question, line, (size_t)(more ? n - 1 : n), err) != VRWKV_OK) break;
        found = true;
    }
    free(line);
    return found;
}

/* A failed line is told and, in a pipe, makes the program fail in the end. */
static int talk(chat *c) {
    vr_buffer question = {0};
    vr_error err = {0};
    int code = 0;
    while (!c->quit && !ferror(stdout) && read_question(c, &question, &err)) {
        size_t n;
        const char *text = vr_stripped(question.data, question.n, &n);
        char *line = question.data + (text - question.data);
        line[n] = 0;
        vr_interrupt_clear();
        err = (vr_error){0};
        if (!n) continue;
        vr_status status = line[0] == '/' ? run_command(c, line + 1, &err) : turn(c, line, &err);
        vr_interrupt_clear();
        if (status != VRWKV_OK) {
            vr_note("%s", err.message);
            if (!c->terminal) code = 1;
        }
    }
    if (c->terminal && !c->quit) fputc('\n', stderr);
    free(question.data);
    return code;
}

static vr_status begin(chat *c, vr_error *err) {
    vr_progress progress = {0};
    VR_TRY(vr_model_args_open(&c->model_args, &progress, &c->model, err));
    if (!vr_model_vocab(c->model))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s has no vocabulary to talk with (vrwkv convert --vocab FILE adds one)",
                       c->model_args.path);
    const vrwkv_context_options options = {
        .manner = (vrwkv_manner)c->manner, .no_blank_image = c->no_blank_image, .sampling = c->sampling};
    VR_TRY(vrwkv_context_new(c->model, &options, &c->context, err));
    if (c->state_in) VR_TRY(vrwkv_state_load(c->context, c->state_in, err));
    if (c->seed.given) VR_TRY(vrwkv_set_sampling(c->context, &c->sampling, err)); /* not the state's */
    for (size_t i = 0; i < c->images.n; i++) VR_TRY(add_picture(c, c->images.items[i], err));
    if (c->terminal) vr_note("Ask, or /help.");
    return VRWKV_OK;
}

static void chat_free(chat *c) {
    while (c->n_undo) snapshot_free(&c->undo[--c->n_undo]);
    drop_pending(c);
    vr_answer_free(&c->answer);
    vrwkv_context_free(c->context);
    vrwkv_model_close(c->model);
}

int vr_cmd_chat(int argc, char **argv) {
    chat c = {.max_tokens = 1024, .sampling = vrwkv_sampling_default(), .terminal = isatty(STDIN_FILENO) != 0};
    vr_strings words = {0};
    vr_error err = {0};
    const vr_option options[] = {
        VR_GROUP("Model"),
        VR_OPTIONS_MODEL(&c.model_args),
        VR_GROUP("Conversation"),
        {"image", 'i', VR_OPT_LIST, &c.images, "FILE", "a picture that the first question is about", 0, 0},
        VR_OPTION_POSITION(&c.model_args),
        {"no-blank-image", 0, VR_OPT_FLAG, &c.no_blank_image, NULL, "no zero rows before a question without a picture", 0, 0},
        {"manner", 0, VR_OPT_CHOICE, &c.manner, "friendly|original", "how pictures are decoded and where to stop (default friendly)", 0, 0},
        {"state-in", 0, VR_OPT_STRING, &c.state_in, "FILE", "go on from this state, as /load", 0, 0},
        VR_GROUP("Answers"),
        {"max-tokens", 'n', VR_OPT_INT, &c.max_tokens, "N", "at most N tokens each (default 1024)", 1, 100000000},
        VR_OPTIONS_SAMPLING(&c.sampling, &c.greedy, &c.seed),
        VR_GROUP("Machine"),
        VR_OPTIONS_MEMORY(&c.model_args),
    };
    const vr_usage usage = {
        .verb = "chat",
        .line = "-m MODEL [-i IMAGE] [OPTION]...",
        .about = "A conversation in the terminal. What was said is kept in the model's state, so a turn costs the same "
                 "however long the conversation is. Reads lines from stdin, in a pipe too.",
        .options = options,
        .n_options = VR_COUNT(options),
        .notes = "Commands: /image FILE, /undo, /reset, /save FILE, /load FILE, /help, /quit.\n"
                 "Ctrl-C stops the answer, not the program.",
        .example = "  vrwkv chat -m model.gguf -i photo.jpg",
    };
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON && !c.model_args.path) code = vr_usage_error(argv[0], "-m MODEL is missing");
    if (code == VR_GO_ON) {
        if (c.greedy) c.sampling.temperature = 0;
        c.sampling.seed = c.seed.value;
        vr_interrupt_install(true);
        code = begin(&c, &err) == VRWKV_OK ? talk(&c) : vr_report(argv[0], &err);
        chat_free(&c);
    }
    vr_strings_free(&c.images);
    vr_strings_free(&words);
    return code;
}
