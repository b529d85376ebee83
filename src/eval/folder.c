#include "eval/folder.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct looking {
    vr_finding_fn found;
    void *user;
    size_t bad;
} looking;

static void report(looking *to, const char *what, vr_finding_kind kind, size_t found, size_t expected, const char *message) {
    const vr_finding finding = {what, kind, found, expected, message};
    to->bad += kind != VR_FOUND;
    to->found(to->user, &finding);
}

static vr_status count_one(void *user, const char *key, json_t *value, const vr_where *where, vr_error *err) {
    (void)key;
    (void)value;
    (void)where;
    (void)err;
    ++*(size_t *)user;
    return VRWKV_OK;
}

static vr_status count_rows(const char *path, size_t *n, vr_error *err) {
    vr_table table;
    bool more = true;
    VR_TRY(vr_table_open(&table, path, err));
    vr_status status = VRWKV_OK;
    while (more && status == VRWKV_OK) {
        status = vr_table_next(&table, NULL, &more, err);
        *n += more && status == VRWKV_OK;
    }
    vr_table_close(&table);
    return status;
}

static vr_status count(const char *path, const char *list, size_t *n, vr_error *err) {
    if (strcmp(list, "*") == 0) return vr_read_lines(path, NULL, count_one, n, err);
    if (strcmp(list, "\t") == 0) return count_rows(path, n, err);
    return vr_read_list(path, *list ? list : NULL, count_one, n, err);
}

static vr_status look_at(looking *to, const char *folder, const vr_need *need, vr_error *err) {
    char *path;
    vr_error why = {0};
    size_t n = 0;
    VR_TRY(vr_join(&path, folder, need->name, err));
    if (!vr_exists(path))
        report(to, need->name, VR_ABSENT, 0, need->count, "missing");
    else if (!need->list)
        report(to, need->name, VR_FOUND, 0, 0, "");
    else if (count(path, need->list, &n, &why) != VRWKV_OK)
        report(to, need->name, VR_DIFFERENT, n, need->count, why.message);
    else
        report(to, need->name, need->count && n != need->count ? VR_DIFFERENT : VR_FOUND, n, need->count,
               need->count && n != need->count ? "another number of entries than the published file" : "");
    free(path);
    return VRWKV_OK;
}

/* Every picture once, by name; those in a table are in the table. */
static vr_status look_for_pictures(looking *to, vr_set *set, vr_error *err) {
    size_t found = 0, absent = 0;
    char message[400] = "";
    for (size_t g = 0, i = 0; g < set->groups.n; g++) {
        while (i < set->n && set->groups.of[i] != g) i++;
        if (i == set->n) break;
        const vr_question *question = &set->questions[i];
        char *path;
        if (!question->image) continue;
        VR_TRY(vr_join(&path, set->images, question->image, err));
        bool there = vr_exists(path);
        found += there;
        if (!there && !absent++) snprintf(message, sizeof message, "missing, the first is %.300s", question->image);
        free(path);
    }
    if (found + absent)
        report(to, *set->split->images ? set->split->images : ".", absent ? VR_DIFFERENT : VR_FOUND, found, found + absent,
               message);
    return VRWKV_OK;
}

vr_status vr_folder_check(const vr_bench *bench, const char *folder, const vr_set_options *options, vr_finding_fn found,
                          void *user, size_t *bad, vr_error *err) {
    looking to = {found, user, 0};
    vr_set set;
    vr_error why = {0};
    const vr_split *split = bench->splits;
    while (options->split && split->name && strcmp(split->name, options->split) != 0) split++;
    for (const vr_need *need = split->needs; split->name && need->name; need++) VR_TRY(look_at(&to, folder, need, err));
    if (vr_set_load(&set, bench, folder, options, &why) == VRWKV_OK) {
        vr_status status = look_for_pictures(&to, &set, err);
        vr_set_free(&set);
        VR_TRY(status);
    } else {
        report(&to, split->name ? split->questions : "questions", VR_DIFFERENT, 0, 0, why.message);
    }
    *bad = to.bad;
    return VRWKV_OK;
}
