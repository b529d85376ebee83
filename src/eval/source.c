#include "eval/source.h"

#include "base/memory.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

vr_status vr_fault(vr_faults *faults, vr_error *err, const char *format, ...) {
    char message[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!faults || !faults->keep_going) return vr_fail(err, VRWKV_ERR_FORMAT, "%s", message);
    faults->count++;
    if (faults->say) faults->say(faults->user, message);
    return VRWKV_OK;
}

vr_status vr_join(char **out, const char *folder, const char *name, vr_error *err) {
    size_t n = strlen(folder) + strlen(name) + 2;
    *out = vr_alloc(n, 1);
    if (!*out) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a path");
    snprintf(*out, n, "%s%s%s", folder, *folder && folder[strlen(folder) - 1] == '/' ? "" : "/", name);
    return VRWKV_OK;
}

bool vr_exists(const char *path) { return access(path, F_OK) == 0; }

/* ---- JSON ---- */

/* A file's text, read from its beginning to its end. */
typedef struct reader {
    vr_map map;
    const char *at, *end;
    vr_where where; /* of `at` */
} reader;

static vr_status reader_open(reader *in, const char *path, vr_error *err) {
    *in = (reader){.where = {path, 1}};
    VR_TRY(vr_map_open(&in->map, path, false, err));
    in->at = in->map.data ? (const char *)in->map.data : "";
    in->end = in->at + in->map.size;
    if (in->map.size >= 3 && memcmp(in->at, "\xEF\xBB\xBF", 3) == 0) in->at += 3; /* a byte order mark */
    return VRWKV_OK;
}

static void advance(reader *in, size_t n) {
    for (const char *p = in->at, *stop = in->at + n; (p = memchr(p, '\n', (size_t)(stop - p))); p++) in->where.line++;
    in->at += n;
}

static void skip_spaces(reader *in) {
    size_t n = 0;
    while (in->at + n < in->end && strchr(" \t\r\n", in->at[n]) && in->at[n]) n++;
    advance(in, n);
}

static vr_status bad_json(const reader *in, const json_error_t *fault, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: %s", in->where.path,
                   in->where.line + (size_t)(fault->line > 1 ? fault->line - 1 : 0), fault->text);
}

/* The value at the reader; what follows it is left. */
static vr_status read_value(reader *in, json_t **out, vr_error *err) {
    json_error_t fault;
    *out = json_loadb(in->at, (size_t)(in->end - in->at), JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &fault);
    if (!*out) return bad_json(in, &fault, err);
    advance(in, (size_t)fault.position);
    return VRWKV_OK;
}

static vr_status expect(reader *in, char mark, const char *what, vr_error *err) {
    skip_spaces(in);
    if (in->at < in->end && *in->at == mark) {
        advance(in, 1);
        return VRWKV_OK;
    }
    char found[8] = "the end";
    if (in->at < in->end) snprintf(found, sizeof found, "'%c'", *in->at >= 0x20 && *in->at < 0x7f ? *in->at : '?');
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: found %s, expected '%c' (%s)", in->where.path, in->where.line, found,
                   mark, what);
}

static vr_status read_key(reader *in, json_t **key, vr_error *err) {
    VR_TRY(read_value(in, key, err));
    vr_status status = json_is_string(*key) ? expect(in, ':', "behind a member's name", err)
                                            : vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: a member's name is no text",
                                                      in->where.path, in->where.line);
    if (status != VRWKV_OK) json_decref(*key);
    return status;
}

/* *more: a member begins at the reader; false: the list was closed. */
static vr_status next_member(reader *in, char close, bool first, bool *more, vr_error *err) {
    skip_spaces(in);
    *more = in->at >= in->end || *in->at != close;
    if (!*more) {
        advance(in, 1);
        return VRWKV_OK;
    }
    if (first) return VRWKV_OK;
    VR_TRY(expect(in, ',', "or the list's end", err));
    skip_spaces(in);
    return VRWKV_OK;
}

