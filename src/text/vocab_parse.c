/* The line grammar of rwkv_vocab_v20230424.txt: ID SPACE LITERAL SPACE LENGTH, LF or CRLF.
 *
 * The tokens themselves may hold spaces: ID ends at the first space of the line, LENGTH begins after
 * the last. LITERAL is a Python literal, '...' or "..." (a str; the token is its UTF-8 form) or b'...'
 * (bytes): \x80 is U+0080, two bytes, in the former and one byte in the latter. Escapes of Python that
 * are not listed here are refused, and so is every line whose token has not LENGTH bytes. */
#include "base/memory.h"
#include "text/store.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry { uint32_t id; size_t at, bytes; } entry;

typedef struct parser {
    char *blob; /* tokens so far: never longer than their literals, so the text's size is room enough */
    size_t used;
    entry *entries;
    size_t n, room;
    size_t line; /* from 1 */
    vr_error *err;
} parser;

static vr_status bad_line(const parser *p, const char *what) {
    return vr_fail(p->err, VRWKV_ERR_FORMAT, "vocabulary, line %zu: %s", p->line, what);
}

static bool number(const char *text, size_t n, size_t limit, size_t *out) {
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *out = *out * 10 + (size_t)(text[i] - '0');
        if (*out > limit) return false;
    }
    return n > 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const struct { char name, byte; } simple_escapes[] = {
    {'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''}, {'"', '"'},
    {'a', '\a'}, {'b', '\b'}, {'f', '\f'}, {'v', '\v'},
};
static const struct { char name; int digits; bool in_bytes; } code_escapes[] = {
    {'x', 2, true}, {'u', 4, false}, {'U', 8, false},
};

/* The escape at text (after its backslash), appended to the blob; *read bytes of text were used. */
static vr_status escape(parser *p, const char *text, size_t n, bool is_bytes, size_t *read) {
    if (!n) return bad_line(p, "a backslash ends the literal");
    for (size_t i = 0; i < VR_COUNT(simple_escapes); i++)
        if (simple_escapes[i].name == text[0]) {
            p->blob[p->used++] = simple_escapes[i].byte;
            *read = 1;
            return VRWKV_OK;
        }
    for (size_t i = 0; i < VR_COUNT(code_escapes); i++) {
        size_t digits = (size_t)code_escapes[i].digits;
        uint32_t code = 0;
        if (code_escapes[i].name != text[0] || (is_bytes && !code_escapes[i].in_bytes)) continue;
        for (size_t k = 1; k <= digits; k++) {
            int digit = k < n ? hex_digit(text[k]) : -1;
            if (digit < 0) return bad_line(p, "an escape has too few hexadecimal digits");
            code = code << 4 | (uint32_t)digit;
        }
        *read = digits + 1;
        if (is_bytes) {
            p->blob[p->used++] = (char)code;
            return VRWKV_OK;
        }
        char bytes[4];
        size_t length = vr_utf8_put(code, bytes);
        if (!length) return bad_line(p, "an escape names no Unicode character");
        memcpy(p->blob + p->used, bytes, length);
        p->used += length;
        return VRWKV_OK;
    }
    return bad_line(p, "unknown escape in the literal");
}

static vr_status literal(parser *p, const char *text, size_t n) {
    bool is_bytes = n && text[0] == 'b';
    if (is_bytes) text++, n--;
    if (n < 2 || (text[0] != '\'' && text[0] != '"') || text[n - 1] != text[0])
        return bad_line(p, "no Python literal ('...', \"...\" or b'...') between the first and the last space");
    for (size_t i = 1, read = 0; i < n - 1; i += read) {
        size_t run = i;
        while (run < n - 1 && text[run] != '\\' && text[run] != text[0] && (!is_bytes || !(text[run] & 0x80))) run++;
        memcpy(p->blob + p->used, text + i, run - i);
        p->used += run - i;
        if (run == n - 1) break;
        if (text[run] != '\\')
            return bad_line(p, text[run] == text[0] ? "the literal ends before the last space" : "a bytes literal holds a byte above 127");
        VR_TRY(escape(p, text + run + 1, n - 2 - run, is_bytes, &read));
        read += run + 1 - i;
    }
    return VRWKV_OK;
}

static vr_status parse_line(parser *p, const char *text, size_t n) {
    const char *first = memchr(text, ' ', n), *last = memrchr(text, ' ', n);
    size_t id, length, at = p->used;
    if (!first || first == last) return bad_line(p, "not of the form ID LITERAL LENGTH");
    if (!number(text, (size_t)(first - text), VR_TRIE_MAX_IDS - 1, &id))
        return bad_line(p, "the id is no decimal number below 2097152");
    if (!number(last + 1, n - (size_t)(last + 1 - text), UINT32_MAX, &length))
        return bad_line(p, "the length is no decimal number below 4294967296");
    VR_TRY(literal(p, first + 1, (size_t)(last - first) - 1));
    if (p->used - at != length)
        return vr_fail(p->err, VRWKV_ERR_FORMAT, "vocabulary, line %zu: the token has %zu bytes, its stated length is %zu", p->line,
                       p->used - at, length);
    if (!length) return bad_line(p, "an empty token");
    if (first[1] != 'b' && !vr_utf8_valid(p->blob + at, length)) return bad_line(p, "the literal is no valid UTF-8");
    VR_TRY(vr_grow(&p->entries, &p->room, p->n + 1, sizeof *p->entries, p->err));
    p->entries[p->n++] = (entry){(uint32_t)id, at, length};
    return VRWKV_OK;
}

static vr_status parse_lines(parser *p, const char *text, size_t size) {
    for (const char *end = text + size; text < end;) {
        const char *stop = memchr(text, '\n', (size_t)(end - text)), *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > text && stop[-1] == '\r') stop--;
        p->line++;
        VR_TRY(parse_line(p, text, (size_t)(stop - text)));
        text = next;
    }
    return p->n ? VRWKV_OK : vr_fail(p->err, VRWKV_ERR_FORMAT, "vocabulary: not one line");
}

static vr_status make(vr_vocab **out, const parser *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->entries[i].id >= n) n = (size_t)p->entries[i].id + 1;
    const char **tokens = vr_alloc(n, sizeof *tokens);
    size_t *bytes = vr_alloc(n, sizeof *bytes);
    vr_status status = VRWKV_OK;
    if (!tokens || !bytes) status = vr_fail(p->err, VRWKV_ERR_MEMORY, "out of memory for a vocabulary of %zu ids", n);
    for (size_t i = 0; i < p->n && status == VRWKV_OK; i++) {
        entry e = p->entries[i];
        if (tokens[e.id])
            status = vr_fail(p->err, VRWKV_ERR_FORMAT, "vocabulary, line %zu: id %u was given before", i + 1, e.id);
        tokens[e.id] = p->blob + e.at;
        bytes[e.id] = e.bytes;
    }
    if (status == VRWKV_OK) status = vr_vocab_make(out, tokens, bytes, n, p->err);
    free(tokens);
    free(bytes);
    return status;
}

vr_status vr_vocab_parse(vr_vocab **out, const char *text, size_t size, vr_error *err) {
    parser p = {.blob = vr_alloc(size, 1), .err = err};
    *out = NULL;
    if (!p.blob) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a vocabulary of %zu bytes", size);
    vr_status status = parse_lines(&p, text, size);
    if (status == VRWKV_OK) status = make(out, &p);
    free(p.blob);
    free(p.entries);
    return status;
}
