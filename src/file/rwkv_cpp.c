/* The .bin files of the program rwkv.cpp (its docs/FILE_FORMAT.md), read only, little-endian:
 *
 *   u32 "ggmf" as a number, version (100 or 101), n_vocab, n_embed, n_layer, type of most tensors
 *   tensors to the end of the file: u32 axes, name bytes, type; u32 sizes[axes] (innermost first); name; data
 *
 * The first tensor follows the header, each next one the data of the one before: nothing is aligned.
 * The header's numbers become the metadata version, n_vocab, n_embed, n_layer. Types have numbers of their
 * own; version 100 had other quantised blocks under the same numbers. */
#include "file/internal.h"

#define MAGIC 0x67676d66u
#define HEADER_BYTES 24u

enum { VERSION_OLD = 100, VERSION = 101 };

typedef struct bin_type { uint32_t code; vr_dtype dtype; } bin_type;

static const bin_type types[] = {
    {0, VR_F32},  {1, VR_F16},  {2, VR_Q4_0},  {3, VR_Q4_1},  {7, VR_Q5_0},
    {8, VR_Q5_1}, {9, VR_Q8_0}, {13, VR_Q4_K}, {14, VR_Q5_K}, {15, VR_Q6_K},
};

static bool bin_detect(const unsigned char *data, size_t size) { return size >= 4 && vr_get32(data) == MAGIC; }

static vr_status header(vr_weights *weights, vr_cursor *in, uint32_t *version, vr_error *err) {
    static const char *const keys[] = {"version", "n_vocab", "n_embed", "n_layer"};
    char shown[VR_SHOW_SIZE];
    size_t size = vr_left(in);
    const unsigned char *at = vr_take(in, HEADER_BYTES);
    if (!at || vr_get32(at) != MAGIC)
        return vr_fail(err, VRWKV_ERR_FORMAT,
                       "'%s' is no rwkv.cpp file: it has %zu bytes and starts with '%s', expected 'fmgg'", weights->path,
                       size, vr_show(in->at - (at ? HEADER_BYTES : 0), size < 4 ? size : 4, shown));
    *version = vr_get32(at + 4);
    if (*version != VERSION_OLD && *version != VERSION)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is an rwkv.cpp file of version %u, expected %d or %d",
                       weights->path, *version, VERSION_OLD, VERSION);
    for (size_t i = 0; i < VR_COUNT(keys); i++) {
        vr_meta *meta;
        VR_TRY(vr_meta_add(weights, keys[i], strlen(keys[i]), &meta, err));
        meta->type = VR_META_INT;
        meta->integer = vr_get32(at + 4 + 4 * i);
    }
    return VRWKV_OK;
}

static vr_status tensor_type(const vr_weights *weights, const char *name, uint32_t version, uint32_t code, vr_dtype *out,
                             vr_error *err) {
    for (size_t i = 0; i < VR_COUNT(types); i++)
        if (types[i].code == code) {
            *out = types[i].dtype;
            if (version == VERSION || !vr_is_quantised(*out)) return VRWKV_OK;
            return vr_fail(
                err, VRWKV_ERR_UNSUPPORTED,
                "'%s': tensor '%s' has the type %s in the form of version %u, expected version %d; quantise it again",
                weights->path, name, vr_dtype_of(*out)->name, version, VERSION);
        }
    return vr_fail(
        err, VRWKV_ERR_UNSUPPORTED,
        "'%s': tensor '%s' has type number %u, expected f32 (0), f16 (1), q4_0 (2), q4_1 (3), q5_0 (7), q5_1 (8), "
        "q8_0 (9), q4_k (13), q5_k (14) or q6_k (15)",
        weights->path, name, code);
}

static vr_status cut_off(const vr_weights *weights, const vr_cursor *in, const char *what, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is a damaged or truncated rwkv.cpp file: %s is cut off at byte %zu of %zu",
                   weights->path, what, weights->shards[0].map.size - vr_left(in), weights->shards[0].map.size);
}

static vr_status tensor(vr_weights *weights, vr_cursor *in, uint32_t version, vr_error *err) {
    char name[VR_NAME_LIMIT + 1];
    int64_t shape[VR_MAX_DIMS];
    vr_dtype dtype;
    vr_item *item;
    const unsigned char *at = vr_take(in, 12);
    if (!at) return cut_off(weights, in, "the head of a tensor", err);
    uint32_t ndim = vr_get32(at), name_bytes = vr_get32(at + 4), code = vr_get32(at + 8);
    if (ndim < 1 || ndim > 3)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the tensor at byte %zu has %u axes, expected 1 to 3", weights->path,
                       (size_t)(at - weights->shards[0].map.data), ndim);
    const unsigned char *sizes = vr_take(in, 4 * (uint64_t)ndim), *text = sizes ? vr_take(in, name_bytes) : NULL;
    if (!text) return cut_off(weights, in, "the name of a tensor", err);
    VR_TRY(vr_name_check(weights->path, "tensor name", text, name_bytes, err));
    memcpy(name, text, name_bytes);
    name[name_bytes] = 0;
    for (uint32_t i = 0; i < ndim; i++) shape[ndim - 1 - i] = vr_get32(sizes + 4 * (size_t)i);
    VR_TRY(tensor_type(weights, name, version, code, &dtype, err));
    VR_TRY(vr_item_add(weights, text, name_bytes, dtype, (int)ndim, shape, &item, err));
    item->offset = weights->shards[0].map.size - vr_left(in);
    if (!vr_take(in, item->entry.bytes))
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is damaged or truncated: tensor '%s' takes %llu bytes, %zu are left",
                       weights->path, name, (unsigned long long)item->entry.bytes, vr_left(in));
    return VRWKV_OK;
}

static vr_status bin_open(vr_weights *weights, vr_error *err) {
    const vr_map *map = &weights->shards[0].map;
    vr_cursor in = {map->data, map->data + map->size};
    uint32_t version;
    VR_TRY(header(weights, &in, &version, err));
    while (vr_left(&in)) VR_TRY(tensor(weights, &in, version, err));
    return VRWKV_OK;
}

const vr_format vr_format_rwkv_cpp = {
    .kind = VR_FILE_RWKV_CPP,
    .endings = {".bin"},
    .detect = bin_detect,
    .open = bin_open,
};
