/* Sampling. In order: penalties on the raw logits; greedy if the temperature is 0; softmax; top-k,
 * locally typical, top-p, min-p, each on what the one before left; then the temperature, as RWKV does
 * (p^(1/T) of the survivors).
 * src: Holtzman et al. 2020 (top-p), Meister et al. 2023 (typical), RWKV's decayed penalties. */
#include "vl/internal.h"

#include <math.h>
#include <string.h>

typedef struct candidate {
    int32_t id;
    float p, rank; /* larger rank is taken first; the lower id on ties */
} candidate;

vrwkv_sampling vrwkv_sampling_default(void) {
    return (vrwkv_sampling){.temperature = 1, .top_p = 0.3f, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1};
}

vrwkv_status vrwkv_set_sampling(vrwkv_context *context, const vrwkv_sampling *s, vrwkv_error *err) {
    const struct { const char *name; double value, low, high; } ranges[] = {
        {"temperature", s->temperature, 0, 100},       {"top_k", s->top_k, 0, 1 << 28},
        {"top_p", s->top_p, 0, 1},                     {"min_p", s->min_p, 0, 1},
        {"typical", s->typical, 0, 1},                 {"repeat_penalty", s->repeat_penalty, 0.01, 100},
        {"presence_penalty", s->presence_penalty, -100, 100}, {"frequency_penalty", s->frequency_penalty, -100, 100},
        {"penalty_decay", s->penalty_decay, 0, 1},
    };
    for (size_t i = 0; i < VR_COUNT(ranges); i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "sampling: %s is %g, expected %g to %g", ranges[i].name, ranges[i].value,
                           ranges[i].low, ranges[i].high);
    context->sampling = *s;
    context->rng.state = s->seed;
    return VRWKV_OK;
}

static bool before(const candidate *a, const candidate *b) { return a->rank > b->rank || (a->rank == b->rank && a->id < b->id); }

static void sift(candidate *heap, size_t n, size_t i) {
    for (;;) {
        size_t best = i, left = 2 * i + 1, right = left + 1;
        if (left < n && before(&heap[left], &heap[best])) best = left;
        if (right < n && before(&heap[right], &heap[best])) best = right;
        if (best == i) return;
        candidate keep = heap[i];
        heap[i] = heap[best];
        heap[best] = keep;
        i = best;
    }
}

/* Keeps the best candidates by rank, best first, until `count` are taken or their sum of p reaches
 * `mass`; at least one. A heap, because few of 65,536 are usually wanted. taken: room for n. */
static size_t take_best(candidate *from, size_t n, candidate *taken, size_t count, double mass) {
    double sum = 0;
    size_t k = 0;
    for (size_t i = n / 2; i-- > 0;) sift(from, n, i);
    while (n && k < count) {
        taken[k] = from[0];
        sum += from[0].p;
        from[0] = from[--n];
        sift(from, n, 0);
        k++;
        if (sum >= mass) break;
    }
    memcpy(from, taken, k * sizeof *from);
    return k;
}

static size_t softmax_all(candidate *c, const float *logits, size_t n) {
    double sum = 0;
    float max = logits[0];
    for (size_t i = 1; i < n; i++)
        if (logits[i] > max) max = logits[i];
    for (size_t i = 0; i < n; i++) sum += exp((double)(logits[i] - max));
    for (size_t i = 0; i < n; i++) {
        float p = (float)(exp((double)(logits[i] - max)) / sum);
        c[i] = (candidate){(int32_t)i, p, p};
    }
    return n;
}

static double total(const candidate *c, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += c[i].p;
    return sum;
}

static size_t keep_typical(candidate *c, size_t n, candidate *scratch, double mass) {
    double sum = total(c, n), entropy = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].p > 0) entropy -= c[i].p / sum * log(c[i].p / sum);
    for (size_t i = 0; i < n; i++)
        c[i].rank = c[i].p > 0 ? (float)-fabs(-log(c[i].p / sum) - entropy) : -INFINITY;
    n = take_best(c, n, scratch, n, mass * sum);
    for (size_t i = 0; i < n; i++) c[i].rank = c[i].p;
    return n;
}

static size_t keep_min_p(candidate *c, size_t n, float min_p) {
    float largest = 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].p > largest) largest = c[i].p;
    for (size_t i = 0; i < n; i++)
        if (c[i].p >= min_p * largest) c[kept++] = c[i];
    return kept;
}

static int32_t draw(vrwkv_context *context, candidate *c, size_t n) {
    double sum = 0, power = 1 / (double)context->sampling.temperature, largest = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].p > largest) largest = c[i].p;
    for (size_t i = 0; i < n; i++) sum += pow(c[i].p / largest, power);
    double at = vr_rng_uniform(&context->rng) * sum;
    for (size_t i = 0; i < n; i++) {
        at -= pow(c[i].p / largest, power);
        if (at < 0) return c[i].id;
    }
    return c[n - 1].id;
}

static void penalise(const vrwkv_context *context, float *logits, size_t n) {
    const vrwkv_sampling *s = &context->sampling;
    memcpy(logits, context->logits, n * sizeof *logits);
    for (size_t i = 0; i < n; i++) {
        if (context->counts[i] == 0) continue;
        logits[i] = logits[i] > 0 ? logits[i] / s->repeat_penalty : logits[i] * s->repeat_penalty;
        logits[i] -= s->presence_penalty + s->frequency_penalty * context->counts[i];
    }
}

static int32_t choose(vrwkv_context *context, float *logits, candidate *c, candidate *scratch, size_t n) {
    const vrwkv_sampling *s = &context->sampling;
    penalise(context, logits, n);
    if (s->temperature == 0) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (logits[i] > logits[best]) best = i;
        return (int32_t)best;
    }
    size_t count = softmax_all(c, logits, n);
    if (s->top_k > 0 && (size_t)s->top_k < count) count = take_best(c, count, scratch, (size_t)s->top_k, 2);
    if (s->typical < 1) count = keep_typical(c, count, scratch, s->typical);
    if (s->top_p < 1) count = take_best(c, count, scratch, count, s->top_p * total(c, count));
    if (s->min_p > 0) count = keep_min_p(c, count, s->min_p);
    return draw(context, c, count);
}

vrwkv_status vrwkv_sample(vrwkv_context *context, int32_t *token, vrwkv_error *err) {
    if (!context || !token) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_sample: a null pointer was given");
    if (!context->has_logits)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_sample: the conversation is empty: feed it a prompt first");
    size_t n = (size_t)context->model->config.lm.n_vocab;
    vr_workspace *workspace;
    VR_TRY(vr_workspace_get(context->model, &workspace, err));
    float *logits = vr_arena_get(&workspace->arena, n, sizeof *logits);
    candidate *c = vr_arena_get(&workspace->arena, n, sizeof *c), *scratch = vr_arena_get(&workspace->arena, n, sizeof *scratch);
    vr_status status = VRWKV_OK;
    if (!logits || !c || !scratch)
        status = vr_fail(err, VRWKV_ERR_MEMORY, "scratch memory is exhausted");
    else
        *token = choose(context, logits, c, scratch, n);
    vr_workspace_put(context->model, workspace);
    VR_TRY(status);
    for (size_t i = 0; i < n && context->sampling.penalty_decay < 1; i++) context->counts[i] *= context->sampling.penalty_decay;
    context->counts[*token] += 1;
    return VRWKV_OK;
}
