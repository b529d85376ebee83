/* One step of a recurrence, one head: the part of a vector kernel set that simd.h includes. */

/* ---- wkv6: blocks of keys, for each all values; the sum over keys stays in order ---- */

enum { KEYS = 64 };

INLINE void decays(float *decay, const float *w, int64_t n) {
    for (int64_t j = 0; j < n; j += VF_LANES) {
        float rest[VF_LANES] = {0};
        const float *from = w + j;
        if (n - j < VF_LANES) {
            for (int64_t l = 0; j + l < n; l++) rest[l] = from[l];
            from = rest;
        }
        vf_store(decay + j, exp_vf(neg(exp_vf(vf_load(from)))));
    }
}

/* `wide` vectors of values at i: y += over the n keys, and the state's columns move one step. */
INLINE void wkv6_columns(float *y, float *state, const float *r, const float *k, const float *v, const float *decay,
                         const float *u, int64_t n, int64_t N, const int wide) {
    vf sum[4], value[4];
    UNROLL for (int c = 0; c < wide; c++) {
        sum[c] = vf_load(y + c * VF_LANES);
        value[c] = vf_load(v + c * VF_LANES);
    }
    for (int64_t j = 0; j < n; j++) {
        vf key = vf_set(k[j]), bonus = vf_set(u[j]), read = vf_set(r[j]), keep = vf_set(decay[j]);
        UNROLL for (int c = 0; c < wide; c++) {
            float *at = state + j * N + c * VF_LANES;
            vf s = vf_load(at), kv = vf_mul(key, value[c]);
            sum[c] = vf_fma(read, vf_fma(bonus, kv, s), sum[c]);
            vf_store(at, vf_fma(keep, s, kv));
        }
    }
    UNROLL for (int c = 0; c < wide; c++) vf_store(y + c * VF_LANES, sum[c]);
}

static void wkv6(float *y, float *state, const float *r, const float *k, const float *v, const float *w, const float *u,
                 int64_t N) {
    float decay[KEYS + VF_LANES];
    for (int64_t i = 0; i < N; i++) y[i] = 0.0f;
    for (int64_t j = 0; j < N; j += KEYS) {
        int64_t n = N - j < KEYS ? N - j : KEYS, i = 0;
        float *s = state + j * N;
        decays(decay, w + j, n);
        for (; i + 4 * VF_LANES <= N; i += 4 * VF_LANES)
            wkv6_columns(y + i, s + i, r + j, k + j, v + i, decay, u + j, n, N, 4);
        for (; i + VF_LANES <= N; i += VF_LANES) wkv6_columns(y + i, s + i, r + j, k + j, v + i, decay, u + j, n, N, 1);
        for (; i < N; i++)
            for (int64_t l = 0; l < n; l++) {
                float kv = k[j + l] * v[i], *at = s + l * N + i;
                y[i] = __builtin_fmaf(r[j + l], __builtin_fmaf(u[j + l], kv, *at), y[i]);
                *at = __builtin_fmaf(decay[l], *at, kv);
            }
    }
}

/* ---- wkv7: `rows` values at once, for each all keys, in two passes: what kk reads of the state is known
 * only at the end of the first ---- */

INLINE void wkv7_rows(float *y, float *state, const float *r, const float *w, const float *k, const float *v,
                      const float *kk, const float *a, int64_t N, const int rows) {
    vf sum[4] = {vf_set(0.0f), vf_set(0.0f), vf_set(0.0f), vf_set(0.0f)};
    float removed[4], read[4];
    int64_t j = 0;
    for (; j + VF_LANES <= N; j += VF_LANES)
        UNROLL for (int c = 0; c < rows; c++) sum[c] = vf_fma(vf_load(state + c * N + j), vf_load(kk + j), sum[c]);
    const int64_t whole = j;
    v4 first = vf_sum4(sum[0], sum[1], sum[2], sum[3]);
    for (int c = 0; c < rows; c++) {
        removed[c] = first[c];
        for (j = whole; j < N; j++) removed[c] = __builtin_fmaf(state[c * N + j], kk[j], removed[c]);
        sum[c] = vf_set(0.0f);
    }
    for (j = 0; j < whole; j += VF_LANES) {
        vf keep = vf_load(w + j), key = vf_load(k + j), reader = vf_load(r + j);
        vf back = vf_mul(vf_load(kk + j), vf_load(a + j));
        UNROLL for (int c = 0; c < rows; c++) {
            vf s = vf_fma(vf_load(state + c * N + j), keep, vf_mul(vf_set(v[c]), key));
            s = vf_fnma(vf_set(removed[c]), back, s);
            vf_store(state + c * N + j, s);
            sum[c] = vf_fma(s, reader, sum[c]);
        }
    }
    v4 second = vf_sum4(sum[0], sum[1], sum[2], sum[3]);
    for (int c = 0; c < rows; c++) {
        read[c] = second[c];
        for (j = whole; j < N; j++) {
            float *s = state + c * N + j;
            *s = __builtin_fmaf(-removed[c], kk[j] * a[j], __builtin_fmaf(*s, w[j], v[c] * k[j]));
            read[c] = __builtin_fmaf(*s, r[j], read[c]);
        }
        y[c] = read[c];
    }
}

static void wkv7(float *y, float *state, const float *r, const float *w, const float *k, const float *v, const float *kk,
                 const float *a, int64_t N) {
    int64_t i = 0;
    for (; i + 4 <= N; i += 4) wkv7_rows(y + i, state + i * N, r, w, k, v + i, kk, a, N, 4);
    for (; i < N; i++) wkv7_rows(y + i, state + i * N, r, w, k, v + i, kk, a, N, 1);
}
