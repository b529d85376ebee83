/* The door: tells the kind of a file by its content, lets the format list its tensors, sorts the
 * names (a sorted index has no bad case that a hostile file could choose), and hands out bytes.
 *
 * Flow: vr_weights_open -> format->open fills shards, items, metas -> index() -> find / data / read. */
#include "file/internal.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/mman.h>

/* Asked in this order: the index of shards last, for '{' may also be a safetensors length. */
static const vr_format *const formats[] = {&vr_format_gguf, &vr_format_rwkv_cpp, &vr_format_pth, &vr_format_safetensors,
                                           &vr_format_index};

/* Pages of big tensors are given back this many bytes at a time. */
#define COPY_STEP ((size_t)8 << 20)

static bool has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), e = strlen(ending);
    return n >= e && strcasecmp(path + (n - e), ending) == 0;
}

static const vr_format *format_by_ending(const char *path) {
    for (size_t f = 0; f < VR_COUNT(formats); f++)
        for (size_t i = 0; i < VR_COUNT(formats[f]->endings) && formats[f]->endings[i]; i++)
            if (has_ending(path, formats[f]->endings[i])) return formats[f];
    return NULL;
}

const vr_format *vr_format_of(vr_file_kind kind) {
    for (size_t f = 0; f < VR_COUNT(formats); f++)
        if (formats[f]->kind == kind && formats[f]->begin) return formats[f];
    return NULL;
}

vr_status vr_file_kind_of(const char *path, vr_file_kind *kind, vr_error *err) {
    const vr_format *format = path ? format_by_ending(path) : NULL;
    if (!format || !format->begin)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s' ends in none of .gguf, .safetensors, .pth, .pt", path ? path : "");
    *kind = format->kind;
    return VRWKV_OK;
}

static vr_status detect(vr_weights *weights, vr_error *err) {
    const vr_map *map = &weights->shards[0].map;
    char shown[VR_SHOW_SIZE];
    if (map->size == 0) return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is empty, expected a tensor file", weights->path);
    for (size_t f = 0; f < VR_COUNT(formats) && !weights->format; f++)
        if (formats[f]->detect(map->data, map->size)) weights->format = formats[f];
    /* Damaged beyond recognition: the parser that the name asks for says what is wrong. */
    if (!weights->format) weights->format = format_by_ending(weights->path);
    if (!weights->format)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is no .pth, .safetensors, .gguf or rwkv.cpp file: it starts with '%s'",
                       weights->path, vr_show(map->data, map->size < 16 ? map->size : 16, shown));
    return VRWKV_OK;
}

static const char *item_name(const void *base, size_t index) { return ((const vr_item *)base)[index].entry.name; }
static const char *meta_key(const void *base, size_t index) { return ((const vr_meta *)base)[index].key; }

typedef struct sort_row { const char *name; size_t index; } sort_row;

static int compare_rows(const void *a, const void *b) {
    const sort_row *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

size_t *vr_sorted(size_t n, const void *base, const char *(*name)(const void *base, size_t index)) {
    sort_row *rows = vr_alloc(n, sizeof *rows);
    size_t *order = vr_alloc(n, sizeof *order);
    if (!rows || !order) {
        free(rows);
        free(order);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) rows[i] = (sort_row){name(base, i), i};
    qsort(rows, n, sizeof *rows, compare_rows);
    for (size_t i = 0; i < n; i++) order[i] = rows[i].index;
    free(rows);
    return order;
}

static vr_status index_names(vr_weights *weights, vr_error *err) {
    weights->by_name = vr_sorted(weights->n_items, weights->items, item_name);
    weights->by_key = vr_sorted(weights->n_metas, weights->metas, meta_key);
    if (!weights->by_name || !weights->by_key) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the index of names");
    for (size_t i = 1; i < weights->n_items; i++)
        if (strcmp(item_name(weights->items, weights->by_name[i - 1]), item_name(weights->items, weights->by_name[i])) == 0)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has two tensors named '%s'", weights->path,
                           item_name(weights->items, weights->by_name[i]));
    for (size_t i = 1; i < weights->n_metas; i++)
        if (strcmp(weights->metas[weights->by_key[i - 1]].key, weights->metas[weights->by_key[i]].key) == 0)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has two metadata entries named '%s'", weights->path,
                           weights->metas[weights->by_key[i]].key);
    return VRWKV_OK;
}

