/* The text of one answer on its way to the terminal: white space at both ends is left away; in the
 * original's manner nothing is shown from the first blank line on. */
#ifndef VR_CLI_ANSWER_H
#define VR_CLI_ANSWER_H
#include "common.h"

typedef struct vr_answer {
    bool cut_at_blank_line; /* the original's manner */
    bool silent;            /* collects only */
    vr_buffer text;         /* all that came, whole UTF-8 characters */
    size_t shown;           /* bytes of it that are settled: printed, or leading white space */
    bool ended;             /* cut */
} vr_answer;

/* Prints what n more bytes let be printed. */
vr_status vr_answer_add(vr_answer *answer, const char *text, size_t n, vr_error *err);
/* The answer so far: where it begins and how long it is. */
const char *vr_answer_text(const vr_answer *answer, size_t *n);
void vr_answer_free(vr_answer *answer);
/* Beginning and length of the text without white space (Unicode's) at its ends. */
const char *vr_stripped(const char *text, size_t n, size_t *length);

#endif
