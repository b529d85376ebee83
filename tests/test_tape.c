/* The tape and every backward pass, with every kernel set that this processor can run.
 *
 * An operation's inputs are weights of the tape, and the gradient of sum(R*y), R random, is compared with
 * central differences: of a plain double computation of the operation written here; or, where the result is
 * linear in each single number of the inputs, of the operation itself, whose differences are then exact but
 * for rounding. Then what must hold to the bit: thread counts, a second backward pass adding the same, no
 * gradient left behind. Last, layers: kept whole, and run again from checkpoints. */
#include "ops_frame.h"

#include "ops/internal.h"
#include "ops/quant.h"

#include <stdlib.h>

enum { MAX_INPUTS = 8, SAMPLES = 8 };

/* Sizes that an operation's inputs are made of. */
typedef struct sizes {
    int64_t T, C, O, H, N;
    int act;
} sizes;

typedef struct op_case {
    const char *name;
    const sizes *at; /* n_at of them */
    int n_at, n;     /* n: inputs */
    void (*shape)(const sizes *s, int input, vr_tensor *x); /* ndim and shape */
    vr_tensor *(*run)(vr_run *run, const sizes *s, vr_tensor *const *in);
    double (*value)(const sizes *s, double *const *in, const double *r); /* sum(r*y); NULL: linear */
    float scale; /* of the inputs; 0: 1 */
} op_case;

#define SIZES(list) list, VR_COUNT(list)

static void set_shape(vr_tensor *x, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    x->ndim = ndim;
    x->shape[0] = a, x->shape[1] = b, x->shape[2] = c, x->shape[3] = d;
}

static int64_t count_of(const vr_tensor *x) {
    int64_t n = 0;
    vr_shape_count(x->ndim, x->shape, &n);
    return n;
}

/* ---- operations that are linear in each number ---- */

static const sizes product_sizes[] = {{.T = 5, .C = 7, .O = 3}, {.T = 150, .C = 40, .O = 33}, {.T = 3, .C = 300, .O = 260}};

static void shape_linear(const sizes *s, int i, vr_tensor *x) {
    if (i == 0) set_shape(x, 2, s->T, s->C, 0, 0);
    if (i == 1) set_shape(x, 2, s->O, s->C, 0, 0);
    if (i == 2) set_shape(x, 1, s->O, 0, 0, 0);
}
static vr_tensor *run_linear(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_linear(run, in[0], in[1], in[2]);
}

static void shape_lora(const sizes *s, int i, vr_tensor *x) {
    if (i == 0) set_shape(x, 2, s->T, s->C, 0, 0);
    if (i == 1) set_shape(x, 2, 3 * s->O, s->C, 0, 0);
    if (i == 2) set_shape(x, 3, 3, s->C, s->O, 0);
}
static vr_tensor *run_lora(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_lora(run, in[0], in[1], VR_ACT_NONE, in[2]);
}

static const sizes row_sizes[] = {{.T = 5, .C = 7}, {.T = 70, .C = 300}, {.T = 1, .C = 64}};

static void shape_rows(const sizes *s, int i, vr_tensor *x) {
    (void)i;
    set_shape(x, 2, s->T, s->C, 0, 0);
}
static void shape_vector(const sizes *s, int i, vr_tensor *x) {
    if (i == 0) set_shape(x, 2, s->T, s->C, 0, 0);
    if (i == 1) set_shape(x, 1, s->C, 0, 0, 0);
}
static vr_tensor *run_add(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_add(run, in[0], in[1]);
}
static vr_tensor *run_mul(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_mul(run, in[0], in[1]);
}
static vr_tensor *run_square(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_add(run, in[0], vr_mul(run, in[0], in[1]));
}

static void shape_lerp(const sizes *s, int i, vr_tensor *x) {
    if (i == 2)
        set_shape(x, 1, s->C, 0, 0, 0);
    else
        set_shape(x, 2, s->T, s->C, 0, 0);
}
static vr_tensor *run_lerp(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_lerp(run, in[0], in[1], in[2], in[3]);
}
static vr_tensor *run_lerp_mu(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_lerp(run, in[0], in[1], in[2], NULL);
}
static vr_tensor *run_lerp_m(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_lerp(run, in[0], in[1], NULL, in[2]);
}

static const vr_span spans[] = {{0, 1}, {1, 38}, {39, 0}, {39, 31}};

static void shape_shift(const sizes *s, int i, vr_tensor *x) {
    if (i == 0) set_shape(x, 2, 70, s->C, 0, 0);
    if (i == 1) set_shape(x, 2, 4, s->C, 0, 0);
}
static vr_tensor *run_shift(vr_run *run, const sizes *s, vr_tensor *const *in) {
    float *carries[4];
    for (int i = 0; i < 4; i++) carries[i] = (float *)in[1]->data + i * s->C;
    return vr_token_shift(run, in[0], spans, carries, 4);
}

