/* safetensors: u64 header length, JSON header {name: {dtype, shape, data_offsets}, "__metadata__":
 * {string: string}}, then the tensors' bytes, row-major, offsets relative to the header's end.
 * Sharded: a JSON index {"weight_map": {tensor: file}} names files in its own folder. */
#include "file/internal.h"

#include <jansson.h>
#include <stdlib.h>

#define HEADER_LIMIT ((uint64_t)32 << 20)
#define SHARD_LIMIT ((size_t)1024)

static vr_status parse_json(const char *path, const void *data, size_t size, const char *what, json_t **out, vr_error *err) {
    json_error_t error;
    char shown[VR_SHOW_SIZE];
    *out = json_loadb(data, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!*out)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the %s is no valid JSON: %s at byte %d", path, what,
                       vr_show(error.text, strlen(error.text), shown), error.position);
    if (json_is_object(*out)) return VRWKV_OK;
    json_decref(*out);
    *out = NULL;
    return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the %s is no JSON object", path, what);
}

static vr_status read_metadata(vr_weights *weights, json_t *object, vr_error *err) {
    const char *key;
    json_t *value;
    vr_meta *meta;
    if (!json_is_object(object))
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': __metadata__ is no object of strings", weights->path);
    json_object_foreach(object, key, value) {
        char shown[VR_SHOW_SIZE];
        if (!json_is_string(value))
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': metadata '%s' is no string", weights->path,
                           vr_show(key, strlen(key), shown));
        VR_TRY(vr_meta_add(weights, key, strlen(key), &meta, err));
        VR_TRY(vr_meta_text(meta, json_string_value(value), json_string_length(value), err));
    }
    return VRWKV_OK;
}

static vr_status read_dtype(const char *path, const char *name, json_t *value, vr_dtype *out, vr_error *err) {
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    char shown[VR_SHOW_SIZE];
    for (int i = 0; i < VR_DTYPE_COUNT; i++) {
        const char *known = vr_dtype_of((vr_dtype)i)->safetensors;
        if (known && strcmp(known, text) == 0) {
            *out = (vr_dtype)i;
            return VRWKV_OK;
        }
    }
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': tensor '%s' has the unknown type '%s'", path, name,
                   vr_show(text, strlen(text), shown));
}

static vr_status read_shape(const char *path, const char *name, json_t *value, int *ndim, int64_t *shape, vr_error *err) {
    if (!json_is_array(value)) return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' has no shape", path, name);
    if (json_array_size(value) > VR_MAX_DIMS)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': tensor '%s' has %zu axes, expected at most %d", path, name,
                       json_array_size(value), VR_MAX_DIMS);
    *ndim = (int)json_array_size(value);
    for (int i = 0; i < *ndim; i++) {
        json_t *size = json_array_get(value, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' has a shape that is not made of sizes", path, name);
        shape[i] = json_integer_value(size);
    }
    return VRWKV_OK;
}

/* One row of the header; `start` and `size`: of the data in the file. */
static vr_status read_tensor(vr_weights *weights, size_t shard, const char *name, json_t *row, uint64_t start, uint64_t size,
                             vr_error *err) {
    const char *path = weights->shards[shard].path ? weights->shards[shard].path : weights->path;
    vr_dtype dtype;
    int ndim;
    int64_t shape[VR_MAX_DIMS];
    vr_item *item;
    VR_TRY(vr_name_check(path, "tensor name", name, strlen(name), err));
    VR_TRY(read_dtype(path, name, json_object_get(row, "dtype"), &dtype, err));
    VR_TRY(read_shape(path, name, json_object_get(row, "shape"), &ndim, shape, err));
    json_t *offsets = json_object_get(row, "data_offsets");
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' has no pair of data_offsets", path, name);
    json_int_t from = json_integer_value(first), to = json_integer_value(last);
    if (from < 0 || to < from || (uint64_t)to > size)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' lies at bytes %lld to %lld of %llu", path, name,
                       (long long)from, (long long)to, (unsigned long long)size);
    VR_TRY(vr_item_add(weights, name, strlen(name), dtype, ndim, shape, &item, err));
    item->shard = shard;
    item->offset = start + (uint64_t)from;
    if (item->entry.bytes == (uint64_t)(to - from)) return VRWKV_OK;
    char text[VR_SHOW_SIZE];
    return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' of type %s and shape %s has %lld bytes, expected %llu", path,
                   name, vr_dtype_of(dtype)->name, vr_shape_text(ndim, shape, text, sizeof text), (long long)(to - from),
                   (unsigned long long)item->entry.bytes);
}

