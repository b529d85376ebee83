/* Backward passes of a vector kernel set: the part that simd.h includes last. What is no multiple of a
 * vector goes through the generic set where that costs little. */

/* ---- outer products: a tile of y is held in registers while k runs; every tile sums alike, so a tile's
 * size changes no bit ---- */

INLINE void outer_tile(float *y, int64_t y_stride, const float *a, int64_t a_row, int64_t a_step, const float *b,
                       int64_t b_stride, int64_t K, const int R, const int V) {
    vf sum[8][OUTER_VECTORS];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] = vf_set(0.0f);
    for (int64_t k = 0; k < K; k++, a += a_step, b += b_stride) {
        vf row[OUTER_VECTORS];
        UNROLL for (int v = 0; v < V; v++) row[v] = vf_load(b + v * VF_LANES);
        UNROLL for (int r = 0; r < R; r++) {
            vf factor = vf_set(a[r * a_row]);
            UNROLL for (int v = 0; v < V; v++) sum[r][v] = vf_fma(factor, row[v], sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) {
        float *to = y + r * y_stride + v * VF_LANES;
        vf_store(to, vf_add(vf_load(to), sum[r][v]));
    }
}

INLINE void outer_columns(float *y, int64_t y_stride, const float *a, int64_t a_row, int64_t a_step, const float *b,
                          int64_t b_stride, int64_t M, int64_t K, const int V) {
    int64_t m = 0;
    for (; m + OUTER_ROWS <= M; m += OUTER_ROWS)
        outer_tile(y + m * y_stride, y_stride, a + m * a_row, a_row, a_step, b, b_stride, K, OUTER_ROWS, V);
    for (; m + 2 <= M; m += 2) outer_tile(y + m * y_stride, y_stride, a + m * a_row, a_row, a_step, b, b_stride, K, 2, V);
    if (m < M) outer_tile(y + m * y_stride, y_stride, a + m * a_row, a_row, a_step, b, b_stride, K, 1, V);
}

static void outer(float *y, int64_t y_stride, const float *a, int64_t a_row, int64_t a_step, const float *b,
                  int64_t b_stride, int64_t M, int64_t N, int64_t K) {
    int64_t n = 0;
    for (; n + OUTER_VECTORS * VF_LANES <= N; n += OUTER_VECTORS * VF_LANES)
        outer_columns(y + n, y_stride, a, a_row, a_step, b + n, b_stride, M, K, OUTER_VECTORS);
    for (; n + VF_LANES <= N; n += VF_LANES) outer_columns(y + n, y_stride, a, a_row, a_step, b + n, b_stride, M, K, 1);
    for (; n < N; n++)
        for (int64_t m = 0; m < M; m++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < K; k++) sum = __builtin_fmaf(a[m * a_row + k * a_step], b[k * b_stride + n], sum);
            y[m * y_stride + n] += sum;
        }
}

/* ---- activations: dy/dx at x ---- */

INLINE vf one_less(vf x) { return vf_sub(vf_set(1.0f), x); }
INLINE vf slope_tanh(vf x) {
    vf t = tanh_vf(x);
    return vf_fnma(t, t, vf_set(1.0f));
}
INLINE vf slope_sigmoid(vf x) {
    vf s = act_sigmoid(x);
    return vf_mul(s, one_less(s));
}
INLINE vf slope_silu(vf x) {
    vf s = act_sigmoid(x);
    return vf_fma(x, vf_mul(s, one_less(s)), s);
}
INLINE vf slope_relu(vf x) { return vf_select(vf_less(x, vf_set(0.0f)), vf_set(0.0f), vf_set(1.0f)); }
INLINE vf slope_relu2(vf x) { return vf_mul(vf_set(2.0f), vf_max(vf_set(0.0f), x)); }
INLINE vf slope_quick_gelu(vf x) {
    vf scaled = vf_mul(vf_set(1.702f), x), s = act_sigmoid(scaled);
    return vf_fma(scaled, vf_mul(s, one_less(s)), s);
}
INLINE vf slope_gelu_tanh(vf x) {
    vf square = vf_mul(x, x), scale = vf_set(0.79788456080286536f), one = vf_set(1.0f), half = vf_set(0.5f);
    vf t = tanh_vf(vf_mul(vf_mul(scale, x), vf_fma(vf_set(0.044715f), square, one)));
    vf inner = vf_mul(scale, vf_fma(vf_set(0.134145f), square, one));
    return vf_mul(half, vf_fma(vf_mul(x, vf_fnma(t, t, one)), inner, vf_add(one, t)));
}
INLINE vf slope_decay(vf x) {
    vf s = act_sigmoid(x), rate = vf_set(-0.60653065971263342f);
    return vf_mul(vf_mul(rate, vf_mul(s, one_less(s))), exp_vf(vf_mul(rate, s)));
}

