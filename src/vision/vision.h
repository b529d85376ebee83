/* Vision: towers (one table row each), pooling, projector. */
#ifndef VR_VISION_VISION_H
#define VR_VISION_VISION_H
#include "base/row.h"
#include "ops/ops.h"

typedef struct vr_tower_dims {
    int image_size, patch_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int positions; /* rows of the position table */
    vr_act hidden_act;
    float layer_norm_eps;
} vr_tower_dims;

typedef struct vr_tower_arch vr_tower_arch;

typedef struct vr_tower {
    const vr_tower_arch *arch;
    vr_tower_dims dims;
    void *outer;  /* struct of arch->outer_size */
    void *layers; /* num_hidden_layers structs of arch->layer_size */
} vr_tower;

struct vr_tower_arch {
    const char *type;      /* "clip" */
    const char *name;      /* in names of activations: "clip", "dino", "siglip", "sam" */
    const char *signature; /* a checkpoint key that tells it */
    const char *layer_key; /* a key that every layer has: counts them */
    const vr_measure *measures; /* offsets in vr_tower_dims */
    int n_measures;
    const char *hidden_act;
    float layer_norm_eps;  /* where nothing else is said */
    size_t outer_size, layer_size;
    const vr_row *outer_rows, *layer_rows;
    int n_outer_rows, n_layer_rows;
    void (*at_layer)(vr_dims *dims, const void *tower_dims, int layer); /* letters that differ by layer; may be NULL */
    float mean[3], std[3]; /* of its pixels */
    bool keep_aspect;      /* short side to size and centre crop; else squashed */
    bool has_class_row;    /* the features' first row is the class token */
    /* pixels [3,S,S] -> features [rows, hidden_size] */
    vr_tensor *(*forward)(vr_run *run, const vr_tower *tower, const vr_tensor *pixels);
};

const vr_tower_arch *vr_tower_arch_find(const char *type); /* NULL: unknown */
const vr_tower_arch *vr_tower_arch_at(int index);          /* NULL at the end */
int vr_tower_width(const vr_tower_dims *dims); /* channels of its features */
int vr_tower_side(const vr_tower_dims *dims); /* of its square grid of features */
void vr_tower_letters(vr_dims *dims, const vr_tower_dims *from);

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

/* Letters of the rows: C the towers' channels together, D the language model's width. */
struct vr_projector_arch {
    const char *type;      /* "linear": proj_type of the configuration */
    const char *signature; /* a checkpoint key that tells it, after "proj." */
    const vr_row *rows;
    int n_rows;
    vr_tensor *(*forward)(vr_run *run, const vr_projector *projector, const vr_tensor *x); /* [n,C] -> [n,D] */
};

const vr_projector_arch *vr_projector_find(const char *type); /* NULL: unknown */
const vr_projector_arch *vr_projector_at(int index);          /* NULL at the end */
#endif
