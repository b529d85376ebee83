/* Inside of the room `image`: the resize with 64-bit sizes; a picture of 1 x 100,000 pixels whose
 * short side becomes 448 is longer than an int before its crop. */
#ifndef VR_IMAGE_RESIZE_H
#define VR_IMAGE_RESIZE_H
#include "image/image.h"

typedef struct vr_resize_plan {
    int64_t width, height; /* of the whole result */
    vr_filter filter;
    int64_t left, top; /* of the crop in it */
    int crop_width, crop_height;
} vr_resize_plan;

vr_status vr_resize(vr_image *out, const vr_image *in, const vr_resize_plan *plan, vr_error *err);
#endif
