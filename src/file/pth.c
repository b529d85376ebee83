/* PyTorch checkpoints: a zip archive with a pickle that describes tensors as views of storages, and
 * one member per storage.
 *
 *   PREFIX/data.pkl  PREFIX/byteorder  PREFIX/data/KEY ..     PREFIX is the first folder, any name
 *
 * Reading: the pickle's dict is walked; each tensor's view is checked against its storage's bytes, and
 * those against the archive. Plain ranges of stored members are mapped; views and deflated members are
 * gathered by vr_pth_read. */
#include "file/internal.h"
#include "file/pickle.h"

#include <stdlib.h>

#define DEPTH_LIMIT 16
/* A view may be larger than its storage (expanded axes), up to this. */
#define EXPANDED_LIMIT ((uint64_t)64 << 20)

/* Where training programs keep the state dict beside other things. */
static const char *const wrappers[] = {"state_dict", "model", "module", "model_state_dict"};

typedef struct loader {
    vr_weights *weights;
    vr_zip zip;
    vr_pickle pickle;
    char prefix[256]; /* of members, with the slash */
    size_t budget;    /* values that the walk may still visit */
} loader;

static bool is_string(vr_value value, const char *text) {
    return value.type == VR_VALUE_STRING && value.n == strlen(text) && memcmp(value.as.text, text, value.n) == 0;
}

/* n integers of a tuple; false where it is none. */
static bool read_ints(const vr_pickle *pickle, vr_value tuple, int64_t *out, size_t n) {
    size_t count;
    const vr_value *items = vr_pickle_items(pickle, tuple, &count);
    if (tuple.type != VR_VALUE_TUPLE || count != n) return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].type != VR_VALUE_INT || items[i].as.integer < 0) return false;
        out[i] = items[i].as.integer;
    }
    return true;
}

/* The largest element that the view touches, -1 for an empty view; false on overflow. */
static bool last_element(const vr_item *item, int64_t *last) {
    int64_t at = item->first;
    for (int i = 0; i < item->entry.ndim; i++) {
        int64_t span;
        if (item->entry.shape[i] == 0) {
            *last = -1;
            return true;
        }
        if (__builtin_mul_overflow(item->entry.shape[i] - 1, item->stride[i], &span) || __builtin_add_overflow(at, span, &at))
            return false;
    }
    *last = at;
    return true;
}

static bool is_row_major(const vr_item *item) {
    int64_t expected = 1;
    for (int i = item->entry.ndim; i-- > 0;) {
        if (item->entry.shape[i] == 0) return true;
        if (item->entry.shape[i] > 1 && item->stride[i] != expected) return false;
        expected *= item->entry.shape[i];
    }
    return true;
}

/* The archive's member of a storage, checked to hold `count` elements. */
static vr_status find_storage(loader *l, vr_item *item, vr_value key, int64_t count, vr_error *err) {
    char name[512], shown[VR_SHOW_SIZE];
    const char *path = l->weights->path;
    uint64_t bytes;
    int length = snprintf(name, sizeof name, "%sdata/", l->prefix);
    size_t n = (size_t)length + key.n;
    if (n > sizeof name)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' has a storage key of %u bytes", path, item->entry.name, key.n);
    memcpy(name + length, key.as.text, key.n);
    vr_show(key.as.text, key.n, shown);
    const vr_zip_entry *member = vr_zip_find(&l->zip, name, n);
    if (!member)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': storage '%s' of tensor '%s' is not in the archive", path, shown,
                       item->entry.name);
    if (count < 0 || !vr_shape_bytes(item->entry.dtype, 1, &count, &bytes) || bytes > member->size)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': storage '%s' of tensor '%s' claims %lld elements, its member has %llu bytes",
                       path, shown, item->entry.name, (long long)count, (unsigned long long)member->size);
    item->storage = *member;
    item->deflated = member->deflated;
    return vr_zip_locate(&l->zip, member, &item->offset, err);
}

