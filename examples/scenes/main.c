/* scenes: draws pictures of simple scenes and asks about them, as data to train and test a small model with.
 * What is drawn and asked: README.md in this folder. */
#include "ask.h"
#include "options.h"
#include "output.h"
#include "terminal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char vr_program[] = "";

#define NAME "scenes"

typedef struct scenes_args {
    vr_u64 seed;
    int count, split, pixels, language, turns;
    const char *folder, *kinds, *layouts;
    bool describe;
} scenes_args;

enum { TRAIN, TEST };
enum { BOTH_LANGUAGES = SC_LANGUAGES };
static const char *const split_names[] = {"train", "test"};

/* An option that takes some words of a table, parted by commas. */
typedef struct word_list {
    const char *option;
    const char *(*name)(int i); /* NULL past the end */
} word_list;

static const char *word_at(const void *user, size_t i) { return ((const word_list *)user)->name((int)i); }

static int unknown_word(const word_list *list, const char *word, size_t length) {
    char name[40], all[256] = "";
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    const char *nearest = vr_nearest(name, word_at, list);
    for (int i = 0; list->name(i); i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), i ? ", %s" : "%s", list->name(i));
    if (nearest) return vr_usage_error(NAME, "--%s has no \"%s\"; did you mean \"%s\"?", list->option, name, nearest);
    return vr_usage_error(NAME, "--%s has no \"%s\"; there are: %s", list->option, name, all);
}

static int find_word(const word_list *list, const char *word, size_t length) { /* -1: there is none of this name */
    for (int i = 0; list->name(i); i++)
        if (strlen(list->name(i)) == length && strncmp(word, list->name(i), length) == 0) return i;
    return -1;
}

/* Their bits; all of the table's where there is no text. VR_GO_ON or 2. */
static int parse_words(const word_list *list, const char *text, unsigned *bits) {
    *bits = 0;
    for (int i = 0; !text && list->name(i); i++) *bits |= SC_BIT(i);
    while (text) {
        size_t length = strcspn(text, ",");
        int i = find_word(list, text, length);
        if (i < 0) return unknown_word(list, text, length);
        *bits |= SC_BIT(i);
        text = text[length] ? text + length + 1 : NULL;
    }
    return VR_GO_ON;
}

static sc_layout pick_layout(const sc_manner *manner, vr_rng *rng) {
    int total = 0;
    sc_layout chosen = 0;
    for (sc_layout layout = 0; layout < SC_LAYOUTS; layout++) {
        int weight = sc_layout_weight(layout, manner);
        total += weight;
        if (weight && sc_below(rng, total) < weight) chosen = layout;
    }
    return chosen;
}

static bool any_layout(const sc_manner *manner) {
    int total = 0;
    for (sc_layout layout = 0; layout < SC_LAYOUTS; layout++) total += sc_layout_weight(layout, manner);
    return total > 0;
}

/* Picture number i. A scene about which the first question that was chosen cannot be asked is made anew. In
 * the test split every other picture shows a combination that the train split never does. */
static void make_picture(const scenes_args *args, const sc_manner *manner, int64_t i, sc_scene *scene, sc_talk *talk) {
    vr_rng draws = sc_stream(args->seed.value, args->split, i, 0), asks = sc_stream(args->seed.value, args->split, i, 1);
    bool novel = args->split == TEST && sc_below(&draws, 2) == 1;
    talk->language =
        args->language == BOTH_LANGUAGES ? (sc_language)sc_below(&asks, SC_LANGUAGES) : (sc_language)args->language;
    do {
        sc_scene_make(scene, pick_layout(manner, &draws), novel, &draws);
        sc_talk_make(talk, scene, manner, &asks);
    } while (talk->n == 0);
}

static vr_status make_all(const scenes_args *args, const sc_manner *manner, sc_output *out, vr_error *err) {
    vr_progress bar = {0};
    sc_scene scene;
    sc_talk talk;
    vr_status status = VRWKV_OK;
    for (int i = 0; i < args->count && status == VRWKV_OK; i++) {
        if (vr_progress_show(&bar, "drawing", (uint64_t)i, (uint64_t)args->count))
            status = vr_fail(err, VRWKV_ERR_CANCELLED, "interrupted");
        if (status != VRWKV_OK) break;
        make_picture(args, manner, i, &scene, &talk);
        status = sc_output_add(out, &scene, &talk, err);
    }
    vr_progress_end();
    return status;
}

