/* The one thing read from EXIF: tag 0x0112, orientation, of the first directory (EXIF 2.3, 4.6.4),
 * and the turning of the picture that it asks for. A block that cannot be read means orientation 1. */
#include "base/memory.h"
#include "image/decode.h"

#include <stdlib.h>
#include <string.h>

static uint32_t get(const uint8_t *p, int bytes, bool big) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | p[big ? i : bytes - 1 - i];
    return value;
}

int vr_exif_orientation(const uint8_t *tiff, size_t size) {
    if (size < 8) return 1;
    bool big = memcmp(tiff, "MM\0*", 4) == 0;
    if (!big && memcmp(tiff, "II*\0", 4) != 0) return 1;
    size_t at = get(tiff + 4, 4, big);
    if (at > size || size - at < 2) return 1;
    size_t count = get(tiff + at, 2, big);
    at += 2;
    for (size_t i = 0; i < count && size - at >= 12; i++, at += 12) {
        const uint8_t *entry = tiff + at;
        if (get(entry, 2, big) != 0x0112) continue;
        uint32_t value = get(entry + 2, 2, big) == 3 ? get(entry + 8, 2, big) : 1; /* type 3: SHORT */
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* Where the pixel (x, y) of the turned picture stands in the stored one: its row and column count
 * from the far end where `flip` is set; `swap` exchanges rows and columns. */
typedef struct turn {
    bool swap, flip_x, flip_y;
} turn;
static const turn turns[9] = {
    [1] = {false, false, false}, [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true},
    [5] = {true, false, false},  [6] = {true, false, true},  [7] = {true, true, true},  [8] = {true, true, false},
};

vr_status vr_picture_turn(vr_image *image, int orientation, vr_error *err) {
    if (orientation < 2 || orientation > 8) return VRWKV_OK;
    turn how = turns[orientation];
    int w = image->width, h = image->height;
    vr_image to = {how.swap ? h : w, how.swap ? w : h, vr_alloc((size_t)w * (size_t)h, 3)};
    if (!to.rgb) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a picture of %d x %d pixels", w, h);
    for (int y = 0; y < to.height; y++) {
        uint8_t *pixel = to.rgb + (size_t)y * (size_t)to.width * 3;
        for (int x = 0; x < to.width; x++, pixel += 3) {
            int sx = how.swap ? y : x, sy = how.swap ? x : y;
            if (how.flip_x) sx = w - 1 - sx;
            if (how.flip_y) sy = h - 1 - sy;
            memcpy(pixel, image->rgb + ((size_t)sy * (size_t)w + (size_t)sx) * 3, 3);
        }
    }
    free(image->rgb);
    *image = to;
    return VRWKV_OK;
}