/* Training tools put the name of their wrapper in front of every key: it is left away, where every key has it. */
static void drop_wrappers(vr_weights *weights) {
    static const char *const wrappers[] = {"module.", "_forward_module.", "_orig_mod."};
    for (size_t w = 0; w < VR_COUNT(wrappers); w++) {
        size_t n = strlen(wrappers[w]), with = 0;
        while (with < weights->n_items && strncmp(item_name(weights->items, with), wrappers[w], n) == 0 &&
               item_name(weights->items, with)[n])
            with++;
        if (with < weights->n_items) continue;
        for (size_t i = 0; i < with; i++) {
            char *name = (char *)weights->items[i].entry.name;
            memmove(name, name + n, strlen(name + n) + 1);
        }
    }
}

static vr_status complete(vr_weights *weights, vr_weights **out, vr_error *err) {
    vr_status status = detect(weights, err);
    if (status == VRWKV_OK) status = weights->format->open(weights, err);
    if (status == VRWKV_OK && weights->format->kind != VR_FILE_GGUF) drop_wrappers(weights);
    if (status == VRWKV_OK) status = index_names(weights, err);
    if (status == VRWKV_OK)
        *out = weights;
    else
        vr_weights_close(weights);
    return status;
}

static vr_weights *new_weights(const char *path, const vr_weights_options *options, vr_error *err) {
    vr_weights *weights = vr_alloc(1, sizeof *weights);
    char *copy = vr_strdup(path);
    if (!weights || !copy) {
        free(weights);
        free(copy);
        vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
        return NULL;
    }
    weights->path = copy;
    weights->no_mmap = options && options->no_mmap;
    return weights;
}

vr_status vr_shard_add(vr_weights *weights, const char *path, vr_error *err) {
    VR_TRY(vr_grow(&weights->shards, &weights->shard_capacity, weights->n_shards + 1, sizeof *weights->shards, err));
    vr_shard shard = {.path = vr_strdup(path)};
    if (!shard.path) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_map_open(&shard.map, path, weights->no_mmap, err);
    if (status == VRWKV_OK)
        weights->shards[weights->n_shards++] = shard;
    else
        free(shard.path);
    return status;
}

vr_status vr_weights_open(vr_weights **out, const char *path, const vr_weights_options *options, vr_error *err) {
    *out = NULL;
    if (!path) return vr_fail(err, VRWKV_ERR_ARGUMENT, "no path of a tensor file");
    vr_weights *weights = new_weights(path, options, err);
    if (!weights) return VRWKV_ERR_MEMORY;
    vr_status status = vr_shard_add(weights, path, err);
    if (status != VRWKV_OK) {
        vr_weights_close(weights);
        return status;
    }
    return complete(weights, out, err);
}

