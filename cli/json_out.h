/* JSON on stdout: jansson values, written with as many digits as a reader needs to get the same
 * number back and no more. */
#ifndef VR_CLI_JSON_OUT_H
#define VR_CLI_JSON_OUT_H
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

json_t *vr_json_float(float value);   /* at most 9 digits; null where it is no number */
json_t *vr_json_double(double value); /* at most 17 digits */
json_t *vr_json_size(uint64_t value);
/* Text of n bytes; what is no UTF-8 becomes U+FFFD. */
json_t *vr_json_text(const char *text, size_t n);
json_t *vr_json_ids(const int32_t *ids, size_t n);
/* Writes the value and a line end, and drops it. 0, or 1 when out of memory (said on stderr): a value
 * that could not be made is NULL here. indent 0: one line. */
int vr_json_print(json_t *value, int indent);

#endif
