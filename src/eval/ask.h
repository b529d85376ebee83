/* Many questions about pictures, put to a model.
 *
 * Questions come in bundles about one picture. The picture is encoded once; where the model's prompt has
 * it first, the state behind it is kept too and each question costs its own tokens only. Where the question
 * stands before the picture (the sandwich prompt) only the features are kept and the prompt is read anew.
 * Up to `batch` answers are generated together, each step reading the weights once; an answer does not
 * depend on its neighbours. */
#ifndef VR_EVAL_ASK_H
#define VR_EVAL_ASK_H
#include "eval/str.h"
#include "text/shape.h"

typedef struct vr_ask_options {
    vrwkv_manner manner;
    vrwkv_padding padding;
    int max_tokens;  /* of an answer; 0: 128, the original's */
    size_t batch;    /* answers at a time; 0: 16 */
    bool no_reuse;   /* read every prompt as a whole */
    const vr_shape *shape; /* answers have this shape; NULL: any text */
} vr_ask_options;

typedef struct vr_ask vr_ask;

/* An answer. In the original's manner: the text of all tokens, cut at the first blank line and trimmed. */
typedef struct vr_reply {
    size_t job;          /* the caller's number */
    vr_slice prompt;      /* the text that was read, "<image>" for a picture */
    vr_slice text;
    double avg_logit;    /* mean of the chosen logits, the stop token's with them */
    double avg_prob;     /* (product of their probabilities)^(1/n) */
    int tokens;
    bool complete;       /* of a shape: it was not cut at max_tokens */
} vr_reply;

typedef vr_status (*vr_reply_fn)(void *user, const vr_reply *reply, vr_error *err);

vr_status vr_ask_open(vr_ask **out, vrwkv_model *model, const vr_ask_options *options, vr_reply_fn reply, void *user,
                      vr_error *err);
void vr_ask_close(vr_ask *ask);
/* What is kept of a picture: "state", or "features", and why, for a reader. */
const char *vr_ask_reuse(const vr_ask *ask);
const char *vr_ask_reuse_reason(const vr_ask *ask);
/* The questions that follow are about this picture (NULL: none); it is shared, not taken. */
void vr_ask_picture(vr_ask *ask, vrwkv_features *picture);
/* Reads one question; where the batch is full, first generates until an answer is finished. Replies
 * come through the callback, now or later, in any order. */
vr_status vr_ask_question(vr_ask *ask, size_t job, const char *question, vr_error *err);
vr_status vr_ask_finish(vr_ask *ask, vr_error *err); /* generates all that is open */
/* Reads one question into a conversation of its own, which the ask keeps until the next call: for ranking.
 * The prompt's text lives as long. */
vr_status vr_ask_read(vr_ask *ask, const char *question, vrwkv_context **context, vr_slice *prompt, vr_error *err);
#endif
