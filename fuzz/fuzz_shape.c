/* A schema up to the first zero byte, then a text that it may or may not take: what it takes to the end is
 * JSON of the schema's type, and no text that it takes can go on for ever. */
#include "text/shape.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that are no UTF-8, a lone surrogate: whether they come is up to the tokens, not to the shape. */
static bool is_fault_of_text(const json_error_t *fault) {
    return json_error_code(fault) == json_error_invalid_utf8 || json_error_code(fault) == json_error_invalid_syntax;
}

static bool has_type(const json_t *schema, const json_t *value) {
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (json_object_get(schema, "enum") || json_object_get(schema, "const")) return true;
    return strcmp(type, "object") == 0    ? json_is_object(value)
           : strcmp(type, "array") == 0   ? json_is_array(value)
           : strcmp(type, "string") == 0  ? json_is_string(value)
           : strcmp(type, "integer") == 0 ? json_is_integer(value)
           : strcmp(type, "number") == 0  ? json_is_number(value)
           : strcmp(type, "boolean") == 0 ? json_is_boolean(value)
                                          : json_is_null(value);
}

static void read_text(const vr_shape *shape, const json_t *schema, const char *text, size_t n) {
    vr_shape_state state, before;
    json_error_t fault;
    vr_shape_start(&state, shape);
    for (size_t i = 0; i < n; i++) {
        before = state;
        if (vr_shape_done(&state) && vr_shape_push(&state, (unsigned char)text[i])) abort();
        if (vr_shape_push(&state, (unsigned char)text[i])) continue;
        if (memcmp(&before, &state, sizeof state) != 0) abort(); /* refused: as it was */
        return;
    }
    if (!vr_shape_may_end(&state)) return;
    json_t *value = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (value ? !has_type(schema, value) : !is_fault_of_text(&fault)) abort();
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    vr_shape *shape = NULL;
    vr_error err = {0};
    json_t *schema = zero ? json_loadb((const char *)data, (size_t)(zero - data), 0, NULL) : NULL;
    if (schema && vr_shape_make(&shape, schema, &err) != VRWKV_OK && !err.message[0]) abort();
    if (shape) read_text(shape, schema, (const char *)zero + 1, size - (size_t)(zero + 1 - data));
    vr_shape_free(shape);
    json_decref(schema);
    return 0;
}
