/* Writing, the same for all kinds: collect metadata and declarations, then pass bytes on to the
 * format, which is told where each tensor starts. Nothing replaces the old file before commit. */
#include "file/internal.h"

#include <stdlib.h>

vr_status vr_save_open_as(vr_save **out, const char *path, vr_file_kind kind, vr_error *err) {
    *out = NULL;
    const vr_format *format = vr_format_of(kind);
    if (!path || !format) return vr_fail(err, VRWKV_ERR_ARGUMENT, "no path or an unknown kind of tensor file");
    vr_save *save = vr_alloc(1, sizeof *save);
    if (!save) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    save->format = format;
    vr_status status = vr_writer_open(&save->writer, path, err);
    if (status == VRWKV_OK)
        *out = save;
    else
        free(save);
    return status;
}

vr_status vr_save_open(vr_save **out, const char *path, vr_error *err) {
    vr_file_kind kind;
    *out = NULL;
    VR_TRY(vr_file_kind_of(path, &kind, err));
    return vr_save_open_as(out, path, kind, err);
}

static void free_save(vr_save *save) {
    for (size_t i = 0; i < save->n_metas; i++) vr_meta_clear(&save->metas[i]);
    for (size_t i = 0; i < save->n_entries; i++) free((char *)save->entries[i].name);
    free(save->metas);
    free(save->entries);
    vr_zip_free(&save->zip);
    free(save);
}

void vr_save_abandon(vr_save *save) {
    if (!save) return;
    vr_writer_abandon(&save->writer);
    free_save(save);
}

static vr_status add_meta(vr_save *save, const char *key, vr_meta_type type, vr_meta **out, vr_error *err) {
    if (save->begun) return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': metadata '%s' comes after data", save->writer.path, key);
    VR_TRY(vr_name_check(save->writer.path, "metadata key", key, strlen(key), err));
    VR_TRY(vr_grow(&save->metas, &save->meta_capacity, save->n_metas + 1, sizeof *save->metas, err));
    vr_meta meta = {.key = vr_strdup(key), .type = type};
    if (!meta.key) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *out = &save->metas[save->n_metas++];
    **out = meta;
    return VRWKV_OK;
}

vr_status vr_save_meta_bytes(vr_save *save, const char *key, const char *value, size_t n, vr_error *err) {
    vr_meta *meta;
    VR_TRY(add_meta(save, key, VR_META_STRING, &meta, err));
    return vr_meta_text(meta, value, n, err);
}

vr_status vr_save_meta_string(vr_save *save, const char *key, const char *value, vr_error *err) {
    return vr_save_meta_bytes(save, key, value, strlen(value), err);
}

vr_status vr_save_meta_int(vr_save *save, const char *key, int64_t value, vr_error *err) {
    vr_meta *meta;
    VR_TRY(add_meta(save, key, VR_META_INT, &meta, err));
    meta->integer = value;
    return VRWKV_OK;
}

vr_status vr_save_meta_float(vr_save *save, const char *key, double value, vr_error *err) {
    vr_meta *meta;
    VR_TRY(add_meta(save, key, VR_META_FLOAT, &meta, err));
    meta->number = value;
    return VRWKV_OK;
}

vr_status vr_save_meta_bool(vr_save *save, const char *key, bool value, vr_error *err) {
    vr_meta *meta;
    VR_TRY(add_meta(save, key, VR_META_BOOL, &meta, err));
    meta->integer = value;
    return VRWKV_OK;
}

static vr_status refuse_array(vr_save *save, const char *key, vr_error *err) {
    if (save->format->kind != VR_FILE_SAFETENSORS) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': safetensors metadata '%s' cannot be an array", save->writer.path, key);
}

vr_status vr_save_meta_strings(vr_save *save, const char *key, const char *const *items, const size_t *bytes, size_t n,
                               vr_error *err) {
    vr_meta *meta;
    char *at;
    size_t total = 0;
    VR_TRY(refuse_array(save, key, err));
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(total, bytes[i], &total)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s' is too long", key);
    VR_TRY(add_meta(save, key, VR_META_ARRAY, &meta, err));
    VR_TRY(vr_meta_texts(meta, n, total, &at, err));
    for (size_t i = 0; i < n; i++) vr_meta_texts_put(meta, items[i], bytes[i], &at);
    return VRWKV_OK;
}

