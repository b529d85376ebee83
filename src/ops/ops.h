/* What a model may call: coarse operations on tensors.
 *
 * Operations run eagerly on a vr_run: its arena holds every result, its pool does the work. They
 * return NULL on failure, after writing the message into run->err once, and give NULL for NULL
 * inputs; so a forward pass reads as formulas and checks once at its end (vr_run_status). Results
 * live until the caller releases the arena (vr_arena_mark before, vr_arena_release after).
 *
 * Shapes: T rows (tokens), C channels, H heads, N head size. Activations are f32, row-major;
 * weights may be of any stored type. Each output element is computed by one thread, summed in one
 * fixed order that depends on the row's length alone, so neither thread count, nor the number of rows
 * given together, nor chunking can change a bit of it.
 *
 * Tape: `run->tape` is where an operation records itself for training (tape.h); NULL runs it alone. */
#ifndef VR_OPS_OPS_H
#define VR_OPS_OPS_H
#include "base/dtype.h"
#include "base/memory.h"
#include "base/pool.h"
#include "ops/cpu/kernels.h"

typedef struct vr_tape vr_tape;

/* Low-rank weights beside a stored matrix w [O,I], which stays as it is: wherever w is multiplied with x,
 * x a^T b^T is added, a [R,I], b [O,R]. src: Hu et al. 2021 (LoRA), its scale taken into b */
typedef struct vr_adapter {
    const void *w; /* the matrix's data */
    vr_tensor a, b;
} vr_adapter;

typedef struct vr_run {
    vr_arena *arena;
    vr_pool *pool;
    const vr_kernels *kernels;
    vr_tape *tape;
    vr_error *err;
    vr_status status;   /* first failure; sticky */
    bool exact;         /* weights in packed order are multiplied as f32 too, not as 8-bit numbers; always so with a tape */
    const int *cancel;  /* points to a flag that another thread may set; NULL: none */
    const vr_adapter *adapters; /* [n_adapters] in the order of the matrices' addresses */
    int n_adapters;
} vr_run;

vr_status vr_run_status(const vr_run *run);
vr_tensor *vr_new(vr_run *run, int ndim, const int64_t *shape); /* f32, not cleared */
vr_tensor *vr_new2(vr_run *run, int64_t rows, int64_t columns);
vr_tensor *vr_zeros2(vr_run *run, int64_t rows, int64_t columns);
/* Rows [start, start+n) of x [T,...], a view. */
vr_tensor *vr_rows(vr_run *run, vr_tensor *x, int64_t start, int64_t n);

/* Sequences lying one after another in the rows of one tensor: row `start` is the first of `length`
 * rows; what came before is in the sequence's state. */
typedef struct vr_span { int64_t start, length; } vr_span;

/* Who is shown the named activations of a forward pass, each after the step that has the name. */
typedef void (*vr_watch_fn)(void *user, const char *name, const vr_tensor *value);

/* y[n,C] = table[ids[i]]; table [V,C]. */
vr_tensor *vr_embed(vr_run *run, const vr_tensor *table, const int32_t *ids, int64_t n);
/* y[T,O] = x[T,I] w[O,I]^T + b[O]; b may be NULL. src: nn.Linear */
vr_tensor *vr_linear(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b);
/* y = x w^T of each: products that do not wait for each other, at most 8, as one piece of work for the
 * threads. After a failure every y is NULL. */
typedef struct vr_product { const vr_tensor *x, *w; vr_tensor *y; } vr_product;
void vr_linears(vr_run *run, vr_product *list, int n);
/* Low-rank: y = act(x w1^T) w2^T with w1 [R,C], w2 [O,R]. Grouped, w1 [G*R,C], w2 [G,O,R] gives
 * y [G,T,O], where group g sees columns g*R.. of the middle. src: RWKV-6 time_maa_w1/w2, time_decay_w1/w2 */
typedef enum vr_act {
    VR_ACT_NONE, VR_ACT_TANH, VR_ACT_SIGMOID, VR_ACT_SILU, VR_ACT_RELU2, VR_ACT_QUICK_GELU, VR_ACT_GELU, VR_ACT_GELU_TANH,
    VR_ACT_DECAY, VR_ACT_RELU, VR_ACT_COUNT
} vr_act;
vr_tensor *vr_lora(vr_run *run, const vr_tensor *x, const vr_tensor *w1, vr_act act, const vr_tensor *w2);
/* y = act(x), elementwise. relu2: max(x,0)^2; quick_gelu: x*sigmoid(1.702x); gelu: erf form; decay, RWKV-7's:
 * exp(-exp(-softplus(-x) - 0.5)) = exp(-exp(-0.5)*sigmoid(x)), between 0.5453 and 1. */