static vr_status check_view(loader *l, vr_item *item, int64_t count, vr_error *err) {
    char shape[VR_SHOW_SIZE], stride[VR_SHOW_SIZE];
    const vr_entry *entry = &item->entry;
    uint64_t size = (uint64_t)vr_dtype_of(entry->dtype)->bytes;
    int64_t last;
    vr_shape_text(entry->ndim, entry->shape, shape, sizeof shape);
    vr_shape_text(entry->ndim, item->stride, stride, sizeof stride);
    if (!last_element(item, &last) || last >= count)
        return vr_fail(err, VRWKV_ERR_FORMAT,
                       "'%s': tensor '%s' (offset %lld, shape %s, strides %s) reaches beyond its storage of %lld elements",
                       l->weights->path, entry->name, (long long)item->first, shape, stride, (long long)count);
    if (entry->bytes > (uint64_t)count * size && entry->bytes > EXPANDED_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT,
                       "'%s': tensor '%s' (shape %s, strides %s) would expand %llu bytes to %llu, expected at most %llu",
                       l->weights->path, entry->name, shape, stride, (unsigned long long)((uint64_t)count * size),
                       (unsigned long long)entry->bytes, (unsigned long long)EXPANDED_LIMIT);
    item->strided = !is_row_major(item);
    if (entry->bytes == 0) { /* nothing is read: its place may lie anywhere */
        item->first = 0;
        item->deflated = false;
    }
    /* Elements of a stored, row-major view are a range of the file. */
    if (!item->strided && !item->deflated) item->offset += (uint64_t)item->first * size;
    return VRWKV_OK;
}

static vr_status add_tensor(loader *l, const char *name, size_t name_bytes, vr_value tensor, vr_error *err) {
    size_t n, ndim;
    int64_t shape[VR_MAX_DIMS], stride[VR_MAX_DIMS];
    vr_item *item;
    VR_TRY(vr_name_check(l->weights->path, "tensor name", name, name_bytes, err));
    /* storage, offset, shape, strides, requires_grad, hooks[, metadata] */
    const vr_value *args = vr_pickle_items(&l->pickle, tensor, &n);
    if (n < 4 || args[0].type != VR_VALUE_STORAGE || args[1].type != VR_VALUE_INT || args[1].as.integer < 0)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%.*s' is not made of storage, offset, shape and strides",
                       l->weights->path, (int)name_bytes, name);
    vr_pickle_items(&l->pickle, args[2], &ndim);
    if (ndim > VR_MAX_DIMS)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': tensor '%.*s' has %zu axes, expected at most %d", l->weights->path,
                       (int)name_bytes, name, ndim, VR_MAX_DIMS);
    if (!read_ints(&l->pickle, args[2], shape, ndim) || !read_ints(&l->pickle, args[3], stride, ndim))
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': tensor '%.*s' has a shape or strides that are not %zu sizes",
                       l->weights->path, (int)name_bytes, name, ndim);
    VR_TRY(vr_item_add(l->weights, name, name_bytes, vr_pickle_dtype(&l->pickle, args[0]), (int)ndim, shape, &item, err));
    item->first = args[1].as.integer;
    memcpy(item->stride, stride, ndim * sizeof *stride);
    const vr_value *storage = vr_pickle_items(&l->pickle, args[0], &n);
    VR_TRY(find_storage(l, item, storage[2], storage[4].as.integer, err));
    return check_view(l, item, storage[4].as.integer, err);
}

/* The tensors of a dict and of dicts in it, names joined by '.'. `name` holds `length` bytes already. */
static vr_status walk(loader *l, vr_value dict, char name[VR_NAME_LIMIT + 2], size_t length, int depth, vr_error *err) {
    size_t n;
    const vr_value *items = vr_pickle_items(&l->pickle, dict, &n);
    for (size_t i = 0; i + 1 < n; i += 2) {
        vr_value key = items[i], value = items[i + 1];
        if (l->budget-- == 0)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the pickle's dicts contain each other", l->weights->path);
        if (key.type != VR_VALUE_STRING || (value.type != VR_VALUE_DICT && value.type != VR_VALUE_TENSOR)) continue;
        if (key.n > VR_NAME_LIMIT - length)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': a tensor name has more than %u bytes", l->weights->path,
                           VR_NAME_LIMIT);
        memcpy(name + length, key.as.text, key.n);
        size_t end = length + key.n;
        if (value.type == VR_VALUE_TENSOR) {
            VR_TRY(add_tensor(l, name, end, value, err));
            continue;
        }
        if (depth >= DEPTH_LIMIT)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': dicts are nested deeper than %d", l->weights->path, DEPTH_LIMIT);
        name[end] = '.';
        VR_TRY(walk(l, value, name, end + 1, depth + 1, err));
    }
    return VRWKV_OK;
}

