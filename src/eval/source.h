/* Reading what benchmarks are made of: JSON one object a line, JSON lists of any size, tables. Values
 * come one at a time; a file is never in memory as a whole (it is mapped). Every message names file
 * and line. */
#ifndef VR_EVAL_SOURCE_H
#define VR_EVAL_SOURCE_H
#include "base/io.h"
#include "eval/str.h"

#include <jansson.h>

/* Faults of data: an error at once, or counted, said, and what is at fault left out. */
typedef struct vr_faults {
    bool keep_going;
    size_t count;
    void (*say)(void *user, const char *message); /* may be NULL */
    void *user;
} vr_faults;

/* VRWKV_OK where the work goes on without it. */
vr_status vr_fault(vr_faults *faults, vr_error *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

typedef struct vr_where {
    const char *path;
    size_t line; /* from 1 */
} vr_where;

/* One value, borrowed during the call. key: the member's name where the list is an object, else NULL. */
typedef vr_status (*vr_json_fn)(void *user, const char *key, json_t *value, const vr_where *where, vr_error *err);

/* One JSON object per line; empty lines are none. A line that is no object is a fault. */
vr_status vr_read_lines(const char *path, vr_faults *faults, vr_json_fn fn, void *user, vr_error *err);
/* The members of the list (array or object) `name` of the file's one object; NULL: of the file's value
 * itself. What stands beside the list is read over. Memory: one member. */
vr_status vr_read_list(const char *path, const char *name, vr_json_fn fn, void *user, vr_error *err);
/* By the file's ending: .jsonl lines, else a list. */
vr_status vr_read_rows(const char *path, vr_faults *faults, vr_json_fn fn, void *user, vr_error *err);

#define VR_TABLE_COLUMNS 64

/* A table: fields parted by tabs, a header line, fields in "..." may hold tabs, line ends and "". */
typedef struct vr_table {
    vr_map map;
    char *path;
    size_t at, line; /* where the next row begins */
    size_t n_columns;
    char **columns; /* names */
    vr_slice *fields;     /* [n_columns] of the current row; valid until the next one, except: */
    vr_str unquoted;     /* fields that were not quoted lie in the map and stay */
} vr_table;

vr_status vr_table_open(vr_table *table, const char *path, vr_error *err);
/* The next row into `fields`; *more is false at the end. A row of another length is a fault and read over. */
vr_status vr_table_next(vr_table *table, vr_faults *faults, bool *more, vr_error *err);
int vr_table_column(const vr_table *table, const char *name); /* -1: none */
void vr_table_close(vr_table *table);

/* What pandas reads as missing: empty, NA, nan, NULL, None, .. */
bool vr_is_missing(vr_slice field);

vr_status vr_base64_decode(vr_slice text, vr_str *out, vr_error *err);
void vr_base64_encode(vr_slice bytes, vr_str *out);

/* folder/name; heap, the caller's. */
vr_status vr_join(char **out, const char *folder, const char *name, vr_error *err);
bool vr_exists(const char *path);

/* Members with a clear message where they are missing or of another kind. */
vr_status vr_need_text(const json_t *object, const char *key, const vr_where *where, const char **out, vr_error *err);
vr_status vr_need_list(const json_t *object, const char *key, const vr_where *where, json_t **out, vr_error *err);
const char *vr_text_or(const json_t *object, const char *key, const char *otherwise);
vr_slice vr_json_slice(const json_t *string); /* "" where it is none */
#endif
