/* What the verbs about benchmarks share. */
#ifndef VR_CLI_BENCHMARK_H
#define VR_CLI_BENCHMARK_H
#include "common.h"
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

#endif
