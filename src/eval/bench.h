/* Benchmarks: one row of the table each, one file each (or one per family).
 *
 *   data folder --load--> vr_set: questions (and what the official scorer takes for right)
 *   question --make_prompt--> the human turn --(run.c, a model)--> answer file, one JSON object a line
 *   answer file --vr_answers_read--> vr_answers --score--> vr_score: the official figure, the
 *     original program's where it differs, a verdict per question, files to upload
 *
 * Formats and formulas: docs/EVAL.md. Scores are computed in the order in which the official scorers
 * add, so that they agree to the last digit. */
#ifndef VR_EVAL_BENCH_H
#define VR_EVAL_BENCH_H
#include "eval/source.h"

#define VR_SCORER_VERSION 1 /* of result files; another number: scores may differ */

typedef struct vr_bench vr_bench;

/* Which of the original's programs makes the prompt. */
typedef enum vr_family { VR_FAMILY_V6, VR_FAMILY_V7 } vr_family;

typedef struct vr_question {
    json_t *id;        /* a number or a text */
    char *text;        /* the human turn's text; may hold "<image>" where the file has it */
    char *image;       /* path below the image folder, or NULL */
    vr_slice picture;   /* base64 of a picture that stands in the question file; n 0: none */
    json_t *metadata;  /* the line's own, or NULL */
    json_t *answer;    /* what is right, where the question file says so: a text or a list of them, or NULL */
    const char *group; /* questions that are answered as one (a picture's, a rotation's); the set's */
    const char *category;  /* the bars of the report; the set's */
    size_t same;       /* the next question with this id, plus one; 0: none */
    size_t line;       /* in the question file */
    bool turn;         /* it came as the first turn of a conversation */
    void *own;         /* the benchmark's, one piece of heap memory */
} vr_question;

/* Questions in bundles: those of one picture (group), those of one category. */
typedef struct vr_bundles {
    size_t *of;         /* [questions] which bundle */
    const char **names; /* [n] in the order of their coming; the set's words */
    size_t n;
} vr_bundles;

/* A file or folder that a split needs, for --check. */
typedef struct vr_need {
    const char *name;
    const char *list; /* JSON: the list to count; "*" lines; "" rows of a table; NULL: only be there */
    size_t count;     /* how many the published file has; 0: unknown */
} vr_need;

typedef struct vr_split {
    const char *name;
    const char *questions; /* file name, below the data folder */
    const char *images;    /* folder, "" where pictures lie in the question file or beside the data */
    bool local;            /* can be scored here; else answers are uploaded */
    vr_need needs[6];      /* closed by a name of NULL */
} vr_split;

typedef struct vr_set {
    const vr_bench *bench;
    const vr_split *split;
    char *folder, *file, *images; /* data folder, question file, image folder */
    vr_question *questions;
    size_t n, room;
    size_t offset;   /* of questions[0] in the whole file, where the set is a chunk of it */
    json_t *index;   /* id -> first question */
    json_t *words;   /* texts that live as long as the set */
    vr_table table;  /* of tables; pictures point into it */
    vr_bundles groups, categories;
    void *gold;      /* the benchmark's own */
    bool scorable;   /* gold was found */
    bool part;       /* of the questions: a chunk, or up to a limit */
} vr_set;

typedef struct vr_set_options {
    const char *split;  /* NULL: the first */
    const char *images; /* another image folder, or NULL */
    const char *questions; /* another question file, or NULL */
    size_t limit;       /* only so many; 0: all */
    int chunk, chunks;  /* rows [chunk * c, (chunk + 1) * c) with c = ceil(n / chunks); chunks 0: all */
    bool no_gold;       /* only the questions */
    vr_faults *faults;  /* NULL: every fault is an error */
} vr_set_options;

