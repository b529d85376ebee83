/* The option parser: one pass over argv against the rows of a table. */
#include "options.h"

#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 31
#define LONGEST_WORD 40 /* of words compared by distance */

bool vr_strings_add(vr_strings *list, const char *item) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 8;
        const char **items = realloc(list->items, capacity * sizeof *items);
        if (!items) return false;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = item;
    return true;
}

void vr_strings_free(vr_strings *list) {
    free(list->items);
    *list = (vr_strings){0};
}

int vr_usage_error(const char *verb, const char *format, ...) {
    va_list args;
    fprintf(stderr, "%s%s: ", vr_program, verb);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nSee: %s%s --help\n", vr_program, verb);
    return 2;
}

/* ---- nearest name ---- */

/* Levenshtein distance with exchanged neighbours counted once (optimal string alignment). */
static size_t distance(const char *a, const char *b) {
    size_t rows[3][LONGEST_WORD + 1], n = strlen(a), m = strlen(b);
    if (n > LONGEST_WORD || m > LONGEST_WORD) return LONGEST_WORD;
    for (size_t j = 0; j <= m; j++) rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && second[j - 2] + 1 < best)
                best = second[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *vr_nearest(const char *word, const char *(*name)(const void *user, size_t i), const void *user) {
    const char *best = NULL, *candidate;
    size_t length = strlen(word), smallest = length <= 3 ? 2 : 3; /* at least this far: not near */
    for (size_t i = 0; (candidate = name(user, i)); i++) {
        size_t far = distance(word, candidate);
        bool beginning = length >= 3 && strncmp(candidate, word, length) == 0;
        if (beginning && far >= smallest) far = smallest - 1;
        if (far < smallest) {
            smallest = far;
            best = candidate;
        }
    }
    return best;
}

static const char *option_name(const void *user, size_t i) {
    const vr_usage *usage = user;
    if (i == usage->n_options) return "help";
    if (i > usage->n_options) return NULL;
    return usage->options[i].name ? usage->options[i].name : "";
}

/* ---- one value ---- */

static int wrong_number(const vr_usage *usage, const vr_option *option, const char *kind, const char *text) {
    if (option->min != option->max)
        return vr_usage_error(usage->verb, "--%s takes %s from %.10g to %.10g, found \"%s\"", option->name, kind,
                              option->min, option->max, text);
    return vr_usage_error(usage->verb, "--%s takes %s, found \"%s\"", option->name, kind, text);
}

static bool in_range(const vr_option *option, double value) {
    return option->min == option->max || (value >= option->min && value <= option->max);
}

static int set_int(const vr_usage *usage, const vr_option *option, const char *text) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < INT32_MIN || value > INT32_MAX || !in_range(option, (double)value))
        return wrong_number(usage, option, "a whole number", text);
    *(int *)option->target = (int)value;
    return VR_GO_ON;
}

static int set_u64(const vr_usage *usage, const vr_option *option, const char *text) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || strchr(text, '-') || !in_range(option, (double)value))
        return wrong_number(usage, option, "a whole number, not negative", text);
    *(vr_u64 *)option->target = (vr_u64){value, true};
    return VR_GO_ON;
}

static int set_float(const vr_usage *usage, const vr_option *option, const char *text) {
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end || !isfinite(value) || !in_range(option, (double)value))
        return wrong_number(usage, option, "a number", text);
    *(float *)option->target = value;
    return VR_GO_ON;
}

static int set_string(const vr_usage *usage, const vr_option *option, const char *text) {
    (void)usage;
    *(const char **)option->target = text;
    return VR_GO_ON;
}

static int set_list(const vr_usage *usage, const vr_option *option, const char *text) {
    if (vr_strings_add(option->target, text)) return VR_GO_ON;
    fprintf(stderr, "%s%s: out of memory\n", vr_program, usage->verb);
    return 1;
}

static int set_choice(const vr_usage *usage, const vr_option *option, const char *text) {
    const char *word = option->value;
    for (int i = 0; word; i++) {
        size_t length = strcspn(word, "|");
        if (strlen(text) == length && strncmp(word, text, length) == 0) {
            *(int *)option->target = i;
            return VR_GO_ON;
        }
        word = word[length] ? word + length + 1 : NULL;
    }
    return vr_usage_error(usage->verb, "--%s takes one of %s, found \"%s\"", option->name, option->value, text);
}

static int (*const set_value[])(const vr_usage *, const vr_option *, const char *) = {
    [VR_OPT_INT] = set_int,       [VR_OPT_U64] = set_u64,   [VR_OPT_FLOAT] = set_float,
    [VR_OPT_STRING] = set_string, [VR_OPT_LIST] = set_list, [VR_OPT_CHOICE] = set_choice,
};

/* ---- argv ---- */

static const vr_option *find_long(const vr_usage *usage, const char *name, size_t length) {
    for (size_t i = 0; i < usage->n_options; i++) {
        const char *own = usage->options[i].name;
        if (own && strlen(own) == length && strncmp(own, name, length) == 0) return &usage->options[i];
    }
    return NULL;
}

