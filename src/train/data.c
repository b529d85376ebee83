#include "train/data.h"
#include "base/io.h"
#include "base/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FORGET ((size_t)16 << 20) /* bytes after which the pages that were read are given back */

typedef struct place {
    uint64_t offset;
    uint32_t bytes;
    uint32_t line; /* of the sample's beginning */
} place;

struct vr_dataset {
    char *path;
    vr_map map;
    place *places;
    size_t n, capacity;
    vr_dataset_facts facts;
};

void vr_dataset_close(vr_dataset *d) {
    if (!d) return;
    vr_map_close(&d->map);
    free(d->places);
    free(d->path);
    free(d);
}

int64_t vr_dataset_size(const vr_dataset *d) { return (int64_t)d->n; }
const char *vr_dataset_path(const vr_dataset *d) { return d->path; }
uint32_t vr_dataset_bytes(const vr_dataset *d, int64_t index) { return d->places[index].bytes; }
vr_dataset_facts vr_dataset_tell(const vr_dataset *d) { return d->facts; }

/* ---- one sample ---- */

static vr_status bad(const vr_dataset *d, size_t index, const place *at, const char *what, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "'%s', line %u: sample %zu %s", d->path, at->line, index, what);
}

static vr_status read_images(const vr_dataset *d, size_t index, const place *at, const json_t *image, vr_record *out,
                             vr_error *err) {
    size_t n = json_is_array(image) ? json_array_size(image) : image && !json_is_null(image) ? 1 : 0;
    out->images = vr_alloc(n ? n : 1, sizeof *out->images);
    if (!out->images) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (; out->n_images < n; out->n_images++) {
        const char *name = json_string_value(json_is_array(image) ? json_array_get(image, out->n_images) : image);
        if (!name || !*name) return bad(d, index, at, "has an \"image\" that is no name of a file", err);
        out->images[out->n_images] = name;
    }
    return VRWKV_OK;
}

static vr_status read_turns(const vr_dataset *d, size_t index, const place *at, const json_t *list, vr_record *out,
                            vr_error *err) {
    size_t n = json_array_size(list);
    if (!n) return bad(d, index, at, "has no \"conversations\", a list of {\"from\", \"value\"}", err);
    out->turns = vr_alloc(n, sizeof *out->turns);
    if (!out->turns) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (; out->n_turns < n; out->n_turns++) {
        const json_t *turn = json_array_get(list, out->n_turns);
        vr_turn *to = &out->turns[out->n_turns];
        to->from = json_string_value(json_object_get(turn, "from"));
        to->value = json_string_value(json_object_get(turn, "value"));
        if (!to->from || !to->value) return bad(d, index, at, "has a turn without the texts \"from\" and \"value\"", err);
    }
    return VRWKV_OK;
}

static vr_status parse(const vr_dataset *d, size_t index, const place *at, vr_record *out, vr_error *err) {
    json_error_t fault;
    json_t *root = json_loadb((const char *)d->map.data + at->offset, at->bytes, JSON_REJECT_DUPLICATES, &fault);
    *out = (vr_record){.line = at->line, .json = root};
    if (!root)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s', line %u: sample %zu: %s", d->path,
                       at->line + (unsigned)(fault.line > 0 ? fault.line - 1 : 0), index, fault.text);
    vr_status status = json_is_object(root) ? VRWKV_OK : bad(d, index, at, "is no JSON object", err);
    if (status == VRWKV_OK) status = read_images(d, index, at, json_object_get(root, "image"), out, err);
    if (status == VRWKV_OK) status = read_turns(d, index, at, json_object_get(root, "conversations"), out, err);
    if (status != VRWKV_OK) vr_record_free(out);
    return status;
}

void vr_record_free(vr_record *record) {
    free(record->turns);
    free(record->images);
    json_decref(record->json);
    *record = (vr_record){0};
}

vr_status vr_dataset_read(const vr_dataset *d, int64_t index, vr_record *out, vr_error *err) {
    return parse(d, (size_t)index, &d->places[index], out, err);
}

/* ---- the index ---- */

typedef struct reader {
    vr_dataset *d;
    size_t at;
    uint32_t line;
    size_t forgotten;
    vrwkv_progress_fn progress;
    void *user;
    vr_error *err;
} reader;

