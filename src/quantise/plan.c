/* Measuring matrices one by one, and spending the bits. */
#include "quantise/quantise.h"
#include "base/memory.h"
#include "ops/quant.h"
#include "quantise/meter.h"
#include "quantise/report.h"
#include "vl/internal.h"
#include "vl/recode.h"

#include <stdlib.h>
#include <string.h>

typedef struct plan {
    const vr_quantise_options *options;
    vrwkv_model *model;
    vr_samples samples;
    vr_meter *meter;
    vr_plan_matrix *matrices; /* [n], measured and not */
    size_t n, capacity;
    uint64_t weights, used, limit; /* of those measured: their number, and bits */
    uint64_t done, total;          /* readings */
    vr_error *err;
} plan;

static uint64_t stored_bits(const vr_plan_matrix *m, vr_dtype type) { return 8 * (uint64_t)vr_stored_bytes(type, m->weights); }

static vr_status tell(plan *p) {
    const vr_quantise_options *o = p->options;
    if (!o->progress || !o->progress(o->user, "measure", p->done, p->total)) return VRWKV_OK;
    return vr_fail(p->err, VRWKV_ERR_CANCELLED, "cancelled");
}

/* ---- which matrices ---- */

static vr_status add_matrix(plan *p, const vr_part *part, const vr_row *row, int layer) {
    vr_tensor *tensor = vr_row_tensor(part, row, layer);
    bool vision = strcmp(part->name, "rwkv") != 0;
    char name[VR_NAME_SIZE];
    if (row->kind != VR_MAT || !tensor->data) return VRWKV_OK;
    vr_part_gguf_name(part, row, layer, name);
    if (vr_is_quantised(tensor->dtype))
        return vr_fail(p->err, VRWKV_ERR_UNSUPPORTED, "'%s': %s is %s already: auto needs a model whose matrices are f32, f16 or bf16",
                       p->options->model, name, vr_dtype_of(tensor->dtype)->name);
    VR_TRY(vr_grow(&p->matrices, &p->capacity, p->n + 1, sizeof *p->matrices, p->err));
    vr_plan_matrix *m = &p->matrices[p->n];
    *m = (vr_plan_matrix){.tensor = tensor, .vision = vision, .type = VR_F16};
    memcpy(m->name, name, sizeof name);
    vr_shape_count(tensor->ndim, tensor->shape, &m->weights);
    int64_t last = tensor->shape[tensor->ndim - 1];
    for (int t = 0; t < VR_PLAN_TYPES; t++) m->fits[t] = last % vr_dtype_of(vr_plan_types[t])->block == 0;
    bool fixed = vision && (p->options->vision_type || !p->samples.pictures);
    if (fixed) m->type = vr_quant_fit(p->options->vision_type ? *p->options->vision_type : VR_Q8_0, last);
    m->measured = !fixed && m->fits[0];
    p->weights += m->measured ? (uint64_t)m->weights : 0;
    p->n++;
    return VRWKV_OK;
}

static vr_status list_matrices(plan *p) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&p->model->config, parts);
    vr_model_parts(p->model, parts);
    for (int i = 0; i < n; i++)
        for (int layer = 0; layer < parts[i].repeat; layer++)
            for (int r = 0; r < parts[i].n_rows; r++) VR_TRY(add_matrix(p, &parts[i], &parts[i].rows[r], layer));
    for (size_t i = 0; i < p->n; i++)
        for (int t = 0; t < VR_PLAN_TYPES; t++) p->total += p->matrices[i].measured && p->matrices[i].fits[t];
    p->limit = (uint64_t)(p->options->bits * (double)p->weights);
    return p->weights ? VRWKV_OK : vr_fail(p->err, VRWKV_ERR_UNSUPPORTED, "'%s': no matrix fits a narrower type", p->options->model);
}

/* ---- measuring ---- */

