/* Any bytes as the files of a benchmark: the first byte chooses which. */
#include "eval/normalise.h"
#include "eval/source.h"
#include "text/shape.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static vr_status keep(void *user, const char *key, json_t *value, const vr_where *where, vr_error *err) {
    vr_str *out = user;
    (void)err;
    vr_str_format(out, "%s %d %zu", key ? key : "", json_typeof(value), where->line);
    return VRWKV_OK;
}

static void read_table(const char *path) {
    vr_table table;
    vr_faults going = {.keep_going = true};
    size_t sum = 0;
    if (vr_table_open(&table, path, NULL) != VRWKV_OK) return;
    for (bool more = true; more && vr_table_next(&table, &going, &more, NULL) == VRWKV_OK;)
        for (size_t c = 0; more && c < table.n_columns; c++)
            for (size_t i = 0; i < table.fields[c].n; i++) sum += (unsigned char)table.fields[c].p[i]; /* all readable */
    if (sum == SIZE_MAX) abort();
    vr_table_close(&table);
}

/* Rules must not grow a text without bound, and what they give is as valid as what they got. */
static void normalise(vr_slice text) {
    for (int r = 0; vr_rule_name(r); r++) {
        vr_str out = {0};
        vr_normalise(vr_rule_find(vr_rule_name(r)), text, &out);
        if (out.n > 8 * text.n + 64) abort();
        vr_str_free(&out);
    }
    vr_str bytes = {0};
    vr_base64_decode(text, &bytes, NULL);
    vr_str_free(&bytes);
}

/* A schema up to the first zero byte, then a text that it may or may not take: what it takes to the end is
 * JSON. */
static void shape(const uint8_t *data, size_t size) {
    const uint8_t *zero = memchr(data, 0, size);
    vr_shape *made = NULL;
    vr_shape_state state;
    json_t *schema = zero ? json_loadb((const char *)data, (size_t)(zero - data), 0, NULL) : NULL;
    if (schema && vr_shape_make(&made, schema, NULL) == VRWKV_OK) {
        const char *text = (const char *)zero + 1;
        size_t n = size - (size_t)(zero + 1 - data);
        vr_shape_start(&state, made);
        if (vr_shape_push_all(&state, text, n) && vr_shape_may_end(&state)) {
            json_error_t fault;
            json_t *value = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
            bool text_fault =
                json_error_code(&fault) == json_error_invalid_utf8 || json_error_code(&fault) == json_error_invalid_syntax;
            if (!value && !text_fault) abort(); /* bytes that are no UTF-8, a lone surrogate: the caller's tokens */
            json_decref(value);
        }
    }
    vr_shape_free(made);
    json_decref(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    vr_str seen = {0};
    vr_faults going = {.keep_going = true};
    if (size < 1) return 0;
    int fd = memfd_create("eval", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    switch (data[0] % 6) {
    case 0: vr_read_list(path, "list", keep, &seen, NULL); break;
    case 1: vr_read_list(path, NULL, keep, &seen, NULL); break;
    case 2: vr_read_lines(path, &going, keep, &seen, NULL); break;
    case 3: read_table(path); break;
    case 4: normalise((vr_slice){(const char *)data + 1, size - 1}); break;
    default: shape(data + 1, size - 1);
    }
    vr_str_free(&seen);
    close(fd);
    return 0;
}