static const vr_option *find_letter(const vr_usage *usage, char letter) {
    for (size_t i = 0; i < usage->n_options; i++)
        if (usage->options[i].letter == letter) return &usage->options[i];
    return NULL;
}

static int unknown_option(const vr_usage *usage, const char *word) {
    char name[LONGEST_WORD + 1];
    const char *nearest = NULL;
    if (word[0] == '-' && word[1] == '-') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
        nearest = vr_nearest(name, option_name, usage);
    }
    if (nearest) return vr_usage_error(usage->verb, "unknown option %s; did you mean --%s?", word, nearest);
    return vr_usage_error(usage->verb, "unknown option %s", word);
}

/* One option at argv[*i]; *i moves on where the value is the next word. */
static int read_option(const vr_usage *usage, int argc, char **argv, int *i) {
    const char *word = argv[*i], *value = NULL;
    const vr_option *option;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        option = find_long(usage, word + 2, length);
        if (word[2 + length]) value = word + 3 + length;
    } else {
        option = find_letter(usage, word[1]);
        if (word[2]) value = word + 2;
    }
    if (!option) return unknown_option(usage, word);
    if (option->kind == VR_OPT_FLAG) {
        if (value) return vr_usage_error(usage->verb, "--%s takes no value, found \"%s\"", option->name, value);
        *(bool *)option->target = true;
        return VR_GO_ON;
    }
    if (!value) {
        if (*i + 1 >= argc)
            return vr_usage_error(usage->verb, "%s needs a value (%s), found the end", word, option->value);
        value = argv[++*i];
    }
    return set_value[option->kind](usage, option, value);
}

static int count_args(const vr_usage *usage, const vr_strings *args) {
    const char *name = usage->arg_name ? usage->arg_name : "argument";
    if (usage->max_args >= 0 && args->n > (size_t)usage->max_args)
        return vr_usage_error(usage->verb, "\"%s\" is one %s too many", args->items[usage->max_args],
                              usage->max_args ? name : "argument");
    if (args->n < (size_t)usage->min_args) return vr_usage_error(usage->verb, "%s is missing", name);
    return VR_GO_ON;
}

static int read_words(const vr_usage *usage, int argc, char **argv, vr_strings *args) {
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        int code = VR_GO_ON;
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            vr_usage_print(usage);
            return 0;
        } else if (options && word[0] == '-' && word[1]) {
            code = read_option(usage, argc, argv, &i);
        } else if (!vr_strings_add(args, word)) {
            fprintf(stderr, "%s%s: out of memory\n", vr_program, usage->verb);
            code = 1;
        }
        if (code != VR_GO_ON) return code;
    }
    return count_args(usage, args);
}

int vr_options_parse(const vr_usage *usage, int argc, char **argv, vr_strings *args) {
    int code = read_words(usage, argc, argv, args);
    if (code != VR_GO_ON) vr_strings_free(args);
    return code;
}

/* ---- help ---- */

/* Words of `text` from `column` on, wrapped at `width` to lines that begin at `indent`. */
static void print_wrapped(const char *text, int column, int indent, int width) {
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (column > indent && column + length > width) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        printf("%.*s", length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            printf("\n%*s", indent, "");
            column = indent;
            text++;
        } else if (*text == ' ') {
            if (text[1] && column + 1 + (int)strcspn(text + 1, " \n") <= width) {
                putchar(' ');
                column++;
            } else {
                column = width; /* the next word begins a line */
            }
            text++;
        }
    }
    putchar('\n');
}

static void print_option(const vr_option *option, int width) {
    char left[128];
    if (option->kind == VR_OPT_GROUP) {
        printf("\n%s:\n", option->help);
        return;
    }
    int n = option->letter ? snprintf(left, sizeof left, "  -%c, --%s", option->letter, option->name)
                           : snprintf(left, sizeof left, "      --%s", option->name);
    if (option->value && n > 0 && (size_t)n < sizeof left)
        snprintf(left + n, sizeof left - (size_t)n, " %s", option->value);
    int length = printf("%s", left);
    if (length > HELP_COLUMN - 2) {
        printf("\n%*s", HELP_COLUMN, "");
    } else {
        printf("%*s", HELP_COLUMN - length, "");
    }
    print_wrapped(option->help, HELP_COLUMN, HELP_COLUMN, width);
}

void vr_usage_print(const vr_usage *usage) {
    int width = vr_terminal_width(stdout);
    if (width > 100) width = 100;
    if (width < 60) width = 60;
    int indent = printf("Usage: %s%s ", vr_program, usage->verb);
    print_wrapped(usage->line, indent, indent, width);
    putchar('\n');
    print_wrapped(usage->about, 0, 0, width);
    if (!usage->n_options || usage->options[0].kind != VR_OPT_GROUP) printf("\nOptions:\n");
    for (size_t i = 0; i < usage->n_options; i++) print_option(&usage->options[i], width);
    print_option(&(vr_option){.name = "help", .letter = 'h', .kind = VR_OPT_FLAG, .help = "print this text"}, width);
    if (usage->notes) printf("\n%s\n", usage->notes);
    printf("\nExample:\n%s\n", usage->example);
}