vr_status vr_set_load(vr_set *set, const vr_bench *bench, const char *folder, const vr_set_options *options, vr_error *err);
void vr_set_free(vr_set *set);
/* Fills groups and categories from the questions; vr_set_load has done so. */
vr_status vr_set_bundle(vr_set *set, vr_error *err);
/* A text of the set, the same pointer for the same text; NULL: out of memory. */
const char *vr_set_word(vr_set *set, const char *text);
/* An id as text, for looking up and for messages; numbers go into `digits`. */
const char *vr_id_text(const json_t *id, char digits[24]);
/* The first question of this id, or set->n. */
size_t vr_set_find(const vr_set *set, const json_t *id);
size_t vr_set_find_text(const vr_set *set, const char *id);
/* One more question; takes over what `question` points to, also when it fails. An id that the
 * benchmark does not repeat is a fault when it comes again. */
vr_status vr_set_add(vr_set *set, vr_question *question, const vr_where *where, vr_faults *faults, vr_error *err);
/* The set's questions from its .jsonl or .json file; what most benchmarks load with. */
vr_status vr_load_questions(vr_set *set, vr_faults *faults, vr_error *err);
vr_status vr_load_question(vr_set *set, const json_t *line, const vr_where *where, vr_faults *faults, vr_error *err);

/* ---- answers ---- */

typedef struct vr_answer_line {
    size_t question;
    vr_slice text;
    char *prompt; /* or NULL */
    char *storage;
    size_t line;
} vr_answer_line;

typedef struct vr_answers {
    const char *path;
    vr_answer_line *items; /* in the order of the file */
    size_t n, room;
    size_t *of_question; /* [set->n] index of its answer plus one; 0: none */
    size_t missing;      /* questions without an answer */
} vr_answers;

/* The whole file. A broken line, an unknown id, a second answer to one question (the later one counts)
 * and, where the benchmark does not take them for wrong, questions without an answer are faults. */
vr_status vr_answers_read(vr_answers *answers, const vr_set *set, const char *path, vr_faults *faults, vr_error *err);
/* For answers that come one by one: start, then add each line. */
vr_status vr_answers_start(vr_answers *answers, const vr_set *set, const char *path, vr_error *err);
vr_status vr_answers_add(vr_answers *answers, const vr_set *set, const json_t *line, const vr_where *where,
                         vr_faults *faults, vr_error *err);
/* The same where it is known which question was asked; a second one replaces the first. */
vr_status vr_answers_keep(vr_answers *answers, const vr_set *set, size_t question, vr_slice text, const char *prompt,
                          size_t line, vr_error *err);
void vr_answers_free(vr_answers *answers);
/* The answer's text, "" where there is none. */
vr_slice vr_answer_of(const vr_answers *answers, size_t question);

/* ---- scores ---- */

typedef enum vr_said { VR_SAID_NOTHING, VR_SAID_YES, VR_SAID_NO, VR_SAID_OTHER } vr_said;

/* What the official rule says about one answer. */
typedef struct vr_verdict {
    double score;      /* 0 to 1 */
    vr_said truth, said; /* of yes/no tasks; truth VR_SAID_NOTHING: it is none */
    bool counted;      /* in the headline figure */
} vr_verdict;

typedef struct vr_figure {
    const char *name;  /* "VQA accuracy, official" */
    double value;
    int decimals;      /* as it is published */
    bool original;     /* the original program's, where that differs */
} vr_figure;

#define VR_MOST_FIGURES 4

typedef struct vr_score {
    json_t *values;    /* the keys of one block of the reference files' expected.json */
    json_t *submission; /* what is uploaded; borrowed from values, or NULL */
    vr_figure figures[VR_MOST_FIGURES]; /* the official headline first */
    size_t n_figures;
    vr_verdict *verdicts; /* [set->n]; NULL where nothing can be scored here */
    char notes[512];      /* what a reader must know ("division by zero ..."), or "" */
} vr_score;

void vr_score_free(vr_score *score);
/* Scores all answers. VRWKV_ERR_FORMAT where they cannot be: a question without gold, ... */
vr_status vr_score_make(vr_score *score, vr_set *set, const vr_answers *answers, vr_error *err);
/* Writes the file or folder that the benchmark's server or tool takes. */
vr_status vr_submission_save(const vr_set *set, const vr_answers *answers, const vr_score *score, const char *path,
                             vr_error *err);
/* The official headline where the questions of group g count weight[g] times. */
double vr_score_weighted(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight);
/* The figure to report: the official headline, or the original program's. NULL: none. */
const vr_figure *vr_score_headline(const vr_score *score, bool original);

