/* Encoding (at each position the longest token) and decoding. */
#include "base/memory.h"
#include "text/store.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

vr_status vr_encode(const vr_vocab *vocab, const char *text, size_t n, int32_t **ids, size_t *count, size_t *capacity,
                    vr_error *err) {
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    size_t made = *count, room = *capacity;
    int32_t *to = *ids;
    while (p < end) {
        if (made >= room) {
            /* Tokens of ordinary text have about four bytes. */
            VR_TRY(vr_grow(ids, capacity, made + (size_t)(end - p) / 4 + 1, sizeof **ids, err));
            to = *ids;
            room = *capacity;
        }
        int32_t id;
        size_t length = vr_trie_match(&vocab->trie, p, end, &id);
        if (!length)
            return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "the vocabulary has no token for byte 0x%02x, at byte %zu of the text", *p,
                           (size_t)(p - (const unsigned char *)text));
        to[made++] = id;
        p += length;
    }
    *count = made;
    return VRWKV_OK;
}

vr_status vr_decode_bytes(const vr_vocab *vocab, const int32_t *ids, size_t n, char **out, size_t *bytes, bool *unknown,
                          vr_error *err) {
    size_t total = 0, length;
    *out = NULL;
    *bytes = 0;
    *unknown = false;
    for (size_t i = 0; i < n; i++) {
        if (!vr_vocab_token(vocab, ids[i], &length)) *unknown = true;
        if (__builtin_add_overflow(total, length, &total)) total = SIZE_MAX - 1;
    }
    char *text = vr_alloc(total + 1, 1);
    if (!text) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu bytes of text", total);
    char *to = text;
    for (size_t i = 0; i < n; i++) {
        const char *token = vr_vocab_token(vocab, ids[i], &length);
        if (token) memcpy(to, token, length);
        to += length;
    }
    *to = 0;
    *out = text;
    *bytes = total;
    return VRWKV_OK;
}

vr_status vr_decode_text(const vr_vocab *vocab, const int32_t *ids, size_t n, char **out, size_t *bytes, vr_error *err) {
    bool unknown;
    VR_TRY(vr_decode_bytes(vocab, ids, n, out, bytes, &unknown, err));
    if (!unknown && vr_utf8_valid(*out, *bytes)) return VRWKV_OK;
    free(*out);
    *bytes = strlen(VR_UTF8_REPLACEMENT);
    *out = vr_strdup(VR_UTF8_REPLACEMENT);
    if (*out) return VRWKV_OK;
    *bytes = 0;
    return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for decoded text");
}
