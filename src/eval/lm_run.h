/* Text ability of a model: files of text tasks, and the perplexity of a text. */
#ifndef VR_EVAL_LM_RUN_H
#define VR_EVAL_LM_RUN_H
#include "eval/lm.h"

typedef struct vr_lm_run_options {
    const char *const *names; /* tasks wanted, "piqa" or all that begin so; n_names 0: all in the folder */
    size_t n_names;
    size_t limit;             /* documents of a task; 0: all */
    vrwkv_manner manner;
    vr_faults *faults;
    int (*progress)(void *user, const char *task, size_t done, size_t total, double accuracy); /* not 0: stop */
    void *user;
} vr_lm_run_options;

/* Every <task>.jsonl of the folder -> {"kind": "text", "tasks": {name: {"metrics", "documents", "right"}}, "averages"}. */
vr_status vr_lm_run(json_t **out, vrwkv_model *model, const char *folder, const vr_lm_run_options *options, vr_error *err);

typedef struct vr_perplexity {
    size_t tokens, bytes;
    double log_likelihood; /* natural, of all tokens */
    double per_token;      /* exp(-mean) */
    double bits_per_byte;
} vr_perplexity;
/* Of a text read from beginning to end in one state, after a line end. */
vr_status vr_perplexity_of(vr_perplexity *out, vrwkv_model *model, vr_slice text, vr_error *err);
#endif
