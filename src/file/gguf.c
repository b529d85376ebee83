/* GGUF v3 (and v2, which differs in nothing that is read here), little-endian:
 *
 *   "GGUF", u32 version, u64 tensors, u64 key-values
 *   key-values: string key, u32 type, value        string: u64 bytes, bytes; array: u32 type, u64 items, items
 *   tensors: string name, u32 axes, u64 sizes[axes] (innermost first), u32 type, u64 offset
 *   padding to general.alignment (32), then the data; offsets are relative to it
 *
 * Every count is compared with the bytes left before anything is allocated for it. */
#include "file/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define ALIGNMENT 32u

typedef enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY,
    GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPES
} gguf_type;

typedef struct gguf_scalar { vr_meta_type type; unsigned bytes; bool is_signed; } gguf_scalar;

/* bytes 0: no scalar; for strings the least that one takes */
static const gguf_scalar scalars[GGUF_TYPES] = {
    [GGUF_U8] = {VR_META_INT, 1, false},  [GGUF_I8] = {VR_META_INT, 1, true},      [GGUF_U16] = {VR_META_INT, 2, false},
    [GGUF_I16] = {VR_META_INT, 2, true},  [GGUF_U32] = {VR_META_INT, 4, false},    [GGUF_I32] = {VR_META_INT, 4, true},
    [GGUF_F32] = {VR_META_FLOAT, 4, true}, [GGUF_BOOL] = {VR_META_BOOL, 1, false}, [GGUF_STRING] = {VR_META_STRING, 8, false},
    [GGUF_U64] = {VR_META_INT, 8, false}, [GGUF_I64] = {VR_META_INT, 8, true},     [GGUF_F64] = {VR_META_FLOAT, 8, true},
};

typedef struct reader {
    vr_weights *weights;
    const vr_map *map;
    vr_cursor in;
    uint64_t alignment;
    vr_error *err;
} reader;

static vr_status broken(reader *r, const char *what) {
    return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s' is a damaged or truncated GGUF file at byte %zu: %s", r->weights->path,
                   (size_t)(r->in.at - r->map->data), what);
}

static vr_status number(reader *r, unsigned bytes, uint64_t *value) {
    const unsigned char *at = vr_take(&r->in, bytes);
    if (!at) return broken(r, "a number is cut off");
    *value = 0;
    for (unsigned i = 0; i < bytes; i++) *value |= (uint64_t)at[i] << 8 * i;
    return VRWKV_OK;
}

static vr_status string(reader *r, const unsigned char **text, size_t *n, const char *what) {
    uint64_t length;
    VR_TRY(number(r, 8, &length));
    *text = vr_take(&r->in, length);
    if (!*text)
        return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s': a GGUF %s claims %llu bytes, %zu are left", r->weights->path, what,
                       (unsigned long long)length, vr_left(&r->in));
    *n = (size_t)length;
    return VRWKV_OK;
}

/* One scalar as integer or number. */
static vr_status scalar(reader *r, const char *key, gguf_scalar type, int64_t *integer, double *real) {
    uint64_t bits;
    VR_TRY(number(r, type.bytes, &bits));
    if (type.type == VR_META_FLOAT) {
        float narrow;
        memcpy(&narrow, &bits, sizeof narrow);
        memcpy(real, &bits, sizeof *real);
        if (type.bytes == sizeof narrow) *real = (double)narrow;
        return VRWKV_OK;
    }
    unsigned unused = 64 - 8 * type.bytes;
    *integer = type.is_signed ? (int64_t)(bits << unused) >> unused : (int64_t)bits;
    if (type.type == VR_META_BOOL) *integer = bits != 0;
    if (type.is_signed || bits <= INT64_MAX) return VRWKV_OK;
    return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "'%s': metadata '%s' holds %llu, expected less than 2^63", r->weights->path,
                   key, (unsigned long long)bits);
}

/* Two passes: lengths, then one block for all texts. */
static vr_status string_array(reader *r, vr_meta *meta, size_t n) {
    vr_cursor start = r->in;
    const unsigned char *text;
    size_t bytes, total = 0;
    char *at;
    for (size_t i = 0; i < n; i++) {
        VR_TRY(string(r, &text, &bytes, "string of an array"));
        total += bytes; /* all lie in the file: no overflow */
    }
    r->in = start;
    VR_TRY(vr_meta_texts(meta, n, total, &at, r->err));
    for (size_t i = 0; i < n; i++) {
        VR_TRY(string(r, &text, &bytes, "string of an array"));
        vr_meta_texts_put(meta, text, bytes, &at);
    }
    return VRWKV_OK;
}

