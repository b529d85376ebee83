/* The layouts of rwkv.cpp's .bin files. Names are the checkpoint's, low-rank matrices are transposed as in
 * our GGUF, axes of size 1 come and go.
 * src: RWKV/rwkv.cpp python/convert_pytorch_to_ggml.py (what is done to the numbers), rwkv_graph.inc
 * (epsilons: GroupNorm 1e-5 in version 5, 64e-5 later; LayerNorm 1e-5). */
#include "vl/layout.h"

static const vr_layout_row rows6[] = {{"blocks.%d.att.time_decay", NULL, VR_FLAT, 0, 0, NULL}}; /* [H,N] there */
static const vr_layout_row rows5[] = {{"blocks.%d.att.time_decay", NULL, VR_DECAY, 0, 0, NULL}};

#define FUSED(letter, slice) {"blocks.%d.att.x_" letter, "blocks.%d.att.x_rwkvag", VR_SLICE, slice, 6, NULL}
static const vr_layout_row rows7[] = {FUSED("r", 0), FUSED("w", 1), FUSED("k", 2),
                                      FUSED("v", 3), FUSED("a", 4), FUSED("g", 5)};
#undef FUSED

const vr_layout vr_rwkv_cpp_layouts[VR_RWKV_CPP_LAYOUTS] = {
    {"rwkv.cpp's 7v0", NULL, "blocks.0.att.k_k", "x070", false, rows7, VR_COUNT(rows7), 0},
    {"rwkv.cpp's 6v0", NULL, "blocks.0.att.time_maa_x", "x060", false, rows6, VR_COUNT(rows6), 0},
    {"rwkv.cpp's 5v2", NULL, "blocks.0.att.time_mix_g", "x052", false, rows5, VR_COUNT(rows5), 1e-5f},
};

vr_status vr_rwkv_cpp_refuse(const vr_weights *file, vr_error *err) {
    const char *found = vr_weights_find(file, "blocks.0.att.ln_x.weight")  ? "RWKV 5v1"
                        : vr_weights_find(file, "blocks.0.att.time_first") ? "RWKV 4v0"
                                                                           : "no RWKV that is known";
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' holds %s, expected RWKV 5v2, 6v0 or 7v0", vr_weights_path(file), found);
}
