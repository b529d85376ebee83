/* From 8-bit pixels to a tower's input [3, S, S]: sizes and crop as the original image processors
 * (CLIPImageProcessor; torchvision's Resize to S x S), then one of 256 floats per channel. */
#include "image/image.h"
#include "image/resize.h"

void vr_image_normalise(float *pixels, const vr_image *in, const vr_preprocess *how) {
    size_t n = (size_t)in->width * (size_t)in->height;
    for (int c = 0; c < 3; c++) {
        float level[256];
        for (int v = 0; v < 256; v++) {
            float unit = how->rescale_in_double ? (float)(v * (1.0 / 255.0)) : (float)v / 255.0f;
            level[v] = (unit - how->mean[c]) / how->std[c];
        }
        const uint8_t *from = in->rgb + c;
        float *to = pixels + (size_t)c * n;
        for (size_t i = 0; i < n; i++) to[i] = level[from[3 * i]];
    }
}

/* Long side of the picture whose short side becomes `size`: the product first, then one division. */
static int64_t long_side(int size, int long_in, int short_in) {
    return (int64_t)((double)((int64_t)size * long_in) / (double)short_in);
}

vr_status vr_image_preprocess(float *pixels, const vr_image *in, const vr_preprocess *how, vr_error *err) {
    int size = how->size;
    if (size < 1 || in->width < 1 || in->height < 1)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "a picture of %d x %d to %d x %d: sizes must be at least 1", in->width,
                       in->height, size, size);
    vr_resize_plan plan = {
        .width = size, .height = size, .filter = how->filter, .crop_width = size, .crop_height = size};
    if (how->keep_aspect) {
        if (in->width <= in->height)
            plan.height = long_side(size, in->height, in->width);
        else
            plan.width = long_side(size, in->width, in->height);
        plan.left = (plan.width - size) / 2;
        plan.top = (plan.height - size) / 2;
    }
    vr_image squared;
    VR_TRY(vr_resize(&squared, in, &plan, err));
    vr_image_normalise(pixels, &squared, how);
    vr_image_free(&squared);
    return VRWKV_OK;
}