static vr_status run(const scenes_args *args, const sc_manner *manner, vr_error *err) {
    sc_output out;
    VR_TRY(sc_output_open(&out, args->folder, split_names[args->split], args->pixels, args->describe, err));
    vr_status status = make_all(args, manner, &out, err);
    if (status != VRWKV_OK) {
        sc_output_abandon(&out);
        return status;
    }
    int64_t n_samples = out.n_samples, n_questions = out.n_questions;
    VR_TRY(sc_output_close(&out, err));
    printf("%s/%s.json: %" PRId64 " pictures, %" PRId64 " questions\n", args->folder, split_names[args->split], n_samples,
           n_questions);
    return vr_stdout_flush(err);
}

int main(int argc, char **argv) {
    scenes_args args = {.count = 1000, .pixels = 64, .language = BOTH_LANGUAGES, .turns = 5};
    sc_manner manner;
    vr_error err = {0};
    const vr_option options[] = {
        {"output", 'o', VR_OPT_STRING, &args.folder, "DIR", "where pictures and lists go; made where it is missing", 0, 0},
        {"count", 'n', VR_OPT_INT, &args.count, "N", "how many pictures (default 1000)", 1, 999999},
        {"seed", 0, VR_OPT_U64, &args.seed, "N",
         "of all random choices (default 0); the first pictures do not depend on how many there are", 0, 0},
        {"split", 0, VR_OPT_CHOICE, &args.split, "train|test",
         "which of the two (default train). Train never shows or names the held-out combinations of colour and shape; "
         "every other picture of test shows one", 0, 0},
        {"size", 0, VR_OPT_INT, &args.pixels, "PIXELS", "side of the pictures (default 64)", 32, 4096},
        {"language", 0, VR_OPT_CHOICE, &args.language, "en|zh|both",
         "of the questions and answers (default both, half of the pictures each)", 0, 0},
        {"kinds", 0, VR_OPT_STRING, &args.kinds, "LIST",
         "which questions, parted by commas (default all): colour, shape, size, count, position, relation, exist, digit, "
         "word, caption", 0, 0},
        {"layouts", 0, VR_OPT_STRING, &args.layouts, "LIST",
         "which pictures (default all): one, two, few, many objects, reading (a digit), writing (a word)", 0, 0},
        {"turns", 0, VR_OPT_INT, &args.turns, "N", "questions about a picture, at most (default 5)", 1, SC_MAX_TURNS},
        {"describe", 0, VR_OPT_FLAG, &args.describe, NULL, "also write what was drawn, SPLIT.scenes.jsonl", 0, 0},
    };
    const vr_usage usage = {
        .verb = NAME,
        .line = "-o DIR [OPTION]...",
        .about =
            "Draws pictures of simple scenes and asks about them: data to train and test a small model with. Writes "
            "DIR/images/*.png, DIR/SPLIT.json in LLaVA's format and DIR/SPLIT.questions.jsonl with one question a line.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  scenes --seed 1 -n 20000 -o data && scenes --seed 1 -n 1000 --split test -o data",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    if (!args.folder || !*args.folder) return vr_usage_error(NAME, "-o DIR is missing");
    manner = (sc_manner){.most = args.turns};
    code = parse_words(&(word_list){"kinds", sc_kind_name}, args.kinds, &manner.kinds);
    if (code == VR_GO_ON) code = parse_words(&(word_list){"layouts", sc_layout_name}, args.layouts, &manner.layouts);
    if (code != VR_GO_ON) return code;
    if (!any_layout(&manner)) return vr_usage_error(NAME, "no question of --kinds %s fits --layouts %s", args.kinds, args.layouts);
    vr_interrupt_install(false);
    return run(&args, &manner, &err) == VRWKV_OK ? 0 : vr_report(NAME, &err);
}