/* The dict to read: `top`, or the one it wraps where it holds no tensor itself. */
static vr_value unwrap(const loader *l, vr_value top) {
    for (int depth = 0; depth < DEPTH_LIMIT; depth++) {
        size_t n;
        const vr_value *items = vr_pickle_items(&l->pickle, top, &n);
        vr_value inner = {0};
        for (size_t i = 1; i < n; i += 2)
            if (items[i].type == VR_VALUE_TENSOR) return top;
        for (size_t w = VR_COUNT(wrappers); w-- > 0;)
            for (size_t i = 0; i + 1 < n; i += 2)
                if (is_string(items[i], wrappers[w]) && items[i + 1].type == VR_VALUE_DICT) inner = items[i + 1];
        if (inner.type != VR_VALUE_DICT) return top;
        top = inner;
    }
    return top;
}

/* The member "PREFIX/data.pkl" with the shortest prefix. */
static vr_status find_pickle(loader *l, const vr_zip_entry **out, vr_error *err) {
    static const char wanted[] = "data.pkl";
    const size_t n = sizeof wanted - 1;
    *out = NULL;
    for (size_t i = 0; i < l->zip.n; i++) {
        const vr_zip_entry *entry = &l->zip.entries[i];
        size_t prefix = entry->name_bytes >= n ? entry->name_bytes - n : 0;
        if (entry->name_bytes < n || memcmp(entry->name + prefix, wanted, n) != 0) continue;
        if ((prefix == 0 || entry->name[prefix - 1] == '/') && (!*out || entry->name_bytes < (*out)->name_bytes)) *out = entry;
    }
    if (!*out)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is a zip archive without data.pkl, expected one that torch.save wrote",
                       l->weights->path);
    size_t prefix = (*out)->name_bytes - n;
    if (prefix >= sizeof l->prefix || memchr((*out)->name, 0, prefix))
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the archive's prefix has %zu bytes, expected at most %zu of text",
                       l->weights->path, prefix, sizeof l->prefix - 1);
    memcpy(l->prefix, (*out)->name, prefix);
    return VRWKV_OK;
}

static vr_status check_byteorder(loader *l, vr_error *err) {
    char name[sizeof l->prefix + 16], shown[VR_SHOW_SIZE];
    uint64_t at;
    int n = snprintf(name, sizeof name, "%sbyteorder", l->prefix);
    const vr_zip_entry *member = vr_zip_find(&l->zip, name, (size_t)n);
    if (!member || member->deflated) return VRWKV_OK; /* older files have none */
    VR_TRY(vr_zip_locate(&l->zip, member, &at, err));
    if (member->size == 6 && memcmp(l->zip.data + at, "little", 6) == 0) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' has byte order '%s', expected 'little'", l->weights->path,
                   vr_show(l->zip.data + at, (size_t)member->size, shown));
}

/* The pickle's bytes: in the mapping, or inflated to *heap. */
static vr_status pickle_bytes(loader *l, const vr_zip_entry *member, const unsigned char **data, unsigned char **heap,
                              vr_error *err) {
    uint64_t at;
    *heap = NULL;
    VR_TRY(vr_zip_locate(&l->zip, member, &at, err));
    if (member->size > VR_PICKLE_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': data.pkl has %llu bytes, expected at most %zu", l->weights->path,
                       (unsigned long long)member->size, VR_PICKLE_LIMIT);
    *data = l->zip.data + at;
    if (!member->deflated) return VRWKV_OK;
    *heap = vr_alloc((size_t)member->size, 1);
    if (!*heap) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the pickle of '%s'", l->weights->path);
    VR_TRY(vr_zip_inflate(l->weights->path, member, *data, *heap, err));
    *data = *heap;
    return VRWKV_OK;
}

static vr_status read_tensors(loader *l, const unsigned char *data, size_t size, vr_error *err) {
    char name[VR_NAME_LIMIT + 2];
    VR_TRY(vr_pickle_read(&l->pickle, l->weights->path, data, size, err));
    vr_status status = VRWKV_OK;
    /* Every true item costs bytes of pickle; only dicts that are reached many times pass this. */
    l->budget = size;
    if (l->pickle.top.type != VR_VALUE_DICT)
        status = vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' holds no dict of tensors, expected a state dict", l->weights->path);
    else
        status = walk(l, unwrap(l, l->pickle.top), name, 0, 0, err);
    vr_pickle_free(&l->pickle);
    return status;
}

static vr_status open_zip(loader *l, vr_error *err) {
    const vr_zip_entry *member;
    const unsigned char *data;
    unsigned char *heap = NULL;
    VR_TRY(find_pickle(l, &member, err));
    VR_TRY(check_byteorder(l, err));
    vr_status status = pickle_bytes(l, member, &data, &heap, err);
    if (status == VRWKV_OK) status = read_tensors(l, data, (size_t)member->size, err);
    free(heap);
    return status;
}