static vr_tensor *run_embed(vr_run *run, const sizes *s, vr_tensor *const *in) {
    int32_t ids[] = {0, 4, 2, 4, 4};
    (void)s;
    return vr_embed(run, in[0], ids, 5);
}
static vr_tensor *run_pick(vr_run *run, const sizes *s, vr_tensor *const *in) {
    int32_t index[] = {3, -1, 3, 0};
    (void)s;
    return vr_pick_rows(run, in[0], index, 4);
}
static vr_tensor *run_permute(vr_run *run, const sizes *s, vr_tensor *const *in) {
    int32_t order[200];
    for (int64_t t = 0; t < s->T; t++) order[t] = (int32_t)(s->T - 1 - t);
    return vr_permute_rows(run, in[0], order);
}
static vr_tensor *run_concat(vr_run *run, const sizes *s, vr_tensor *const *in) {
    const vr_tensor *parts[] = {in[0], in[1], in[0]};
    (void)s;
    return vr_concat_rows(run, in[1], vr_concat_columns(run, parts, 3) ? in[0] : NULL);
}
static vr_tensor *run_columns(vr_run *run, const sizes *s, vr_tensor *const *in) {
    const vr_tensor *parts[] = {in[0], in[1], in[0]};
    (void)s;
    return vr_concat_columns(run, parts, 3);
}
/* A view of a result: gradients of rows arrive in the whole. */
static vr_tensor *run_view(vr_run *run, const sizes *s, vr_tensor *const *in) {
    vr_tensor *sum = vr_add(run, in[0], in[1]);
    return vr_concat_rows(run, vr_rows(run, sum, 1, s->T - 1), vr_rows(run, sum, 0, 1));
}

static const sizes grid_sizes[] = {{.H = 6, .N = 8, .C = 5, .O = 3}, {.H = 4, .N = 10, .C = 20, .O = 7}};

static void shape_grid(const sizes *s, int i, vr_tensor *x) {
    if (i == 0) set_shape(x, 2, s->H * s->N, s->C, 0, 0);
    if (i == 1) set_shape(x, 4, s->O, s->C, 3, 3);
}
static vr_tensor *run_conv(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_conv3x3(run, in[0], (vr_grid){s->H, s->N}, in[1]);
}
static vr_tensor *run_partition(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_window_partition(run, in[0], (vr_grid){s->H, s->N}, 4);
}
static vr_tensor *run_merge(vr_run *run, const sizes *s, vr_tensor *const *in) {
    vr_tensor *cut = vr_window_partition(run, in[0], (vr_grid){s->H, s->N}, 4);
    return vr_window_merge(run, cut, (vr_grid){s->H, s->N}, 4);
}
static vr_tensor *run_unshuffle(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_pixel_unshuffle(run, in[0], (vr_grid){s->H, s->N});
}
static vr_tensor *run_adaptive(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_adaptive_pool(run, in[0], (vr_grid){s->H, s->N}, (vr_grid){4, 3});
}
static vr_tensor *run_resample(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_resample_grid(run, in[0], 0, (vr_grid){s->H, s->N}, (vr_grid){3, 11});
}
static vr_tensor *run_resample_rows(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_resample_rows(run, in[0], 17);
}

static void shape_square(const sizes *s, int i, vr_tensor *x) {
    (void)i;
    set_shape(x, 2, 25, s->C, 0, 0);
}
static vr_tensor *run_avg(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_avg_pool(run, in[0], 5, 3, 2);
}

static void shape_patch(const sizes *s, int i, vr_tensor *x) {
    if (i == 0) set_shape(x, 4, s->O, 3, 4, 4);
    if (i == 1) set_shape(x, 1, s->O, 0, 0, 0);
}
static vr_tensor *run_patch(vr_run *run, const sizes *s, vr_tensor *const *in) {
    static float pixels[3 * 9 * 13];
    for (int i = 0; i < 3 * 9 * 13; i++) pixels[i] = (float)(i * 37 % 19) / 19.0f;
    vr_tensor picture = {VR_F32, 3, {3, 9, 13}, pixels};
    (void)s;
    return vr_patch_embed(run, &picture, in[0], in[1]);
}

static const sizes head_sizes[] = {{.T = 5, .H = 2, .N = 5}, {.T = 40, .H = 3, .N = 16}, {.T = 70, .H = 2, .N = 64}};

static void shape_bonus(const sizes *s, int i, vr_tensor *x) {
    if (i == 4)
        set_shape(x, 2, s->H, s->N, 0, 0);
    else
        set_shape(x, 2, s->T, s->H * s->N, 0, 0);
}
static vr_tensor *run_bonus(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_bonus(run, in[0], in[1], in[2], in[3], in[4]);
}

/* ---- operations with a double computation of their own ---- */

static double activate(double x, int act) {
    double s = 1 / (1 + exp(-x));
    switch (act) {
    case VR_ACT_TANH: return tanh(x);
    case VR_ACT_SIGMOID: return s;
    case VR_ACT_SILU: return x * s;
    case VR_ACT_RELU: return x > 0 ? x : 0;
    case VR_ACT_RELU2: return x > 0 ? x * x : 0;
    case VR_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case VR_ACT_GELU: return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    case VR_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case VR_ACT_DECAY: return exp(-exp(-0.5) * s);
    default: return x;
    }
}

