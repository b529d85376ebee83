#include "train/init.h"
#include "base/memory.h"
#include "vl/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of number i of n, with q0 = layer/(n_layer-1), q1 = 1 - layer/n_layer: */
typedef enum kind {
    CONSTANT, /* a */
    UNIFORM,  /* within +-a */
    FAN_IN,   /* within +-a/sqrt(w), w the numbers of a row */
    NORMAL,   /* of deviation a/w^b */
    MIX,      /* a + b*(i/n)^(c*q1^e) + f*q0 */
    DECAY,    /* a + 5*(i/(n-1))^(b + c*q0^e) */
    BONUS     /* q0*(1 - i/(n-1)) + 0.1*((i+1) mod 3 - 1) */
} kind;

typedef struct rule {
    const char *rwkv; /* of this version alone; NULL: any */
    const char *key;  /* the key's end */
    kind kind;
    double a, b, c, e, f;
} rule;

/* The first that fits. */
static const rule rules[] = {
    {"x060", "att.time_maa_x", MIX, 1, -1, 1, 1, 0},
    {"x060", "att.time_maa_w", MIX, 1, -1, 1, 1, 0},
    {"x060", "att.time_maa_k", MIX, 1, -1, 1, 1, 0},
    {"x060", "att.time_maa_v", MIX, 1, -1, 1, 1, -0.3},
    {"x060", "att.time_maa_r", MIX, 1, -1, 0.5, 1, 0},
    {"x060", "att.time_maa_g", MIX, 1, -1, 0.5, 1, 0},
    {"x060", "ffn.time_maa_k", MIX, 1, -1, 1, 1, 0},
    {"x060", "ffn.time_maa_r", MIX, 1, -1, 1, 1, 0},
    {"x060", "_w1", CONSTANT, 0, 0, 0, 0, 0},
    {"x060", "_w2", UNIFORM, 0.01, 0, 0, 0, 0},
    {"x052", "att.time_mix_k", MIX, 0, 1, 1, 1, 0},
    {"x052", "att.time_mix_v", MIX, 0, 1, 1, 1, 0.3},
    {"x052", "att.time_mix_r", MIX, 0, 1, 0.5, 1, 0},
    {"x052", "att.time_mix_g", MIX, 0, 1, 0.5, 1, 0},
    {"x052", "ffn.time_mix_k", MIX, 0, 1, 1, 1, 0},
    {"x052", "ffn.time_mix_r", MIX, 0, 1, 1, 1, 0},
    {NULL, "att.time_decay", DECAY, -6, 0.7, 1.3, 1, 0},
    {NULL, "att.time_faaaa", BONUS, 0, 0, 0, 0, 0},
    {"x070", "att.x_r", MIX, 1, -1, 0.2, 1, 0},
    {"x070", "att.x_w", MIX, 1, -1, 0.9, 1, 0},
    {"x070", "att.x_k", MIX, 1, -1, 0.7, 1, 0},
    {"x070", "att.x_v", MIX, 1, -1, 0.7, 1, 0},
    {"x070", "att.x_a", MIX, 1, -1, 0.9, 1, 0},
    {"x070", "att.x_g", MIX, 1, -1, 0.2, 1, 0},
    {"x070", "ffn.x_k", MIX, 1, -1, 1, 4, 0},
    {"x070", "att.w0", DECAY, -6.5, 0.85, 1, 0.5, 0},
    {"x070", "att.a0", CONSTANT, 0, 0, 0, 0, 0},
    {"x070", "att.v0", CONSTANT, 1, 0, 0, 0, 0},
    {"x070", "att.k_k", CONSTANT, 0.85, 0, 0, 0, 0},
    {"x070", "att.k_a", CONSTANT, 1, 0, 0, 0, 0},
    {"x070", "att.r_k", CONSTANT, 0, 0, 0, 0, 0},
    {"x070", "1", CONSTANT, 0, 0, 0, 0, 0},      /* w1, a1, v1, g1 */
    {"x070", "2", NORMAL, 0.1, 0.5, 0, 0, 0},    /* rows about orthogonal, of length 0.1 */
    {"x070", "att.receptance.weight", FAN_IN, 0.5, 0, 0, 0, 0},
    {"x070", "att.key.weight", FAN_IN, 0.05, 0, 0, 0, 0},
    {"x070", "att.value.weight", FAN_IN, 0.5, 0, 0, 0, 0},
    {"x070", "att.output.weight", CONSTANT, 0, 0, 0, 0, 0},
    {"x070", "ffn.key.weight", FAN_IN, 0.5, 0, 0, 0, 0},
    {"x070", "ffn.value.weight", CONSTANT, 0, 0, 0, 0, 0},
    {"x070", "head.weight", NORMAL, 0.5, 0.5, 0, 0, 0},
    {"x070", "emb.weight", UNIFORM, 1e-4, 0, 0, 0, 0},
    {NULL, "emb.weight", NORMAL, 1, 0, 0, 0, 0},
};

