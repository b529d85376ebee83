/* What the formats share: an open file's items and metadata, a file being written, and small checked
 * readers of bytes. A format is one vr_format row; weights.c and save.c walk the table of rows.
 *
 * Untrusted text reaches messages only through vr_show or after vr_name_check. */
#ifndef VR_FILE_INTERNAL_H
#define VR_FILE_INTERNAL_H
#include "base/io.h"
#include "base/memory.h"
#include "file/weights.h"
#include "file/zip.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor files are mapped: little-endian machines only");

#define VR_NAME_LIMIT 511u              /* bytes of a tensor's name or a metadata key */
#define VR_TENSOR_LIMIT ((size_t)1 << 20) /* tensors, and metadata entries, of one file */

/* ---- bytes ---- */

static inline uint16_t vr_get16(const unsigned char *at) { return (uint16_t)(at[0] | at[1] << 8); }
static inline uint32_t vr_get32(const unsigned char *at) { return vr_get16(at) | (uint32_t)vr_get16(at + 2) << 16; }
static inline uint64_t vr_get64(const unsigned char *at) { return vr_get32(at) | (uint64_t)vr_get32(at + 4) << 32; }

/* The unread rest of some bytes. */
typedef struct vr_cursor { const unsigned char *at, *end; } vr_cursor;

static inline size_t vr_left(const vr_cursor *cursor) { return (size_t)(cursor->end - cursor->at); }
/* n bytes, or NULL where fewer are left (nothing is taken then). */
static inline const unsigned char *vr_take(vr_cursor *cursor, uint64_t n) {
    const unsigned char *at = cursor->at;
    if (n > vr_left(cursor)) return NULL;
    cursor->at += n;
    return at;
}

/* Bytes that grow. After a failed allocation `failed` stays set and further bytes are dropped. */
typedef struct vr_buffer {
    unsigned char *data;
    size_t n, capacity;
    bool failed;
} vr_buffer;

void vr_buffer_put(vr_buffer *buffer, const void *data, size_t n);
void vr_buffer_number(vr_buffer *buffer, uint64_t value, size_t bytes); /* little-endian */

#define VR_SHOW_SIZE 80
/* Untrusted bytes as short printable ASCII, for messages; returns the buffer. */
const char *vr_show(const void *text, size_t n, char buffer[VR_SHOW_SIZE]);
/* 1 to VR_NAME_LIMIT bytes of valid UTF-8 without control characters; `what` is "tensor name". */
vr_status vr_name_check(const char *path, const char *what, const void *text, size_t n, vr_error *err);

/* ---- reading ---- */

typedef struct vr_item {
    vr_entry entry; /* first: a vr_entry of ours is a vr_item */
    size_t shard;
    uint64_t offset; /* in the shard: of the row-major tensor, or of the (deflated) storage it is a view of */
    /* .pth only. A view: element [i, j, ..] is element first + i*stride[0] + .. of its storage. */
    bool strided, deflated;
    int64_t first, stride[VR_MAX_DIMS];
    vr_zip_entry storage; /* of deflated views */
} vr_item;

typedef struct vr_shard {
    vr_map map;
    char *path;
    bool borrowed; /* the memory is the caller's */
} vr_shard;

typedef struct vr_format vr_format;

struct vr_weights {
    const vr_format *format;
    char *path;
    bool no_mmap;
    vr_shard *shards;
    size_t n_shards, shard_capacity;
    vr_item *items;
    size_t n_items, item_capacity;
    vr_meta *metas;
    size_t n_metas, meta_capacity;
    size_t *by_name, *by_key; /* indexes of items and metas, sorted; made when the file is complete */
};

struct vr_format {
    vr_file_kind kind;
    const char *endings[3];
    bool (*detect)(const unsigned char *data, size_t size);
    vr_status (*open)(vr_weights *weights, vr_error *err); /* the file is shards[0] */
    /* Writing; NULL `begin`: this form is only read. */
    vr_status (*check)(vr_save *save, const vr_entry *entry, vr_error *err); /* can this tensor be stored? */
    vr_status (*begin)(vr_save *save, vr_error *err);                        /* all before the first tensor */
    vr_status (*tensor)(vr_save *save, size_t index, vr_error *err);         /* just before a tensor's bytes */
    vr_status (*data)(vr_save *save, const void *data, size_t bytes, vr_error *err); /* NULL: as they are */
    vr_status (*end)(vr_save *save, vr_error *err);                          /* after the last tensor */
};

extern const vr_format vr_format_pth, vr_format_safetensors, vr_format_index, vr_format_gguf, vr_format_rwkv_cpp;

const vr_format *vr_format_of(vr_file_kind kind); /* that writes this kind; NULL: none */

/* Appends a tensor after checking name and shape; the item's offset and view are the caller's to fill
 * and to check against the file. The pointer is valid until the next call. */
vr_status vr_item_add(vr_weights *weights, const void *name, size_t name_bytes, vr_dtype dtype, int ndim,
                      const int64_t *shape, vr_item **out, vr_error *err);
vr_status vr_meta_add(vr_weights *weights, const void *key, size_t key_bytes, vr_meta **out, vr_error *err);
void vr_meta_clear(vr_meta *meta);
/* The string of a STRING meta: a copy of n bytes and a closing zero. */
vr_status vr_meta_text(vr_meta *meta, const void *text, size_t n, vr_error *err);
/* Room for n strings of an ARRAY meta with text_bytes bytes in all, in one block; *text is where they go. */
vr_status vr_meta_texts(vr_meta *meta, size_t n, size_t text_bytes, char **text, vr_error *err);
void vr_meta_texts_put(vr_meta *meta, const void *text, size_t bytes, char **at); /* the next of them */
vr_status vr_shard_add(vr_weights *weights, const char *path, vr_error *err);
/* Refuses tensors whose bytes overlap; all items must be plain ranges of their shards. */
vr_status vr_items_disjoint(const vr_weights *weights, vr_error *err);
/* safetensors: the tensors of one shard. */
vr_status vr_safetensors_shard(vr_weights *weights, size_t shard, vr_error *err);
/* .pth: a tensor that is no plain range of the mapping. */
vr_status vr_pth_read(const vr_weights *weights, const vr_item *item, void *dst, vr_error *err);
/* malloc'd array of 0..n-1 sorted by `name(base, index)`, then index. NULL: out of memory. */
size_t *vr_sorted(size_t n, const void *base, const char *(*name)(const void *base, size_t index));

/* ---- writing ---- */

struct vr_save {
    const vr_format *format;
    vr_writer writer;
    vr_zip_writer zip;
    vr_meta *metas; /* keys and values as they will be written */
    size_t n_metas, meta_capacity;
    vr_entry *entries; /* names are owned */
    size_t n_entries, entry_capacity;
    bool begun;
    size_t current; /* the tensor that bytes belong to */
    uint64_t done;  /* of its bytes */
};

/* ---- .pth, written in pth_write.c ---- */

vr_status vr_pth_check(vr_save *save, const vr_entry *entry, vr_error *err);
vr_status vr_pth_begin(vr_save *save, vr_error *err);
vr_status vr_pth_tensor(vr_save *save, size_t index, vr_error *err);
vr_status vr_pth_data(vr_save *save, const void *data, size_t bytes, vr_error *err);
vr_status vr_pth_end(vr_save *save, vr_error *err);
#endif