#define ACTS(T, C)                                                                                         \
    {T, C, 0, 0, 0, VR_ACT_NONE}, {T, C, 0, 0, 0, VR_ACT_TANH}, {T, C, 0, 0, 0, VR_ACT_SIGMOID},           \
    {T, C, 0, 0, 0, VR_ACT_SILU}, {T, C, 0, 0, 0, VR_ACT_RELU2}, {T, C, 0, 0, 0, VR_ACT_QUICK_GELU},       \
    {T, C, 0, 0, 0, VR_ACT_GELU}, {T, C, 0, 0, 0, VR_ACT_GELU_TANH}, {T, C, 0, 0, 0, VR_ACT_DECAY},        \
    {T, C, 0, 0, 0, VR_ACT_RELU}
_Static_assert(VR_ACT_COUNT == VR_ACT_RELU + 1, "a new activation belongs into ACTS");
static const sizes act_sizes[] = {ACTS(3, 21), ACTS(70, 300)};

static vr_tensor *run_activate(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_activate(run, in[0], (vr_act)s->act);
}
static double value_activate(const sizes *s, double *const *in, const double *r) {
    double sum = 0;
    for (int64_t i = 0; i < s->T * s->C; i++) sum += r[i] * activate(in[0][i], s->act);
    return sum;
}

static vr_tensor *run_lora_tanh(vr_run *run, const sizes *s, vr_tensor *const *in) {
    (void)s;
    return vr_lora(run, in[0], in[1], VR_ACT_TANH, in[2]);
}
static double value_lora_tanh(const sizes *s, double *const *in, const double *r) {
    double sum = 0, middle[3 * 64];
    for (int64_t t = 0; t < s->T; t++) {
        for (int64_t m = 0; m < 3 * s->O; m++) {
            middle[m] = 0;
            for (int64_t c = 0; c < s->C; c++) middle[m] += in[0][t * s->C + c] * in[1][m * s->C + c];
            middle[m] = tanh(middle[m]);
        }
        for (int64_t g = 0; g < 3; g++)
            for (int64_t c = 0; c < s->C; c++)
                for (int64_t o = 0; o < s->O; o++)
                    sum += r[(g * s->T + t) * s->C + c] * middle[g * s->O + o] * in[2][(g * s->C + c) * s->O + o];
    }
    return sum;
}

static const sizes norm_sizes[] = {
    {.T = 5, .C = 14, .H = 2}, {.T = 70, .C = 96, .H = 3}, {.T = 40, .C = 64, .H = 1}, {.T = 3, .C = 17, .H = 1}};
enum { NORM_EPS_INVERSE = 1000 };

static void shape_norm(const sizes *s, int i, vr_tensor *x) {
    if (i == 0)
        set_shape(x, 2, s->T, s->C, 0, 0);
    else
        set_shape(x, 1, s->C, 0, 0, 0);
}
static vr_tensor *run_norm(vr_run *run, const sizes *s, vr_tensor *const *in) {
    float eps = 1.0f / NORM_EPS_INVERSE;
    return s->H == 1 ? vr_layer_norm(run, in[0], in[1], in[2], eps)
                     : vr_group_norm(run, in[0], (int)s->H, in[1], in[2], eps);
}
static double value_norm(const sizes *s, double *const *in, const double *r) {
    double total = 0;
    int64_t n = s->C / s->H;
    for (int64_t at = 0; at < s->T * s->C; at += n) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < n; i++) mean += in[0][at + i] / (double)n;
        for (int64_t i = 0; i < n; i++) squares += (in[0][at + i] - mean) * (in[0][at + i] - mean) / (double)n;
        for (int64_t i = 0; i < n; i++) {
            int64_t c = (at + i) % s->C;
            total += r[at + i] *
                     ((in[0][at + i] - mean) / sqrt(squares + (double)(1.0f / NORM_EPS_INVERSE)) * in[1][c] + in[2][c]);
        }
    }
    return total;
}
static vr_tensor *run_l2(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_l2_norm(run, in[0], (int)s->H, 1e-12f);
}
static double value_l2(const sizes *s, double *const *in, const double *r) {
    double total = 0;
    int64_t n = s->C / s->H;
    for (int64_t at = 0; at < s->T * s->C; at += n) {
        double squares = 0;
        for (int64_t i = 0; i < n; i++) squares += in[0][at + i] * in[0][at + i];
        for (int64_t i = 0; i < n; i++) total += r[at + i] * in[0][at + i] / sqrt(squares);
    }
    return total;
}

/* wkv: three sequences, the first and the last begin with the same state. */
static int wkv_spans(const sizes *s, vr_span *out, float **states, float *first) {
    int64_t cut = s->T / 3, floats = s->H * s->N * s->N;
    out[0] = (vr_span){0, cut}, out[1] = (vr_span){cut, 1}, out[2] = (vr_span){cut + 1, s->T - cut - 1};
    states[0] = states[2] = first, states[1] = first + floats;
    return 3;
}

