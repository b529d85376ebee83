/* The operations of sequences and of RWKV's heads, with every kernel set that this processor can run,
 * against plain double arithmetic written here, on odd sizes. Then what must hold to the bit: thread
 * counts, sequences alone or side by side, chunks of a sequence. */
#include "ops_frame.h"

static const int64_t heads[] = {1, 3, 17}, widths[] = {1, 8, 17, 33, 64, 100};

static void test_token_shift(bench *b, const vr_kernels *kernels) {
    int64_t C = 300, T = 200;
    vr_span spans[] = {{0, 1}, {1, 120}, {121, 0}, {121, 78}, {199, 1}};
    float carry[5][300], before[5][300], *carries[5];
    use(b, kernels, 3);
    vr_tensor *x = random2(b, T, C, 1);
    for (int s = 0; s < 5; s++) {
        carries[s] = carry[s];
        for (int64_t i = 0; i < C; i++) before[s][i] = carry[s][i] = uniform(b);
    }
    vr_tensor *p = vr_token_shift(&b->run, x, spans, carries, 5);
    CHECK(p, "%s", b->err.message);
    for (int s = 0; p && s < 5; s++) {
        for (int64_t t = spans[s].start; t < spans[s].start + spans[s].length; t++)
            CHECK(memcmp(at(p) + t * C, t == spans[s].start ? before[s] : at(x) + (t - 1) * C, sizeof before[s]) == 0,
                  "sequence %d row %lld", s, (long long)t);
        const float *expected = spans[s].length ? at(x) + (spans[s].start + spans[s].length - 1) * C : before[s];
        CHECK(memcmp(carry[s], expected, sizeof carry[s]) == 0, "carry of sequence %d", s);
    }
}

/* ---- recurrences: one table, so that each is put to the same tests ---- */

enum { MAX_INPUTS = 6 };

typedef struct inputs {
    vr_tensor *x[MAX_INPUTS]; /* [T, H*N] each, in the order of the recurrence */
    vr_tensor *w, *u;         /* [H,N], the same in every row */
} inputs;

typedef struct recurrence {
    const char *name;
    int n; /* inputs per row */
    inputs (*make)(bench *b, int64_t T, int64_t H, int64_t N);
    vr_tensor *(*run)(vr_run *run, const inputs *in, int H, const vr_span *spans, float *const *states, int n_spans);
    /* one head of one row: x[i] are its N channels of input i */
    void (*step)(double *y, double *state, const float *const *x, const float *w, const float *u, int64_t N);
} recurrence;

static inputs make6(bench *b, int64_t T, int64_t H, int64_t N) {
    inputs in = {.w = random2(b, H, N, 4), .u = random2(b, H, N, 1)};
    for (int i = 0; i < 4; i++) in.x[i] = random2(b, T, H * N, i == 3 ? 4 : 1);
    return in;
}

static vr_tensor *run5(vr_run *run, const inputs *in, int H, const vr_span *spans, float *const *states, int n_spans) {
    (void)H;
    return vr_wkv6(run, in->x[0], in->x[1], in->x[2], in->w, in->u, spans, states, n_spans);
}

static vr_tensor *run6(vr_run *run, const inputs *in, int H, const vr_span *spans, float *const *states, int n_spans) {
    (void)H;
    return vr_wkv6(run, in->x[0], in->x[1], in->x[2], in->x[3], in->u, spans, states, n_spans);
}

static void step5(double *y, double *state, const float *const *x, const float *w, const float *u, int64_t N) {
    const float *r = x[0], *k = x[1], *v = x[2];
    for (int64_t i = 0; i < N; i++) {
        y[i] = 0;
        for (int64_t j = 0; j < N; j++) {
            double *s = state + j * N + i, kv = (double)k[j] * v[i];
            y[i] += r[j] * (*s + u[j] * kv);
            *s = exp(-exp((double)w[j])) * *s + kv;
        }
    }
}

static void step6(double *y, double *state, const float *const *x, const float *w, const float *u, int64_t N) {
    (void)w;
    step5(y, state, x, x[3], u, N);
}

