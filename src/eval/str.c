#include "eval/str.h"

#include "base/memory.h"
#include "text/unicode.h"
#include "text/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(vr_str *str, size_t n) {
    if (!str->failed && n < SIZE_MAX - str->n && vr_grow(&str->data, &str->room, str->n + n + 1, 1, NULL) == VRWKV_OK)
        return true;
    str->failed = true;
    return false;
}

void vr_str_put(vr_str *str, const char *data, size_t n) {
    if (!make_room(str, n)) return;
    if (n) memcpy(str->data + str->n, data, n);
    str->n += n;
    str->data[str->n] = 0;
}

void vr_str_add(vr_str *str, const char *text) { vr_str_put(str, text, strlen(text)); }
void vr_str_add_slice(vr_str *str, vr_slice span) { vr_str_put(str, span.p, span.n); }

void vr_str_format(vr_str *str, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !make_room(str, (size_t)n)) return;
    va_start(args, format);
    vsnprintf(str->data + str->n, (size_t)n + 1, format, args);
    va_end(args);
    str->n += (size_t)n;
}

void vr_str_clear(vr_str *str) {
    str->n = 0;
    if (str->data) str->data[0] = 0;
}

void vr_str_free(vr_str *str) {
    free(str->data);
    *str = (vr_str){0};
}

const char *vr_str_text(const vr_str *str) { return str->data ? str->data : ""; }
vr_slice vr_str_slice(const vr_str *str) { return (vr_slice){vr_str_text(str), str->n}; }

vr_status vr_str_check(const vr_str *str, vr_error *err) {
    return str->failed ? vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a text of more than %zu bytes", str->n)
                       : VRWKV_OK;
}

vr_slice vr_slice_of(const char *text) { return (vr_slice){text, strlen(text)}; }

vr_slice vr_trim(vr_slice span) {
    size_t length;
    while ((length = vr_utf8_space(span.p, span.n))) {
        span.p += length;
        span.n -= length;
    }
    while ((length = vr_utf8_space_back(span.p, span.n))) span.n -= length;
    return span;
}

bool vr_slice_same(vr_slice a, vr_slice b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
bool vr_slice_is(vr_slice span, const char *text) { return vr_slice_same(span, vr_slice_of(text)); }

const char *vr_slice_find(vr_slice span, const char *text) {
    size_t n = strlen(text);
    return n == 0 ? span.p : span.n ? memmem(span.p, span.n, text, n) : NULL;
}

char *vr_slice_copy(vr_slice span) {
    char *copy = vr_alloc(span.n + 1, 1);
    if (copy && span.n) memcpy(copy, span.p, span.n);
    return copy;
}

bool vr_next_part(vr_slice *rest, const char *separator, vr_slice *part) {
    if (!rest->p) return false;
    const char *end = vr_slice_find(*rest, separator);
    *part = (vr_slice){rest->p, end ? (size_t)(end - rest->p) : rest->n};
    size_t gone = part->n + strlen(separator);
    *rest = end ? (vr_slice){rest->p + gone, rest->n - gone} : (vr_slice){NULL, 0};
    return true;
}

bool vr_next_word(vr_slice *rest, vr_slice *word) {
    size_t length, n = 0;
    while ((length = vr_utf8_space(rest->p, rest->n))) *rest = (vr_slice){rest->p + length, rest->n - length};
    while (n < rest->n && !vr_utf8_space(rest->p + n, rest->n - n)) n++;
    *word = (vr_slice){rest->p, n};
    *rest = (vr_slice){rest->p + n, rest->n - n};
    return n > 0;
}

void vr_str_lower(vr_str *out, vr_slice span) {
    if (!make_room(out, span.n * VR_CASE_GROWTH)) return;
    out->n += vr_lower(span.p, span.n, out->data + out->n);
    out->data[out->n] = 0;
}

void vr_str_replace(vr_str *out, vr_slice span, const char *what, const char *by) {
    vr_slice part;
    bool first = true;
    for (; vr_next_part(&span, what, &part); first = false) {
        if (!first) vr_str_add(out, by);
        vr_str_add_slice(out, part);
    }
}
