/* Writing of JSON. jansson prints all numbers with one precision; here each gets the shortest decimal
 * that reads back as the same number (a float is first rounded to 9 digits, which identify it). */
#include "json_out.h"

#include "base/memory.h"
#include "text/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *vr_json_float(float value) {
    char digits[40];
    if (!isfinite(value)) return json_null();
    for (int n = 6; n <= 9; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, (double)value);
        if (strtof(digits, NULL) == value) break;
    }
    return json_real(strtod(digits, NULL));
}

json_t *vr_json_double(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *vr_json_size(uint64_t value) { return json_integer((json_int_t)value); }

json_t *vr_json_text(const char *text, size_t n) {
    if (vr_utf8_valid(text, n)) return json_stringn_nocheck(text, n);
    vr_stream stream = {0};
    char *clean = vr_alloc(3 * n + 16, 1);
    if (!clean) return NULL;
    size_t length = vr_stream_push(&stream, text, n, clean);
    length += vr_stream_end(&stream, clean + length);
    json_t *value = json_stringn_nocheck(clean, length);
    free(clean);
    return value;
}

json_t *vr_json_ids(const int32_t *ids, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static void write_real(double value) {
    char digits[40];
    for (int n = 6; n <= 17; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, value);
        if (strtod(digits, NULL) == value) break;
    }
    fputs(digits, stdout);
    if (!strpbrk(digits, ".e")) fputs(".0", stdout); /* stays a real number when read */
}

static int write_leaf(const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) return 1;
    fputs(text, stdout);
    free(text);
    return 0;
}

static void new_line(int indent, int depth) {
    if (indent) printf("\n%*s", indent * depth, "");
}

static int write_value(json_t *value, int indent, int depth);

/* Lists of plain values stay on one line. */
static int write_array(json_t *array, int indent, int depth) {
    int failed = 0;
    size_t n = json_array_size(array);
    bool flat = n == 0 || !(json_is_object(json_array_get(array, 0)) || json_is_array(json_array_get(array, 0)));
    putchar('[');
    for (size_t i = 0; i < n; i++) {
        if (i) fputs(flat ? ", " : ",", stdout);
        if (!flat) new_line(indent, depth + 1);
        failed |= write_value(json_array_get(array, i), flat || depth >= 1 ? 0 : indent, depth + 1);
    }
    if (!flat) new_line(indent, depth);
    putchar(']');
    return failed;
}

static int write_object(json_t *object, int indent, int depth) {
    int failed = 0;
    const char *key;
    json_t *item;
    bool first = true;
    putchar('{');
    json_object_foreach(object, key, item) {
        json_t *name = json_string_nocheck(key);
        if (!first) fputs(indent ? "," : ", ", stdout);
        first = false;
        new_line(indent, depth + 1);
        failed |= name ? write_leaf(name) : 1;
        json_decref(name);
        fputs(": ", stdout);
        failed |= write_value(item, indent, depth + 1);
    }
    if (!first) new_line(indent, depth);
    putchar('}');
    return failed;
}

static int write_value(json_t *value, int indent, int depth) {
    if (json_is_array(value)) return write_array(value, indent, depth);
    if (json_is_object(value)) return write_object(value, indent, depth);
    if (!json_is_real(value)) return write_leaf(value);
    write_real(json_real_value(value));
    return 0;
}

int vr_json_print(json_t *value, int indent) {
    int failed = value ? write_value(value, indent, 0) : 1;
    putchar('\n');
    json_decref(value);
    if (failed) fputs("vrwkv: out of memory\n", stderr);
    return failed;
}
