/* Inside of the room `image`: what the decoders share. decode.c holds the table of formats. */
#ifndef VR_IMAGE_DECODE_H
#define VR_IMAGE_DECODE_H
#include "image/image.h"

/* The encoded picture and how it is wanted; the same for every format. */
typedef struct vr_source {
    const uint8_t *data;
    size_t size;
    bool friendly;
    uint64_t max_pixels;
    const char *format; /* for messages */
} vr_source;

/* A decoder fills *out, made with vr_picture_new; on failure its caller frees *out. */
typedef vr_status (*vr_decode_fn)(vr_image *out, const vr_source *source, vr_error *err);
vr_status vr_decode_jpeg(vr_image *out, const vr_source *source, vr_error *err);
vr_status vr_decode_png(vr_image *out, const vr_source *source, vr_error *err);
vr_status vr_decode_webp(vr_image *out, const vr_source *source, vr_error *err);
vr_status vr_decode_gif(vr_image *out, const vr_source *source, vr_error *err);
vr_status vr_decode_bmp(vr_image *out, const vr_source *source, vr_error *err);
vr_status vr_decode_pnm(vr_image *out, const vr_source *source, vr_error *err);

/* Refuses sizes below 1 and more than max_pixels, then makes a black picture. */
vr_status vr_picture_new(vr_image *out, const vr_source *source, int64_t width, int64_t height, vr_error *err);
vr_status vr_picture_check(const vr_source *source, int64_t width, int64_t height, vr_error *err);
/* The rule for pictures cut short: no row at all is an error, fewer than `rows` one in friendly manner. */
vr_status vr_picture_rows(const vr_source *source, uint64_t done, uint64_t rows, vr_error *err);
/* Header cut off or contradictory. */
vr_status vr_picture_bad(const vr_source *source, const char *what, vr_error *err);

/* One channel of a pixel of this alpha over white, rounded. */
static inline uint8_t vr_over_white(unsigned value, unsigned alpha) {
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

/* The orientation 1..8 in a TIFF block (what follows "Exif\0\0"); 1 where there is none. */
int vr_exif_orientation(const uint8_t *tiff, size_t size);
/* Turns the stored picture as EXIF's orientation says. */
vr_status vr_picture_turn(vr_image *image, int orientation, vr_error *err);

static inline unsigned vr_le16(const uint8_t *p) {
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}
static inline uint32_t vr_le24(const uint8_t *p) {
    return vr_le16(p) | (uint32_t)p[2] << 16;
}
static inline uint32_t vr_le32(const uint8_t *p) {
    return vr_le16(p) | (uint32_t)vr_le16(p + 2) << 16;
}
static inline unsigned vr_be16(const uint8_t *p) {
    return (unsigned)p[0] << 8 | p[1];
}
static inline uint32_t vr_be32(const uint8_t *p) {
    return (uint32_t)vr_be16(p) << 16 | vr_be16(p + 2);
}
#endif
