/* Letter case and digits, from ranges that are searched by halves. */
#include "text/unicode.h"

#include "base/status.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

#include <string.h>

#define NO_CODE 0x110000u
#define SIGMA 0x3A3u
#define FINAL_SIGMA 0x3C2u

uint32_t vr_utf8_code(const char *p, size_t n, size_t *length) {
    const unsigned char *b = (const unsigned char *)p;
    size_t whole;
    *length = vr_utf8_scan(p, n, &whole);
    if (!whole || *length != whole) {
        *length = 1;
        return NO_CODE + b[0];
    }
    static const unsigned char lead[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = b[0] & lead[whole];
    for (size_t i = 1; i < whole; i++) code = code << 6 | (b[i] & 0x3F);
    return code;
}

size_t vr_utf8_count(const char *p, size_t n) {
    size_t count = 0, length;
    for (size_t i = 0; i < n; i += length, count++) vr_utf8_code(p + i, n - i, &length);
    return count;
}

static bool in_ranges(const vr_code_range *ranges, size_t n, uint32_t code) {
    size_t low = 0, high = n; /* the first range that does not end before the code */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low].first <= code;
}

static uint32_t map_code(const vr_case_run *runs, size_t n, uint32_t code) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (runs[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == n || code < runs[low].first || (code - runs[low].first) % runs[low].step) return code;
    return (uint32_t)((int64_t)code + runs[low].delta);
}

static size_t put_code(uint32_t code, char *out) {
    if (code < NO_CODE) return vr_utf8_put(code, out);
    *out = (char)(code - NO_CODE);
    return 1;
}

static size_t put_lower(uint32_t code, char *out) {
    if (code < 0x80) {
        *out = (char)(code >= 'A' && code <= 'Z' ? code | 0x20 : code);
        return 1;
    }
    if (code == 0x130) { /* the only letter whose small form is two characters */
        memcpy(out, "i\xCC\x87", 3);
        return 3;
    }
    return put_code(map_code(lower_runs, VR_COUNT(lower_runs), code), out);
}

static bool is_cased(uint32_t code) { return in_ranges(cased_ranges, VR_COUNT(cased_ranges), code); }
static bool is_ignorable(uint32_t code) { return in_ranges(ignorable_ranges, VR_COUNT(ignorable_ranges), code); }

/* A sigma ends a word where a letter is before it and none behind, marks between them not counted. */
static bool ends_word(const char *text, size_t n, size_t at, size_t length) {
    size_t step, before = at;
    uint32_t code = 0;
    bool letter_before = false;
    while (before > 0 && !letter_before) {
        size_t back = 1;
        while (back < 4 && back < before && ((unsigned char)text[before - back] & 0xC0) == 0x80) back++;
        before -= back;
        code = vr_utf8_code(text + before, back, &step);
        letter_before = is_cased(code);
        if (!letter_before && !is_ignorable(code)) return false;
    }
    if (!letter_before) return false;
    for (size_t i = at + length; i < n; i += step) {
        code = vr_utf8_code(text + i, n - i, &step);
        if (is_cased(code)) return false;
        if (!is_ignorable(code)) return true;
    }
    return true;
}

static size_t put_lower_at(const char *text, size_t n, size_t at, char *out, size_t *length) {
    uint32_t code = vr_utf8_code(text + at, n - at, length);
    return code == SIGMA && ends_word(text, n, at, *length) ? vr_utf8_put(FINAL_SIGMA, out) : put_lower(code, out);
}

size_t vr_lower(const char *text, size_t n, char *out) {
    size_t to = 0, length;
    for (size_t i = 0; i < n; i += length) to += put_lower_at(text, n, i, out + to, &length);
    return to;
}

static size_t put_title(uint32_t code, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < VR_COUNT(title_runs_many); i++) {
        if (title_runs_many[i].code != code) continue;
        for (int k = 0; k < 3 && title_runs_many[i].to[k]; k++) n += vr_utf8_put(title_runs_many[i].to[k], out + n);
        return n;
    }
    return put_code(map_code(title_runs, VR_COUNT(title_runs), code), out);
}

size_t vr_capitalise(const char *text, size_t n, char *out) {
    size_t length, to = 0;
    if (!n) return 0;
    to = put_title(vr_utf8_code(text, n, &length), out);
    for (size_t i = length; i < n; i += length) to += put_lower_at(text, n, i, out + to, &length);
    return to;
}

size_t vr_utf8_digit(const char *p, size_t n) {
    size_t length;
    if (!n) return 0;
    if ((unsigned char)*p < 0x80) return *p >= '0' && *p <= '9';
    uint32_t code = vr_utf8_code(p, n, &length);
    return in_ranges(decimal_ranges, VR_COUNT(decimal_ranges), code) ? length : 0;
}