/* r, w, k, v, kk, a: decays and rates between 0 and 1, kk about as long as 1, as the model has them. */
static inputs make7(bench *b, int64_t T, int64_t H, int64_t N) {
    inputs in = {.w = NULL, .u = NULL};
    for (int i = 0; i < 6; i++) in.x[i] = random2(b, T, H * N, 1);
    for (int64_t i = 0; i < T * H * N; i++) {
        float *w = in.x[1]->data, *a = in.x[5]->data;
        w[i] = 0.75f + 0.25f * w[i];
        a[i] = 0.5f + 0.5f * a[i];
    }
    in.x[4] = vr_l2_norm(&b->run, in.x[4], (int)H, 1e-12f);
    return in;
}

static vr_tensor *run7(vr_run *run, const inputs *in, int H, const vr_span *spans, float *const *states, int n_spans) {
    return vr_wkv7(run, in->x[0], in->x[1], in->x[2], in->x[3], in->x[4], in->x[5], H, spans, states, n_spans);
}

static void step7(double *y, double *state, const float *const *x, const float *static_w, const float *u, int64_t N) {
    const float *r = x[0], *w = x[1], *k = x[2], *v = x[3], *kk = x[4], *a = x[5];
    (void)static_w, (void)u;
    for (int64_t i = 0; i < N; i++) {
        double *s = state + i * N, removed = 0;
        for (int64_t j = 0; j < N; j++) removed += s[j] * kk[j];
        y[i] = 0;
        for (int64_t j = 0; j < N; j++) {
            s[j] = s[j] * w[j] - removed * kk[j] * a[j] + (double)v[i] * k[j];
            y[i] += s[j] * r[j];
        }
    }
}

static const recurrence recurrences[] = {
    {"wkv6, static decay", 3, make6, run5, step5},
    {"wkv6", 4, make6, run6, step6},
    {"wkv7", 6, make7, run7, step7},
};

static inputs part(bench *b, const inputs *in, int n, int64_t start, int64_t length) {
    inputs out = *in;
    for (int i = 0; i < n; i++) out.x[i] = vr_rows(&b->run, in->x[i], start, length);
    return out;
}

/* Bound: 1e-5 on sums of about N products below 1 in size, where the state holds numbers of a few units. */
static void check_values(bench *b, const recurrence *kind, int64_t T, int64_t H, int64_t N) {
    inputs in = kind->make(b, T, H, N);
    float *state = vr_arena_get(&b->arena, (size_t)(H * N * N), sizeof *state);
    double *truth = vr_arena_get(&b->arena, (size_t)(H * N * N), sizeof *truth), row[100];
    for (int64_t i = 0; i < H * N * N; i++) truth[i] = state[i] = uniform(b);
    vr_tensor *y = kind->run(&b->run, &in, (int)H, &(vr_span){0, T}, &state, 1);
    CHECK(y, "%s", b->err.message);
    for (int64_t t = 0; y && t < T; t++)
        for (int64_t h = 0; h < H; h++) {
            const float *x[MAX_INPUTS];
            for (int i = 0; i < kind->n; i++) x[i] = at(in.x[i]) + (t * H + h) * N;
            kind->step(row, truth + h * N * N, x, in.w ? at(in.w) + h * N : NULL, in.u ? at(in.u) + h * N : NULL, N);
            for (int64_t i = 0; i < N; i++) near(b, kind->name, at(y)[(t * H + h) * N + i], row[i], 1e-5);
        }
    for (int64_t i = 0; y && i < H * N * N; i++) near(b, kind->name, state[i], truth[i], 3e-6);
}

/* A sequence at once, in two chunks, and row by row as two conversations: the same bits, whatever the
 * number of threads. */
