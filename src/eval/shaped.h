/* Choosing tokens so that the text keeps a shape. */
#ifndef VR_EVAL_SHAPED_H
#define VR_EVAL_SHAPED_H
#include "text/shape.h"

/* The text of every token of a model. Tokens that are no whole characters are left out: a shape is of
 * text, and a broken character would end in it. */
typedef struct vr_words {
    char *text;
    size_t *from; /* [n + 1] token i is text[from[i]..from[i + 1]) */
    int n;
} vr_words;

vr_status vr_words_make(vr_words *words, vrwkv_model *model, vr_error *err);
void vr_words_free(vr_words *words);
/* The likeliest token that the shape lets come next, already pushed; `stop` where the text may end and
 * stopping is likelier. -1: there is none. */
int32_t vr_words_choose(const vr_words *words, const float *logits, int32_t stop, vr_shape_state *state);
#endif
