/* A file of JSON lines that grows: a line is written before the call returns, so a kill loses none, and
 * brought to the disk within a second, which is what a power cut may lose. A line cut short is removed when
 * the file is opened again. Beside it lies its record, <file>.run.json: what the
 * lines depend on; only a run with the same record goes on with the file. */
#ifndef VR_EVAL_LOG_H
#define VR_EVAL_LOG_H
#include "eval/source.h"

typedef struct vr_log {
    const char *path;
    int fd;
    size_t *at;   /* [n] offset plus one of job i's line; 0: not there */
    size_t *size; /* [n] */
    size_t n, end;
    double synced; /* when */
    bool open;
} vr_log;

/* Which job a line that is there belongs to. An error where it is none: the file is another run's. */
typedef vr_status (*vr_log_match)(void *user, const json_t *line, const vr_where *where, size_t *job, vr_error *err);

/* Opens or creates the file of n jobs. */
vr_status vr_log_open(vr_log *log, const char *path, size_t n, const json_t *record, vr_log_match match, void *user,
                      vr_error *err);
bool vr_log_has(const vr_log *log, size_t job);
vr_status vr_log_add(vr_log *log, size_t job, const json_t *line, vr_error *err);
/* Rewrites the file in the order of the jobs, where it is not. */
vr_status vr_log_sort(vr_log *log, vr_error *err);
void vr_log_close(vr_log *log);

/* "<out>.run.json" and its like; heap, the caller's. */
vr_status vr_beside(char **path, const char *out, const char *ending, vr_error *err);
vr_status vr_record_load(json_t **record, const char *out, vr_error *err);
/* A line as Python's json.dumps(ensure_ascii=False) writes it, with its line end. */
vr_status vr_json_line(const json_t *object, vr_str *line, vr_error *err);
#endif