static void check_bits(bench *b, const recurrence *kind, int64_t H, int64_t N) {
    int64_t T = 11, size = H * N * N;
    inputs in = kind->make(b, T, H, N);
    float *states[4], *start = vr_arena_get(&b->arena, (size_t)size, sizeof(float));
    for (int64_t i = 0; i < size; i++) start[i] = uniform(b);
    for (int i = 0; i < 4; i++) {
        states[i] = vr_arena_get(&b->arena, (size_t)size, sizeof(float));
        memcpy(states[i], start, (size_t)size * sizeof(float));
    }
    vr_tensor *whole = kind->run(&b->run, &in, (int)H, &(vr_span){0, T}, &states[0], 1);
    b->run.pool = b->pools[2];
    for (int64_t t = 0, n = 4; t < T; t += n, n = T - t) {
        inputs rows = part(b, &in, kind->n, t, n);
        vr_tensor *y = kind->run(&b->run, &rows, (int)H, &(vr_span){0, n}, &states[1], 1);
        CHECK(same(y, vr_rows(&b->run, whole, t, n)), "%s: chunk at %lld", kind->name, (long long)t);
    }
    b->run.pool = b->pools[0];
    CHECK(memcmp(states[0], states[1], (size_t)size * sizeof(float)) == 0, "%s: state after chunks", kind->name);
    for (int64_t t = 0; t < T; t++) {
        inputs two = part(b, &in, kind->n, t, 1);
        for (int i = 0; i < kind->n; i++) two.x[i] = vr_concat_rows(&b->run, two.x[i], two.x[i]);
        vr_tensor *pair = kind->run(&b->run, &two, (int)H, (vr_span[]){{0, 1}, {1, 1}}, &states[2], 2);
        CHECK(same(vr_rows(&b->run, pair, 0, 1), vr_rows(&b->run, whole, t, 1)), "%s: row %lld", kind->name, (long long)t);
        CHECK(same(vr_rows(&b->run, pair, 1, 1), vr_rows(&b->run, whole, t, 1)), "%s: row %lld, second", kind->name, (long long)t);
    }
    CHECK(memcmp(states[0], states[3], (size_t)size * sizeof(float)) == 0, "%s: state after rows", kind->name);
}

static void test_recurrences(bench *b, const vr_kernels *kernels) {
    for (size_t r = 0; r < VR_COUNT(recurrences); r++)
        for (size_t h = 0; h < VR_COUNT(heads); h++)
            for (size_t n = 0; n < VR_COUNT(widths); n++) {
                use(b, kernels, 2);
                check_values(b, &recurrences[r], 7, heads[h], widths[n]);
                check_bits(b, &recurrences[r], heads[h], widths[n]);
            }
}

/* ---- what RWKV-7 does to its heads ---- */

/* Bound: 4 units in the last place of numbers up to 1. */
static void test_l2_norm(bench *b, const vr_kernels *kernels) {
    for (size_t h = 0; h < VR_COUNT(heads); h++)
        for (size_t n = 0; n < VR_COUNT(widths); n++) {
            int64_t T = 5, H = heads[h], N = widths[n];
            use(b, kernels, 2);
            vr_tensor *x = random2(b, T, H * N, 3);
            memset(x->data, 0, (size_t)N * sizeof(float)); /* a head of zeros stays one */
            vr_tensor *y = vr_l2_norm(&b->run, x, (int)H, 1e-12f), *floor = vr_l2_norm(&b->run, x, (int)H, 1e3f);
            CHECK(y && floor, "%s", b->err.message);
            for (int64_t g = 0; y && g < T * H; g++) {
                double squares = 0;
                for (int64_t i = 0; i < N; i++) squares += (double)at(x)[g * N + i] * at(x)[g * N + i];
                for (int64_t i = 0; i < N; i++) {
                    float value = at(x)[g * N + i];
                    near(b, "l2_norm", at(y)[g * N + i], squares > 0 ? value / sqrt(squares) : 0, 8 * EPS);
                    near(b, "l2_norm, short", at(floor)[g * N + i], (double)value / 1e3, 8 * EPS * 3e-3);
                }
            }
        }
    use(b, kernels, 1);
    vr_tensor *x = random2(b, 1, 6, 1);
    ((float *)x->data)[1] = NAN;
    vr_tensor *y = vr_l2_norm(&b->run, x, 2, 1e-12f);
    CHECK(isnan(at(y)[0]) && isnan(at(y)[2]) && !isnan(at(y)[3]), "%s: a NaN stays, in its head", kernels->name);
}