static void shape_wkv6(const sizes *s, int i, vr_tensor *x) {
    set_shape(x, 2, s->T, s->H * s->N, 0, 0);
    if (i == 4) set_shape(x, 2, s->H, s->N, 0, 0);
    if (i == 5) set_shape(x, 4, 2, s->H, s->N, s->N);
}
static void shape_wkv5(const sizes *s, int i, vr_tensor *x) {
    shape_wkv6(s, i, x);
    if (i == 3) set_shape(x, 2, s->H, s->N, 0, 0);
}
static vr_tensor *run_wkv6(vr_run *run, const sizes *s, vr_tensor *const *in) {
    vr_span own[3];
    float *states[3];
    int n = wkv_spans(s, own, states, in[5]->data);
    return vr_wkv6(run, in[0], in[1], in[2], in[3], in[4], own, states, n);
}
static double wkv6_value(const sizes *s, double *const *in, const double *r, bool fixed) {
    static double state[64 * 64];
    int64_t N = s->N, C = s->H * N, cut = s->T / 3, first[] = {0, cut, cut + 1, s->T};
    double sum = 0;
    for (int q = 0; q < 3; q++)
        for (int64_t h = 0; h < s->H; h++) {
            memcpy(state, in[5] + ((q == 1) * s->H + h) * N * N, (size_t)(N * N) * sizeof *state);
            for (int64_t t = first[q]; t < first[q + 1]; t++)
                for (int64_t j = 0; j < N; j++) {
                    int64_t at = t * C + h * N;
                    double decay = exp(-exp(in[3][(fixed ? h * N : at) + j]));
                    for (int64_t i = 0; i < N; i++) {
                        double kv = in[1][at + j] * in[2][at + i], *cell = &state[j * N + i];
                        sum += r[at + i] * in[0][at + j] * (*cell + in[4][h * N + j] * kv);
                        *cell = decay * *cell + kv;
                    }
                }
        }
    return sum;
}
static double value_wkv6(const sizes *s, double *const *in, const double *r) { return wkv6_value(s, in, r, false); }
static double value_wkv5(const sizes *s, double *const *in, const double *r) { return wkv6_value(s, in, r, true); }

static void shape_wkv7(const sizes *s, int i, vr_tensor *x) {
    set_shape(x, 2, s->T, s->H * s->N, 0, 0);
    if (i == 6) set_shape(x, 4, 2, s->H, s->N, s->N);
}
static vr_tensor *run_wkv7(vr_run *run, const sizes *s, vr_tensor *const *in) {
    vr_span own[3];
    float *states[3];
    int n = wkv_spans(s, own, states, in[6]->data);
    return vr_wkv7(run, in[0], in[1], in[2], in[3], in[4], in[5], (int)s->H, own, states, n);
}
static double value_wkv7(const sizes *s, double *const *in, const double *r) {
    static double state[64 * 64];
    int64_t N = s->N, C = s->H * N, cut = s->T / 3, first[] = {0, cut, cut + 1, s->T};
    double sum = 0;
    for (int q = 0; q < 3; q++)
        for (int64_t h = 0; h < s->H; h++) {
            memcpy(state, in[6] + ((q == 1) * s->H + h) * N * N, (size_t)(N * N) * sizeof *state);
            for (int64_t t = first[q]; t < first[q + 1]; t++)
                for (int64_t i = 0; i < N; i++) {
                    int64_t at = t * C + h * N;
                    double removed = 0, *row = state + i * N;
                    for (int64_t j = 0; j < N; j++) removed += row[j] * in[4][at + j];
                    for (int64_t j = 0; j < N; j++) {
                        row[j] = row[j] * in[1][at + j] - removed * in[4][at + j] * in[5][at + j] +
                                 in[3][at + i] * in[2][at + j];
                        sum += r[at + i] * row[j] * in[0][at + j];
                    }
                }
        }
    return sum;
}

static const sizes attention_sizes[] = {{.T = 6, .H = 2, .N = 5}, {.T = 60, .H = 2, .N = 16}};

static vr_tensor *run_attention(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_attention(run, in[0], in[1], in[2], (int)s->H, 0.3f);
}
static void shape_attention(const sizes *s, int i, vr_tensor *x) {
    set_shape(x, 2, s->T, s->H * s->N, 0, 0);
    if (i == 3) set_shape(x, 2, 3, s->N, 0, 0);        /* windows of 2 rows .. */
    if (i == 4) set_shape(x, 2, s->T / 2 - 1, s->N, 0, 0); /* .. and a quarter of all cells across */
}
static vr_tensor *run_attention_2d(vr_run *run, const sizes *s, vr_tensor *const *in) {
    return vr_attention_2d(run, in[0], in[1], in[2], (int)s->H, 0.3f, (vr_grid){2, s->T / 4}, in[3], in[4]);
}
static double attention_value(const sizes *s, double *const *in, const double *r, int64_t height, int64_t width,
                              bool relative) {
    int64_t N = s->N, C = s->H * N, S = height * width;
    double sum = 0, logits[64];
    for (int64_t first = 0; first < s->T; first += S)
        for (int64_t h = 0; h < s->H; h++)
            for (int64_t t = 0; t < S; t++) {
                const double *q = in[0] + (first + t) * C + h * N;
                double all = 0;
                for (int64_t u = 0; u < S; u++) {
                    const double *k = in[1] + (first + u) * C + h * N;
                    logits[u] = 0;
                    for (int64_t i = 0; i < N; i++) {
                        logits[u] += (double)0.3f * q[i] * k[i];
                        if (!relative) continue;
                        logits[u] += q[i] * in[3][(t / width - u / width + height - 1) * N + i];
                        logits[u] += q[i] * in[4][(t % width - u % width + width - 1) * N + i];
                    }
                    all += exp(logits[u]);
                }
                for (int64_t u = 0; u < S; u++)
                    for (int64_t i = 0; i < N; i++)
                        sum += r[(first + t) * C + h * N + i] * exp(logits[u]) / all * in[2][(first + u) * C + h * N + i];
            }
    return sum;
}
static double value_attention(const sizes *s, double *const *in, const double *r) {
    return attention_value(s, in, r, 1, s->T, false);
}
static const sizes window_sizes[] = {{.T = 8, .H = 2, .N = 5}, {.T = 48, .H = 3, .N = 16}};
static double value_attention_2d(const sizes *s, double *const *in, const double *r) {
    return attention_value(s, in, r, 2, s->T / 4, true);
}

