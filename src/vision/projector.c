/* Projectors: from the towers' channels to the language model's width. One row of the table each. */
#include "vision/vision.h"

#include <string.h>

#define W(field) offsetof(vr_projector, field)
#define MAT(key, gguf, field, shape) {key, gguf, W(field), shape, VR_MAT, VR_AS_IS, VR_REQUIRED}
#define VEC(key, gguf, field, shape) {key, gguf, W(field), shape, VR_VEC, VR_AS_IS, VR_REQUIRED}
static const vr_row linear_rows[] = {MAT("weight", "mm.0.weight", w, "D,C")};
static const vr_row mlp_rows[] = {
    MAT("gate.weight", "mm.gate.weight", gate, "C,C"),
    MAT("o_proj.weight", "mm.out.weight", out, "D,C"),
    VEC("ln_v.weight", "mm.norm.weight", norm_w, "D"),
    VEC("ln_v.bias", "mm.norm.bias", norm_b, "D"),
};
static const vr_row gated_rows[] = {
    MAT("proj.weight", "mm.0.weight", w, "D,C"),
    MAT("gate.weight", "mm.gate.weight", gate, "D,D"), /* of no effect behind "relu" */
    MAT("o_proj.weight", "mm.out.weight", out, "D,D"),
};
#undef W

static vr_tensor *linear(vr_run *run, const vr_projector *p, const vr_tensor *x) { return vr_linear(run, x, &p->w, NULL); }

static vr_tensor *gate(vr_run *run, const vr_projector *p, const vr_tensor *x) {
    return vr_mul(run, x, vr_activate(run, vr_linear(run, x, &p->gate, NULL), VR_ACT_SIGMOID));
}

/* v7: ln_v(o_proj(x * sigmoid(gate x))) */
static vr_tensor *mlp(vr_run *run, const vr_projector *p, const vr_tensor *x) {
    return vr_layer_norm(run, vr_linear(run, gate(run, p, x), &p->out, NULL), &p->norm_w, &p->norm_b, 1e-5f);
}

/* HD, v6.20: the gate behind a first projection, h = proj x: o_proj(h * sigmoid(gate h)) */
static vr_tensor *gated(vr_run *run, const vr_projector *p, const vr_tensor *x) {
    return vr_linear(run, gate(run, p, vr_linear(run, x, &p->w, NULL)), &p->out, NULL);
}

/* UHD: o_proj(max(proj x, 0)) */
static vr_tensor *relu(vr_run *run, const vr_projector *p, const vr_tensor *x) {
    return vr_linear(run, vr_activate(run, vr_linear(run, x, &p->w, NULL), VR_ACT_RELU), &p->out, NULL);
}

/* The signatures are asked in this order: the last two's is among mlp's keys. */
static const vr_projector_arch projectors[] = {
    {"linear", "weight", linear_rows, VR_COUNT(linear_rows), 1, linear},
    {"mlp", "ln_v.weight", mlp_rows, VR_COUNT(mlp_rows), 1, mlp},
    {"relu", "o_proj.weight", gated_rows, VR_COUNT(gated_rows), 2, relu},
    {"gated", "o_proj.weight", gated_rows, VR_COUNT(gated_rows), 1, gated},
};

const vr_projector_arch *vr_projector_at(int index) { return (size_t)index < VR_COUNT(projectors) ? &projectors[index] : NULL; }

const vr_projector_arch *vr_projector_find(const char *type) {
    for (size_t i = 0; i < VR_COUNT(projectors); i++)
        if (strcmp(projectors[i].type, type) == 0) return &projectors[i];
    return NULL;
}