static vr_status array(reader *r, vr_meta *meta) {
    uint64_t code, n;
    VR_TRY(number(r, 4, &code));
    VR_TRY(number(r, 8, &n));
    if (code >= GGUF_TYPES || scalars[code].bytes == 0)
        return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "'%s': metadata '%s' is an array of type %llu, expected one of plain values",
                       r->weights->path, meta->key, (unsigned long long)code);
    gguf_scalar type = scalars[code];
    if (n > vr_left(&r->in) / type.bytes)
        return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s': metadata '%s' claims %llu items, %zu bytes are left", r->weights->path,
                       meta->key, (unsigned long long)n, vr_left(&r->in));
    meta->type = VR_META_ARRAY;
    meta->item_type = type.type;
    if (type.type == VR_META_STRING) return string_array(r, meta, (size_t)n);
    int64_t integer = 0;
    double real = 0;
    if (type.type == VR_META_FLOAT)
        meta->numbers = vr_alloc((size_t)n, sizeof *meta->numbers);
    else
        meta->integers = vr_alloc((size_t)n, sizeof *meta->integers);
    if (!meta->numbers && !meta->integers)
        return vr_fail(r->err, VRWKV_ERR_MEMORY, "out of memory for the %llu items of '%s'", (unsigned long long)n, meta->key);
    for (; meta->n_items < n; meta->n_items++) {
        VR_TRY(scalar(r, meta->key, type, &integer, &real));
        if (meta->numbers)
            meta->numbers[meta->n_items] = real;
        else
            meta->integers[meta->n_items] = integer;
    }
    return VRWKV_OK;
}

static vr_status key_value(reader *r) {
    const unsigned char *text;
    size_t n;
    uint64_t code;
    vr_meta *meta;
    VR_TRY(string(r, &text, &n, "key"));
    VR_TRY(vr_meta_add(r->weights, text, n, &meta, r->err));
    VR_TRY(number(r, 4, &code));
    if (code == GGUF_ARRAY) return array(r, meta);
    if (code >= GGUF_TYPES)
        return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s': metadata '%s' has the unknown type %llu", r->weights->path, meta->key,
                       (unsigned long long)code);
    if (code == GGUF_STRING) {
        VR_TRY(string(r, &text, &n, "string"));
        return vr_meta_text(meta, text, n, r->err);
    }
    meta->type = scalars[code].type;
    VR_TRY(scalar(r, meta->key, scalars[code], &meta->integer, &meta->number));
    if (strcmp(meta->key, "general.alignment") != 0) return VRWKV_OK;
    if (meta->type != VR_META_INT || meta->integer < 1 || meta->integer > 1 << 20 || (meta->integer & (meta->integer - 1)))
        return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s': general.alignment is %lld, expected a power of two up to 1048576",
                       r->weights->path, (long long)meta->integer);
    r->alignment = (uint64_t)meta->integer;
    return VRWKV_OK;
}

/* GGML's types that are not read here, by name; a hole is a number without a type. */
static const char *const foreign_types[] = {
    [9] = "q8_1",    [10] = "q2_k",   [11] = "q3_k",  [15] = "q8_k",  [16] = "iq2_xxs", [17] = "iq2_xs", [18] = "iq3_xxs",
    [19] = "iq1_s",  [20] = "iq4_nl", [21] = "iq3_s", [22] = "iq2_s", [23] = "iq4_xs",  [29] = "iq1_m",  [34] = "tq1_0",
    [35] = "tq2_0",  [39] = "mxfp4",  [40] = "nvfp4", [41] = "q1_0",  [42] = "q2_0",
};

static vr_status tensor_type(reader *r, const char *name, uint64_t code, vr_dtype *out) {
    char known[256] = "";
    size_t at = 0;
    for (int i = 0; i < VR_DTYPE_COUNT; i++) {
        const vr_dtype_info *info = vr_dtype_of((vr_dtype)i);
        if (info->gguf < 0) continue;
        if ((uint64_t)info->gguf == code) {
            *out = (vr_dtype)i;
            return VRWKV_OK;
        }
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", info->name);
    }
    const char *foreign = code < VR_COUNT(foreign_types) ? foreign_types[code] : NULL;
    return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "'%s': tensor '%s' has the %s GGML type %s%s%llu%s, expected one of %s",
                   r->weights->path, name, foreign ? "unsupported" : "unknown", foreign ? foreign : "", foreign ? " (" : "",
                   (unsigned long long)code, foreign ? ")" : "", known);
}

