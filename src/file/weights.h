/* Tensor files behind one door: .pth (PyTorch zip), .safetensors (single, or sharded through its
 * index), .gguf (v3), and, read only, rwkv.cpp's .bin. The kind is told by the content, not by the name.
 *
 *   vr_weights_open -> walk vr_weights_at(0..count-1) or vr_weights_find(name)
 *                   -> vr_weights_data (mapped, no copy) or vr_weights_read (row-major copy)
 *
 * Every size in a file is checked against the bytes that are there before anything is allocated. An
 * open file never changes; threads may read it at once. */
#ifndef VR_FILE_WEIGHTS_H
#define VR_FILE_WEIGHTS_H
#include "base/dtype.h"

typedef struct vr_weights vr_weights;

typedef struct vr_entry {
    const char *name; /* UTF-8, the weights'; without "module." and its like where all names begin so */
    vr_dtype dtype;
    int ndim;         /* outermost axis first in every format (GGUF stores them reversed) */
    int64_t shape[VR_MAX_DIMS];
    uint64_t bytes;   /* of the row-major tensor */
} vr_entry;

typedef enum vr_file_kind { VR_FILE_PTH, VR_FILE_SAFETENSORS, VR_FILE_GGUF, VR_FILE_RWKV_CPP } vr_file_kind;

typedef struct vr_weights_options {
    bool no_mmap;
} vr_weights_options;

vr_status vr_weights_open(vr_weights **out, const char *path, const vr_weights_options *options, vr_error *err);
void vr_weights_close(vr_weights *weights); /* NULL is fine */
vr_file_kind vr_weights_kind(const vr_weights *weights);
const char *vr_weights_path(const vr_weights *weights);
size_t vr_weights_count(const vr_weights *weights);
const vr_entry *vr_weights_at(const vr_weights *weights, size_t index);           /* file order */
const vr_entry *vr_weights_find(const vr_weights *weights, const char *name);     /* NULL: none */
/* The tensor's bytes where they lie contiguous, uncompressed and suitably aligned in the mapping;
 * else NULL (then read it). Valid as long as the weights. */
const void *vr_weights_data(const vr_weights *weights, const vr_entry *entry);
/* Writes the row-major tensor, entry->bytes bytes in entry->dtype, to dst. Peak extra memory: one
 * deflated storage. Afterwards pages that were read are given back, so that walking a file of any
 * size stays small. */
vr_status vr_weights_read(const vr_weights *weights, const vr_entry *entry, void *dst, vr_error *err);
/* The mapped pages of a tensor that is not needed soon; they come back when it is read again. */
void vr_weights_forget(const vr_weights *weights, const vr_entry *entry);
/* mlock of the mapping. */
vr_status vr_weights_lock(const vr_weights *weights, vr_error *err);

/* ---- metadata: GGUF key-values; safetensors' __metadata__ (strings); the head of rwkv.cpp's files ---- */

typedef enum vr_meta_type { VR_META_STRING, VR_META_INT, VR_META_FLOAT, VR_META_BOOL, VR_META_ARRAY } vr_meta_type;

typedef struct vr_meta {
    char *key;
    vr_meta_type type;
    char *string;      /* STRING: n_bytes bytes and a closing zero */
    size_t n_bytes;
    int64_t integer;   /* INT, BOOL */
    double number;     /* FLOAT */
    /* ARRAY of one type (STRING, INT, FLOAT, BOOL), as `n_items` elements: */
    vr_meta_type item_type;
    size_t n_items;
    char **strings;       /* STRING items, n_bytes in item_bytes[i], closing zeros */
    size_t *item_bytes;
    int64_t *integers;    /* INT, BOOL items */
    double *numbers;      /* FLOAT items */
} vr_meta;

size_t vr_weights_meta_count(const vr_weights *weights);
const vr_meta *vr_weights_meta_at(const vr_weights *weights, size_t index);
const vr_meta *vr_weights_meta(const vr_weights *weights, const char *key); /* NULL: none */

/* ---- writing: declare all tensors, then give their data in the declared order ---- */

typedef struct vr_save vr_save;

/* `kind` by the path's ending: .gguf, .safetensors, .pth/.pt; another ending is an argument error. */
vr_status vr_file_kind_of(const char *path, vr_file_kind *kind, vr_error *err);
vr_status vr_save_open(vr_save **out, const char *path, vr_error *err);
vr_status vr_save_open_as(vr_save **out, const char *path, vr_file_kind kind, vr_error *err); /* whatever the ending */
vr_status vr_save_meta_string(vr_save *save, const char *key, const char *value, vr_error *err); /* .pth ignores metadata */
vr_status vr_save_meta_bytes(vr_save *save, const char *key, const char *value, size_t n, vr_error *err);
vr_status vr_save_meta_int(vr_save *save, const char *key, int64_t value, vr_error *err);        /* GGUF: u32 or i64 */
vr_status vr_save_meta_float(vr_save *save, const char *key, double value, vr_error *err);
vr_status vr_save_meta_bool(vr_save *save, const char *key, bool value, vr_error *err);
/* n byte strings, e.g. a vocabulary; safetensors refuses arrays. */
vr_status vr_save_meta_strings(vr_save *save, const char *key, const char *const *items, const size_t *bytes, size_t n,
                               vr_error *err);
vr_status vr_save_meta_ints(vr_save *save, const char *key, const int64_t *items, size_t n, vr_error *err); /* GGUF: i32 */
/* Quantised types exist only in GGUF. Shape outermost first. */
vr_status vr_save_declare(vr_save *save, const char *name, vr_dtype dtype, int ndim, const int64_t *shape, vr_error *err);
/* The next declared tensor, or a further part of it: parts of one tensor add up to its bytes. */
vr_status vr_save_put(vr_save *save, const void *data, size_t bytes, vr_error *err);
/* Checks that every declared byte came, writes what is left, fsync, rename; frees save in any case. */
vr_status vr_save_commit(vr_save *save, vr_error *err);
void vr_save_abandon(vr_save *save); /* NULL is fine */
#endif