struct vr_bench {
    const char *name, *title;
    const char *unit;       /* of the headline: "%", "points" */
    bool repeats;           /* ids come more than once: the prompt tells which question was asked (TextVQA, MME) */
    bool prompts;           /* the score needs the prompts of the answers */
    bool blanks;            /* a question without an answer is wrong, not a fault (ScienceQA) */
    bool yes_no;            /* the report shows a table of confusion */
    const vr_split *splits; /* closed by a name of NULL */
    vr_status (*load)(vr_set *set, vr_faults *faults, vr_error *err); /* the questions */
    vr_status (*load_gold)(vr_set *set, vr_faults *faults, vr_error *err);
    void (*free_gold)(void *gold);
    /* The human turn without "<image>"; NULL: the question's text. */
    void (*make_prompt)(const vr_set *set, const vr_question *question, vr_family family, vr_str *out);
    /* One answer by the official rule. */
    void (*judge)(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict);
    /* values, figures and notes from all answers; verdicts are there already. */
    vr_status (*score)(const vr_set *set, const vr_answers *answers, vr_score *score, vr_error *err);
    /* The headline where group g counts weight[g] times; it looks at groups, categories and verdicts alone.
     * NULL: 100 times the mean score of what is counted. */
    double (*figure)(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight);
    /* What would have been right, for a reader. */
    void (*right)(const vr_set *set, size_t question, vr_str *out);
    /* Writes the file or folder to upload; NULL: the submission as JSON. */
    vr_status (*write_submission)(const vr_set *set, const vr_answers *answers, const vr_score *score, const char *path,
                                  vr_error *err);
    const char *upload; /* ending of that file's name, ".upload.json"; NULL: nothing is uploaded */
    const char *submission; /* what that is: "upload.json", "results folder", .. ; NULL: nothing is uploaded */
};

const vr_bench *vr_bench_at(size_t index); /* NULL behind the last */
const vr_bench *vr_bench_find(const char *name);
const char *vr_bench_names(char *buffer, size_t size); /* "vqav2, gqa, ..." */

extern const vr_bench vr_bench_vqav2, vr_bench_gqa, vr_bench_scienceqa, vr_bench_textvqa, vr_bench_pope, vr_bench_mme,
    vr_bench_mmbench, vr_bench_mmbench_cn, vr_bench_vizwiz, vr_bench_listqa, vr_bench_mmvet, vr_bench_easyvqa;

/* The turn as a question for the model: make_prompt, or the text, without "<image>" and the white space
 * that it leaves. */
vr_status vr_bench_prompt(const vr_set *set, const vr_question *question, vr_family family, vr_str *out, vr_error *err);

/* ---- for the benchmarks ---- */

#define VR_SHORT_ANSWER "\nAnswer the question using a single word or phrase."

/* Writes a JSON file, all of it or none; flags: jansson's. */
vr_status vr_json_save(const json_t *value, const char *path, size_t flags, vr_error *err);
void vr_put(json_t *object, const char *key, json_t *value); /* takes the value over */
json_t *vr_json_of(vr_slice text);                             /* what is no UTF-8 becomes U+FFFD */
double vr_round(double value, int decimals);                  /* as Python's round */
json_t *vr_json_id(const vr_question *question);              /* a new reference */
void vr_score_figure(vr_score *score, const char *name, double value, int decimals, bool original);

/* Means over questions of one kind, kinds in the order of their coming; keys are the set's words. */
typedef struct vr_mean { const char *key; double sum; size_t n; } vr_mean;
typedef struct vr_means {
    vr_mean *items;
    size_t n, room;
} vr_means;
vr_status vr_means_add(vr_means *means, const char *key, double value, vr_error *err);

/* Answers to yes/no questions, positive is yes; weighted. */
typedef struct vr_confusion { double tp, fp, tn, fn, other; } vr_confusion;
void vr_confusion_add(vr_confusion *to, const vr_verdict *verdict, double weight);
double vr_ratio(double a, double b); /* 0 where b is 0 */
double vr_confusion_f1(const vr_confusion *c);
#endif
