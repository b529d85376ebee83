/* train: a training from the command line, its progress line, and the picture of its curves. */
#include "common.h"
#include "verbs.h"

#include "train/log.h"
#include "train/run.h"
#include "train/team.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_OPTIONS = 128 };

/* One option per setting, and one per name that the original gives it. */
typedef struct table {
    vr_option options[MOST_OPTIONS];
    const char *values[MOST_OPTIONS]; /* as given, or NULL */
    size_t n;
} table;

static void add(table *t, const char *name, char letter, const char *value, const char *help) {
    t->options[t->n] = (vr_option){.name = name, .letter = letter, .kind = VR_OPT_STRING, .target = &t->values[t->n],
                                   .value = value, .help = help};
    t->n++;
}

static void add_heading(table *t, const char *heading) {
    t->options[t->n++] = (vr_option){.kind = VR_OPT_GROUP, .help = heading};
}

static char letter_of(const char *name) {
    static const struct { const char *name; char letter; } letters[] = {
        {"model", 'm'}, {"out", 'o'}, {"threads", 't'}, {"batch", 'b'}};
    for (size_t i = 0; i < VR_COUNT(letters); i++)
        if (strcmp(letters[i].name, name) == 0) return letters[i].letter;
    return 0;
}

static void build(table *t) {
    const vr_train_field *f;
    for (int i = 0; (f = vr_train_field_at(i)); i++) {
        if (f->kind == VR_SET_HEADING)
            add_heading(t, f->help);
        else
            add(t, f->name, letter_of(f->name), f->value, f->help);
    }
    add_heading(t, "The original's names of some of these");
    for (int i = 0; (f = vr_train_field_at(i)); i++)
        if (f->alias) add(t, f->alias, 0, f->value, f->name);
    add_heading(t, "In place of a new training");
}

static vr_status gather(const table *t, size_t n_settings, vr_train_settings *settings, vr_error *err) {
    for (size_t i = 0; i < n_settings; i++)
        if (t->values[i]) VR_TRY(vr_train_settings_put(settings, t->options[i].name, t->values[i], err));
    return VRWKV_OK;
}

/* ---- the progress line ---- */

typedef struct screen {
    vr_progress progress;
    double drawn;
    bool wide; /* a terminal: the line is drawn over */
} screen;

static const char *time_text(double seconds, char buffer[32]) {
    long long s = (long long)seconds;
    if (s >= 3600)
        snprintf(buffer, 32, "%lld h %02lld min", s / 3600, s / 60 % 60);
    else
        snprintf(buffer, 32, "%lld min %02lld s", s / 60, s % 60);
    return buffer;
}

/* On a terminal one line that moves on; elsewhere a line every ten seconds. */
static void show(void *user, const vr_train_report *r) {
    screen *s = user;
    char left[32], memory[24];
    double now = vr_seconds();
    if (r->step < r->steps && now - s->drawn < (s->wide ? 0.2 : 10)) return;
    s->drawn = now;
    fprintf(stderr, "%sstep %lld of %lld  loss %.4f  lr %.2e  %.1f samples/s  %s left  %s%s", s->wide ? "\r\033[K" : "",
            (long long)r->step, (long long)r->steps, r->loss, r->lr, r->samples_per_s, time_text(r->seconds_left, left),
            vr_size_text((double)r->memory_bytes, memory), s->wide && r->step < r->steps ? "" : "\n");
}

static void say(void *user, const char *message) {
    const screen *s = user;
    if (s->wide) fprintf(stderr, "\r\033[K");
    vr_note("%s", message);
}

static int step_shown(void *user, const char *what, uint64_t done, uint64_t total) {
    screen *s = user;
    return vr_progress_show(&s->progress, what, done, total);
}

/* The first of several processes speaks for all; the error is the same in all. */
static int train_in(const vr_team *team, const vr_train_settings *settings, bool resume) {
    vr_error err = {0};
    screen s = {.wide = isatty(STDERR_FILENO) != 0};
    const vr_train_hooks speaking = {
        .report = show, .log = say, .progress = step_shown, .cancel = vr_interrupt_flag(), .user = &s};
    const vr_train_hooks silent = {.cancel = vr_interrupt_flag()};
    bool speaks = team->rank == 0;
    vr_status status = vr_train_run(settings, resume, team, speaks ? &speaking : &silent, &err);
    if (!speaks) return status == VRWKV_OK ? 0 : vr_interrupted() ? vr_interrupt_code() : 1;
    vr_progress_end();
    if (status == VRWKV_ERR_CANCELLED && vr_interrupted()) vr_note("%s", err.message);
    if (status != VRWKV_OK) return vr_report("train", &err);
    vr_error plot = {0};
    if (vr_train_log_plot(settings->out, &plot) != VRWKV_OK) vr_note("no curves: %s", plot.message);
    return 0;
}

static int train(const vr_train_settings *settings, bool resume) {
    vr_team team;
    vr_error err = {0};
    vr_interrupt_install(false);
    int code = vr_team_open(&team, &err) == VRWKV_OK ? train_in(&team, settings, resume) : vr_report("train", &err);
    vr_team_close(&team);
    return code;
}

int vr_cmd_train(int argc, char **argv) {
    table t = {0};
    const char *resume = NULL, *plot = NULL;
    vr_strings args = {0};
    vr_error err = {0};
    build(&t);
    size_t n_settings = t.n;
    t.options[t.n++] = (vr_option){.name = "resume", .kind = VR_OPT_STRING, .target = &resume, .value = "DIR",
                                   .help = "go on with the training of this folder, by the settings kept there"};
    t.options[t.n++] = (vr_option){.name = "plot", .kind = VR_OPT_STRING, .target = &plot, .value = "DIR",
                                   .help = "draw the folder's log as curves.svg"};
    const vr_usage usage = {
        .verb = "train",
        .line = "-m MODEL --data FILE --images DIR -o DIR [OPTION]...",
        .about = "Trains a model on conversations about pictures. Checkpoints and logs go to the folder of -o.",
        .options = t.options,
        .n_options = t.n,
        .notes = "Ctrl-C ends after a last checkpoint. A checkpoint is a model: run, chat and convert take it.",
        .example = "  vrwkv train -m base.pth --data llava.json --images pictures --stage 1 -o stage1\n"
                   "  vrwkv train --resume stage1\n",
    };
    int code = vr_options_parse(&usage, argc, argv, &args);
    vr_strings_free(&args);
    if (code != VR_GO_ON) return code;
    if (plot) return vr_train_log_plot(plot, &err) == VRWKV_OK ? 0 : vr_report("train", &err);
    vr_train_settings settings;
    vr_train_settings_default(&settings);
    vr_status status = gather(&t, n_settings, &settings, &err);
    if (status == VRWKV_OK && resume) status = vr_train_settings_put(&settings, "out", resume, &err);
    if (status != VRWKV_OK) {
        vr_train_settings_free(&settings);
        return vr_usage_error("train", "%s", err.message);
    }
    if (!resume && (!settings.model || !settings.data || !settings.out)) {
        const char *missing = !settings.model ? "-m MODEL" : !settings.data ? "--data FILE" : "-o DIR";
        vr_train_settings_free(&settings);
        return vr_usage_error("train", "%s is missing", missing);
    }
    code = train(&settings, resume != NULL);
    vr_train_settings_free(&settings);
    return code;
}