vr_tensor *vr_activate(vr_run *run, const vr_tensor *x, vr_act act);
vr_tensor *vr_add(vr_run *run, const vr_tensor *x, const vr_tensor *y); /* y [T,C], or [C]: every row */
vr_tensor *vr_mul(vr_run *run, const vr_tensor *x, const vr_tensor *y); /* likewise */
/* Each row: (x - mean)/sqrt(var + eps)*w + b, biased variance. src: nn.LayerNorm */
vr_tensor *vr_layer_norm(vr_run *run, const vr_tensor *x, const vr_tensor *w, const vr_tensor *b, float eps);
/* The same over each of `groups` equal parts of a row; w, b [C]. src: nn.GroupNorm on [T,C] */
vr_tensor *vr_group_norm(vr_run *run, const vr_tensor *x, int groups, const vr_tensor *w, const vr_tensor *b, float eps);
/* y = x / max(|x|, eps) over each of `groups` equal parts of a row, |x| their Euclidean length. src: F.normalize */
vr_tensor *vr_l2_norm(vr_run *run, const vr_tensor *x, int groups, float eps);
/* p[t] = x[t-1]; for a sequence's first row x[-1] is its carry [C], which then becomes its last row.
 * carries[i] belongs to spans[i]. src: RWKV token shift */
vr_tensor *vr_token_shift(vr_run *run, const vr_tensor *x, const vr_span *spans, float *const *carries, int n_spans);
/* From x towards z: y = x + (z - x)*(mu + m); mu [C], m [T,C], one of them may be NULL.
 * src: RWKV-5/6/7 mixing with the row before, RWKV-6 ddlerp, RWKV-7 value mixing */
vr_tensor *vr_lerp(vr_run *run, const vr_tensor *x, const vr_tensor *z, const vr_tensor *mu, const vr_tensor *m);
/* RWKV-5 and RWKV-6 recurrence. r,k,v [T,C], decay exp(-exp(w)) with w [T,C], or [C]: the same in every row
 * (RWKV-5), u [H,N]; state of a sequence [H,N(key),N(value)], read and updated:
 * y[i] = sum_j r[j](S[j,i] + u[j]k[j]v[i]); S[j,i] = decay[j]S[j,i] + k[j]v[i]. */
vr_tensor *vr_wkv6(vr_run *run, const vr_tensor *r, const vr_tensor *k, const vr_tensor *v, const vr_tensor *w,
                   const vr_tensor *u, const vr_span *spans, float *const *states, int n_spans);
/* RWKV-7 recurrence, `heads` heads. r,w,k,v,kk,a [T,C], w the decay itself; state of a sequence
 * [H,N(value),N(key)], read and updated, S the state before:
 * S'[i,j] = S[i,j]w[j] - (sum_l S[i,l]kk[l])kk[j]a[j] + v[i]k[j]; y[i] = sum_j S'[i,j]r[j]. */
vr_tensor *vr_wkv7(vr_run *run, const vr_tensor *r, const vr_tensor *w, const vr_tensor *k, const vr_tensor *v,
                   const vr_tensor *kk, const vr_tensor *a, int heads, const vr_span *spans, float *const *states,
                   int n_spans);
/* y + (sum_j r[j]k[j]u[j])v per head; u [H,N]. src: RWKV-7 r_k, what a row adds to its own output */
vr_tensor *vr_bonus(vr_run *run, const vr_tensor *y, const vr_tensor *r, const vr_tensor *k, const vr_tensor *v,
                    const vr_tensor *u);
/* Softmax attention without mask over all T rows: q,k,v [T,C] in H heads; q*scale first. */
vr_tensor *vr_attention(vr_run *run, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v, int heads, float scale);
/* y[i] = x[order[i]] for the T rows; order is a permutation. */
vr_tensor *vr_permute_rows(vr_run *run, const vr_tensor *x, const int32_t *order);
/* y[t] = x[index[t]] for t < n; a negative index gives a row of zeros. */
vr_tensor *vr_pick_rows(vr_run *run, const vr_tensor *x, const int32_t *index, int64_t n);
/* x rows then y rows. */
vr_tensor *vr_concat_rows(vr_run *run, const vr_tensor *x, const vr_tensor *y);
/* y[t] = parts[0][t], parts[1][t], ... side by side: [T,C_0], [T,C_1], ... -> [T, C_0 + C_1 + ...]. */
vr_tensor *vr_concat_columns(vr_run *run, const vr_tensor *const *parts, int n);

/* A single number: the sum over the rows t of logits [T,V] that have a label (labels[t] >= 0) of weights[t]
 * times the cross entropy. Backward, every row's largest logit also gets `pull` times itself as a gradient,
 * whatever the loss is multiplied with. src: nn.CrossEntropyLoss; RWKV-LM L2Wrap */