static int32_t label_of(int64_t t, int64_t V) { return t % 3 == 1 ? -100 : (int32_t)(t * 7 % V); }
static float weight_of(int64_t t) { return 0.1f * (float)(t % 4 + 1); }
static vr_tensor *run_loss(vr_run *run, const sizes *s, vr_tensor *const *in) {
    int32_t labels[100];
    float weights[100];
    for (int64_t t = 0; t < s->T; t++) labels[t] = label_of(t, s->C), weights[t] = weight_of(t);
    return vr_cross_entropy(run, in[0], labels, weights, 0);
}
static double value_loss(const sizes *s, double *const *in, const double *r) {
    double sum = 0;
    for (int64_t t = 0; t < s->T; t++) {
        double all = 0;
        for (int64_t v = 0; v < s->C; v++) all += exp(in[0][t * s->C + v]);
        if (label_of(t, s->C) >= 0) sum += (double)weight_of(t) * (log(all) - in[0][t * s->C + label_of(t, s->C)]);
    }
    return r[0] * sum;
}

static const op_case cases[] = {
    {"linear", SIZES(product_sizes), 3, shape_linear, run_linear, NULL, 0},
    {"lora", SIZES(product_sizes), 3, shape_lora, run_lora, NULL, 0},
    {"lora with tanh", product_sizes, 2, 3, shape_lora, run_lora_tanh, value_lora_tanh, 0.3f},
    {"add", SIZES(row_sizes), 2, shape_rows, run_add, NULL, 0},
    {"add a vector", SIZES(row_sizes), 2, shape_vector, run_add, NULL, 0},
    {"mul", SIZES(row_sizes), 2, shape_rows, run_mul, NULL, 0},
    {"mul by a vector", SIZES(row_sizes), 2, shape_vector, run_mul, NULL, 0},
    {"an input used twice", SIZES(row_sizes), 2, shape_rows, run_square, NULL, 0},
    {"lerp", SIZES(row_sizes), 4, shape_lerp, run_lerp, NULL, 0},
    {"lerp by mu", SIZES(row_sizes), 3, shape_lerp, run_lerp_mu, NULL, 0},
    {"lerp by m", SIZES(row_sizes), 3, shape_rows, run_lerp_m, NULL, 0},
    {"token_shift", SIZES(row_sizes), 2, shape_shift, run_shift, NULL, 0},
    {"embed", row_sizes, 2, 1, shape_rows, run_embed, NULL, 0},
    {"pick_rows", row_sizes, 2, 1, shape_rows, run_pick, NULL, 0},
    {"permute_rows", SIZES(row_sizes), 1, shape_rows, run_permute, NULL, 0},
    {"concat_rows", SIZES(row_sizes), 2, shape_rows, run_concat, NULL, 0},
    {"concat_columns", SIZES(row_sizes), 2, shape_rows, run_columns, NULL, 0},
    {"rows", row_sizes, 2, 2, shape_rows, run_view, NULL, 0},
    {"bonus", SIZES(head_sizes), 5, shape_bonus, run_bonus, NULL, 0},
    {"conv3x3", SIZES(grid_sizes), 2, shape_grid, run_conv, NULL, 0},
    {"window_partition", SIZES(grid_sizes), 1, shape_grid, run_partition, NULL, 0},
    {"window_merge", SIZES(grid_sizes), 1, shape_grid, run_merge, NULL, 0},
    {"pixel_unshuffle", SIZES(grid_sizes), 1, shape_grid, run_unshuffle, NULL, 0},
    {"adaptive_pool", SIZES(grid_sizes), 1, shape_grid, run_adaptive, NULL, 0},
    {"avg_pool", SIZES(grid_sizes), 1, shape_square, run_avg, NULL, 0},
    {"resample_grid", SIZES(grid_sizes), 1, shape_grid, run_resample, NULL, 0},
    {"resample_rows", SIZES(grid_sizes), 1, shape_grid, run_resample_rows, NULL, 0},
    {"patch_embed", SIZES(grid_sizes), 2, shape_patch, run_patch, NULL, 0},
    {"activate", SIZES(act_sizes), 1, shape_rows, run_activate, value_activate, 3},
    {"layer_norm, group_norm", SIZES(norm_sizes), 3, shape_norm, run_norm, value_norm, 0},
    {"l2_norm", SIZES(norm_sizes), 1, shape_norm, run_l2, value_l2, 0},
    {"wkv6", SIZES(head_sizes), 6, shape_wkv6, run_wkv6, value_wkv6, 0},
    {"wkv6, one decay for all rows", SIZES(head_sizes), 6, shape_wkv5, run_wkv6, value_wkv5, 0},
    {"wkv7", SIZES(head_sizes), 7, shape_wkv7, run_wkv7, value_wkv7, 0.4f},
    {"attention", SIZES(attention_sizes), 3, shape_attention, run_attention, value_attention, 0},
    {"attention_2d", SIZES(window_sizes), 5, shape_attention, run_attention_2d, value_attention_2d, 0},
    {"cross_entropy", act_sizes, 1, 1, shape_rows, run_loss, value_loss, 3},
};