/* Bound: 8 roundings of half a unit of the sum of magnitudes. */
static void test_bonus(bench *b, const vr_kernels *kernels) {
    for (size_t h = 0; h < VR_COUNT(heads); h++)
        for (size_t n = 0; n < VR_COUNT(widths); n++) {
            int64_t T = 5, H = heads[h], N = widths[n];
            use(b, kernels, 2);
            vr_tensor *y = random2(b, T, H * N, 1), *r = random2(b, T, H * N, 1), *k = random2(b, T, H * N, 1);
            vr_tensor *v = random2(b, T, H * N, 1), *u = random2(b, H, N, 1), *z = vr_bonus(&b->run, y, r, k, v, u);
            CHECK(z, "%s", b->err.message);
            for (int64_t g = 0; z && g < T * H; g++) {
                double amount = 0, size = 0;
                for (int64_t j = 0; j < N; j++) {
                    double term = (double)at(r)[g * N + j] * at(k)[g * N + j] * at(u)[g % H * N + j];
                    amount += term;
                    size += fabs(term);
                }
                for (int64_t i = g * N; i < (g + 1) * N; i++)
                    near(b, "bonus", at(z)[i], at(y)[i] + amount * at(v)[i], 8 * EPS * (size + 1));
            }
            b->run.pool = b->pools[2];
            CHECK(same(z, vr_bonus(&b->run, y, r, k, v, u)), "%s bonus: other bits with three threads", kernels->name);
        }
}

static void test_failures(bench *b, const vr_kernels *kernels) {
    static float data[4096];
    float *state = data;
    vr_tensor x = {VR_F32, 2, {4, 32}, data}, w = {VR_F32, 2, {8, 31}, data}, u = {VR_F32, 2, {2, 16}, data};
    const vr_span all = {0, 4}, short_by_one = {0, 3};
    use(b, kernels, 2);
    expect_failure(b, vr_token_shift(&b->run, &x, &short_by_one, &state, 1), VRWKV_ERR_SHAPE, "token_shift: the sequences have 3 rows");
    expect_failure(b, vr_wkv6(&b->run, &x, &x, &x, &x, &x, &all, &state, 1), VRWKV_ERR_SHAPE, "wkv6: u is f32 [4, 32]");
    expect_failure(b, vr_wkv6(&b->run, &x, &x, &x, &w, &u, &all, &state, 1), VRWKV_ERR_SHAPE, "wkv6: w is f32 [8, 31], expected f32 [4, 32]");
    expect_failure(b, vr_wkv7(&b->run, &x, &x, &x, &x, &x, &w, 2, &all, &state, 1), VRWKV_ERR_SHAPE, "wkv7: a is f32 [8, 31]");
    expect_failure(b, vr_wkv7(&b->run, &x, &x, &x, &x, &x, &x, 5, &all, &state, 1), VRWKV_ERR_SHAPE, "wkv7: 5 heads of 32");
    expect_failure(b, vr_wkv7(&b->run, &x, &x, &x, &x, &x, &x, 2, &short_by_one, &state, 1), VRWKV_ERR_SHAPE, "wkv7: the sequences have 3 rows");
    expect_failure(b, vr_l2_norm(&b->run, &x, 5, 0), VRWKV_ERR_SHAPE, "l2_norm: 5 groups of 32");
    expect_failure(b, vr_bonus(&b->run, &x, &x, &x, &w, &u), VRWKV_ERR_SHAPE, "bonus: v is f32 [8, 31]");
    expect_failure(b, vr_bonus(&b->run, &x, &x, &x, &x, &w), VRWKV_ERR_SHAPE, "bonus: u is f32 [8, 31], expected f32 [32]");
    CHECK(!vr_wkv7(&b->run, &x, &x, &x, &x, NULL, &x, 2, &all, &state, 1) && vr_run_status(&b->run) == VRWKV_OK,
          "NULL gives NULL without a failure");
}

int main(void) {
    static void (*const tests[])(bench *, const vr_kernels *) = {test_token_shift, test_recurrences, test_l2_norm, test_bonus,
                                                                test_failures};
    bench b = {.rng = {20250318}};
    bench_open(&b);
    bench_run(&b, tests, VR_COUNT(tests));
    bench_close(&b);
    return check_result();
}