static vr_status tensor_info(reader *r) {
    const unsigned char *text;
    char name[VR_NAME_LIMIT + 1];
    size_t n;
    uint64_t ndim, size, code, offset;
    int64_t shape[VR_MAX_DIMS];
    vr_dtype dtype;
    vr_item *item;
    VR_TRY(string(r, &text, &n, "tensor name"));
    VR_TRY(vr_name_check(r->weights->path, "tensor name", text, n, r->err));
    memcpy(name, text, n);
    name[n] = 0;
    VR_TRY(number(r, 4, &ndim));
    if (ndim > VR_MAX_DIMS)
        return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "'%s': tensor '%s' has %llu axes, expected at most %d", r->weights->path,
                       name, (unsigned long long)ndim, VR_MAX_DIMS);
    for (uint64_t i = 0; i < ndim; i++) {
        VR_TRY(number(r, 8, &size));
        if (size > INT64_MAX)
            return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' claims an axis of %llu", r->weights->path, name,
                           (unsigned long long)size);
        shape[ndim - 1 - i] = (int64_t)size;
    }
    VR_TRY(number(r, 4, &code));
    VR_TRY(number(r, 8, &offset));
    VR_TRY(tensor_type(r, name, code, &dtype));
    VR_TRY(vr_item_add(r->weights, text, n, dtype, (int)ndim, shape, &item, r->err));
    item->offset = offset; /* relative until the data's start is known */
    return VRWKV_OK;
}

static vr_status place_tensors(reader *r) {
    uint64_t size = r->map->size, start = (uint64_t)(r->in.at - r->map->data);
    start = (start + r->alignment - 1) & ~(r->alignment - 1);
    for (size_t i = 0; i < r->weights->n_items; i++) {
        vr_item *item = &r->weights->items[i];
        if (item->offset % r->alignment)
            return vr_fail(r->err, VRWKV_ERR_FORMAT, "'%s': tensor '%s' has offset %llu, expected a multiple of %llu",
                           r->weights->path, item->entry.name, (unsigned long long)item->offset,
                           (unsigned long long)r->alignment);
        if (start > size || item->offset > size - start || item->entry.bytes > size - start - item->offset)
            return vr_fail(r->err, VRWKV_ERR_FORMAT,
                           "'%s' is damaged or truncated: tensor '%s' takes %llu bytes at %llu, the file's data has %llu",
                           r->weights->path, item->entry.name, (unsigned long long)item->entry.bytes,
                           (unsigned long long)item->offset, (unsigned long long)(start > size ? 0 : size - start));
        item->offset += start;
    }
    return vr_items_disjoint(r->weights, r->err);
}

static bool gguf_detect(const unsigned char *data, size_t size) { return size >= 4 && memcmp(data, "GGUF", 4) == 0; }

static vr_status gguf_open(vr_weights *weights, vr_error *err) {
    const vr_map *map = &weights->shards[0].map;
    reader r = {weights, map, {map->data, map->data + map->size}, ALIGNMENT, err};
    uint64_t magic, version, n_tensors, n_metas;
    VR_TRY(number(&r, 4, &magic));
    if (magic != 0x46554747) return broken(&r, "it does not start with 'GGUF'");
    VR_TRY(number(&r, 4, &version));
    if (version == 0x02000000 || version == 0x03000000)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is a big-endian GGUF file, expected little-endian", weights->path);
    if (version != 2 && version != 3)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is a GGUF file of version %llu, expected 2 or 3", weights->path,
                       (unsigned long long)version);
    VR_TRY(number(&r, 8, &n_tensors));
    VR_TRY(number(&r, 8, &n_metas));
    /* The least that one takes: 8 + 1 + 4 + 1 bytes of key and value, 8 + 1 + 4 + 4 + 8 of a tensor. */
    if (n_metas > vr_left(&r.in) / 14 || n_tensors > vr_left(&r.in) / 25)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' claims %llu tensors and %llu metadata entries, %zu bytes are left",
                       weights->path, (unsigned long long)n_tensors, (unsigned long long)n_metas, vr_left(&r.in));
    for (uint64_t i = 0; i < n_metas; i++) VR_TRY(key_value(&r));
    for (uint64_t i = 0; i < n_tensors; i++) VR_TRY(tensor_info(&r));
    return place_tensors(&r);
}

