/* Every decoder of pictures in both manners, then a small resize. The limit on pixels is low so that
 * memory and time stay bounded; the order "limit first, then allocation" is what it tests. */
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int manner = 0; manner < 2; manner++) {
        vr_image image, small;
        vr_error err;
        if (vr_image_decode(&image, data, size, (vrwkv_manner)manner, 1 << 18, &err) != VRWKV_OK) continue;
        if (vr_image_resize(&small, &image, 7, 5, (vr_filter)(size % 3), &err) == VRWKV_OK) vr_image_free(&small);
        vr_image_free(&image);
    }
    return 0;
}