/* Towers: rows without inputs are small and random, the others like any linear layer. */
static const rule tower_rules[] = {
    {NULL, "class_embedding", NORMAL, 0.02, 0, 0, 0, 0},
    {NULL, "cls_token", NORMAL, 0.02, 0, 0, 0, 0},
    {NULL, "reg_token", NORMAL, 0.02, 0, 0, 0, 0},
    {NULL, "position_embedding.weight", NORMAL, 0.5, 0, 0, 0, 0},
    {NULL, "pos_embed", NORMAL, 0.02, 0, 0, 0, 0},
    {NULL, "rel_pos_h", CONSTANT, 0, 0, 0, 0, 0},
    {NULL, "rel_pos_w", CONSTANT, 0, 0, 0, 0, 0},
    {NULL, "gamma", CONSTANT, 0.1, 0, 0, 0, 0},
};

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static rule find_rule(const vr_config *config, const vr_part *part, const vr_row *row) {
    bool tower = strcmp(part->name, "vision") == 0;
    const rule *table = tower ? tower_rules : rules;
    for (size_t i = 0; i < (tower ? VR_COUNT(tower_rules) : VR_COUNT(rules)); i++)
        if ((!table[i].rwkv || strcmp(table[i].rwkv, config->rwkv) == 0) && ends_with(row->key, table[i].key))
            return table[i];
    if (row->kind == VR_VEC) return (rule){.kind = CONSTANT, .a = ends_with(row->key, "bias") ? 0 : 1}; /* norms; biases */
    return (rule){.kind = FAN_IN, .a = 1};
}

/* Two uniform numbers make a normal one (Box, Muller 1958). */
static double normal(vr_rng *rng) {
    double u = 1 - vr_rng_uniform(rng), v = vr_rng_uniform(rng);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

void vr_init_row(float *out, const vr_config *config, const vr_part *part, const vr_row *row, int layer, vr_rng *rng) {
    int64_t shape[VR_MAX_DIMS], count;
    int ndim = vr_part_shape(part, row, layer, shape);
    rule r = find_rule(config, part, row);
    vr_shape_count(ndim, shape, &count);
    int64_t width = row->transform == VR_TRANSPOSED ? shape[ndim - 1] : ndim && shape[0] ? count / shape[0] : 1;
    double n = (double)count, q0 = part->repeat > 1 ? (double)layer / (part->repeat - 1) : 0,
           q1 = 1 - (double)layer / part->repeat;
    for (int64_t k = 0; k < count; k++) {
        double i = (double)k, value = r.a, last = count > 1 ? n - 1 : 1;
        switch (r.kind) {
        case CONSTANT: break;
        case UNIFORM: value = r.a * (2 * vr_rng_uniform(rng) - 1); break;
        case FAN_IN: value = r.a / sqrt((double)width) * (2 * vr_rng_uniform(rng) - 1); break;
        case NORMAL: value = r.a / pow((double)width, r.b) * normal(rng); break;
        case MIX: value = r.a + r.b * pow(i / n, r.c * pow(q1, r.e)) + r.f * q0; break;
        case DECAY: value = r.a + 5 * pow(i / last, r.b + r.c * pow(q0, r.e)); break;
        case BONUS: value = q0 * (1 - i / last) + 0.1 * ((double)((k + 1) % 3) - 1); break;
        }
        out[k] = (float)value;
    }
}

/* In the order of the tables, so that one seed gives one model. */
static vr_status fill(vrwkv_model *model, uint64_t seed, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    vr_rng rng = {seed};
    int n = vr_config_parts(&model->config, parts);
    vr_model_parts(model, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                const vr_row *row = &parts[p].rows[r];
                vr_tensor *tensor = vr_row_tensor(&parts[p], row, layer);
                int64_t count, shape[VR_MAX_DIMS];
                if (!vr_row_exists(row, layer) || !tensor->data) continue;
                vr_shape_count(tensor->ndim, tensor->shape, &count);
                float *values = vr_alloc((size_t)count, sizeof *values);
                if (!values) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for '%s'", row->key);
                vr_init_row(values, &model->config, &parts[p], row, layer, &rng);
                int ndim = vr_part_shape(&parts[p], row, layer, shape);
                if (row->transform == VR_TRANSPOSED)
                    vr_transpose(tensor->data, values, ndim, shape, sizeof *values);
                else
                    memcpy(tensor->data, values, (size_t)count * sizeof *values);
                free(values);
            }
    return VRWKV_OK;
}

vr_status vr_init_model(const char *json, uint64_t seed, float ln0, const vrwkv_model_options *options, vrwkv_model **out,
                        vr_error *err) {
    vrwkv_model_options exact = options ? *options : (vrwkv_model_options){0};
    exact.exact = 1; /* as training wants it */
    VR_TRY(vr_model_random(json, VR_F32, VR_F32, &exact, out, err));
    vr_tensor *norm = &(*out)->lm.ln0_w;
    vr_status status = fill(*out, seed, err);
    for (int64_t k = 0; k < norm->shape[0]; k++) ((float *)norm->data)[k] = ln0;
    if (status == VRWKV_OK) return status;
    vrwkv_model_close(*out);
    *out = NULL;
    return status;
}
