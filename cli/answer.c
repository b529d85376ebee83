/* Answers as they stream: which bytes may be shown already. White space is held back until something
 * follows it, for at the end it is not part of the answer. */
#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of the white space character at the beginning of the text, 0: none there. The list is the one
 * that strips prompts: U+0009..D, 1C..20, 85, A0, 1680, 2000..A, 2028, 2029, 202F, 205F, 3000. */
static size_t space_at(const char *text, size_t n) {
    const unsigned char *c = (const unsigned char *)text;
    if (n >= 1 && ((c[0] >= 0x09 && c[0] <= 0x0d) || (c[0] >= 0x1c && c[0] <= 0x20))) return 1;
    if (n >= 2 && c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0)) return 2;
    if (n < 3) return 0;
    unsigned code = (c[0] & 15u) << 12 | (c[1] & 63u) << 6 | (c[2] & 63u);
    if (c[0] >> 4 != 14) return 0;
    bool space = code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
                 code == 0x202f || code == 0x205f || code == 0x3000;
    return space ? 3 : 0;
}

/* How many bytes of white space end the text. */
static size_t spaces_behind(const char *text, size_t n) {
    size_t end = n;
    for (bool more = true; more && end > 0;) {
        more = false;
        for (size_t length = 1; length <= 3 && length <= end && !more; length++) {
            if (space_at(text + end - length, length) == length) {
                end -= length;
                more = true;
            }
        }
    }
    return n - end;
}

const char *vr_stripped(const char *text, size_t n, size_t *length) {
    size_t space;
    while ((space = space_at(text, n)) > 0) {
        text += space;
        n -= space;
    }
    *length = n - spaces_behind(text, n);
    return text;
}

static bool only_spaces(const char *text, size_t n) {
    size_t length;
    vr_stripped(text, n, &length);
    return length == 0;
}

vr_status vr_answer_add(vr_answer *answer, const char *text, size_t n, vr_error *err) {
    vr_buffer *all = &answer->text;
    if (answer->ended) return VRWKV_OK;
    size_t before = all->n > 0 ? all->n - 1 : 0; /* a blank line may begin with the last byte */
    VR_TRY(vr_buffer_add(all, text, n, err));
    const char *blank = answer->cut_at_blank_line ? memmem(all->data + before, all->n - before, "\n\n", 2) : NULL;
    if (blank) {
        all->n = (size_t)(blank - all->data);
        answer->ended = true;
        if (answer->shown > all->n) answer->shown = all->n;
    }
    if (answer->shown == 0 && only_spaces(all->data, all->n)) return VRWKV_OK;
    if (answer->shown == 0) {
        size_t length;
        answer->shown = (size_t)(vr_stripped(all->data, all->n, &length) - all->data);
    }
    size_t ready = all->n - answer->shown;
    ready -= spaces_behind(all->data + answer->shown, ready);
    if (!answer->silent && ready) {
        if (isatty(STDOUT_FILENO))
            vr_print_text(all->data + answer->shown, ready);
        else
            fwrite(all->data + answer->shown, 1, ready, stdout);
        VR_TRY(vr_stdout_flush(err));
    }
    answer->shown += ready;
    return VRWKV_OK;
}

const char *vr_answer_text(const vr_answer *answer, size_t *n) {
    return vr_stripped(answer->text.data ? answer->text.data : "", answer->text.n, n);
}

void vr_answer_free(vr_answer *answer) {
    free(answer->text.data);
    *answer = (vr_answer){0};
}
