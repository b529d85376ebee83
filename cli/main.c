/* vrwkv: the program. A table of verbs; each is one function in a file of its own.
 * Exit codes: 0 done, 1 failed, 2 wrong usage. Results on stdout, the rest on stderr. */
#include "options.h"
#include "verbs.h"
#include "vrwkv.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char vr_program[] = "vrwkv ";

typedef struct verb {
    const char *name, *line;
    int (*run)(int argc, char **argv);
} verb;

/* A row without a function is a heading. */
static const verb verbs[] = {
    {"Model files", NULL, NULL},
    {"convert", "make a model file from checkpoints", vr_cmd_convert},
    {"inspect", "what is in a model file or checkpoint", vr_cmd_inspect},
    {"Answers", NULL, NULL},
    {"run", "one answer, about a picture or not", vr_cmd_run},
    {"chat", "a conversation in the terminal", vr_cmd_chat},
    {"batch", "a folder of pictures and some questions to JSON lines", vr_cmd_batch},
    {"Training", NULL, NULL},
    {"train", "train a model, or go on with a training", vr_cmd_train},
    {"Benchmarks", NULL, NULL},
    {"eval", "run a benchmark, rank candidates, measure text ability, compare", vr_cmd_eval},
    {"score", "score an answer file as the official scorer does", vr_cmd_score},
    {"Text", NULL, NULL},
    {"tokenize", "text to token ids", vr_cmd_tokenize},
    {"detokenize", "token ids to text", vr_cmd_detokenize},
    {"prompt", "a conversation to its prompt, ids and labels", vr_cmd_prompt},
    {"Checks", NULL, NULL},
    {"trace", "named activations of a forward pass, as a file", vr_cmd_trace},
    {"verify", "compare with reference cases", vr_cmd_verify},
    {"bench", "speed of this machine and of a model", vr_cmd_bench},
};

static const char *verb_name(const void *user, size_t i) {
    (void)user;
    if (i >= sizeof verbs / sizeof *verbs) return NULL;
    return verbs[i].run ? verbs[i].name : "";
}

static void print_help(void) {
    printf("Usage: vrwkv VERB [OPTION]...\n\n"
           "VisualRWKV: looks at a picture and answers, with constant memory.\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (verbs[i].run)
            printf("  %-12s %s\n", verbs[i].name, verbs[i].line);
        else
            printf("\n%s:\n", verbs[i].name);
    }
    printf("\nvrwkv VERB --help tells a verb's options; vrwkv --version the version.\n"
           "The environment's VRWKV_CPU=generic|avx2|avx512|neon forces a kernel set;\n"
           "VRWKV_EXACT=1 multiplies quantised weights as f32: slower, without rounding\n"
           "activations to 8 bit.\n\n"
           "Example:\n  vrwkv run -m model.gguf -i photo.jpg -p \"What is in this picture?\"\n");
}

static int unknown_verb(const char *word) {
    const char *nearest = vr_nearest(word, verb_name, NULL);
    fprintf(stderr, "vrwkv: unknown %s \"%s\"", word[0] == '-' ? "option" : "verb", word);
    if (nearest) fprintf(stderr, "; did you mean \"%s\"?", nearest);
    fprintf(stderr, "\nSee: vrwkv --help\n");
    return 2;
}

/* A result that could not be written is a failure. */
static int finish(int code) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    if (code) return code; /* it was said already that something failed */
    fprintf(stderr, "vrwkv: cannot write to stdout: %s\n", errno ? strerror(errno) : "an earlier write failed");
    return 1;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    vrwkv_error err = {0};
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || (!strcmp(word, "help") && argc == 2)) {
        print_help();
        return finish(0);
    }
    if (getenv("VRWKV_CPU") && !vrwkv_cpu(&err)) {
        fprintf(stderr, "vrwkv: %s\n", err.message);
        return 1;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("vrwkv %s\n", vrwkv_version());
        return finish(0);
    }
    if (!*word) {
        fprintf(stderr, "vrwkv: a verb is missing\nSee: vrwkv --help\n");
        return 2;
    }
    bool help = !strcmp(word, "help") && argc == 3; /* help VERB is VERB --help */
    if (help) word = argv[2];
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (!verbs[i].run || strcmp(verbs[i].name, word) != 0) continue;
        char *asked[] = {argv[argc - 1], "--help", NULL};
        return finish(help ? verbs[i].run(2, asked) : verbs[i].run(argc - 1, argv + 1));
    }
    return unknown_verb(word);
}
