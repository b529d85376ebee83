/* Growing bytes, and text from files made fit for names and messages. */
#include "file/internal.h"

#include <stdlib.h>

void vr_buffer_put(vr_buffer *buffer, const void *data, size_t n) {
    if (buffer->failed || n == 0) return;
    if (n > SIZE_MAX - buffer->n || vr_grow(&buffer->data, &buffer->capacity, buffer->n + n, 1, NULL) != VRWKV_OK) {
        buffer->failed = true;
        return;
    }
    memcpy(buffer->data + buffer->n, data, n);
    buffer->n += n;
}

void vr_buffer_number(vr_buffer *buffer, uint64_t value, size_t bytes) {
    unsigned char little[8];
    for (size_t i = 0; i < sizeof little; i++) little[i] = (unsigned char)(value >> 8 * i);
    vr_buffer_put(buffer, little, bytes < sizeof little ? bytes : sizeof little);
}

const char *vr_show(const void *text, size_t n, char buffer[VR_SHOW_SIZE]) {
    const unsigned char *bytes = text;
    size_t kept = n < VR_SHOW_SIZE - 4 ? n : VR_SHOW_SIZE - 4;
    for (size_t i = 0; i < kept; i++) buffer[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '?';
    memcpy(buffer + kept, n > kept ? "..." : "", n > kept ? 4 : 1);
    return buffer;
}

/* Length of the UTF-8 character at bytes[0..n), 0 where it is none (overlong forms and surrogates included). */
static size_t utf8_length(const unsigned char *bytes, size_t n) {
    unsigned char first = bytes[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    for (size_t i = 1; i < length; i++)
        if ((bytes[i] & 0xc0) != 0x80) return 0;
    if ((first == 0xe0 && bytes[1] < 0xa0) || (first == 0xed && bytes[1] > 0x9f) || (first == 0xf0 && bytes[1] < 0x90) ||
        (first == 0xf4 && bytes[1] > 0x8f))
        return 0;
    return length;
}

vr_status vr_name_check(const char *path, const char *what, const void *text, size_t n, vr_error *err) {
    const unsigned char *bytes = text;
    char shown[VR_SHOW_SIZE];
    if (n == 0 || n > VR_NAME_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': a %s has %zu bytes, expected 1 to %u: '%s'", path, what, n,
                       VR_NAME_LIMIT, vr_show(text, n, shown));
    for (size_t i = 0, step; i < n; i += step) {
        step = utf8_length(bytes + i, n - i);
        if (step == 0 || bytes[i] < 0x20 || bytes[i] == 0x7f)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': a %s is no printable UTF-8: '%s'", path, what,
                           vr_show(text, n, shown));
    }
    return VRWKV_OK;
}