vr_status vr_weights_open_memory(vr_weights **out, const void *data, size_t size, const vr_weights_options *options,
                                 vr_error *err) {
    *out = NULL;
    vr_weights *weights = new_weights("memory", options, err);
    if (!weights) return VRWKV_ERR_MEMORY;
    weights->shards = vr_alloc(1, sizeof *weights->shards);
    if (!weights->shards) {
        vr_weights_close(weights);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    /* `heap`: pages of memory that is not a file's must never be given back. */
    weights->shards[0] = (vr_shard){.map = {data, size, true}, .borrowed = true};
    weights->n_shards = weights->shard_capacity = 1;
    return complete(weights, out, err);
}

void vr_meta_clear(vr_meta *meta) {
    free(meta->key);
    free(meta->string);
    free(meta->strings); /* one block: pointers, then texts */
    free(meta->item_bytes);
    free(meta->integers);
    free(meta->numbers);
    *meta = (vr_meta){0};
}

void vr_weights_close(vr_weights *weights) {
    if (!weights) return;
    for (size_t i = 0; i < weights->n_items; i++) free((char *)weights->items[i].entry.name);
    for (size_t i = 0; i < weights->n_metas; i++) vr_meta_clear(&weights->metas[i]);
    for (size_t i = 0; i < weights->n_shards; i++) {
        if (!weights->shards[i].borrowed) vr_map_close(&weights->shards[i].map);
        free(weights->shards[i].path);
    }
    free(weights->shards);
    free(weights->items);
    free(weights->metas);
    free(weights->by_name);
    free(weights->by_key);
    free(weights->path);
    free(weights);
}

vr_status vr_item_add(vr_weights *weights, const void *name, size_t name_bytes, vr_dtype dtype, int ndim,
                      const int64_t *shape, vr_item **out, vr_error *err) {
    char text[VR_SHOW_SIZE];
    vr_item item = {.entry = {.dtype = dtype, .ndim = ndim}};
    VR_TRY(vr_name_check(weights->path, "tensor name", name, name_bytes, err));
    for (int i = 0; i < ndim; i++) item.entry.shape[i] = shape[i];
    if (!vr_shape_bytes(dtype, ndim, shape, &item.entry.bytes))
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%.*s' of type %s claims the impossible shape %s", weights->path,
                       (int)name_bytes, (const char *)name, vr_dtype_of(dtype)->name,
                       vr_shape_text(ndim, shape, text, sizeof text));
    if (weights->n_items >= VR_TENSOR_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has more than %zu tensors", weights->path, VR_TENSOR_LIMIT);
    VR_TRY(vr_grow(&weights->items, &weights->item_capacity, weights->n_items + 1, sizeof item, err));
    char *copy = vr_alloc(name_bytes + 1, 1);
    if (!copy) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    memcpy(copy, name, name_bytes);
    item.entry.name = copy;
    *out = &weights->items[weights->n_items++];
    **out = item;
    return VRWKV_OK;
}

vr_status vr_meta_add(vr_weights *weights, const void *key, size_t key_bytes, vr_meta **out, vr_error *err) {
    VR_TRY(vr_name_check(weights->path, "metadata key", key, key_bytes, err));
    if (weights->n_metas >= VR_TENSOR_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' has more than %zu metadata entries", weights->path, VR_TENSOR_LIMIT);
    VR_TRY(vr_grow(&weights->metas, &weights->meta_capacity, weights->n_metas + 1, sizeof *weights->metas, err));
    vr_meta meta = {.key = vr_alloc(key_bytes + 1, 1)};
    if (!meta.key) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    memcpy(meta.key, key, key_bytes);
    *out = &weights->metas[weights->n_metas++];
    **out = meta;
    return VRWKV_OK;
}

vr_status vr_meta_text(vr_meta *meta, const void *text, size_t n, vr_error *err) {
    meta->type = VR_META_STRING;
    meta->string = n < SIZE_MAX ? vr_alloc(n + 1, 1) : NULL;
    if (!meta->string) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a text of %zu bytes", n);
    if (n) memcpy(meta->string, text, n);
    meta->n_bytes = n;
    return VRWKV_OK;
}

vr_status vr_meta_texts(vr_meta *meta, size_t n, size_t text_bytes, char **text, vr_error *err) {
    size_t pointers, total;
    bool fits = !__builtin_mul_overflow(n, sizeof *meta->strings, &pointers) &&
                !__builtin_add_overflow(pointers, text_bytes, &total) && !__builtin_add_overflow(total, n, &total);
    meta->strings = fits ? vr_alloc(total, 1) : NULL;
    meta->item_bytes = vr_alloc(n, sizeof *meta->item_bytes);
    if (!meta->strings || !meta->item_bytes)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the %zu texts of '%s'", n, meta->key);
    meta->type = VR_META_ARRAY;
    meta->item_type = VR_META_STRING;
    *text = (char *)meta->strings + pointers;
    return VRWKV_OK;
}

void vr_meta_texts_put(vr_meta *meta, const void *text, size_t bytes, char **at) {
    memcpy(*at, text, bytes);
    meta->strings[meta->n_items] = *at;
    meta->item_bytes[meta->n_items++] = bytes;
    *at += bytes + 1; /* the block was cleared: the zero is there */
}

static int compare_places(const void *a, const void *b) {
    const vr_item *x = *(const vr_item *const *)a, *y = *(const vr_item *const *)b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->entry.bytes > y->entry.bytes) - (x->entry.bytes < y->entry.bytes);
}

vr_status vr_items_disjoint(const vr_weights *weights, vr_error *err) {
    const vr_item **order = vr_alloc(weights->n_items, sizeof *order);
    vr_status status = VRWKV_OK;
    if (!order) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < weights->n_items; i++) order[i] = &weights->items[i];
    qsort(order, weights->n_items, sizeof *order, compare_places);
    for (size_t i = 1; i < weights->n_items && status == VRWKV_OK; i++)
        if (order[i]->shard == order[i - 1]->shard && order[i]->offset < order[i - 1]->offset + order[i - 1]->entry.bytes)
            status = vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensors '%s' and '%s' overlap", weights->path,
                             order[i - 1]->entry.name, order[i]->entry.name);
    free(order);
    return status;
}

