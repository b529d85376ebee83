/* Safe reader of Python pickles, protocols 2 to 5, as far as state dicts need them.
 *
 * Nothing is ever called or imported: opcodes build plain values; the few globals of a table become
 * values of their own types; every other global is refused by name. Values may form cycles, so who
 * walks them bounds the depth. Stack, memo and value counts are bounded. */
#ifndef VR_FILE_PICKLE_H
#define VR_FILE_PICKLE_H
#include "base/dtype.h"

#define VR_PICKLE_LIMIT ((size_t)64 << 20) /* bytes of a pickle */

typedef enum vr_value_type {
    VR_VALUE_OTHER, /* None, bool, float, bytes, set, huge int: nothing that a tensor is made of */
    VR_VALUE_INT,
    VR_VALUE_STRING,
    VR_VALUE_GLOBAL,
    VR_VALUE_TUPLE,
    VR_VALUE_LIST,
    VR_VALUE_DICT,    /* items: key, value, key, value, .. */
    VR_VALUE_STORAGE, /* items: 'storage', a storage GLOBAL, key STRING, location, count INT; checked */
    VR_VALUE_TENSOR,  /* items: the arguments of _rebuild_tensor_v2, not checked */
    VR_VALUE_MARK
} vr_value_type;

typedef struct vr_global vr_global;

typedef struct vr_value {
    uint32_t type;
    uint32_t n; /* STRING: bytes; TUPLE, STORAGE, TENSOR: items */
    union {
        int64_t integer;
        const char *text; /* in the pickle's bytes, not terminated */
        const vr_global *global;
        size_t start; /* TUPLE, STORAGE, TENSOR: in pool */
        size_t node;  /* LIST, DICT */
    } as;
} vr_value;

typedef struct vr_node {
    vr_value *items;
    size_t n, capacity;
} vr_node;

typedef struct vr_pickle {
    vr_value top;
    vr_value *pool; /* items of all tuples */
    size_t n_pool, pool_capacity;
    vr_node *nodes; /* lists and dicts */
    size_t n_nodes, node_capacity;
} vr_pickle;

/* The bytes must outlive the pickle's use; `path` is for messages. */
vr_status vr_pickle_read(vr_pickle *pickle, const char *path, const unsigned char *data, size_t size, vr_error *err);
void vr_pickle_free(vr_pickle *pickle);
/* Items of a value that has some; *n is 0 for one that has none. */
const vr_value *vr_pickle_items(const vr_pickle *pickle, vr_value value, size_t *n);
/* The element type of a STORAGE. */
vr_dtype vr_pickle_dtype(const vr_pickle *pickle, vr_value storage);
#endif