INLINE void map_back(float *dx, const float *x, const float *dy, int64_t n, vf (*slope)(vf)) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(dx + i, vf_fma(vf_load(dy + i), slope(vf_load(x + i)), vf_load(dx + i)));
    if (i == n) return;
    float rest[VF_LANES] = {0};
    for (int64_t l = 0; i + l < n; l++) rest[l] = x[i + l];
    vf_store(rest, slope(vf_load(rest)));
    for (int64_t l = 0; i + l < n; l++) dx[i + l] = __builtin_fmaf(dy[i + l], rest[l], dx[i + l]);
}

#define BACK(name) \
    static void back_##name(float *dx, const float *x, const float *dy, int64_t n) { map_back(dx, x, dy, n, slope_##name); }
BACK(tanh)
BACK(sigmoid)
BACK(silu)
BACK(relu)
BACK(relu2)
BACK(quick_gelu)
BACK(gelu_tanh)
BACK(decay)

static void activate_back(float *dx, const float *x, const float *dy, int64_t n, int act) {
    static void (*const backs[])(float *, const float *, const float *, int64_t) = {
        [VR_ACT_TANH] = back_tanh,   [VR_ACT_SIGMOID] = back_sigmoid,       [VR_ACT_SILU] = back_silu,
        [VR_ACT_RELU2] = back_relu2, [VR_ACT_QUICK_GELU] = back_quick_gelu, [VR_ACT_GELU_TANH] = back_gelu_tanh,
        [VR_ACT_DECAY] = back_decay, [VR_ACT_RELU] = back_relu,
    };
    if (backs[act])
        backs[act](dx, x, dy, n);
    else
        vr_generic_activate_back(dx, x, dy, n, act);
}

/* ---- rows ---- */

static void mul_add(float *y, const float *x, const float *z, int64_t n) {
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_store(y + i, vf_fma(vf_load(x + i), vf_load(z + i), vf_load(y + i)));
    for (; i < n; i++) y[i] = __builtin_fmaf(x[i], z[i], y[i]);
}

INLINE void add_to(float *y, vf amount) { vf_store(y, vf_add(vf_load(y), amount)); }

static void lerp_back(float *dx, float *dz, float *dm, float *dmu, const float *x, const float *z, const float *mu,
                      const float *m, const float *dy, int64_t n) {
    const float *only = mu ? mu : m;
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) {
        vf amount = mu && m ? vf_add(vf_load(mu + i), vf_load(m + i)) : vf_load(only + i), g = vf_load(dy + i);
        vf towards = vf_mul(g, amount), damount = vf_mul(g, vf_sub(vf_load(z + i), vf_load(x + i)));
        if (dx) add_to(dx + i, vf_sub(g, towards));
        if (dz) add_to(dz + i, towards);
        if (dm) add_to(dm + i, damount);
        if (dmu) add_to(dmu + i, damount);
    }
    vr_generic_lerp_back(dx ? dx + i : NULL, dz ? dz + i : NULL, dm ? dm + i : NULL, dmu ? dmu + i : NULL, x + i, z + i,
                         mu ? mu + i : NULL, m ? m + i : NULL, dy + i, n - i);
}

/* The forward pass's mean and variance once more; then, with u the normalised x and g = dy*w,
 * dx = (g - mean(g) - u*mean(g*u)) / sqrt(var + eps). */
