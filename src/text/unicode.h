/* Letter case and digits of all of Unicode, as Python's str.lower, str.capitalize and str.isdecimal:
 * scorers are written with these, so a score depends on them. Bytes that are no well-formed UTF-8 are
 * kept as they are. Tables: scripts/unicode_tables.py. */
#ifndef VR_TEXT_UNICODE_H
#define VR_TEXT_UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One letter may become three: out has room for this many bytes per byte of the text. */
#define VR_CASE_GROWTH 3

/* The code point at p[0..n), n > 0, and how many bytes it has; a byte that begins none is given back
 * as a code beyond Unicode, with length 1. */
uint32_t vr_utf8_code(const char *p, size_t n, size_t *length);
/* How many code points (bytes of broken text count as one each). */
size_t vr_utf8_count(const char *p, size_t n);

size_t vr_lower(const char *text, size_t n, char *out);
/* The first character in title case, all others lower. */
size_t vr_capitalise(const char *text, size_t n, char *out);
/* Bytes of the decimal digit (general category Nd) that begins at p, or 0. */
size_t vr_utf8_digit(const char *p, size_t n);
#endif