/* ---- the checker ---- */

typedef struct checked {
    bench *b;
    const op_case *op;
    const sizes *s;
    vr_tape tape;
    vr_tensor x[MAX_INPUTS], *in[MAX_INPUTS]; /* heap */
    float *grad[MAX_INPUTS];
    float *r; /* [n_r] */
    int64_t n_r;
} checked;

static vr_tensor *forward(checked *c) { return c->op->run(&c->b->run, c->s, c->in); }

static void check_open(checked *c) {
    vr_error err;
    c->n_r = 0;
    CHECK(vr_tape_open(&c->tape, &c->b->arena, &err) == VRWKV_OK, "%s", err.message);
    for (int i = 0; i < c->op->n; i++) {
        c->x[i] = (vr_tensor){.dtype = VR_F32};
        c->op->shape(c->s, i, &c->x[i]);
        c->in[i] = &c->x[i];
        c->x[i].data = malloc((size_t)count_of(&c->x[i]) * sizeof(float));
        c->grad[i] = calloc((size_t)count_of(&c->x[i]), sizeof(float));
        fill(c->b, &c->x[i], c->op->scale != 0 ? c->op->scale : 1);
        CHECK(vr_tape_train(&c->tape, c->x[i].data, c->grad[i], count_of(&c->x[i]), &err) == VRWKV_OK, "%s", err.message);
    }
    vr_tape_begin(&c->b->run, &c->tape);
    vr_tensor *y = forward(c);
    CHECK(y, "%s: %s", c->op->name, c->b->err.message);
    if (!y) return;
    c->n_r = count_of(y);
    c->r = malloc((size_t)c->n_r * sizeof(float));
    for (int64_t i = 0; i < c->n_r; i++) c->r[i] = uniform(c->b);
    c->tape.last = NULL;
}

static void check_close(checked *c) {
    for (int i = 0; i < c->op->n; i++) {
        free(c->x[i].data);
        free(c->grad[i]);
    }
    if (c->n_r) free(c->r);
    vr_tape_close(&c->tape);
}

/* Forward, and backward from R. */
static void gradients(checked *c, int threads) {
    use(c->b, c->b->run.kernels, threads);
    vr_tape_begin(&c->b->run, &c->tape);
    vr_tensor *y = forward(c);
    if (y) memcpy(vr_grad(&c->b->run, y->data), c->r, (size_t)c->n_r * sizeof(float));
    vr_op_run_nodes(&c->b->run);
    CHECK(vr_run_status(&c->b->run) == VRWKV_OK, "%s: %s", c->op->name, c->b->err.message);
}

static double value_now(checked *c, double *const *in, const double *r) {
    if (c->op->value) return c->op->value(c->s, in, r);
    double sum = 0;
    use(c->b, c->b->run.kernels, 1);
    vr_tape_begin(&c->b->run, &c->tape);
    c->tape.recording = false;
    for (int i = 0; i < c->op->n; i++)
        for (int64_t k = 0; k < count_of(&c->x[i]); k++) ((float *)c->x[i].data)[k] = (float)in[i][k];
    vr_tensor *y = forward(c);
    for (int64_t i = 0; y && i < c->n_r; i++) sum += r[i] * (double)at(y)[i];
    return sum;
}

static void check_differences(checked *c) {
    double *in[MAX_INPUTS], *r = malloc((size_t)c->n_r * sizeof *r), step = c->op->value ? 1e-5 : 0.5;
    for (int64_t i = 0; i < c->n_r; i++) r[i] = (double)c->r[i];
    for (int i = 0; i < c->op->n; i++) {
        int64_t n = count_of(&c->x[i]);
        in[i] = malloc((size_t)n * sizeof *in[i]);
        for (int64_t k = 0; k < n; k++) in[i][k] = (double)((float *)c->x[i].data)[k];
    }
    for (int i = 0; i < c->op->n; i++) {
        int64_t n = count_of(&c->x[i]);
        double largest = 1e-3;
        for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs((double)c->grad[i][k]));
        for (int s = 0; s < SAMPLES; s++) {
            int64_t k = (int64_t)(vr_rng_next(&c->b->rng) % (uint64_t)n);
            double before = in[i][k], up, down;
            in[i][k] = before + step, up = value_now(c, in, r);
            in[i][k] = before - step, down = value_now(c, in, r);
            in[i][k] = before;
            double expected = (up - down) / (2 * step), found = (double)c->grad[i][k];
            CHECK(fabs(found - expected) <= 2e-5 * largest,
                  "%s %s (T %d, C %d, H %d, N %d, act %d): input %d [%d]: gradient %.9g, expected %.9g; largest %.3g",
                  c->b->run.kernels->name, c->op->name, (int)c->s->T, (int)c->s->C, (int)c->s->H, (int)c->s->N,
                  c->s->act, i, (int)k, found, expected, largest);
        }
    }
    for (int i = 0; i < c->op->n; i++) free(in[i]);
    free(r);
}

