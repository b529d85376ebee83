/* UTF-8: well-formed characters (Unicode table 3-7: no overlong forms, no surrogates, at most
 * U+10FFFF) and Unicode white space, on bytes that need not be well-formed. */
#ifndef VR_TEXT_UTF8_H
#define VR_TEXT_UTF8_H
#include <stddef.h>
#include <stdint.h>

#define VR_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* How many of the n bytes at p are the beginning of one well-formed character; *whole is that
 * character's length by its first byte (0: no character begins like that). Result == *whole > 0: a
 * complete character. Result == n < *whole: cut off. Otherwise broken, and max(result, 1) bytes are
 * its maximal subpart, for which Unicode recommends one U+FFFD. */
size_t vr_utf8_scan(const char *p, size_t n, size_t *whole);
/* UTF-8 form of a code point, 1 to 4 bytes; 0 for surrogates and beyond U+10FFFF. */
size_t vr_utf8_put(uint32_t code, char out[4]);

/* Bytes of the white space character (Python's str.isspace) that begins at p, or 0. */
size_t vr_utf8_space(const char *p, size_t n);
/* Bytes of the white space character that ends just before p + n, or 0. */
size_t vr_utf8_space_back(const char *p, size_t n);
#endif
