/* Finding, checking and reading the tensor of a row in source files; shared by loading and conversion. */
#ifndef VR_VL_LOAD_H
#define VR_VL_LOAD_H
#include "vl/layout.h"

typedef struct vr_source {
    vr_found found; /* no entry: a row that is not there, and need not be */
    int ndim;       /* of the checkpoint's shape */
    int64_t shape[VR_MAX_DIMS];
} vr_source;

/* Finds the row's tensor and checks its shape and type. */
vr_status vr_row_find(vr_weights *const *files, int n, const vr_part *part, const vr_row *row, int layer, vr_source *out,
                      vr_error *err);

/* A source's numbers, one row's, in the order asked for. */
typedef struct vr_numbers {
    vr_dtype type;
    const void *data; /* in the mapping, or `owned` */
    void *owned;      /* heap, the caller's to free; or NULL */
} vr_numbers;

/* How a source is wanted. */
typedef struct vr_want {
    bool model_order; /* transposed rows as in our GGUF, else as in a checkpoint */
    bool f32;         /* whatever the stored type */
    int halvings;     /* divided by 2^halvings */
} vr_want;

/* Undoes what the file's layout did to the row. The type stays as stored where it can. */
vr_status vr_source_read(const vr_source *source, const vr_row *row, const vr_want *want, vr_numbers *out, vr_error *err);

bool vr_shape_same(int na, const int64_t *a, int nb, const int64_t *b);
void vr_swap_axes(int ndim, int64_t *shape);
/* Exchanges the last two axes of elements of `size` bytes; shape is the input's, ndim >= 2. */
void vr_transpose(void *out, const void *in, int ndim, const int64_t *shape, size_t size);

/* Tensors that could not stay in a file's mapping. */
typedef struct vr_owned {
    void **items;
    size_t n, capacity;
} vr_owned;

/* Memory that lives until vr_owned_free, 64-byte aligned; NULL with a message. */
void *vr_owned_get(vr_owned *owned, size_t bytes, vr_error *err);
/* Hands heap memory over; frees it where that fails. */
vr_status vr_owned_adopt(vr_owned *owned, void *data, vr_error *err);
void vr_owned_free(vr_owned *owned);

/* Fills the tensors of a part's structs; adds to info's counts of parameters and bytes. */
vr_status vr_part_load(vr_weights *const *files, int n, const vr_part *part, vr_owned *owned, vrwkv_info *info, vr_error *err);
/* The same with random numbers, matrices stored as `type` where their rows fit it. */
vr_status vr_part_random(const vr_part *part, vr_dtype type, vr_owned *owned, vrwkv_info *info, vr_error *err);
/* A part's quantised matrices to packed order (ops/pack.h), those that fit it: owned ones where they lie, mapped
 * ones into owned memory. */
vr_status vr_part_pack(const vr_part *part, vr_owned *owned, vr_pool *pool, vr_error *err);
/* Gives a tower and its parts their structs of tensors (the caller frees outer and layers). */
vr_status vr_tower_structs(vr_tower *tower, const vr_config *config, int index, vr_part parts[VR_TOWER_PARTS], vr_error *err);
/* Gives every part of vr_config_parts its structs of tensors. */
vr_status vr_model_structs(vrwkv_model *model, vr_part *parts, vr_error *err);
vr_status vr_model_load_weights(vrwkv_model *model, vr_error *err);
vr_status vr_model_random_weights(vrwkv_model *model, vr_dtype type, vr_dtype vision_type, vr_error *err);
/* The structs that the model's parts are in, into those of vr_config_parts. */
void vr_model_parts(const vrwkv_model *model, vr_part *parts);
vr_status vr_model_load_vocab(vrwkv_model *model, vr_error *err);
#endif
