/* Text that is put together in a buffer of SC_TEXT_BYTES. */
#ifndef SC_TEXT_H
#define SC_TEXT_H
#include "names.h"

/* Appends; what does not fit is left out (tests/scenes.sh sees that everything fits). */
void sc_add(char *text, const char *more);
/* Appends "a circle", "an orange circle". */
void sc_add_with_article(char *text, const char *noun);

/* What stands for {a}, {b} and {v} in a phrase; NULL: does not occur. */
typedef struct sc_slots {
    const char *a, *b, *v;
} sc_slots;
void sc_add_phrase(char *text, const char *phrase, const sc_slots *slots);
#endif
