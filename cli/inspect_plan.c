#include "inspect_plan.h"
#include "terminal.h"

#include "quantise/report.h"
#include "vl/convert.h"

#include <string.h>

static const char *column(int t) { return vr_dtype_of(vr_plan_types[t])->name; }

json_t *vr_plan_of(const vr_weights *weights) {
    const vr_meta *meta = vr_weights_meta(weights, VR_QUANTISATION_KEY);
    json_t *plan = meta && meta->type == VR_META_STRING ? json_loadb(meta->string, meta->n_bytes, 0, NULL) : NULL;
    if (json_is_object(plan)) return plan;
    json_decref(plan);
    return NULL;
}

static double number(const json_t *object, const char *key) { return json_number_value(json_object_get(object, key)); }

static const char *text(const json_t *object, const char *key) {
    const char *found = json_string_value(json_object_get(object, key));
    return found ? found : "?";
}

static void print_distance(const json_t *plan, const char *key, const char *what) {
    const json_t *distance = json_object_get(plan, key);
    printf("  %-21s KL %.2g, the same likeliest token at %.1f%%\n", what, number(distance, "kl"), 100 * number(distance, "same"));
}

static void print_text(const char *value) { vr_print_text(value, strlen(value)); }

static void print_matrix(const json_t *matrix, int widest) {
    const char *name = text(matrix, "name");
    int length = (int)strlen(name);
    const json_t *costs = json_object_get(matrix, "cost");
    vr_dtype type;
    bool known = vr_dtype_parse(text(matrix, "type"), &type);
    printf("  ");
    print_text(name);
    printf("%*s  %-5s", length < widest ? widest - length : 0, "", known ? vr_dtype_of(type)->name : "?");
    for (int t = 0; t < VR_PLAN_TYPES; t++) {
        const json_t *cost = json_object_get(costs, column(t));
        if (cost)
            printf("  %8.2g", json_number_value(cost));
        else
            printf("  %8s", "");
    }
    putchar('\n');
}

static void print_matrices(const json_t *list) {
    size_t i;
    json_t *matrix;
    int widest = 20;
    json_array_foreach(list, i, matrix) {
        int length = (int)strlen(text(matrix, "name"));
        widest = length > widest ? length < 72 ? length : 72 : widest;
    }
    printf("  %-*s  %-5s", widest, "KL where it alone is", "type");
    for (int t = 0; t < VR_PLAN_TYPES; t++) printf("  %8s", column(t));
    putchar('\n');
    json_array_foreach(list, i, matrix) print_matrix(matrix, widest);
}

void vr_plan_print(const vr_weights *weights, bool all) {
    json_t *plan = vr_plan_of(weights);
    const json_t *samples = json_object_get(plan, "samples");
    if (!plan) return;
    printf("\nmeasured types (auto:%g)\n", number(plan, "bits"));
    printf("  %-21s %.3f of %zu matrices\n", "bits per weight", number(plan, "reached"),
           json_array_size(json_object_get(plan, "matrices")));
    print_distance(plan, "chosen", "all as stored");
    print_distance(plan, "narrowest", "all at the narrowest");
    printf("  %-21s ", "samples");
    print_text(text(samples, "from"));
    printf(": %g texts, %g pictures, %g positions, ", number(samples, "texts"), number(samples, "pictures"),
           number(samples, "positions"));
    print_text(text(samples, "fingerprint"));
    putchar('\n');
    if (all) print_matrices(json_object_get(plan, "matrices"));
    json_decref(plan);
}