/* Calls fn for each member of the list at the reader. */
static vr_status walk(reader *in, vr_json_fn fn, void *user, vr_error *err) {
    skip_spaces(in);
    bool object = in->at < in->end && *in->at == '{', more = true;
    if (!object) VR_TRY(expect(in, '[', "the beginning of a list", err));
    if (object) advance(in, 1);
    for (bool first = true;; first = false) {
        json_t *key = NULL, *value = NULL;
        VR_TRY(next_member(in, object ? '}' : ']', first, &more, err));
        if (!more) return VRWKV_OK;
        if (object) VR_TRY(read_key(in, &key, err));
        skip_spaces(in);
        vr_where where = in->where;
        vr_status status = read_value(in, &value, err);
        if (status == VRWKV_OK) status = fn(user, json_string_value(key), value, &where, err);
        json_decref(value);
        json_decref(key);
        VR_TRY(status);
    }
}

/* Finds the member `name` of the file's object and walks it. */
static vr_status walk_named(reader *in, const char *name, vr_json_fn fn, void *user, vr_error *err) {
    bool more = true;
    VR_TRY(expect(in, '{', "an object that holds the list", err));
    for (bool first = true;; first = false) {
        json_t *key, *value;
        VR_TRY(next_member(in, '}', first, &more, err));
        if (!more) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: there is no list \"%s\" in it", in->where.path, name);
        VR_TRY(read_key(in, &key, err));
        bool found = strcmp(json_string_value(key), name) == 0;
        json_decref(key);
        if (found) return walk(in, fn, user, err);
        skip_spaces(in);
        VR_TRY(read_value(in, &value, err));
        json_decref(value);
    }
}

vr_status vr_read_list(const char *path, const char *name, vr_json_fn fn, void *user, vr_error *err) {
    reader in;
    VR_TRY(reader_open(&in, path, err));
    vr_status status = name ? walk_named(&in, name, fn, user, err) : walk(&in, fn, user, err);
    vr_map_close(&in.map);
    return status;
}

static vr_status read_line(const reader *in, size_t n, vr_faults *faults, vr_json_fn fn, void *user, vr_error *err) {
    json_error_t fault;
    json_t *value = json_loadb(in->at, n, JSON_ALLOW_NUL, &fault);
    if (!value) return vr_fault(faults, err, "%s:%zu: no JSON object: %s", in->where.path, in->where.line, fault.text);
    vr_status status = json_is_object(value)
                           ? fn(user, NULL, value, &in->where, err)
                           : vr_fault(faults, err, "%s:%zu: an array, expected an object", in->where.path, in->where.line);
    json_decref(value);
    return status;
}

vr_status vr_read_lines(const char *path, vr_faults *faults, vr_json_fn fn, void *user, vr_error *err) {
    reader in;
    VR_TRY(reader_open(&in, path, err));
    vr_status status = VRWKV_OK;
    while (in.at < in.end && status == VRWKV_OK) {
        const char *stop = memchr(in.at, '\n', (size_t)(in.end - in.at));
        size_t n = (size_t)((stop ? stop : in.end) - in.at);
        if (vr_trim((vr_slice){in.at, n}).n) status = read_line(&in, n, faults, fn, user, err);
        advance(&in, stop ? n + 1 : n);
    }
    vr_map_close(&in.map);
    return status;
}

vr_status vr_read_rows(const char *path, vr_faults *faults, vr_json_fn fn, void *user, vr_error *err) {
    const char *ending = strrchr(path, '.');
    return ending && strcmp(ending, ".jsonl") == 0 ? vr_read_lines(path, faults, fn, user, err)
                                                   : vr_read_list(path, NULL, fn, user, err);
}

vr_slice vr_json_slice(const json_t *string) {
    return json_is_string(string) ? (vr_slice){json_string_value(string), json_string_length(string)} : (vr_slice){"", 0};
}

static vr_status wrong_member(const json_t *object, const char *key, const char *kind, const vr_where *where,
                              vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: \"%s\" is %s, expected %s", where->path, where->line, key,
                   json_object_get(object, key) ? "of another kind" : "missing", kind);
}

vr_status vr_need_text(const json_t *object, const char *key, const vr_where *where, const char **out, vr_error *err) {
    *out = json_string_value(json_object_get(object, key));
    return *out ? VRWKV_OK : wrong_member(object, key, "a text", where, err);
}

vr_status vr_need_list(const json_t *object, const char *key, const vr_where *where, json_t **out, vr_error *err) {
    *out = json_object_get(object, key);
    return json_is_array(*out) ? VRWKV_OK : wrong_member(object, key, "a list", where, err);
}

const char *vr_text_or(const json_t *object, const char *key, const char *otherwise) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : otherwise;
}