/* The matrix rounded in place of the model's own, which `was` keeps. */
static vr_status round_matrix(plan *p, const vr_plan_matrix *m, vr_dtype type, vr_tensor *was) {
    vr_tensor *tensor = m->tensor;
    *was = *tensor;
    void *rounded = vr_alloc(vr_stored_bytes(type, m->weights), 1);
    if (!rounded) return vr_fail(p->err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_recode(p->model->pool, type, rounded, tensor->dtype, tensor->data, m->weights,
                                 tensor->shape[tensor->ndim - 1], p->err);
    if (status != VRWKV_OK) {
        free(rounded);
        return status;
    }
    tensor->dtype = type;
    tensor->data = rounded;
    return VRWKV_OK;
}

static void restore_matrix(plan *p, const vr_plan_matrix *m, const vr_tensor *was) {
    if (m->tensor->data == was->data) return;
    vr_pool_drain(p->model->pool);
    free(m->tensor->data);
    *m->tensor = *was;
}

static vr_status measure(plan *p, vr_plan_matrix *m, int t) {
    vr_tensor was;
    vr_distance distance;
    VR_TRY(tell(p));
    VR_TRY(round_matrix(p, m, vr_plan_types[t], &was));
    vr_status status = vr_meter_read(p->meter, m->vision, &distance, p->err);
    restore_matrix(p, m, &was);
    m->cost[t] = distance.kl;
    m->known[t] = true;
    p->done++;
    return status;
}

/* All measured matrices rounded at once: as chosen, or each to its narrowest type. */
static vr_status measure_all(plan *p, bool narrowest, vr_distance *out) {
    vr_tensor *was = vr_alloc(p->n, sizeof *was);
    vr_status status = was ? VRWKV_OK : vr_fail(p->err, VRWKV_ERR_MEMORY, "out of memory");
    size_t rounded = 0;
    bool vision = false;
    for (; status == VRWKV_OK && rounded < p->n; rounded++) {
        const vr_plan_matrix *m = &p->matrices[rounded];
        was[rounded] = *m->tensor;
        if (!m->measured) continue;
        vision |= m->vision;
        status = round_matrix(p, m, vr_plan_types[narrowest ? m->narrowest : m->chosen], &was[rounded]);
    }
    if (status == VRWKV_OK) status = vr_meter_read(p->meter, vision, out, p->err);
    for (size_t i = 0; i < rounded; i++) restore_matrix(p, &p->matrices[i], &was[i]);
    free(was);
    return status;
}

/* ---- spending bits ---- */

/* All begin with the better of the narrowest types that fit. */
static vr_status begin(plan *p) {
    for (size_t i = 0; i < p->n; i++) {
        vr_plan_matrix *m = &p->matrices[i];
        if (!m->measured) continue;
        for (int t = 0; t < VR_PLAN_TYPES; t++) {
            if (!m->fits[t] || stored_bits(m, vr_plan_types[t]) > stored_bits(m, vr_plan_types[0])) continue;
            VR_TRY(measure(p, m, t));
            if (m->cost[t] < m->cost[m->narrowest]) m->narrowest = t;
        }
        m->chosen = m->narrowest;
        p->used += stored_bits(m, vr_plan_types[m->chosen]);
    }
    return VRWKV_OK;
}

typedef struct step { vr_plan_matrix *matrix; int type; double gain; } step;

/* The step that takes most off the cost per bit, of those that the bits left allow. What is not measured yet is
 * taken to cost nothing: no step can be better than that. */
static step best_step(const plan *p) {
    step best = {0};
    for (size_t i = 0; i < p->n; i++) {
        vr_plan_matrix *m = &p->matrices[i];
        for (int t = m->chosen + 1; m->measured && t < VR_PLAN_TYPES; t++) {
            uint64_t now = stored_bits(m, vr_plan_types[m->chosen]), wide = m->fits[t] ? stored_bits(m, vr_plan_types[t]) : 0;
            if (wide <= now || wide - now > p->limit - p->used) continue;
            double gain = (m->cost[m->chosen] - (m->known[t] ? m->cost[t] : 0)) / (double)(wide - now);
            if (gain > best.gain) best = (step){m, t, gain};
        }
    }
    return best;
}

static vr_status spend(plan *p) {
    for (step next = best_step(p); next.matrix; next = best_step(p)) {
        vr_plan_matrix *m = next.matrix;
        if (!m->known[next.type]) {
            VR_TRY(measure(p, m, next.type));
            continue;
        }
        p->used += stored_bits(m, vr_plan_types[next.type]) - stored_bits(m, vr_plan_types[m->chosen]);
        m->chosen = next.type;
    }
    return VRWKV_OK;
}

/* ---- all of it ---- */

static vr_status fill_table(plan *p, vr_type_table *out) {
    out->items = vr_alloc(p->n, sizeof *out->items);
    if (!out->items) return vr_fail(p->err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < p->n; i++, out->n++) {
        const vr_plan_matrix *m = &p->matrices[i];
        memcpy(out->items[i].name, m->name, sizeof m->name);
        out->items[i].type = m->measured ? vr_plan_types[m->chosen] : m->type;
    }
    vr_plan_report report = {.matrices = p->matrices, .n = p->n, .samples = &p->samples, .given = p->options->samples != NULL,
                             .bits = p->options->bits, .reached = (double)p->used / (double)p->weights, .weights = p->weights};
    VR_TRY(measure_all(p, true, &report.narrowest));
    VR_TRY(measure_all(p, false, &report.chosen));
    out->report = vr_plan_json(&report);
    return out->report ? VRWKV_OK : vr_fail(p->err, VRWKV_ERR_MEMORY, "out of memory");
}

static vr_status run(plan *p, vr_type_table *out) {
    const vr_quantise_options *o = p->options;
    const vrwkv_model_options open = {.threads = o->threads, .exact = 1, .log = o->log, .user = o->user};
    if (!(o->bits >= VR_QUANTISE_MIN && o->bits <= VR_QUANTISE_MAX))
        return vr_fail(p->err, VRWKV_ERR_ARGUMENT, "%g bits per weight, expected %g to %g", o->bits, VR_QUANTISE_MIN, VR_QUANTISE_MAX);
    VR_TRY(vr_model_open(o->model, &open, o->settings, &p->model, p->err));
    VR_TRY(vr_samples_load(&p->samples, p->model, o->samples, p->err));
    VR_TRY(list_matrices(p));
    VR_TRY(vr_meter_open(&p->meter, p->model, &p->samples, p->err));
    VR_TRY(begin(p));
    VR_TRY(spend(p));
    VR_TRY(fill_table(p, out));
    p->done = p->total;
    return tell(p);
}

vr_status vr_quantise_plan(const vr_quantise_options *options, vr_type_table *out, vr_error *err) {
    plan p = {.options = options, .err = err};
    *out = (vr_type_table){0};
    vr_status status = run(&p, out);
    if (status != VRWKV_OK) vr_quantise_free(out);
    vr_meter_close(p.meter);
    vr_samples_free(&p.samples);
    vrwkv_model_close(p.model);
    free(p.matrices);
    return status;
}

void vr_quantise_free(vr_type_table *table) {
    free(table->items);
    free(table->report);
    *table = (vr_type_table){0};
}