static void check_clear(bench *b, const vr_tape *tape, const char *what) {
    size_t left = 0;
    for (size_t i = 0; i < b->arena.peak; i++) left += tape->mirror[i] != 0;
    CHECK(left == 0, "%s %s: %zu bytes of gradients are left behind", b->run.kernels->name, what, left);
}

static void check_bits(checked *c) {
    float *first[MAX_INPUTS];
    for (int i = 0; i < c->op->n; i++) {
        size_t n = (size_t)count_of(&c->x[i]);
        first[i] = memcpy(malloc(n * sizeof(float)), c->grad[i], n * sizeof(float));
    }
    for (int threads = 2; threads <= 3; threads++) {
        for (int i = 0; i < c->op->n; i++) memset(c->grad[i], 0, (size_t)count_of(&c->x[i]) * sizeof(float));
        gradients(c, threads);
        for (int i = 0; i < c->op->n; i++)
            CHECK(memcmp(c->grad[i], first[i], (size_t)count_of(&c->x[i]) * sizeof(float)) == 0,
                  "%s %s: input %d, %d threads", c->b->run.kernels->name, c->op->name, i, threads);
    }
    check_clear(c->b, &c->tape, c->op->name);
    for (int i = 0; i < c->op->n; i++) free(first[i]);
}

static void test_cases(bench *b, const vr_kernels *kernels) {
    for (size_t i = 0; i < VR_COUNT(cases); i++)
        for (int k = 0; k < cases[i].n_at; k++) {
            checked c = {.b = b, .op = &cases[i], .s = &cases[i].at[k]};
            use(b, kernels, 1);
            check_open(&c);
            if (c.n_r) {
                gradients(&c, 1);
                check_bits(&c);
                check_differences(&c);
            }
            check_close(&c);
        }
}

/* ---- single matters ---- */

/* dx of frozen weights of any stored type equals that of their decoded numbers. */
static void test_frozen(bench *b, const vr_kernels *kernels) {
    static const vr_dtype types[] = {VR_F16, VR_BF16, VR_Q8_0, VR_Q4_0, VR_Q6_K};
    enum { T = 70, I = 512, O = 50 };
    static float x[T * I], w[O * I], decoded[O * I], dx[2][T * I];
    static char stored[O * I * 4];
    for (size_t k = 0; k < VR_COUNT(types); k++) {
        for (int i = 0; i < T * I; i++) x[i] = uniform(b);
        for (int i = 0; i < O * I; i++) w[i] = uniform(b);
        vr_quant_of(types[k])->encode(stored, w, O * I);
        vr_quant_of(types[k])->decode(decoded, stored, O * I);
        for (int which = 0; which < 2; which++) {
            vr_tape tape;
            use(b, kernels, 2);
            CHECK(vr_tape_open(&tape, &b->arena, &b->err) == VRWKV_OK, "%s", b->err.message);
            memset(dx[which], 0, sizeof dx[which]);
            vr_tape_train(&tape, x, dx[which], T * I, &b->err);
            vr_tape_begin(&b->run, &tape);
            vr_tensor xs = {VR_F32, 2, {T, I}, x},
                      ws = {which ? VR_F32 : types[k], 2, {O, I}, which ? (void *)decoded : (void *)stored};
            vr_tensor *y = vr_linear(&b->run, &xs, &ws, NULL);
            CHECK(y, "%s", b->err.message);
            for (int i = 0; y && i < T * O; i++) vr_grad(&b->run, y->data)[i] = (float)(i % 7) - 3.0f;
            vr_op_run_nodes(&b->run);
            vr_tape_close(&tape);
        }
        CHECK(memcmp(dx[0], dx[1], sizeof dx[0]) == 0, "%s: dx of %s weights", kernels->name, vr_dtype_of(types[k])->name);
    }
}

/* The pull on the largest logit: in every row, whatever the loss is multiplied with. */
static void test_pull(bench *b, const vr_kernels *kernels) {
    enum { T = 3, V = 20 };
    float logits[T * V], found[T * V] = {0}, plain[T * V] = {0}, weights[T] = {1, 1, 1}, pull = 0.01f;
    int32_t labels[T] = {-100, 3, -100};
    for (int i = 0; i < T * V; i++) logits[i] = uniform(b);
    for (int pulled = 0; pulled < 2; pulled++) {
        vr_tape tape;
        use(b, kernels, 1);
        vr_tape_open(&tape, &b->arena, &b->err);
        vr_tape_train(&tape, logits, pulled ? found : plain, T * V, &b->err);
        vr_tape_begin(&b->run, &tape);
        vr_tensor x = {VR_F32, 2, {T, V}, logits};
        vr_tensor *loss = vr_cross_entropy(&b->run, &x, labels, weights, pulled ? pull : 0);
        CHECK(loss && vr_tape_backward(&b->run, loss, 0.5f) == VRWKV_OK, "%s", b->err.message);
        vr_tape_close(&tape);
    }
    for (int t = 0; t < T; t++) {
        int largest = 0;
        for (int v = 1; v < V; v++)
            if (logits[t * V + v] > logits[t * V + largest]) largest = v;
        for (int v = 0; v < V; v++) {
            double expected = (double)plain[t * V + v] + (v == largest ? (double)(pull * logits[t * V + v]) : 0);
            near(b, "pull", (double)found[t * V + v], expected, 1e-8);
        }
    }
}

