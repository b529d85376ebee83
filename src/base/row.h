/* A weight is a row: one line of a table says where it is in a checkpoint, how it is called in our
 * model file, its shape and what may be done to it. Loading, shape checks, conversion both ways,
 * quantising (and later gradients, optimizer, checkpoints) walk the same rows. */
#ifndef VR_BASE_ROW_H
#define VR_BASE_ROW_H
#include "base/dtype.h"

#define VR_NAME_SIZE 128 /* enough for every name that a row can make */

typedef enum vr_kind {
    VR_VEC,  /* kept as f32 */
    VR_LORA, /* low-rank and other small matrices: kept as wide as they came */
    VR_MAT   /* may be quantised */
} vr_kind;

typedef enum vr_transform {
    VR_AS_IS,
    VR_TRANSPOSED /* the last two axes change places between checkpoint and model file */
} vr_transform;

typedef enum vr_presence {
    VR_REQUIRED,
    VR_OPTIONAL, /* may be missing (then the tensor's data stays NULL) */
    VR_NOT_FIRST /* every layer but layer 0, which never has it, has it */
} vr_presence;

typedef struct vr_row {
    const char *key;   /* in the checkpoint, after the part's prefix; %d is the layer */
    const char *gguf;  /* in our GGUF */
    size_t offset;     /* of the vr_tensor in the struct of weights */
    const char *shape; /* in the checkpoint: "5R,D": letters are looked up in vr_dims, 1s may be left out */
    vr_kind kind;
    vr_transform transform;
    vr_presence presence;
} vr_row;

/* Sizes by letter: dims->size['D' - 'A']. */
typedef struct vr_dims { int64_t size[26]; } vr_dims;

static inline int64_t vr_dim(const vr_dims *dims, char letter) { return dims->size[letter - 'A']; }

/* A size that a checkpoint's shapes tell: an int at `offset` = shape[axis] / divisor of `key`. */
typedef struct vr_measure {
    const char *key;
    int axis, divisor;
    size_t offset;
} vr_measure;

/* One table of rows, repeated for `repeat` layers into structs `stride` bytes apart. */
typedef struct vr_part {
    const char *name;     /* "rwkv", "vision", "projector": for messages and listings */
    const char *prefix;   /* of checkpoint keys, "rwkv."; also tried without */
    const char *gguf_prefix; /* of names in our GGUF; "" for most */
    const vr_row *rows;
    int n_rows, repeat;
    void *weights;        /* first struct; NULL: names and shapes only */
    size_t stride;
    vr_dims dims;
    /* Letters that differ from layer to layer, or NULL; `from` is its argument. */
    void (*at_layer)(vr_dims *dims, const void *from, int layer);
    const void *from;
} vr_part;

/* A shape in letters, in numbers; how many sizes. */
int vr_letters_shape(const char *letters, const vr_dims *dims, int64_t shape[VR_MAX_DIMS]);
/* The row's shape in the checkpoint; the model file's has the last two axes exchanged if transposed. */
int vr_part_shape(const vr_part *part, const vr_row *row, int layer, int64_t shape[VR_MAX_DIMS]);
/* Name with the layer's number in place; VR_NAME_SIZE bytes. */
const char *vr_row_name(const char *pattern, int layer, char *buffer);
/* The same in our GGUF, with the part's prefix. */
const char *vr_part_gguf_name(const vr_part *part, const vr_row *row, int layer, char *buffer);
static inline bool vr_row_exists(const vr_row *row, int layer) { return row->presence != VR_NOT_FIRST || layer > 0; }
static inline vr_tensor *vr_row_tensor(const vr_part *part, const vr_row *row, int layer) {
    return (vr_tensor *)((char *)part->weights + (size_t)layer * part->stride + row->offset);
}
#endif