static void norm_back(float *dx, float *dw, float *db, const float *x, const float *w, const float *dy, int64_t n,
                      float eps) {
    if (n % VF_LANES) {
        vr_generic_norm_back(dx, dw, db, x, w, dy, n, eps);
        return;
    }
    vf zero = vf_set(0.0f), sums = zero, deviations = zero, squares = zero, levels = zero, alongs = zero;
    for (int64_t i = 0; i < n; i += VF_LANES) sums = vf_add(sums, vf_load(x + i));
    vf mean = vf_set(sum_vf(sums) / (float)n);
    for (int64_t i = 0; i < n; i += VF_LANES) {
        vf deviation = vf_sub(vf_load(x + i), mean);
        deviations = vf_add(deviations, deviation);
        squares = vf_fma(deviation, deviation, squares);
    }
    float shift = sum_vf(deviations) / (float)n, variance = sum_vf(squares) / (float)n - shift * shift;
    float inverse = 1.0f / sqrtf((variance > 0.0f ? variance : variance * 0.0f) + eps);
    vf scale = vf_set(inverse), centre = vf_set(shift);
    for (int64_t i = 0; i < n; i += VF_LANES) {
        vf unit = vf_mul(vf_sub(vf_sub(vf_load(x + i), mean), centre), scale), g = vf_load(dy + i);
        if (dw) vf_store(dw + i, vf_fma(g, unit, vf_load(dw + i)));
        if (db) add_to(db + i, g);
        g = vf_mul(g, vf_load(w + i));
        levels = vf_add(levels, g);
        alongs = vf_fma(g, unit, alongs);
    }
    vf level = vf_set(sum_vf(levels) / (float)n), along = vf_set(sum_vf(alongs) / (float)n);
    for (int64_t i = 0; dx && i < n; i += VF_LANES) {
        vf unit = vf_mul(vf_sub(vf_sub(vf_load(x + i), mean), centre), scale);
        vf g = vf_fnma(unit, along, vf_sub(vf_mul(vf_load(dy + i), vf_load(w + i)), level));
        vf_store(dx + i, vf_fma(scale, g, vf_load(dx + i)));
    }
}

/* ---- recurrences ---- */

/* `rows` keys from j on, whose decays are decay[0..]; what is summed over values comes out in three sums. */
INLINE void wkv6_back_keys(const vr_wkv6_back *at, int64_t j, const float *decay, const float *slope, float own,
                           int64_t N, const int rows) {
    vf zero = vf_set(0.0f), read[2] = {zero, zero}, kept[2] = {zero, zero}, written[2] = {zero, zero};
    for (int64_t i = 0; i < N; i += VF_LANES) {
        vf dy = vf_load(at->dy + i), v = vf_load(at->v + i), dv = vf_load(at->dv + i);
        UNROLL for (int c = 0; c < rows; c++) {
            float *to = at->dstate + (j + c) * N + i;
            vf s = vf_load(at->state + (j + c) * N + i), g = vf_load(to);
            read[c] = vf_fma(dy, s, read[c]);
            kept[c] = vf_fma(g, s, kept[c]);
            written[c] = vf_fma(g, v, written[c]);
            dv = vf_fma(g, vf_set(at->k[j + c]), dv);
            vf_store(to, vf_fma(vf_set(decay[c]), g, vf_mul(vf_set(at->r[j + c]), dy)));
        }
        vf_store(at->dv + i, dv);
    }
    UNROLL for (int c = 0; c < rows; c++) {
        v4 sums = vf_sum4(read[c], kept[c], written[c], zero);
        float r = at->r[j + c], k = at->k[j + c], u = at->u[j + c];
        at->dr[j + c] += sums[0] + u * k * own;
        at->dw[j + c] -= sums[1] * slope[c];
        at->dk[j + c] += sums[2] + r * u * own;
        at->du[j + c] += r * k * own;
    }
}

static void wkv6_back(const vr_wkv6_back *at, int64_t N) {
    float decay[KEYS], slope[KEYS];
    if (N % VF_LANES || N % 2) {
        vr_generic_wkv6_back(at, N);
        return;
    }
    vf bonuses = vf_set(0.0f), owns = bonuses;
    for (int64_t j = 0; j < N; j += VF_LANES) {
        bonuses = vf_fma(vf_mul(vf_load(at->r + j), vf_load(at->u + j)), vf_load(at->k + j), bonuses);
        owns = vf_fma(vf_load(at->dy + j), vf_load(at->v + j), owns);
    }
    float own = sum_vf(owns);
    vf bonus = vf_set(sum_vf(bonuses));
    for (int64_t i = 0; i < N; i += VF_LANES) vf_store(at->dv + i, vf_fma(vf_load(at->dy + i), bonus, vf_load(at->dv + i)));
    for (int64_t from = 0; from < N; from += KEYS) {
        int64_t n = N - from < KEYS ? N - from : KEYS;
        for (int64_t j = 0; j < n; j += VF_LANES) {
            vf w = vf_load(at->w + from + j), e = exp_vf(w);
            vf_store(decay + j, exp_vf(neg(e)));
            vf_store(slope + j, exp_vf(vf_sub(w, e)));
        }
        for (int64_t j = 0; j < n; j += 2) wkv6_back_keys(at, from + j, decay + j, slope + j, own, N, 2);
    }
}

