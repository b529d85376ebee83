/* Pictures: decode, resize exactly as Pillow 11 does, normalise.
 * Rules and constants: the project's docs/MODEL.md, "Pictures". */
#ifndef VR_IMAGE_IMAGE_H
#define VR_IMAGE_IMAGE_H
#include "base/status.h"

#include <stdbool.h>

typedef struct vr_image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], heap; vr_image_free */
} vr_image;

void vr_image_free(vr_image *image);

/* JPEG (baseline, progressive, grey, CMYK/YCCK), PNG (all), WebP, GIF (first frame), BMP, PPM/PGM/PBM
 * (P1-P6), told by content. width*height is checked against max_pixels (0: 178,956,970, Pillow's
 * limit for an error) from the header, before any allocation.
 * original: as Pillow's convert("RGB"): EXIF ignored, alpha dropped, 16-bit grey clipped at 255,
 *   16-bit RGB v >> 8; a picture cut short is grey (JPEG) or black below the cut, but one of which not
 *   one row can be decoded is an error.
 * friendly: EXIF orientation applied, alpha composited over white, 16-bit scaled (v >> 8); a picture
 *   cut short is an error. */
vr_status vr_image_decode(vr_image *out, const void *data, size_t size, vrwkv_manner manner, uint64_t max_pixels,
                          vr_error *err);
vr_status vr_image_decode_file(vr_image *out, const char *path, vrwkv_manner manner, uint64_t max_pixels, vr_error *err);

/* Whether a file of this name looks like a picture: .jpg, .jpeg, .png, .webp, .gif, .bmp, .ppm, .pgm, .pbm, in
 * letters of any case. */
bool vr_image_name(const char *name);

typedef enum vr_filter { VR_BILINEAR, VR_BICUBIC, VR_LANCZOS } vr_filter;

/* Pillow's 8-bit fixed-point resize to width x height, then the crop [left, left+crop_width) x
 * [top, top+crop_height) of it; only the columns and rows that the crop needs are computed. */
vr_status vr_image_resize_crop(vr_image *out, const vr_image *in, int width, int height, vr_filter filter, int left,
                               int top, int crop_width, int crop_height, vr_error *err);
vr_status vr_image_resize(vr_image *out, const vr_image *in, int width, int height, vr_filter filter, vr_error *err);

/* A JPEG file of the picture; heap, the caller's. quality 1 to 100. */
vr_status vr_image_encode_jpeg(const vr_image *image, int quality, unsigned char **out, size_t *size, vr_error *err);

/* The grid of regions that a picture is brought to (Lanczos) before it is cut: of the two
 * sizes around its own on each axis the one with the least waste, |w*h - area of the picture scaled into
 * it|; with match_area (v7.03, v7.04) |w*h - width*height| is added. src: docs/MODEL.md, "Regions" */
void vr_image_region_grid(int width, int height, int region_width, int region_height, bool match_area, int *columns,
                          int *rows);

/* How a tower wants its pixels. */
typedef struct vr_preprocess {
    int size;              /* output is [3, size, size] */
    vr_filter filter;
    bool keep_aspect;      /* short side to size and centre crop (CLIP); else squashed to size x size */
    bool rescale_in_double; /* value * (1/255) computed in double, then float32 (CLIPImageProcessor);
                               else value / 255 in float32 */
    float mean[3], std[3];
} vr_preprocess;

/* pixels [3, size, size], row-major, caller's. */
vr_status vr_image_preprocess(float *pixels, const vr_image *in, const vr_preprocess *how, vr_error *err);
/* The same from an 8-bit picture of exactly size x size: the last step alone. */
void vr_image_normalise(float *pixels, const vr_image *in, const vr_preprocess *how);
#endif
