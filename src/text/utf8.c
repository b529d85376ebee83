/* UTF-8 check, white space and the streaming decoder. */
#include "text/utf8.h"
#include "text/vocab.h"

#include <string.h>

size_t vr_utf8_scan(const char *p, size_t n, size_t *whole) {
    const unsigned char *b = (const unsigned char *)p;
    *whole = 0;
    if (!n) return 0;
    unsigned char lead = b[0], low = 0x80, high = 0xBF; /* limits of the second byte */
    if (lead < 0x80) return *whole = 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    *whole = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0) low = 0xA0;  /* overlong below */
    if (lead == 0xED) high = 0x9F; /* surrogates above */
    if (lead == 0xF0) low = 0x90;  /* overlong below */
    if (lead == 0xF4) high = 0x8F; /* beyond U+10FFFF above */
    size_t i = 1;
    for (; i < *whole && i < n; i++) {
        if (b[i] < low || b[i] > high) break;
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

size_t vr_utf8_put(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(lead[n] | code);
    return n;
}

bool vr_utf8_valid(const char *text, size_t n) {
    size_t i = 0, whole;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8) {
            memcpy(&eight, text + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        size_t length = vr_utf8_scan(text + i, n - i, &whole);
        if (!whole || length != whole) return false;
        i += length;
    }
    return true;
}

/* U+0009..000D 001C..0020 0085 00A0 1680 2000..200A 2028 2029 202F 205F 3000 */
size_t vr_utf8_space(const char *p, size_t n) {
    const unsigned char *b = (const unsigned char *)p;
    if (!n) return 0;
    if (b[0] < 0x80) return (b[0] >= 0x09 && b[0] <= 0x0D) || (b[0] >= 0x1C && b[0] <= 0x20) ? 1 : 0;
    if (n >= 2 && b[0] == 0xC2) return b[1] == 0x85 || b[1] == 0xA0 ? 2 : 0;
    if (n < 3) return 0;
    switch (b[0] << 8 | b[1]) {
    case 0xE19A: return b[2] == 0x80 ? 3 : 0;
    case 0xE280: return (b[2] >= 0x80 && b[2] <= 0x8A) || b[2] == 0xA8 || b[2] == 0xA9 || b[2] == 0xAF ? 3 : 0;
    case 0xE281: return b[2] == 0x9F ? 3 : 0;
    case 0xE380: return b[2] == 0x80 ? 3 : 0;
    default: return 0;
    }
}

size_t vr_utf8_space_back(const char *p, size_t n) {
    /* A space's first byte is never a continuation byte, so at most one length fits. */
    for (size_t length = 1; length <= 3 && length <= n; length++)
        if (vr_utf8_space(p + n - length, length) == length) return length;
    return 0;
}

static size_t put_replacement(char *out) {
    memcpy(out, VR_UTF8_REPLACEMENT, 3);
    return 3;
}

/* The held bytes are always the proper beginning of a well-formed character, so at most three. */
size_t vr_stream_push(vr_stream *stream, const char *bytes, size_t n, char *out) {
    size_t i = 0, written = 0, whole;
    while (i < n && stream->n_held) {
        size_t held = (size_t)stream->n_held;
        stream->held[held] = bytes[i];
        size_t length = vr_utf8_scan(stream->held, held + 1, &whole);
        if (length <= held) { /* the new byte does not continue it: it may begin something */
            written += put_replacement(out + written);
            stream->n_held = 0;
        } else {
            i++;
            stream->n_held = (int)length;
            if (length == whole) {
                memcpy(out + written, stream->held, length);
                written += length;
                stream->n_held = 0;
            }
        }
    }
    while (i < n) {
        size_t length = vr_utf8_scan(bytes + i, n - i, &whole);
        if (whole && length == whole) {
            memcpy(out + written, bytes + i, length);
            written += length;
        } else if (whole && i + length == n) {
            memcpy(stream->held, bytes + i, length);
            stream->n_held = (int)length;
        } else {
            written += put_replacement(out + written);
            if (!length) length = 1;
        }
        i += length;
    }
    return written;
}

size_t vr_stream_end(vr_stream *stream, char *out) {
    if (!stream->n_held) return 0;
    stream->n_held = 0;
    return put_replacement(out);
}