/* What torch.save wrote before version 1.6: a bare pickle of a magic number, or a tar archive. */
static bool is_legacy(const unsigned char *data, size_t size) {
    static const unsigned char magic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    return (size > 14 && data[0] == 0x80 && memcmp(data + 2, magic, sizeof magic) == 0) ||
           (size > 262 && memcmp(data + 257, "ustar", 5) == 0);
}

static bool pth_detect(const unsigned char *data, size_t size) {
    return (size >= 4 && (vr_get32(data) == 0x04034b50 || vr_get32(data) == 0x06054b50)) || is_legacy(data, size);
}

static vr_status pth_open(vr_weights *weights, vr_error *err) {
    const vr_map *map = &weights->shards[0].map;
    loader l = {.weights = weights};
    if (is_legacy(map->data, map->size))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                       "'%s' is in PyTorch's old form (before 1.6); save it again with a newer torch: torch.save(torch.load(f), f)",
                       weights->path);
    if (memchr("\x80(c", map->data[0], 3)) /* PROTO, MARK, GLOBAL: how pickles begin */
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is a bare pickle, expected the zip archive that torch.save writes since PyTorch 1.6",
                       weights->path);
    VR_TRY(vr_zip_open(&l.zip, weights->path, map->data, map->size, err));
    vr_status status = open_zip(&l, err);
    vr_zip_close(&l.zip);
    return status;
}

/* ---- views ---- */

/* n elements of `size` bytes, `stride` elements apart. */
static void gather(unsigned char *dst, const unsigned char *src, int64_t n, int64_t stride, size_t size) {
    if (stride == 1) {
        memcpy(dst, src, (size_t)n * size);
        return;
    }
    ptrdiff_t step = (ptrdiff_t)stride * (ptrdiff_t)size;
    for (int64_t i = 0; i < n; i++, dst += size, src += step) { /* constant sizes compile to one move each */
        if (size == 4)
            memcpy(dst, src, 4);
        else if (size == 2)
            memcpy(dst, src, 2);
        else if (size == 8)
            memcpy(dst, src, 8);
        else
            *dst = *src;
    }
}

/* Counts through all axes but the last; `base` is the storage's first byte. */
static void copy_view(const vr_item *item, const unsigned char *base, unsigned char *dst) {
    const vr_entry *entry = &item->entry;
    const size_t size = (size_t)vr_dtype_of(entry->dtype)->bytes;
    int64_t index[VR_MAX_DIMS] = {0}, at = item->first;
    if (entry->bytes == 0) return;
    int inner = entry->ndim - 1;
    int64_t n = inner >= 0 ? entry->shape[inner] : 1, stride = inner >= 0 ? item->stride[inner] : 1;
    for (;;) {
        gather(dst, base + (size_t)at * size, n, stride, size);
        dst += (size_t)n * size;
        int axis = inner - 1;
        for (; axis >= 0; axis--) {
            at += item->stride[axis];
            if (++index[axis] < entry->shape[axis]) break;
            at -= item->stride[axis] * index[axis];
            index[axis] = 0;
        }
        if (axis < 0) return;
    }
}

vr_status vr_pth_read(const vr_weights *weights, const vr_item *item, void *dst, vr_error *err) {
    const vr_map *map = &weights->shards[item->shard].map;
    const unsigned char *member = map->data + item->offset;
    vr_status status = VRWKV_OK;
    if (!item->deflated) {
        copy_view(item, member, dst);
    } else if (!item->strided && item->first == 0 && item->entry.bytes == item->storage.size) {
        status = vr_zip_inflate(weights->path, &item->storage, member, dst, err);
    } else {
        unsigned char *storage = vr_alloc((size_t)item->storage.size, 1);
        if (!storage)
            return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the storage of '%s', %llu bytes", item->entry.name,
                           (unsigned long long)item->storage.size);
        status = vr_zip_inflate(weights->path, &item->storage, member, storage, err);
        if (status == VRWKV_OK) copy_view(item, storage, dst);
        free(storage);
    }
    vr_map_forget(map, (size_t)item->offset, (size_t)item->storage.packed);
    return status;
}

const vr_format vr_format_pth = {
    .kind = VR_FILE_PTH,
    .endings = {".pth", ".pt", ".bin"},
    .detect = pth_detect,
    .open = pth_open,
    .check = vr_pth_check,
    .begin = vr_pth_begin,
    .tensor = vr_pth_tensor,
    .data = vr_pth_data,
    .end = vr_pth_end,
};
