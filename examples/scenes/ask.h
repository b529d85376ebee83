/* Questions about a scene, with their answers, as one conversation. */
#ifndef SC_ASK_H
#define SC_ASK_H
#include "scene.h"

#define SC_MAX_TURNS 8
#define SC_TEXT_BYTES 256 /* of a question or an answer; the longest have less than 100 */

/* What an accuracy is reported for. */
typedef enum sc_kind {
    SC_KIND_COLOUR, SC_KIND_SHAPE, SC_KIND_SIZE, SC_KIND_COUNT, SC_KIND_POSITION, SC_KIND_RELATION,
    SC_KIND_EXIST, SC_KIND_DIGIT, SC_KIND_WORD, SC_KIND_CAPTION,
    SC_KINDS
} sc_kind;

typedef enum sc_form {
    SC_OPEN,   /* the answer is a value */
    SC_YES_NO,
    SC_FOLLOW, /* about the object of the question before: "And its size?" */
    SC_FORMS
} sc_form;

typedef struct sc_question {
    char text[SC_TEXT_BYTES], answer[SC_TEXT_BYTES];
    sc_kind kind;
    sc_form form;
    bool novel; /* one of the objects it is about is a held-out combination */
} sc_question;

typedef struct sc_talk {
    sc_question questions[SC_MAX_TURNS];
    int n;
    sc_language language;
} sc_talk;

typedef struct sc_manner {
    unsigned kinds;   /* bits of sc_kind that may be asked */
    unsigned layouts; /* bits of sc_layout that may be drawn */
    int most;         /* questions in a conversation, at most */
} sc_manner;

const char *sc_kind_name(int kind); /* NULL past the end */
const char *sc_form_name(sc_form form);
const char *sc_layout_name(int layout); /* NULL past the end */

/* How often a layout is drawn among those that the manner allows; 0: it does not, or no question of its kinds fits. */
int sc_layout_weight(sc_layout layout, const sc_manner *manner);

/* A conversation in talk->language. No question can be answered from the turns before it, but for what a
 * follow-up is about. n is 0 where the first question did not fit this very scene: make another. */
void sc_talk_make(sc_talk *talk, const sc_scene *scene, const sc_manner *manner, vr_rng *rng);
#endif