/* `rows` values from i on. */
INLINE void wkv7_back_values(const vr_wkv7_back *at, const float *back, float *dback, int64_t i, int64_t N, const int rows) {
    vf zero = vf_set(0.0f), value[2] = {zero, zero}, taken[2] = {zero, zero}, removed[2] = {zero, zero};
    vf dremoved[2], gone[2];
    for (int64_t j = 0; j < N; j += VF_LANES) {
        vf r = vf_load(at->r + j), k = vf_load(at->k + j), b = vf_load(back + j), kk = vf_load(at->kk + j);
        UNROLL for (int c = 0; c < rows; c++) {
            float *to = at->dstate + (i + c) * N + j;
            vf g = vf_fma(vf_set(at->dy[i + c]), r, vf_load(to));
            vf_store(to, g);
            value[c] = vf_fma(g, k, value[c]);
            taken[c] = vf_fma(g, b, taken[c]);
            removed[c] = vf_fma(vf_load(at->state + (i + c) * N + j), kk, removed[c]);
        }
    }
    UNROLL for (int c = 0; c < rows; c++) {
        v4 sums = vf_sum4(value[c], taken[c], removed[c], zero);
        at->dv[i + c] += sums[0];
        dremoved[c] = vf_set(-sums[1]);
        gone[c] = vf_set(sums[2]);
    }
    for (int64_t j = 0; j < N; j += VF_LANES) {
        vf dr = vf_load(at->dr + j), dk = vf_load(at->dk + j), dw = vf_load(at->dw + j), db = vf_load(dback + j);
        vf dkk = vf_load(at->dkk + j), w = vf_load(at->w + j), kk = vf_load(at->kk + j);
        UNROLL for (int c = 0; c < rows; c++) {
            float *to = at->dstate + (i + c) * N + j;
            vf g = vf_load(to), s = vf_load(at->state + (i + c) * N + j);
            dr = vf_fma(vf_set(at->dy[i + c]), vf_load(at->after + (i + c) * N + j), dr);
            dk = vf_fma(g, vf_set(at->v[i + c]), dk);
            dw = vf_fma(g, s, dw);
            db = vf_fnma(g, gone[c], db);
            dkk = vf_fma(dremoved[c], s, dkk);
            vf_store(to, vf_fma(g, w, vf_mul(dremoved[c], kk)));
        }
        vf_store(at->dr + j, dr);
        vf_store(at->dk + j, dk);
        vf_store(at->dw + j, dw);
        vf_store(dback + j, db);
        vf_store(at->dkk + j, dkk);
    }
}

static void wkv7_back(const vr_wkv7_back *at, int64_t N) {
    float *dback = at->scratch, *back = at->scratch + N;
    if (N % VF_LANES || N % 2) {
        vr_generic_wkv7_back(at, N);
        return;
    }
    for (int64_t j = 0; j < N; j += VF_LANES) {
        vf_store(dback + j, vf_set(0.0f));
        vf_store(back + j, vf_mul(vf_load(at->kk + j), vf_load(at->a + j)));
    }
    for (int64_t i = 0; i < N; i += 2) wkv7_back_values(at, back, dback, i, N, 2);
    mul_add(at->dkk, dback, at->a, N);
    mul_add(at->da, dback, at->kk, N);
}

#define SIMD_BACK_KERNELS                                                                                              \
    .outer = outer, .activate_back = activate_back, .mul_add = mul_add, .lerp_back = lerp_back, .norm_back = norm_back, \
    .wkv6_back = wkv6_back, .wkv7_back = wkv7_back