static vr_status read_header(vr_weights *weights, size_t shard, json_t *header, uint64_t start, vr_error *err) {
    const char *name;
    json_t *row;
    uint64_t size = weights->shards[shard].map.size - start;
    json_object_foreach(header, name, row) {
        if (strcmp(name, "__metadata__") != 0)
            VR_TRY(read_tensor(weights, shard, name, row, start, size, err));
        else if (shard <= 1) /* 0: the file itself, 1: the first of an index; further shards repeat theirs */
            VR_TRY(read_metadata(weights, row, err));
    }
    return VRWKV_OK;
}

vr_status vr_safetensors_shard(vr_weights *weights, size_t shard, vr_error *err) {
    const vr_map *map = &weights->shards[shard].map;
    const char *path = weights->shards[shard].path ? weights->shards[shard].path : weights->path;
    json_t *header;
    if (map->size < 8) return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has %zu bytes, expected a safetensors file", path, map->size);
    uint64_t length = vr_get64(map->data);
    if (length > map->size - 8)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is truncated or no safetensors file: its header claims %llu bytes, %zu are left",
                       path, (unsigned long long)length, map->size - 8);
    if (length > HEADER_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the header has %llu bytes, expected at most %llu", path,
                       (unsigned long long)length, (unsigned long long)HEADER_LIMIT);
    VR_TRY(parse_json(path, map->data + 8, (size_t)length, "header", &header, err));
    vr_status status = read_header(weights, shard, header, 8 + length, err);
    json_decref(header);
    return status;
}

static bool safetensors_detect(const unsigned char *data, size_t size) {
    return size > 8 && vr_get64(data) <= size - 8 && vr_get64(data) > 0 && data[8] == '{';
}

static vr_status safetensors_open(vr_weights *weights, vr_error *err) {
    VR_TRY(vr_safetensors_shard(weights, 0, err));
    return vr_items_disjoint(weights, err);
}

/* ---- shards ---- */

static bool index_detect(const unsigned char *data, size_t size) {
    size_t i = 0;
    while (i < size && i < 64 && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t')) i++;
    return i < size && data[i] == '{';
}

/* Opens a shard beside the index. Its name is a plain file name: an index may not point elsewhere. */
static vr_status open_shard(vr_weights *weights, const char *name, vr_error *err) {
    char shown[VR_SHOW_SIZE];
    vr_show(name, strlen(name), shown);
    if (name[0] == 0 || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' names the shard '%s', expected a file in its own folder", weights->path, shown);
    if (weights->n_shards > SHARD_LIMIT)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' names more than %zu shards", weights->path, SHARD_LIMIT);
    const char *slash = strrchr(weights->path, '/');
    size_t folder = slash ? (size_t)(slash - weights->path) + 1 : 0, n = folder + strlen(name) + 1;
    char *path = vr_alloc(n, 1);
    if (!path) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    memcpy(path, weights->path, folder);
    memcpy(path + folder, name, n - folder);
    vr_status status = vr_shard_add(weights, path, err);
    free(path);
    return status == VRWKV_OK ? vr_safetensors_shard(weights, weights->n_shards - 1, err) : status;
}

/* Each shard once, in the order the map names them, then every name of the map is looked for. */
static vr_status open_map(vr_weights *weights, json_t *map, json_t *seen, json_t *names, vr_error *err) {
    const char *name, *file;
    json_t *value;
    json_object_foreach(map, name, value) {
        file = json_string_value(value);
        if (!file) return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': weight_map has a file name that is no string", weights->path);
        if (json_object_get(seen, file)) continue;
        VR_TRY(open_shard(weights, file, err));
        if (json_object_set_new(seen, file, json_integer((json_int_t)(weights->n_shards - 1))) != 0)
            return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < weights->n_items; i++)
        if (json_object_set_new(names, weights->items[i].entry.name, json_integer((json_int_t)weights->items[i].shard)) != 0)
            return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    json_object_foreach(map, name, value) {
        json_t *shard = json_object_get(names, name);
        char shown[2][VR_SHOW_SIZE];
        file = json_string_value(value);
        if (!shard || json_integer_value(shard) != json_integer_value(json_object_get(seen, file)))
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' is not in its shard '%s'", weights->path,
                           vr_show(name, strlen(name), shown[0]), vr_show(file, strlen(file), shown[1]));
    }
    return VRWKV_OK;
}

static vr_status index_open(vr_weights *weights, vr_error *err) {
    const vr_map *file = &weights->shards[0].map;
    json_t *index;
    if (weights->shards[0].borrowed)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "an index of shards can only be opened as a file");
    if (file->size > HEADER_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has %zu bytes, expected an index of at most %llu", weights->path,
                       file->size, (unsigned long long)HEADER_LIMIT);
    VR_TRY(parse_json(weights->path, file->data, file->size, "index", &index, err));
    json_t *map = json_object_get(index, "weight_map"), *seen = json_object(), *names = json_object();
    vr_status status = VRWKV_OK;
    if (!json_is_object(map))
        status = vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is JSON without weight_map, expected a safetensors index", weights->path);
    else if (!seen || !names)
        status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    else
        status = open_map(weights, map, seen, names, err);
    json_decref(seen);
    json_decref(names);
    json_decref(index);
    return status == VRWKV_OK ? vr_items_disjoint(weights, err) : status;
}

