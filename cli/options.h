/* Options of a verb as a table: parsing, errors that name the option and what was found, and the
 * help text come from the same rows. */
#ifndef VR_CLI_OPTIONS_H
#define VR_CLI_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands before a verb in messages and help: "vrwkv " or, in a program without verbs, nothing. Each
 * program defines it. */
extern const char vr_program[];

typedef enum vr_option_kind {
    VR_OPT_GROUP,  /* no option: `help` is a heading of the help text */
    VR_OPT_FLAG,   /* bool *target, set to true */
    VR_OPT_INT,    /* int *target */
    VR_OPT_U64,    /* vr_u64 *target */
    VR_OPT_FLOAT,  /* float *target */
    VR_OPT_STRING, /* const char **target; the last one wins */
    VR_OPT_LIST,   /* vr_strings *target; each one adds */
    VR_OPT_CHOICE  /* int *target: which of the words in `value`, "friendly|original" */
} vr_option_kind;

/* A number of which it counts whether it was given. */
typedef struct vr_u64 {
    uint64_t value;
    bool given;
} vr_u64;

/* Words of the command line; they point into argv. */
typedef struct vr_strings {
    const char **items;
    size_t n, capacity;
} vr_strings;

bool vr_strings_add(vr_strings *list, const char *item); /* false: out of memory */
void vr_strings_free(vr_strings *list);

typedef struct vr_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    vr_option_kind kind;
    void *target;
    const char *value; /* what stands for the value in the help text; NULL for flags */
    const char *help;
    double min, max; /* of numbers, both included; equal: no limits */
} vr_option;

typedef struct vr_usage {
    const char *verb;
    const char *line;  /* "-m MODEL [-i IMAGE]... -p TEXT" */
    const char *about; /* one to three sentences */
    const vr_option *options;
    size_t n_options;
    int min_args, max_args; /* words without dashes; max -1: any number */
    const char *arg_name;   /* of such a word, for messages */
    const char *notes;      /* further lines, or NULL */
    const char *example;    /* the last lines of the help text */
} vr_usage;

#define VR_GO_ON (-1)
/* Reads argv[1..]: `--name value`, `--name=value`, `-n value`, `-nvalue`; `--` ends the options, `-`
 * is a word. VR_GO_ON, or the exit code: 0 after --help, 2 for wrong usage (said on stderr); then
 * args is empty. */
int vr_options_parse(const vr_usage *usage, int argc, char **argv, vr_strings *args);
/* Says on stderr what is wrong with the call of this verb and where help is; gives 2. */
int vr_usage_error(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The candidate nearest to `word`, NULL where none is near; name(user, i) gives NULL at the end. */
const char *vr_nearest(const char *word, const char *(*name)(const void *user, size_t i), const void *user);
void vr_usage_print(const vr_usage *usage);

#endif
