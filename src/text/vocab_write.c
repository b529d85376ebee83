/* A vocabulary in the line grammar that vr_vocab_parse reads: every token as a literal of bytes. */
#include "base/memory.h"
#include "text/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_ROOM = 64 }; /* of a line beside its token: id, length, marks */

vr_status vr_vocab_write(const vr_vocab *vocab, char **out, vr_error *err) {
    char *text = NULL;
    size_t n = 0, room = 0, bytes;
    *out = NULL;
    for (size_t id = 0; id < vr_vocab_size(vocab); id++) {
        const char *token = vr_vocab_token(vocab, (int64_t)id, &bytes);
        if (!token || !bytes) continue;
        if (vr_grow(&text, &room, n + 4 * bytes + LINE_ROOM, 1, err) != VRWKV_OK) {
            free(text);
            return VRWKV_ERR_MEMORY;
        }
        n += (size_t)snprintf(text + n, room - n, "%zu b'", id);
        for (size_t i = 0; i < bytes; i++) {
            unsigned char c = (unsigned char)token[i];
            bool plain = c >= 0x20 && c < 0x7f && c != '\'' && c != '\\';
            n += (size_t)snprintf(text + n, room - n, plain ? "%c" : "\\x%02x", c);
        }
        n += (size_t)snprintf(text + n, room - n, "' %zu\n", bytes);
    }
    *out = text ? text : vr_strdup("");
    return *out ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}
