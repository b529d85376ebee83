/* What the verbs about benchmarks share. */
#ifndef VR_CLI_BENCHMARK_H
#define VR_CLI_BENCHMARK_H
#include "common.h"
#include "eval/ask.h"
#include "eval/report.h"

/* --manner's values as the option table numbers them; -1: not written. */
enum { VR_MANNER_ORIGINAL, VR_MANNER_FRIENDLY };

/* A part of the questions: "k/n", k from 0. false: wrong usage was reported. */
bool vr_chunk_parse(const char *text, int *chunk, int *chunks);
/* Name of the folder that the model lies in: the original's model_id. Into `buffer`; returns it. */
const char *vr_model_id(const char *path, char *buffer, size_t size);

/* Answers of a whole run: scored, told on stdout, and written beside the answer file: <out>.result.json,
 * <out>.html, and what is uploaded. */
typedef struct vr_finish {
    const char *out, *submission;
    bool original, json, no_report;
    int gallery;
    size_t faults;
} vr_finish;
vr_status vr_finish_run(const vr_finish *how, vr_set *set, const vr_answers *answers, const vr_run_result *result, int *code,
                        vr_error *err);
/* Figures as lines of text, the leading one with a star. */
void vr_figures_print(const vr_set *set, const vr_answers *answers, const vr_score *score, bool original);

/* Forms of `eval` beside a benchmark; argv[0] is the form's name. */
int vr_eval_compare(int argc, char **argv);
int vr_eval_merge(int argc, char **argv);
int vr_eval_text(int argc, char **argv);
int vr_eval_perplexity(int argc, char **argv);

/* Faults are errors, or with keep_going notes on stderr. */
vr_faults vr_faults_of(bool keep_going);

/* How questions are put to the model; `manner` is the verb's, whose words and default differ. */
typedef struct vr_asking_args {
    int manner, pad, batch;
    bool no_reuse;
} vr_asking_args;
vr_ask_options vr_asking(const vr_asking_args *args, vrwkv_manner manner, int max_tokens);

/* Rows of option tables. */
#define VR_OPTIONS_ASKING(a, manners, manner_help)                                                                     \
    {"manner", 0, VR_OPT_CHOICE, &(a)->manner, manners, manner_help, 0, 0},                                            \
    {"pad", 0, VR_OPT_CHOICE, &(a)->pad, "manner|original|none", "v7's padding in front of each prompt", 0, 0},        \
    {"batch", 'b', VR_OPT_INT, &(a)->batch, "N", "answers generated together (default 16); changes no answer", 1, 4096}, \
    {"no-reuse", 0, VR_OPT_FLAG, &(a)->no_reuse, NULL,                                                                 \
     "read every prompt as a whole, also where the picture comes first", 0, 0}
#define VR_OPTIONS_QUESTIONS(split, questions, limit)                                                                  \
    {"split", 0, VR_OPT_STRING, split, "NAME",                                                                         \
     "another split than the first (vqav2: val, test-dev, test; mmbench: dev, test)", 0, 0},                           \
    {"questions", 0, VR_OPT_STRING, questions, "FILE", "another question file than the split's", 0, 0},                \
    {"limit", 'n', VR_OPT_INT, limit, "N", "only the first N questions", 0, INT32_MAX}
#define VR_OPTION_KEEP_GOING(t)                                                                                        \
    {"keep-going", 'k', VR_OPT_FLAG, t, NULL, "count and report faults in the data instead of stopping at the first", 0, 0}
#define VR_OPTIONS_RESULTS(submission, gallery, no_report)                                                             \
    {"submission", 0, VR_OPT_STRING, submission, "FILE", "what is uploaded, instead of beside the answers", 0, 0},     \
    {"gallery", 0, VR_OPT_INT, gallery, "N", "wrong answers shown in the page (default 48)", 0, 100000},               \
    {"no-report", 0, VR_OPT_FLAG, no_report, NULL, "no page, only the JSON", 0, 0}

#endif
