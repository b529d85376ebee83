/* Vision: towers (one table row each), pooling, projector. */
#ifndef VR_VISION_VISION_H
#define VR_VISION_VISION_H
#include "base/row.h"
#include "ops/ops.h"

typedef struct vr_tower_dims {
    int image_size, patch_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int positions;     /* rows of the position table; 0: none */
    int prefix_tokens; /* rows in front of the patches: class, registers */
    int taken_block;   /* the features are its output; what comes after it is in files only */
    int resample;      /* of pictures, as Pillow counts: 2 bilinear, 3 bicubic */
    vr_act hidden_act;
    float layer_norm_eps;
    /* SAM; 0 elsewhere */
    int window_size, out_chans, down_sampler;
    uint64_t global_attn_indexes; /* bit i: layer i attends over the whole grid */
    float image_mean[3], image_std[3]; /* pixels become (value - mean) / std */
} vr_tower_dims;

#define VR_SAM_MAX_LAYERS 64 /* bits of global_attn_indexes */
#define VR_MAX_PIXELS 16384  /* of a side */

typedef struct vr_tower_arch vr_tower_arch;

/* watch (may be NULL) sees "patch", "block.0", ..., "neck.0", ...: set it in a copy, a model's own towers
 * are shared between threads. */
typedef struct vr_tower {
    const vr_tower_arch *arch;
    vr_tower_dims dims;
    void *outer;  /* struct of arch->outer_size */
    void *layers; /* num_hidden_layers structs of arch->layer_size */
    vr_watch_fn watch;
    void *user;
} vr_tower;

/* The shape that a checkpoint has under a key of the tower; returns its axes, 0: no such tensor. */
typedef int (*vr_shape_of_fn)(const void *checkpoint, const char *key, int64_t shape[VR_MAX_DIMS]);

struct vr_tower_arch {
    const char *type;        /* "dinov2", as descriptions call it */
    const char *name;        /* "dino", in names of activations */
    const char *prefix;      /* of its checkpoint keys */
    const char *raw_prefix;  /* of the same keys in the tower's own file, before it became part of a model */
    const char *gguf_prefix; /* of its names in our GGUF */
    const char *signature;   /* a checkpoint key that tells it, after "vit." */
    const char *layer_key;   /* a key that every layer has: counts them */
    const vr_measure *measures; /* offsets in vr_tower_dims */
    int n_measures;
    /* further sizes that need more than one shape, num_hidden_layers being known; may be NULL */
    void (*from_shapes)(vr_tower_dims *dims, vr_shape_of_fn shape_of, const void *checkpoint);
    vr_act hidden_act;    /* this and the next two: where nothing else is said */
    float layer_norm_eps;
    int prefix_tokens;
    int unused_blocks;    /* at the end */
    size_t outer_size, layer_size;
    const vr_row *outer_rows, *layer_rows;
    int n_outer_rows, n_layer_rows;
    void (*at_layer)(vr_dims *dims, const void *tower_dims, int layer); /* letters that differ by layer; may be NULL */
    float mean[3], std[3];  /* of its pixels, where nothing else is said */
    bool keep_aspect;       /* short side to size and centre crop; else squashed */
    bool rescale_in_double; /* value * (1/255) in double; else value / 255 in f32 */
    bool has_class_row;     /* the class token has a position, and is the features' first row */
    bool any_grid;          /* a picture of another grid gets the position table resampled */
    bool has_neck;          /* windows, neck and perhaps a down-sampler; perhaps no position table */
    /* pixels [3,H,W] -> features [rows, vr_tower_width] */
    vr_tensor *(*forward)(vr_run *run, const vr_tower *tower, const vr_tensor *pixels);
};

const vr_tower_arch *vr_tower_arch_find(const char *type); /* NULL: unknown */
const vr_tower_arch *vr_tower_arch_at(int index);          /* NULL at the end; in the order of concatenation */
void vr_tower_letters(vr_dims *dims, const vr_tower_dims *from);
/* What the type alone tells; sizes that nobody has told yet are 0, positions and taken_block -1. */
void vr_tower_defaults(vr_tower_dims *dims, const vr_tower_arch *arch);
/* What follows from the rest where it is still untold. */
void vr_tower_complete(vr_tower_dims *dims, const vr_tower_arch *arch);
/* The picture of side x side patches; 0, untold, where that is beyond all use. */
void vr_tower_set_side(vr_tower_dims *dims, int64_t side);
int vr_tower_side(const vr_tower_dims *dims);  /* of the square grid of features, without a class row */
int vr_tower_width(const vr_tower_dims *dims); /* columns of the features */
/* Multiply-adds of one picture, as flops. */
double vr_tower_flops(const vr_tower_dims *dims);

int vr_square_side(int n); /* of the largest square grid in n rows */
/* Rows after pooling of s*s patches and a class row; 0 where the grid is larger than s.
 * grid_size -1: patches, class; 0: class; 1: mean of patches, class; g >= 2: see vr_grid_pool. */
int vr_grid_rows(int patches, int grid_size);
/* features [1+P, C], class row first -> [n, C], class row last. g >= 2: average over stride x stride
 * cells, stride = s / g, cut at the edge: o*o rows with o = (s - stride)/stride + 1. src: grid_pooling */
vr_tensor *vr_grid_pool(vr_run *run, vr_tensor *features, int grid_size);

typedef struct vr_projector_arch vr_projector_arch;

typedef struct vr_projector {
    const vr_projector_arch *arch;
    vr_tensor w, gate, out, norm_w, norm_b; /* those that its rows name */
} vr_projector;

/* Letters of the rows: C the towers' channels together, for each view; D the language model's width. */
struct vr_projector_arch {
    const char *type;      /* "linear": proj_type of the configuration */
    const char *signature; /* a checkpoint key that tells it, after "proj." */
    const vr_row *rows;
    int n_rows;
    int views; /* of the picture, side by side in its C channels */
    vr_tensor *(*forward)(vr_run *run, const vr_projector *projector, const vr_tensor *x); /* [n,C] -> [n,D] */
};

const vr_projector_arch *vr_projector_find(const char *type); /* NULL: unknown */
const vr_projector_arch *vr_projector_at(int index);          /* NULL at the end */
#endif