vr_file_kind vr_weights_kind(const vr_weights *weights) { return weights->format->kind; }
const char *vr_weights_path(const vr_weights *weights) { return weights->path; }
size_t vr_weights_count(const vr_weights *weights) { return weights->n_items; }
size_t vr_weights_meta_count(const vr_weights *weights) { return weights->n_metas; }

const vr_entry *vr_weights_at(const vr_weights *weights, size_t index) {
    return index < weights->n_items ? &weights->items[index].entry : NULL;
}

const vr_meta *vr_weights_meta_at(const vr_weights *weights, size_t index) {
    return index < weights->n_metas ? &weights->metas[index] : NULL;
}

/* Position of `wanted` among n sorted names, or n. */
static size_t find_name(const size_t *order, size_t n, const void *base,
                        const char *(*name)(const void *base, size_t index), const char *wanted) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int side = strcmp(wanted, name(base, order[middle]));
        if (side == 0) return order[middle];
        if (side < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return n;
}

const vr_entry *vr_weights_find(const vr_weights *weights, const char *name) {
    return vr_weights_at(weights, find_name(weights->by_name, weights->n_items, weights->items, item_name, name));
}

const vr_meta *vr_weights_meta(const vr_weights *weights, const char *key) {
    return vr_weights_meta_at(weights, find_name(weights->by_key, weights->n_metas, weights->metas, meta_key, key));
}

const void *vr_weights_data(const vr_weights *weights, const vr_entry *entry) {
    const vr_item *item = (const vr_item *)entry;
    const vr_dtype_info *info = vr_dtype_of(entry->dtype);
    /* A quantised block starts with a half-float scale. */
    size_t alignment = info->block > 1 ? 2 : (size_t)info->bytes;
    if (item->strided || item->deflated) return NULL;
    const unsigned char *at = weights->shards[item->shard].map.data + item->offset;
    return (uintptr_t)at % alignment == 0 ? at : NULL;
}

vr_status vr_weights_read(const vr_weights *weights, const vr_entry *entry, void *dst, vr_error *err) {
    const vr_item *item = (const vr_item *)entry;
    if (item->strided || item->deflated) return vr_pth_read(weights, item, dst, err);
    const vr_map *map = &weights->shards[item->shard].map;
    for (uint64_t done = 0; done < entry->bytes; done += COPY_STEP) {
        size_t part = entry->bytes - done < COPY_STEP ? (size_t)(entry->bytes - done) : COPY_STEP;
        memcpy((char *)dst + done, map->data + item->offset + done, part);
        /* A page that two steps share was left by the first: it goes with the second. */
        size_t start = (size_t)(item->offset + done) & ~(size_t)4095;
        vr_map_forget(map, start, (size_t)(item->offset + done) + part - start);
    }
    return VRWKV_OK;
}

void vr_weights_forget(const vr_weights *weights, const vr_entry *entry) {
    const vr_item *item = (const vr_item *)entry;
    if (!item->strided && !item->deflated)
        vr_map_forget(&weights->shards[item->shard].map, (size_t)item->offset, (size_t)entry->bytes);
}

vr_status vr_weights_lock(const vr_weights *weights, vr_error *err) {
    for (size_t i = 0; i < weights->n_shards; i++) {
        const vr_shard *shard = &weights->shards[i];
        if (shard->map.size && mlock(shard->map.data, shard->map.size) != 0)
            return vr_fail_io(err, "lock in memory (see 'ulimit -l')", shard->path ? shard->path : weights->path);
    }
    return VRWKV_OK;
}
