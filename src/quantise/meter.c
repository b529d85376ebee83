#include "quantise/meter.h"
#include "base/memory.h"
#include "vl/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORST 1e9 /* in place of a divergence that is no finite number */

struct vr_meter {
    vrwkv_model *model;
    const vr_samples *samples;
    vrwkv_context *context;
    float *before; /* logits [positions, vocabulary] */
    double *log_sums, *kl; /* [positions]: ln of the sum of exp(before); divergence */
    bool *same;
    bool keeps; /* the logits that come are those of before */
    size_t at;  /* position that comes next */
};

static double log_sum(const float *logits, int64_t n) {
    float largest = logits[0];
    double sum = 0;
    for (int64_t i = 1; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - (double)largest);
    return (double)largest + log(sum);
}

static int64_t likeliest(const float *logits, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static double divergence(const float *p, double p_sum, const float *q, int64_t n) {
    double q_sum = log_sum(q, n), sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double ln_p = (double)p[i] - p_sum;
        sum += exp(ln_p) * (ln_p - ((double)q[i] - q_sum));
    }
    return isfinite(sum) ? sum > 0 ? sum : 0 : WORST;
}

/* ---- the rows of one trace, each by one thread ---- */

typedef struct rows { vr_meter *meter; const float *logits; int64_t vocab; } rows;

static void measure_row(void *job, int64_t row, int thread) {
    const rows *r = job;
    vr_meter *meter = r->meter;
    size_t at = meter->at + (size_t)row;
    const float *now = r->logits + row * r->vocab;
    float *before = meter->before + at * (size_t)r->vocab;
    (void)thread;
    if (meter->keeps) {
        memcpy(before, now, (size_t)r->vocab * sizeof *now);
        meter->log_sums[at] = log_sum(before, r->vocab);
    } else {
        meter->kl[at] = divergence(before, meter->log_sums[at], now, r->vocab);
        meter->same[at] = likeliest(before, r->vocab) == likeliest(now, r->vocab);
    }
}

static void see(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    vr_meter *meter = user;
    rows r = {meter, data, shape[ndim - 1]};
    if (strcmp(name, "logits") != 0) return;
    vr_pool_run(meter->model->pool, measure_row, &r, shape[0]);
    meter->at += (size_t)shape[0];
}

/* Rows of pictures and blank ones are read before the trace begins: their predictions are never used. */
static vr_status read_sample(vr_meter *meter, const vr_sample_item *sample, vrwkv_features *features, vr_error *err) {
    vrwkv_set_trace(meter->context, NULL, NULL);
    vrwkv_context_reset(meter->context);
    VR_TRY(vrwkv_feed(meter->context, sample->ids, sample->head, &features, sample->has_picture, err));
    vrwkv_set_trace(meter->context, see, meter);
    return vrwkv_feed(meter->context, sample->ids + sample->head, sample->n - sample->head, NULL, 0, err);
}

static vr_status read_all(vr_meter *meter, bool vision, vr_error *err) {
    meter->at = 0;
    vr_model_forget(meter->model); /* the state after a blank image is that of other weights */
    for (size_t i = 0; i < meter->samples->n; i++) {
        const vr_sample_item *sample = &meter->samples->items[i];
        vrwkv_features *features = NULL;
        if (sample->has_picture && vision) VR_TRY(vr_model_encode(meter->model, &sample->picture, &features, err));
        if (!features) features = vrwkv_features_share(sample->features);
        vr_status status = read_sample(meter, sample, features, err);
        vrwkv_features_free(features);
        VR_TRY(status);
    }
    return VRWKV_OK;
}

static vr_status start(vr_meter *meter, vr_error *err) {
    size_t n = meter->samples->positions, vocab = (size_t)meter->model->config.lm.n_vocab;
    meter->before = vr_alloc(n, vocab * sizeof *meter->before);
    meter->log_sums = vr_alloc(n, sizeof *meter->log_sums);
    meter->kl = vr_alloc(n, sizeof *meter->kl);
    meter->same = vr_alloc(n, sizeof *meter->same);
    if (!meter->before || !meter->log_sums || !meter->kl || !meter->same)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the logits of %zu positions", n);
    VR_TRY(vrwkv_context_new(meter->model, NULL, &meter->context, err));
    meter->keeps = true;
    VR_TRY(read_all(meter, false, err));
    meter->keeps = false;
    return VRWKV_OK;
}

vr_status vr_meter_open(vr_meter **out, vrwkv_model *model, const vr_samples *samples, vr_error *err) {
    *out = NULL;
    vr_meter *meter = vr_alloc(1, sizeof *meter);
    if (!meter) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *meter = (vr_meter){.model = model, .samples = samples};
    vr_status status = start(meter, err);
    if (status == VRWKV_OK)
        *out = meter;
    else
        vr_meter_close(meter);
    return status;
}

vr_status vr_meter_read(vr_meter *meter, bool vision, vr_distance *out, vr_error *err) {
    size_t n = meter->samples->positions;
    *out = (vr_distance){0};
    VR_TRY(read_all(meter, vision, err));
    for (size_t i = 0; i < n; i++) {
        out->kl += meter->kl[i] / (double)n;
        out->same += meter->same[i] / (double)n;
    }
    return VRWKV_OK;
}

void vr_meter_close(vr_meter *meter) {
    if (!meter) return;
    vrwkv_context_free(meter->context);
    free(meter->before);
    free(meter->log_sums);
    free(meter->kl);
    free(meter->same);
    free(meter);
}
