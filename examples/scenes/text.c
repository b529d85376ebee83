#include "text.h"

#include "ask.h"

#include <string.h>

static void add_bytes(char *text, const char *more, size_t n) {
    size_t have = strlen(text);
    if (have + n >= SC_TEXT_BYTES) return;
    memcpy(text + have, more, n);
    text[have + n] = 0;
}

void sc_add(char *text, const char *more) { add_bytes(text, more, strlen(more)); }

void sc_add_with_article(char *text, const char *noun) {
    sc_add(text, strchr("aeiou", noun[0]) ? "an " : "a ");
    sc_add(text, noun);
}

void sc_add_phrase(char *text, const char *phrase, const sc_slots *slots) {
    while (*phrase) {
        size_t plain = strcspn(phrase, "{");
        add_bytes(text, phrase, plain);
        phrase += plain;
        if (!*phrase) break;
        const char *what = phrase[1] == 'a' ? slots->a : phrase[1] == 'b' ? slots->b : slots->v;
        sc_add(text, what);
        phrase += strlen("{x}");
    }
}