/* Layers that pass a second tensor on: three ways of running them, and memory that they give back. */
enum { LT = 9, LC = 20, LAYERS = 5 };
typedef struct layered { vr_tensor w[LAYERS]; } layered;

static bool run_one(vr_run *run, const void *model, int layer, vr_tensor *at[VR_STREAMS]) {
    const layered *m = model;
    vr_tensor *y = vr_activate(run, vr_linear(run, at[0], &m->w[layer], NULL), VR_ACT_TANH);
    if (layer == 0) at[1] = y;
    at[0] = vr_add(run, at[0], vr_mul(run, y, at[1]));
    return at[0] != NULL;
}

static void test_layers(bench *b, const vr_kernels *kernels) {
    static float x[LT * LC], w[LAYERS][LC * LC], grads[2][LAYERS + 1][LC * LC], y[3][LT * LC];
    layered model;
    size_t used[3];
    memset(grads, 0, sizeof grads);
    for (int i = 0; i < LT * LC; i++) x[i] = uniform(b);
    for (int l = 0; l < LAYERS; l++) {
        model.w[l] = (vr_tensor){VR_F32, 2, {LC, LC}, w[l]};
        for (int i = 0; i < LC * LC; i++) w[l][i] = 0.3f * uniform(b);
    }
    for (int way = 0; way < 3; way++) { /* all kept, checkpoints, no tape */
        vr_tape tape;
        use(b, kernels, 2);
        vr_tape_open(&tape, &b->arena, &b->err);
        tape.checkpoints = way == 1;
        if (way < 2) {
            vr_tape_train(&tape, x, grads[way][LAYERS], LT * LC, &b->err);
            for (int l = 0; l < LAYERS; l++) vr_tape_train(&tape, w[l], grads[way][l], LC * LC, &b->err);
            vr_tape_begin(&b->run, &tape);
        }
        vr_tensor input = {VR_F32, 2, {LT, LC}, x};
        vr_streams streams = {.at = {&input}};
        for (int l = 0; l < LAYERS; l++) CHECK(vr_layer(&b->run, run_one, &model, l, &streams), "%s", b->err.message);
        used[way] = b->arena.used;
        memcpy(y[way], streams.at[0]->data, sizeof y[way]);
        if (way == 2) CHECK(at(streams.at[0]) != x && at(streams.at[1]) != x, "the caller's tensor was written over");
        if (way < 2) {
            for (int i = 0; i < LT * LC; i++) vr_grad(&b->run, streams.at[0]->data)[i] = (float)(i % 5) - 2.0f;
            vr_op_run_nodes(&b->run);
            check_clear(b, &tape, "layers");
            b->run.tape = NULL;
        }
        vr_tape_close(&tape);
    }
    CHECK(memcmp(y[0], y[1], sizeof y[0]) == 0 && memcmp(y[0], y[2], sizeof y[0]) == 0, "%s: layers give other results",
          kernels->name);
    CHECK(memcmp(grads[0], grads[1], sizeof grads[0]) == 0, "%s: checkpoints give other gradients", kernels->name);
    CHECK(used[2] < used[1] && used[1] < used[0], "memory: no tape %zu, checkpoints %zu, all kept %zu", used[2],
          used[1], used[0]);
}

/* What lies in the arena before recording, and unknown weights, have no gradient; interior pointers have. */
static void test_grad(bench *b, const vr_kernels *kernels) {
    static float weight[10], other[10], grad[10];
    vr_tape tape;
    use(b, kernels, 1);
    vr_tensor *before = random2(b, 2, 3, 1);
    vr_tape_open(&tape, &b->arena, &b->err);
    vr_tape_train(&tape, weight, grad, 10, &b->err);
    vr_tape_begin(&b->run, &tape);
    vr_tensor *y = vr_add(&b->run, before, before);
    CHECK(!vr_grad(&b->run, before->data) && !vr_grad(&b->run, other) && !vr_grad(&b->run, NULL) &&
              !vr_grad(&b->run, weight + 10),
          "a gradient where none is");
    CHECK(vr_grad(&b->run, weight + 3) == grad + 3 && vr_grad(&b->run, at(y) + 2) == vr_grad(&b->run, at(y)) + 2, "views");
    CHECK(vr_tape_backward(&b->run, y, 1) == VRWKV_ERR_SHAPE && !b->run.tape, "a loss of several numbers");
    vr_tape_close(&tape);
}

int main(void) {
    static void (*const tests[])(bench *, const vr_kernels *) = {test_cases, test_frozen, test_pull, test_layers, test_grad};
    bench b = {.rng = {20}};
    bench_open(&b);
    bench_run(&b, tests, VR_COUNT(tests));
    bench_close(&b);
    return check_result();
}