/* ---- writing ---- */

static vr_status check(vr_save *save, const vr_entry *entry, vr_error *err) {
    if (vr_dtype_of(entry->dtype)->safetensors && strcmp(entry->name, "__metadata__") != 0) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' of type %s cannot be stored in a safetensors file",
                   save->writer.path, entry->name, vr_dtype_of(entry->dtype)->name);
}

static json_t *meta_json(const vr_meta *meta) {
    char text[40];
    if (meta->type == VR_META_STRING) return json_stringn(meta->string, meta->n_bytes);
    if (meta->type == VR_META_FLOAT)
        snprintf(text, sizeof text, "%.17g", meta->number);
    else if (meta->type == VR_META_BOOL)
        snprintf(text, sizeof text, "%s", meta->integer ? "true" : "false");
    else
        snprintf(text, sizeof text, "%lld", (long long)meta->integer);
    return json_string(text);
}

static bool put_metas(json_t *header, const vr_save *save) {
    if (save->n_metas == 0) return true;
    json_t *object = json_object();
    for (size_t i = 0; i < save->n_metas; i++)
        if (json_object_set_new(object, save->metas[i].key, meta_json(&save->metas[i])) != 0) {
            json_decref(object);
            return false;
        }
    return json_object_set_new(header, "__metadata__", object) == 0;
}

static bool put_rows(json_t *header, const vr_save *save) {
    uint64_t at = 0;
    for (size_t i = 0; i < save->n_entries; i++) {
        const vr_entry *entry = &save->entries[i];
        json_t *shape = json_array();
        for (int d = 0; d < entry->ndim; d++)
            if (json_array_append_new(shape, json_integer(entry->shape[d])) != 0) {
                json_decref(shape);
                return false;
            }
        json_t *row = json_pack("{s:s, s:o, s:[I, I]}", "dtype", vr_dtype_of(entry->dtype)->safetensors, "shape", shape,
                                "data_offsets", (json_int_t)at, (json_int_t)(at + entry->bytes));
        if (!row || json_object_set_new(header, entry->name, row) != 0) return false;
        at += entry->bytes;
    }
    return true;
}

/* The header is padded with spaces so that the data starts 64-byte aligned. */
static vr_status write_header(vr_save *save, const char *text, vr_error *err) {
    static const char spaces[] = "                                                                ";
    unsigned char length[8];
    size_t n = strlen(text), pad = (64 - (n + 8) % 64) % 64;
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)(n + pad) >> 8 * i);
    VR_TRY(vr_writer_put(&save->writer, length, sizeof length, err));
    VR_TRY(vr_writer_put(&save->writer, text, n, err));
    return vr_writer_put(&save->writer, spaces, pad, err);
}

static vr_status begin(vr_save *save, vr_error *err) {
    json_t *header = json_object();
    char *text = NULL;
    if (header && put_metas(header, save) && put_rows(header, save)) text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (!text)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': the header cannot be written as JSON (is all metadata UTF-8?)",
                       save->writer.path);
    vr_status status = write_header(save, text, err);
    free(text);
    return status;
}

/* Offsets leave no holes: there is nothing between tensors and nothing after them. */
static vr_status tensor(vr_save *save, size_t index, vr_error *err) {
    (void)save;
    (void)index;
    (void)err;
    return VRWKV_OK;
}

static vr_status end(vr_save *save, vr_error *err) { return tensor(save, 0, err); }

const vr_format vr_format_safetensors = {
    .kind = VR_FILE_SAFETENSORS,
    .endings = {".safetensors"},
    .detect = safetensors_detect,
    .open = safetensors_open,
    .check = check,
    .begin = begin,
    .tensor = tensor,
    .end = end,
};

const vr_format vr_format_index = {
    .kind = VR_FILE_SAFETENSORS,
    .endings = {".index.json"},
    .detect = index_detect,
    .open = index_open,
};
