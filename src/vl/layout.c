/* Which layout a file has, and where a layout keeps a row. */
#include "vl/load.h"

#include <stdio.h>
#include <string.h>

const vr_layout vr_layout_ours = {"vrwkv", "visualrwkv", NULL, NULL, true, NULL, 0, 0};

static const vr_layout *gguf_layout(const vr_weights *file) {
    const vr_meta *architecture = vr_weights_meta(file, "general.architecture");
    for (int i = 0; architecture && architecture->type == VR_META_STRING && i < VR_LLAMA_LAYOUTS; i++)
        if (strcmp(architecture->string, vr_llama_layouts[i].architecture) == 0) return &vr_llama_layouts[i];
    const vr_meta *config = vr_weights_meta(file, "vrwkv.config");
    return config && config->type == VR_META_STRING ? &vr_layout_ours : NULL;
}

const vr_layout *vr_layout_of(const vr_weights *file) {
    if (vr_weights_kind(file) == VR_FILE_GGUF) return gguf_layout(file);
    for (int i = 0; vr_weights_kind(file) == VR_FILE_RWKV_CPP && i < VR_RWKV_CPP_LAYOUTS; i++)
        if (vr_weights_find(file, vr_rwkv_cpp_layouts[i].signature)) return &vr_rwkv_cpp_layouts[i];
    return NULL;
}

const vr_layout_row *vr_layout_find(const vr_layout *layout, const char *key) {
    for (int i = 0; i < layout->n_rows; i++)
        if (strcmp(layout->rows[i].key, key) == 0) return &layout->rows[i];
    return NULL;
}

void vr_layout_place(const vr_layout *layout, const vr_part *part, const vr_row *row, int layer, int rescale,
                     vr_place *out) {
    const vr_layout_row *differs = vr_layout_find(layout, row->key);
    *out = (vr_place){.model_order = true};
    if (differs && differs->name)
        vr_row_name(differs->name, layer, out->name);
    else if (layout->gguf_names)
        vr_part_gguf_name(part, row, layer, out->name);
    else
        vr_row_name(row->key, layer, out->name);
    if (!differs) return;
    out->change = differs->change;
    out->slice = differs->slice;
    out->slices = differs->slices;
    if (differs->change == VR_HALVED && rescale > 0) out->halvings = layer / rescale;
}

int vr_place_shape(const vr_place *place, const vr_row *row, int ndim, const int64_t *checkpoint,
                   int64_t shape[VR_MAX_DIMS]) {
    int n = 0;
    if (place->change == VR_SLICE) shape[n++] = place->slices;
    for (int i = 0; i < ndim && n < VR_MAX_DIMS; i++) shape[n++] = checkpoint[i];
    if (place->model_order && row->transform == VR_TRANSPOSED) vr_swap_axes(n, shape);
    if (place->change == VR_FLAT) {
        vr_shape_count(n, shape, &shape[0]);
        n = 1;
    }
    return n;
}
