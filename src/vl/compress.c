#include "vl/internal.h"

/* Rows come in multiples of it; the rows in front that make it up are zero. */
#define MULTIPLE 16

vr_tensor *vr_compress(vr_run *run, const vrwkv_model *model, vr_tensor *rows, int tokens, vr_tensor **blocks_out) {
    if (!rows) return NULL;
    int64_t n = rows->shape[0], width = rows->shape[1], padding = (MULTIPLE - n % MULTIPLE) % MULTIPLE, T = n + padding;
    int64_t floats = vr_rwkv_state_floats(model->vtc.arch, &model->vtc.dims) * model->vtc.dims.n_layer;
    vr_tensor *x = padding ? vr_concat_rows(run, vr_zeros2(run, padding, width), rows) : rows, *state = vr_zeros2(run, 1, floats);
    if (!x || !state) return NULL;
    vr_segment segment = {.rows = {0, T}, .state = state->data, .image_length = T};
    x = vr_rwkv_forward(run, &model->vtc, x, &segment, 1, vr_scan_find("bidirection"), NULL, NULL);
    x = vr_layer_norm(run, x, &model->vtc.ln_out_w, &model->vtc.ln_out_b, model->vtc.dims.norm_eps);
    if (x) x = vr_rows(run, x, padding, n);
    if (blocks_out) *blocks_out = x;
    return vr_adaptive_pool(run, x, (vr_grid){n, 1}, (vr_grid){tokens, 1});
}
