#include "quantise/report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

const vr_dtype vr_plan_types[VR_PLAN_TYPES] = {VR_Q4_0, VR_Q4_K, VR_Q5_K, VR_Q6_K, VR_Q8_0, VR_F16};

/* Six digits are more than one reading of samples can tell. */
static json_t *number(double value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%.6g", value);
    return json_real(strtod(digits, NULL));
}

static json_t *distance_json(const vr_distance *distance) {
    return json_pack("{s:o, s:o}", "kl", number(distance->kl), "same", number(distance->same));
}

static json_t *matrix_json(const vr_plan_matrix *m) {
    json_t *costs = json_object();
    for (int t = 0; t < VR_PLAN_TYPES; t++)
        if (m->known[t]) json_object_set_new(costs, vr_dtype_of(vr_plan_types[t])->name, number(m->cost[t]));
    return json_pack("{s:s, s:s, s:I, s:o}", "name", m->name, "type", vr_dtype_of(vr_plan_types[m->chosen])->name, "weights",
                     (json_int_t)m->weights, "cost", costs);
}

static json_t *samples_json(const vr_plan_report *r) {
    char print[17];
    snprintf(print, sizeof print, "%016llx", (unsigned long long)r->samples->fingerprint);
    return json_pack("{s:s, s:I, s:I, s:I, s:s}", "from", r->given ? "given" : "built in", "texts",
                     (json_int_t)(r->samples->n - r->samples->pictures), "pictures", (json_int_t)r->samples->pictures, "positions",
                     (json_int_t)r->samples->positions, "fingerprint", print);
}

char *vr_plan_json(const vr_plan_report *r) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->n; i++)
        if (r->matrices[i].measured) json_array_append_new(list, matrix_json(&r->matrices[i]));
    json_t *all = json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "bits", number(r->bits), "reached", number(r->reached), "weights",
                            (json_int_t)r->weights, "narrowest", distance_json(&r->narrowest), "chosen", distance_json(&r->chosen),
                            "samples", samples_json(r), "matrices", list);
    char *text = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(all);
    return text;
}
