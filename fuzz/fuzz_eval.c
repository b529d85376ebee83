/* Any bytes as the files of a benchmark or of a text task: the first byte chooses which. */
#include "eval/lm.h"
#include "eval/normalise.h"
#include "eval/source.h"
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

/* A task's name, a line end, a line of its file: what is asked ends in one right choice. */
static void read_document(const uint8_t *data, size_t size) {
    char name[64];
    const uint8_t *end = memchr(data, '\n', size < sizeof name ? size : sizeof name);
    vr_error err = {0};
    if (!end) return;
    snprintf(name, sizeof name, "%.*s", (int)(end - data), (const char *)data);
    const vr_lm_task *task = vr_lm_task_find(name);
    json_t *line = json_loadb((const char *)end + 1, size - (size_t)(end + 1 - data), JSON_ALLOW_NUL, NULL);
    vr_document *document = calloc(1, sizeof *document);
    if (!document) abort();
    if (task && json_is_object(line)) {
        bool made = task->make(document, name, line, &(vr_where){"file", 1}, &err) == VRWKV_OK;
        if (made ? document->gold >= document->n : !err.message[0]) abort();
    }
    vr_document_clear(document);
    free(document);
    json_decref(line);
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
    default: read_document(data + 1, size - 1);
    }
    vr_str_free(&seen);
    close(fd);
    return 0;
}
