/* How the tensors of a model are kept in files that are not in checkpoint order: under which names, in
 * which order, and what was done to their numbers. Our own GGUF is one such layout; others are those of
 * llama.cpp (llama.c) and rwkv.cpp (rwkv_cpp.c). A layout is a base (whose names, which order) and a table
 * of the rows that differ from it. */
#ifndef VR_VL_LAYOUT_H
#define VR_VL_LAYOUT_H
#include "vl/config.h"

typedef enum vr_change {
    VR_UNCHANGED,
    VR_SLICE,  /* one of `slices` equal parts of a fused tensor, along its first axis */
    VR_FLAT,   /* written in one axis; read in any shape of as many numbers */
    VR_HALVED, /* divided by 2^(layer / k): so the residual stream can be halved after every k layers */
    VR_DECAY   /* the decay itself, exp(-exp(x)) */
} vr_change;

typedef struct vr_layout_row {
    const char *key;  /* of our row */
    const char *name; /* theirs; %d is the layer; NULL: the base's */
    vr_change change;
    int slice, slices;
    const char *stand_in; /* at layer 0, where our row does not exist, they expect a copy of this row; or NULL */
} vr_layout_row;

typedef struct vr_layout {
    const char *name;         /* for messages */
    const char *architecture; /* a GGUF's general.architecture; NULL: no GGUF */
    const char *signature;    /* a tensor that tells it, where the file's kind does not; or NULL */
    const char *rwkv;         /* the version it keeps; NULL: any */
    bool gguf_names;          /* the base's names are our GGUF's, else the checkpoint's */
    const vr_layout_row *rows;
    int n_rows;
    float group_norm_eps; /* 0: what the version has */
} vr_layout;

extern const vr_layout vr_layout_ours;

/* The layout of a file; NULL: a checkpoint, or nothing that is known. */
const vr_layout *vr_layout_of(const vr_weights *file);

/* Where a row's tensor is: all but a checkpoint keeps the transposed rows in the order of our GGUF. */
typedef struct vr_place {
    char name[VR_NAME_SIZE];
    bool model_order;
    vr_change change;
    int slice, slices;
    int halvings; /* theirs is ours divided by 2^halvings */
} vr_place;

/* The row in the table of what differs, or NULL. */
const vr_layout_row *vr_layout_find(const vr_layout *layout, const char *key);
/* rescale: the k of VR_HALVED, 0: none. The row must exist at this layer. */
void vr_layout_place(const vr_layout *layout, const vr_part *part, const vr_row *row, int layer, int rescale, vr_place *out);
/* The shape that the tensor has there, from the checkpoint's; returns how many sizes. */
int vr_place_shape(const vr_place *place, const vr_row *row, int ndim, const int64_t *checkpoint,
                   int64_t shape[VR_MAX_DIMS]);

/* What vr_config_find found. */
struct vr_found {
    const vr_entry *entry; /* NULL: nothing */
    vr_weights *file;
    vr_place place;
};

/* ---- llama.c ---- */
#define VR_LLAMA_LAYOUTS 2
extern const vr_layout vr_llama_layouts[VR_LLAMA_LAYOUTS];
const vr_layout *vr_llama_layout_for(const char *rwkv); /* NULL: llama.cpp has no such model */
/* The description of a language model, from the metadata of llama.cpp. */
vr_status vr_llama_describe(vr_config *config, const vr_layout *layout, const vr_weights *file, vr_error *err);
int vr_llama_rescale(const vr_layout *layout, const vr_weights *file);
/* Refuses what llama.cpp could not run or would run otherwise. */
vr_status vr_llama_check(const vr_config *config, vr_error *err);
vr_status vr_llama_put_metadata(vr_save *save, const vr_layout *layout, const vr_config *config, int rescale, vr_error *err);
/* vocab NULL: the model takes token ids only. */
vr_status vr_llama_put_vocab(vr_save *save, const vr_vocab *vocab, const vr_config *config, vr_error *err);

/* ---- rwkv_cpp.c ---- */
#define VR_RWKV_CPP_LAYOUTS 3
extern const vr_layout vr_rwkv_cpp_layouts[VR_RWKV_CPP_LAYOUTS];
/* Why a .bin without a layout is none that can be run. */
vr_status vr_rwkv_cpp_refuse(const vr_weights *file, vr_error *err);

/* The vocabulary of a file, whatever its layout; NULL where it has none; the caller's. */
vr_status vr_stored_vocab(vr_vocab **out, const vr_weights *file, vr_error *err);
#endif