/* ---- writing ---- */

static vr_status check(vr_save *save, const vr_entry *entry, vr_error *err) {
    if (vr_dtype_of(entry->dtype)->gguf >= 0) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' of type %s cannot be stored in a GGUF file", save->writer.path,
                   entry->name, vr_dtype_of(entry->dtype)->name);
}

static void put_string(vr_buffer *buffer, const char *text, size_t n) {
    vr_buffer_number(buffer, n, 8);
    vr_buffer_put(buffer, text, n);
}

static void put_array(vr_buffer *buffer, const vr_meta *meta) {
    vr_buffer_number(buffer, GGUF_ARRAY, 4);
    vr_buffer_number(buffer, meta->item_type == VR_META_STRING ? GGUF_STRING : GGUF_I32, 4);
    vr_buffer_number(buffer, meta->n_items, 8);
    for (size_t i = 0; i < meta->n_items; i++)
        if (meta->item_type == VR_META_STRING)
            put_string(buffer, meta->strings[i], meta->item_bytes[i]);
        else
            vr_buffer_number(buffer, (uint64_t)meta->integers[i], 4);
}

/* The types that llama.cpp's readers ask for: f32, u32 where it fits, else i64. */
static void put_meta(vr_buffer *buffer, const vr_meta *meta) {
    float narrow = (float)meta->number;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    put_string(buffer, meta->key, strlen(meta->key));
    if (meta->type == VR_META_ARRAY) {
        put_array(buffer, meta);
    } else if (meta->type == VR_META_STRING) {
        vr_buffer_number(buffer, GGUF_STRING, 4);
        put_string(buffer, meta->string, meta->n_bytes);
    } else if (meta->type == VR_META_FLOAT) {
        vr_buffer_number(buffer, GGUF_F32, 4);
        vr_buffer_number(buffer, bits, 4);
    } else if (meta->type == VR_META_BOOL) {
        vr_buffer_number(buffer, GGUF_BOOL, 4);
        vr_buffer_number(buffer, (uint64_t)meta->integer, 1);
    } else {
        bool fits = meta->integer >= 0 && meta->integer <= UINT32_MAX;
        vr_buffer_number(buffer, fits ? GGUF_U32 : GGUF_I64, 4);
        vr_buffer_number(buffer, (uint64_t)meta->integer, fits ? 4 : 8);
    }
}

static uint64_t aligned(uint64_t at) { return (at + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1); }

static vr_status pad(vr_save *save, vr_error *err) {
    return vr_writer_zero(&save->writer, (size_t)(aligned(save->writer.written) - save->writer.written), err);
}

static vr_status begin(vr_save *save, vr_error *err) {
    vr_buffer buffer = {0};
    uint64_t offset = 0;
    vr_buffer_put(&buffer, "GGUF", 4);
    vr_buffer_number(&buffer, 3, 4);
    vr_buffer_number(&buffer, save->n_entries, 8);
    vr_buffer_number(&buffer, save->n_metas, 8);
    for (size_t i = 0; i < save->n_metas; i++) put_meta(&buffer, &save->metas[i]);
    for (size_t i = 0; i < save->n_entries; i++) {
        const vr_entry *entry = &save->entries[i];
        put_string(&buffer, entry->name, strlen(entry->name));
        vr_buffer_number(&buffer, (uint64_t)entry->ndim, 4);
        for (int d = entry->ndim; d-- > 0;) vr_buffer_number(&buffer, (uint64_t)entry->shape[d], 8);
        vr_buffer_number(&buffer, (uint64_t)vr_dtype_of(entry->dtype)->gguf, 4);
        vr_buffer_number(&buffer, offset, 8);
        offset = aligned(offset + entry->bytes);
    }
    vr_status status = buffer.failed ? vr_fail(err, VRWKV_ERR_MEMORY, "out of memory")
                                     : vr_writer_put(&save->writer, buffer.data, buffer.n, err);
    free(buffer.data);
    return status == VRWKV_OK ? pad(save, err) : status;
}

static vr_status tensor(vr_save *save, size_t index, vr_error *err) {
    (void)index;
    return pad(save, err);
}

static vr_status end(vr_save *save, vr_error *err) { return pad(save, err); }

const vr_format vr_format_gguf = {
    .kind = VR_FILE_GGUF,
    .endings = {".gguf"},
    .detect = gguf_detect,
    .open = gguf_open,
    .check = check,
    .begin = begin,
    .tensor = tensor,
    .end = end,
};