static bool is_space(unsigned char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_space(reader *r) {
    const vr_map *map = &r->d->map;
    for (; r->at < map->size && is_space(map->data[r->at]); r->at++) r->line += map->data[r->at] == '\n';
}

/* The end of the value that begins here: where its brackets are closed, or the next comma or bracket. */
static void skip_value(reader *r) {
    const vr_map *map = &r->d->map;
    size_t depth = 0;
    bool text = false;
    for (; r->at < map->size; r->at++) {
        unsigned char c = map->data[r->at];
        r->line += c == '\n';
        if (text) {
            if (c == '\\' && r->at + 1 < map->size)
                r->at++;
            else if (c == '"')
                text = false;
            continue;
        }
        if (c == '"') text = true;
        if (c == '{' || c == '[') depth++;
        if (depth == 0 && (c == ',' || c == ']' || c == '}')) return;
        if ((c == '}' || c == ']') && --depth == 0) {
            r->at++;
            return;
        }
    }
}

static vr_status note_sample(reader *r, size_t begin, uint32_t line) {
    vr_dataset *d = r->d;
    vr_record record;
    bool answered = false;
    if (r->at - begin > UINT32_MAX || d->n >= INT32_MAX)
        return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "'%s', line %u: a sample of %zu bytes, number %zu", d->path, line,
                       r->at - begin, d->n);
    VR_TRY(vr_grow(&d->places, &d->capacity, d->n + 1, sizeof *d->places, r->err));
    d->places[d->n] = (place){begin, (uint32_t)(r->at - begin), line};
    VR_TRY(parse(d, d->n, &d->places[d->n], &record, r->err));
    for (size_t i = 0; i < record.n_turns; i++)
        answered |= strcmp(record.turns[i].from, "gpt") == 0 && record.turns[i].value[0];
    d->facts.with_image += record.n_images > 0;
    d->facts.without_answer += !answered;
    d->n++;
    vr_record_free(&record);
    if (r->at - r->forgotten < FORGET) return VRWKV_OK;
    vr_map_forget(&d->map, r->forgotten, r->at - r->forgotten);
    r->forgotten = r->at;
    if (r->progress && r->progress(r->user, "index", r->at, d->map.size))
        return vr_fail(r->err, VRWKV_ERR_CANCELLED, "cancelled");
    return VRWKV_OK;
}

static vr_status index_lines(reader *r) {
    const vr_map *map = &r->d->map;
    for (skip_space(r); r->at < map->size; skip_space(r)) {
        size_t begin = r->at;
        const unsigned char *end = memchr(map->data + r->at, '\n', map->size - r->at);
        r->at = end ? (size_t)(end - map->data) : map->size;
        VR_TRY(note_sample(r, begin, r->line));
    }
    return VRWKV_OK;
}

static vr_status index_list(reader *r) {
    const vr_map *map = &r->d->map;
    r->at++;
    for (bool first = true;; first = false) {
        skip_space(r);
        if (first && r->at < map->size && map->data[r->at] == ']') break;
        size_t begin = r->at;
        uint32_t line = r->line;
        skip_value(r);
        VR_TRY(note_sample(r, begin, line)); /* of a sample that has no end, the parser tells where it goes wrong */
        skip_space(r);
        if (r->at < map->size && map->data[r->at] == ']') break;
        if (r->at >= map->size || map->data[r->at] != ',')
            return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s', line %u: expected ',' or ']' behind sample %zu", r->d->path,
                           r->line, r->d->n - 1);
        r->at++;
    }
    r->at++;
    skip_space(r);
    return r->at == map->size ? VRWKV_OK
                              : vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s', line %u: something stands behind the list",
                                        r->d->path, r->line);
}

static vr_status read_file(vr_dataset *d, vrwkv_progress_fn progress, void *user, vr_error *err) {
    reader r = {.d = d, .line = 1, .progress = progress, .user = user, .err = err};
    static const unsigned char mark[3] = {0xef, 0xbb, 0xbf}; /* some editors put it in front of UTF-8 */
    if (d->map.size >= sizeof mark && memcmp(d->map.data, mark, sizeof mark) == 0) r.at = sizeof mark;
    skip_space(&r);
    if (r.at == d->map.size) return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is empty, expected samples", d->path);
    if (d->map.data[r.at] != '[' && d->map.data[r.at] != '{')
        return vr_fail(err, VRWKV_ERR_FORMAT,
                       "'%s', line %u: found '%c', expected a JSON list of samples, or one object per line", d->path,
                       r.line, d->map.data[r.at] < 0x7f && d->map.data[r.at] >= ' ' ? d->map.data[r.at] : '?');
    VR_TRY(d->map.data[r.at] == '[' ? index_list(&r) : index_lines(&r));
    vr_map_forget(&d->map, 0, d->map.size);
    return d->n ? VRWKV_OK : vr_fail(err, VRWKV_ERR_FORMAT, "'%s' holds no samples", d->path);
}

vr_status vr_dataset_open(vr_dataset **out, const char *path, vrwkv_progress_fn progress, void *user, vr_error *err) {
    vr_dataset *d = vr_alloc(1, sizeof *d);
    *out = NULL;
    if (!d) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    d->path = vr_strdup(path);
    vr_status status = d->path ? vr_map_open(&d->map, path, false, err) : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (status == VRWKV_OK) status = read_file(d, progress, user, err);
    if (status == VRWKV_OK)
        *out = d;
    else
        vr_dataset_close(d);
    return status;
}
