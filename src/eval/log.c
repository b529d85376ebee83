#include "eval/log.h"

#include "base/clock.h"
#include "base/memory.h"
#include "eval/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

vr_status vr_beside(char **path, const char *out, const char *ending, vr_error *err) {
    size_t n = strlen(out) + strlen(ending) + 1;
    *path = vr_alloc(n, 1);
    if (!*path) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    snprintf(*path, n, "%s%s", out, ending);
    return VRWKV_OK;
}

vr_status vr_json_line(const json_t *object, vr_str *line, vr_error *err) {
    char *text = json_dumps(object, JSON_REAL_PRECISION(15));
    if (!text) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a line of JSON");
    vr_str_add(line, text);
    vr_str_add(line, "\n");
    free(text);
    return vr_str_check(line, err);
}

/* ---- the record ---- */

vr_status vr_record_load(json_t **record, const char *out, vr_error *err) {
    char *path;
    json_error_t fault;
    VR_TRY(vr_beside(&path, out, ".run.json", err));
    *record = json_load_file(path, 0, &fault);
    vr_status status =
        json_is_object(*record) ? VRWKV_OK : vr_fail(err, VRWKV_ERR_FORMAT, "%s:%d: %s", path, fault.line, fault.text);
    free(path);
    return status;
}

static vr_status check_record(const char *out, const json_t *mine, vr_error *err) {
    json_t *theirs = NULL;
    const char *key;
    json_t *value;
    vr_status status = vr_record_load(&theirs, out, err);
    json_object_foreach((json_t *)mine, key, value) {
        const json_t *other = json_object_get(theirs, key);
        if (status != VRWKV_OK || json_equal(value, (json_t *)other)) continue;
        char *a = json_dumps(value, JSON_ENCODE_ANY), *b = other ? json_dumps(other, JSON_ENCODE_ANY) : NULL;
        status = vr_fail(err, VRWKV_ERR_ARGUMENT,
                         "%s was begun with %s %.200s, now it is %.200s: give another output, or remove it", out, key,
                         b ? b : "not said", a ? a : "");
        free(a);
        free(b);
    }
    json_decref(theirs);
    return status;
}

/* Before there is a line, nothing depends on an earlier record. */
static vr_status open_record(const char *out, bool has_lines, const json_t *record, vr_error *err) {
    char *path;
    VR_TRY(vr_beside(&path, out, ".run.json", err));
    vr_status status;
    if (has_lines && vr_exists(path))
        status = check_record(out, record, err);
    else if (has_lines)
        status = vr_fail(err, VRWKV_ERR_ARGUMENT, "%s is there, but not its record %s: give another output, or remove it",
                         out, path);
    else
        status = vr_json_save(record, path, JSON_INDENT(1), err);
    free(path);
    return status;
}

/* ---- lines ---- */

/* EINVAL: what cannot be synced, such as a pipe. */
static vr_status sync_file(vr_log *log, vr_error *err) {
    log->synced = vr_seconds();
    return fdatasync(log->fd) == 0 || errno == EINVAL ? VRWKV_OK : vr_fail_io(err, "write", log->path);
}

static vr_status write_all(vr_log *log, const char *data, size_t n, vr_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t part = write(log->fd, data + done, n - done);
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return vr_fail_io(err, "write", log->path);
        done += (size_t)part;
    }
    return VRWKV_OK;
}

/* The file's whole lines; what follows the last line end was cut short. */
static vr_status read_lines(vr_log *log, vr_log_match match, void *user, const char *text, size_t size, vr_error *err) {
    size_t line = 1;
    for (const char *stop; (stop = memchr(text + log->end, '\n', size - log->end)); line++) {
        size_t n = (size_t)(stop - (text + log->end)), job;
        json_error_t fault;
        json_t *value = json_loadb(text + log->end, n, JSON_ALLOW_NUL, &fault);
        vr_where where = {log->path, line};
        if (!value) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: no JSON object: %s", log->path, line, fault.text);
        vr_status status = match(user, value, &where, &job, err);
        json_decref(value);
        VR_TRY(status);
        log->at[job] = log->end + 1;
        log->size[job] = n + 1;
        log->end += n + 1;
    }
    return VRWKV_OK;
}

vr_status vr_log_open(vr_log *log, const char *path, size_t n, const json_t *record, vr_log_match match, void *user,
                      vr_error *err) {
    vr_map map = {0};
    *log = (vr_log){.path = path, .n = n, .at = vr_alloc(n, sizeof *log->at), .size = vr_alloc(n, sizeof *log->size)};
    if (!log->at || !log->size) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu lines", n);
    log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0666);
    if (log->fd < 0) return vr_fail_io(err, "open", path);
    log->open = true;
    if (flock(log->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return vr_fail(err, VRWKV_ERR_IO, "%s is being written by another run", path);
    VR_TRY(vr_map_open(&map, path, false, err));
    vr_status status = open_record(path, map.size > 0, record, err);
    if (status == VRWKV_OK && map.size) status = read_lines(log, match, user, (const char *)map.data, map.size, err);
    size_t size = map.size;
    vr_map_close(&map);
    if (status == VRWKV_OK && size > log->end && ftruncate(log->fd, (off_t)log->end) != 0)
        status = vr_fail_io(err, "shorten", path);
    return status;
}

bool vr_log_has(const vr_log *log, size_t job) { return log->at[job] != 0; }

vr_status vr_log_add(vr_log *log, size_t job, const json_t *line, vr_error *err) {
    vr_str text = {0};
    vr_status status = vr_json_line(line, &text, err);
    if (status == VRWKV_OK) status = write_all(log, text.data, text.n, err);
    if (status == VRWKV_OK && vr_seconds() - log->synced >= 1) status = sync_file(log, err);
    log->at[job] = log->end + 1;
    log->size[job] = text.n;
    log->end += text.n;
    vr_str_free(&text);
    return status;
}

static vr_status rewrite(const vr_log *log, const vr_map *map, vr_error *err) {
    vr_writer writer;
    VR_TRY(vr_writer_open(&writer, log->path, err));
    vr_status status = VRWKV_OK;
    for (size_t i = 0; i < log->n && status == VRWKV_OK; i++)
        if (log->at[i]) status = vr_writer_put(&writer, map->data + log->at[i] - 1, log->size[i], err);
    if (status == VRWKV_OK) return vr_writer_commit(&writer, err);
    vr_writer_abandon(&writer);
    return status;
}

vr_status vr_log_sort(vr_log *log, vr_error *err) {
    vr_map map;
    size_t before = 0;
    bool sorted = true;
    for (size_t i = 0; i < log->n; i++) {
        if (!log->at[i]) continue;
        sorted &= log->at[i] > before;
        before = log->at[i];
    }
    VR_TRY(sync_file(log, err));
    if (sorted) return VRWKV_OK;
    VR_TRY(vr_map_open(&map, log->path, false, err));
    vr_status status = rewrite(log, &map, err);
    vr_map_close(&map);
    return status;
}

void vr_log_close(vr_log *log) {
    if (log->open) close(log->fd);
    free(log->at);
    free(log->size);
    *log = (vr_log){0};
}