vr_status vr_save_meta_ints(vr_save *save, const char *key, const int64_t *items, size_t n, vr_error *err) {
    vr_meta *meta;
    VR_TRY(refuse_array(save, key, err));
    for (size_t i = 0; i < n; i++)
        if (items[i] != (int32_t)items[i])
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': metadata '%s' holds %lld, expected 32-bit numbers",
                           save->writer.path, key, (long long)items[i]);
    VR_TRY(add_meta(save, key, VR_META_ARRAY, &meta, err));
    meta->item_type = VR_META_INT;
    meta->integers = vr_alloc(n, sizeof *items);
    if (!meta->integers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (n) memcpy(meta->integers, items, n * sizeof *items);
    meta->n_items = n;
    return VRWKV_OK;
}

vr_status vr_save_declare(vr_save *save, const char *name, vr_dtype dtype, int ndim, const int64_t *shape, vr_error *err) {
    char text[VR_SHOW_SIZE];
    const char *path = save->writer.path;
    if (save->begun) return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' is declared after data", path, name);
    VR_TRY(vr_name_check(path, "tensor name", name, strlen(name), err));
    if (ndim < 0 || ndim > VR_MAX_DIMS)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' has %d axes, expected 0 to %d", path, name, ndim, VR_MAX_DIMS);
    vr_entry entry = {.name = name, .dtype = dtype, .ndim = ndim};
    for (int i = 0; i < ndim; i++) entry.shape[i] = shape[i];
    if ((unsigned)dtype >= VR_DTYPE_COUNT || !vr_shape_bytes(dtype, ndim, shape, &entry.bytes))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' of type %s cannot have the shape %s", path, name,
                       vr_dtype_of(dtype)->name, vr_shape_text(ndim, shape, text, sizeof text));
    VR_TRY(save->format->check(save, &entry, err));
    VR_TRY(vr_grow(&save->entries, &save->entry_capacity, save->n_entries + 1, sizeof entry, err));
    entry.name = vr_strdup(name);
    if (!entry.name) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    save->entries[save->n_entries++] = entry;
    return VRWKV_OK;
}

static const char *entry_name(const void *base, size_t index) { return ((const vr_entry *)base)[index].name; }
static const char *meta_key(const void *base, size_t index) { return ((const vr_meta *)base)[index].key; }

static vr_status refuse_twins(const vr_save *save, size_t n, const void *base, const char *(*name)(const void *, size_t),
                              vr_error *err) {
    size_t *order = vr_sorted(n, base, name);
    vr_status status = VRWKV_OK;
    if (!order) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 1; i < n && status == VRWKV_OK; i++)
        if (strcmp(name(base, order[i - 1]), name(base, order[i])) == 0)
            status = vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': '%s' was declared twice", save->writer.path, name(base, order[i]));
    free(order);
    return status;
}

/* Announces tensors up to the next one that has bytes. */
static vr_status enter(vr_save *save, vr_error *err) {
    save->done = 0;
    for (; save->current < save->n_entries; save->current++) {
        VR_TRY(save->format->tensor(save, save->current, err));
        if (save->entries[save->current].bytes) break;
    }
    return VRWKV_OK;
}

static vr_status begin(vr_save *save, vr_error *err) {
    if (save->begun) return VRWKV_OK;
    VR_TRY(refuse_twins(save, save->n_entries, save->entries, entry_name, err));
    VR_TRY(refuse_twins(save, save->n_metas, save->metas, meta_key, err));
    save->begun = true;
    VR_TRY(save->format->begin(save, err));
    return enter(save, err);
}

vr_status vr_save_put(vr_save *save, const void *data, size_t bytes, vr_error *err) {
    VR_TRY(begin(save, err));
    if (bytes == 0) return VRWKV_OK;
    if (save->current >= save->n_entries)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': %zu bytes come after the last tensor", save->writer.path, bytes);
    const vr_entry *entry = &save->entries[save->current];
    if (bytes > entry->bytes - save->done)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': %zu bytes come for tensor '%s', which lacks %llu", save->writer.path,
                       bytes, entry->name, (unsigned long long)(entry->bytes - save->done));
    VR_TRY(save->format->data ? save->format->data(save, data, bytes, err) : vr_writer_put(&save->writer, data, bytes, err));
    save->done += bytes;
    if (save->done < entry->bytes) return VRWKV_OK;
    save->current++;
    return enter(save, err);
}

vr_status vr_save_commit(vr_save *save, vr_error *err) {
    vr_status status = begin(save, err);
    if (status == VRWKV_OK && save->current < save->n_entries) {
        const vr_entry *entry = &save->entries[save->current];
        status = vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' lacks %llu of its %llu bytes", save->writer.path,
                         entry->name, (unsigned long long)(entry->bytes - save->done), (unsigned long long)entry->bytes);
    }
    if (status == VRWKV_OK) status = save->format->end(save, err);
    if (status == VRWKV_OK)
        status = vr_writer_commit(&save->writer, err);
    else
        vr_writer_abandon(&save->writer);
    free_save(save);
    return status;
}