vr_tensor *vr_cross_entropy(vr_run *run, const vr_tensor *logits, const int32_t *labels, const float *weights, float pull);

/* ---- layers ------------------------------------------------------------------------------------ */

/* What goes from layer to layer of a model: at[0] its rows, at[1] a second tensor or NULL. */
enum { VR_STREAMS = 2 };
typedef struct vr_streams {
    vr_tensor *at[VR_STREAMS];
    bool own[VR_STREAMS]; /* made by vr_layer: the next layer's result may take its place; false at the start */
} vr_streams;

/* Replaces at[] by what comes out of the layer; one that stays as it is keeps its pointer. False where it failed. */
typedef bool (*vr_layer_fn)(vr_run *run, const void *model, int layer, vr_tensor *at[VR_STREAMS]);
/* Runs one layer and gives back all else that it took from the arena. With a tape nothing is given back,
 * unless that keeps checkpoints: then the layer is run a second time when its gradients are wanted, so
 * `model`, and what is reached from it, must stay as they are until then. */
bool vr_layer(vr_run *run, vr_layer_fn fn, const void *model, int layer, vr_streams *streams);

/* ---- pictures: the T = height*width rows of a tensor [T,C] are a grid, row by row ------------- */

typedef struct vr_grid { int64_t height, width; } vr_grid;

/* Convolution with kernel = stride = patch, no padding: pixels [3,H,W], w [C,3,P,P], b [C] or NULL ->
 * grid of H/P x W/P (pixels left over at the right and bottom are dropped). */
vr_tensor *vr_patch_embed(vr_run *run, const vr_tensor *pixels, const vr_tensor *w, const vr_tensor *b);
/* y[p,o] = sum over c,dy,dx of w[o,c,dy,dx] x[p + (dy-1, dx-1), c], zeros beyond the edge: w [O,C,3,3],
 * no bias. src: nn.Conv2d(kernel 3, padding 1) */
vr_tensor *vr_conv3x3(vr_run *run, const vr_tensor *x, vr_grid grid, const vr_tensor *w);
/* The grid, with zeros below and to the right up to multiples of `window`, cut into windows: their
 * window*window rows each, window after window, row by row. src: SAM window_partition */
vr_tensor *vr_window_partition(vr_run *run, const vr_tensor *x, vr_grid grid, int window);
/* Back, without the rows of the padding. src: SAM window_unpartition */
vr_tensor *vr_window_merge(vr_run *run, const vr_tensor *x, vr_grid grid, int window);
/* vr_attention within each window: rows lie as vr_window_partition puts them, T is a multiple of
 * window.height*window.width. The logit of query (qy,qx) and key (ky,kx) is
 *     (q*scale).k + q.rel_h[qy - ky + height-1] + q.rel_w[qx - kx + width-1],  q unscaled in the last two,
 * rel_h [2*height-1, N], rel_w [2*width-1, N] for all heads. src: SAM add_decomposed_rel_pos */
vr_tensor *vr_attention_2d(vr_run *run, const vr_tensor *q, const vr_tensor *k, const vr_tensor *v, int heads, float scale,
                           vr_grid window, const vr_tensor *rel_h, const vr_tensor *rel_w);
/* y[(i,j), c*4 + dy*2 + dx] = x[(2i+dy, 2j+dx), c]; both sides even. src: F.pixel_unshuffle(2) */
vr_tensor *vr_pixel_unshuffle(vr_run *run, const vr_tensor *x, vr_grid grid);
/* Mean over kernel x kernel cells with that stride of a grid [side*side, C]; cells cut by the edge are
 * dropped: out side o = (side - kernel)/stride + 1. src: F.avg_pool2d */
vr_tensor *vr_avg_pool(vr_run *run, const vr_tensor *x, int side, int kernel, int stride);
/* Cell i of n along an axis of `size` is the mean of floor(i*size/n) .. ceil((i+1)*size/n)-1; cells may
 * overlap. One axis alone: a grid of width 1. src: F.adaptive_avg_pool2d, adaptive_avg_pool1d */
vr_tensor *vr_adaptive_pool(vr_run *run, const vr_tensor *x, vr_grid grid, vr_grid out);
/* Another grid's table of positions: `prefix` rows as they are, then a grid resampled by the antialiased
 * cubic with a = -0.5. src: F.interpolate(mode="bicubic", antialias=True) in timm resample_abs_pos_embed */
vr_tensor *vr_resample_grid(vr_run *run, const vr_tensor *x, int64_t prefix, vr_grid from, vr_grid to);
/* n rows between those of x, linearly, without antialias. src: F.interpolate(mode="linear") */
vr_tensor *vr_resample_rows(vr_run *run, const vr_tensor *x, int64_t n);
#endif
