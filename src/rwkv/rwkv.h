/* RWKV language models: one row of a table per version, one forward pass for any number of
 * sequences, one row or many. */
#ifndef VR_RWKV_RWKV_H
#define VR_RWKV_RWKV_H
#include "base/row.h"
#include "ops/ops.h"
#include "rwkv/scan.h"

typedef struct vr_rwkv_arch vr_rwkv_arch;

/* What of a model is the language model's; filled from checkpoint shapes and configuration. */
typedef struct vr_rwkv_dims {
    int n_layer, n_embd, dim_att, dim_ffn, head_size, n_vocab;
    int rank_mix, rank_decay, rank_iclr, rank_value, rank_gate; /* of the low-rank matrices; 0: the version has none */
    float norm_eps;           /* LayerNorm */
    float group_norm_eps;     /* 1e-5 * head_size_divisor^2 */
} vr_rwkv_dims;

typedef struct vr_rwkv {
    const vr_rwkv_arch *arch;
    vr_rwkv_dims dims;
    vr_tensor emb, ln0_w, ln0_b, ln_out_w, ln_out_b, head;
    void *layers; /* n_layer structs of arch->layer_size */
} vr_rwkv;

/* One sequence in the rows of x: its state is read and updated. */
typedef struct vr_segment {
    vr_span rows;
    float *state;                      /* n_layer * vr_rwkv_state_floats floats; zeros at the start */
    int64_t image_start, image_length; /* rows of the segment that the scan permutes; length 0: none */
} vr_segment;

/* A named part of a layer's state; parts lie one after another. Shapes in letters, as those of rows. */
typedef struct vr_state_part { const char *name, *shape; } vr_state_part;

/* What the blocks of one forward pass share. */
typedef struct vr_pass {
    const vr_span *spans;
    float **states; /* [n]: the layer's state of spans[i] */
    int n;
    vr_tensor *value_first; /* RWKV-7: v of layer 0 [T, dim_att], which layer 0 puts here for those after it */
} vr_pass;

struct vr_rwkv_arch {
    const char *name;      /* "x060" */
    const char *signature; /* a checkpoint key that only this version has, after the prefix */
    const vr_measure *measures; /* sizes that the shapes tell, offsets in vr_rwkv_dims */
    int n_measures;
    const vr_measure *later_measures; /* from layer 1, of rows that layer 0 lacks; a model of one layer has them not */
    int n_later_measures;
    size_t layer_size;
    const vr_row *rows; /* of one layer */
    int n_rows;
    void (*shape_letters)(vr_dims *dims, const vr_rwkv_dims *from); /* further letters for `rows` */
    const vr_state_part *state; /* of one layer */
    int n_state;
    bool wkv_by_key;     /* the state's `wkv` is [H, key, value], not [H, value, key] */
    bool value_residual; /* layer 0 leaves pass->value_first */
    /* x [T,D] -> x + att + ffn, moving the states on. */
    vr_tensor *(*block)(vr_run *run, const vr_rwkv *model, int layer, vr_tensor *x, vr_pass *pass);
};

const vr_rwkv_arch *vr_rwkv_arch_find(const char *name); /* NULL: unknown */
const vr_rwkv_arch *vr_rwkv_arch_at(int index);          /* NULL at the end */
/* emb, ln0, ln_out, head: the same rows in every version. */
extern const vr_row vr_rwkv_outer_rows[];
extern const int vr_rwkv_n_outer_rows;
/* ln0 and ln_out of them: blocks without embedding and head. */
extern const vr_row *const vr_rwkv_norm_rows;
extern const int vr_rwkv_n_norm_rows;
void vr_rwkv_letters(vr_dims *dims, const vr_rwkv_arch *arch, const vr_rwkv_dims *from);

/* att_shift, ffn_shift [D], the last rows that the token shifts saw, and wkv [H,N,N]: what most versions carry. */
#define VR_RWKV_STATE_PARTS 3
extern const vr_state_part vr_rwkv_state[VR_RWKV_STATE_PARTS];
int64_t vr_rwkv_state_floats(const vr_rwkv_arch *arch, const vr_rwkv_dims *dims); /* of one layer */
/* Shape of part `index`, how many sizes; *offset: where it begins in a layer's state. */
int vr_rwkv_state_shape(const vr_rwkv_arch *arch, const vr_rwkv_dims *dims, int index, int64_t *offset,
                        int64_t shape[VR_MAX_DIMS]);
/* A layer's wkv [H,N,N] between the model's own order and [H, value, key], that of state tuning files and
 * reference cases; either way, out of place. */
void vr_rwkv_turn_wkv(const vr_rwkv_arch *arch, const vr_rwkv_dims *dims, float *out, const float *in);

/* For blocks: states[i] + offset of each span; NULL after failing the run. */
float **vr_pass_states(vr_run *run, const vr_pass *pass, int64_t offset);

/* x [T,D] embedded rows before ln0 -> residual stream after the last block, in natural order. The
 * result lives in the arena; x is left as it was. watch (may be NULL) sees "x.in", "x.0", ... */
vr_tensor *vr_rwkv_forward(vr_run *run, const vr_rwkv *model, vr_tensor *x, const vr_segment *segments, int n,
                           const vr_scan *scan, vr_watch_fn watch, void *user);
/* The same for the samples of a batch, as in training: a scan that rolls exchanges their pictures' rows.
 * Conversations that are only read together never meet. */
vr_tensor *vr_rwkv_forward_samples(vr_run *run, const vr_rwkv *model, vr_tensor *x, const vr_segment *samples, int n,
                                   const vr_scan *scan, vr_watch_fn watch, void *user);
/* logits [T,V] of rows of the residual stream: head(ln_out(x)). */
vr_tensor *vr_rwkv_logits(vr_run *run, const vr_rwkv *model, const vr_tensor *x);
#endif
