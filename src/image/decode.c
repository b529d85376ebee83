/* Decoding: the format is told by the first bytes, the table's decoder does the rest.
 *
 * Invariants: the number of pixels is checked against the limit before pixels are allocated; a
 * failing decoder leaves no memory behind; nothing is written to stdout or stderr. */
#include "image/decode.h"
#include "base/io.h"
#include "base/memory.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_MAX_PIXELS 178956970u

typedef struct format_row {
    const char *name;
    const char *magic; /* '?' stands for any byte */
    size_t n;
    vr_decode_fn decode;
} format_row;

static const format_row formats[] = {
    {"JPEG", "\xff\xd8\xff", 3, vr_decode_jpeg},
    {"PNG", "\x89PNG\r\n\x1a\n", 8, vr_decode_png},
    {"WebP", "RIFF????WEBP", 12, vr_decode_webp},
    {"GIF", "GIF8?a", 6, vr_decode_gif},
    {"BMP", "BM", 2, vr_decode_bmp},
    {"PBM", "P1", 2, vr_decode_pnm},
    {"PGM", "P2", 2, vr_decode_pnm},
    {"PPM", "P3", 2, vr_decode_pnm},
    {"PBM", "P4", 2, vr_decode_pnm},
    {"PGM", "P5", 2, vr_decode_pnm},
    {"PPM", "P6", 2, vr_decode_pnm},
};

static bool has_magic(const format_row *row, const uint8_t *data, size_t size) {
    if (size < row->n) return false;
    for (size_t i = 0; i < row->n; i++)
        if (row->magic[i] != '?' && (uint8_t)row->magic[i] != data[i]) return false;
    return true;
}

static vr_status unknown_format(const uint8_t *data, size_t size, vr_error *err) {
    char bytes[8 * 3 + 1] = "";
    for (size_t i = 0; i < size && i < 8; i++) snprintf(bytes + 3 * i, 4, " %02x", data[i]);
    return vr_fail(err, size ? VRWKV_ERR_UNSUPPORTED : VRWKV_ERR_FORMAT,
                   "not a picture: found %zu bytes beginning%s, expected JPEG, PNG, WebP, GIF, BMP or PPM/PGM/PBM",
                   size, size ? bytes : " with nothing");
}

vr_status vr_image_decode(vr_image *out, const void *data, size_t size, vrwkv_manner manner, uint64_t max_pixels,
                          vr_error *err) {
    *out = (vr_image){0};
    if (!data && size) return vr_fail(err, VRWKV_ERR_ARGUMENT, "no picture was given (null)");
    for (size_t i = 0; i < VR_COUNT(formats); i++) {
        if (!has_magic(&formats[i], data, size)) continue;
        vr_source source = {data, size, manner == VRWKV_FRIENDLY, max_pixels ? max_pixels : DEFAULT_MAX_PIXELS,
                            formats[i].name};
        vr_status status = formats[i].decode(out, &source, err);
        if (status != VRWKV_OK) vr_image_free(out);
        return status;
    }
    return unknown_format(data, size, err);
}

vr_status vr_image_decode_file(vr_image *out, const char *path, vrwkv_manner manner, uint64_t max_pixels,
                               vr_error *err) {
    vr_map map;
    vr_error inner = {0};
    *out = (vr_image){0};
    VR_TRY(vr_map_open(&map, path, false, err));
    vr_status status = vr_image_decode(out, map.data, map.size, manner, max_pixels, &inner);
    vr_map_close(&map);
    return status == VRWKV_OK ? status : vr_fail(err, status, "'%s': %s", path, inner.message);
}

bool vr_image_name(const char *name) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".pbm"};
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < VR_COUNT(endings); i++)
        if (strcasecmp(ending, endings[i]) == 0) return true;
    return false;
}

void vr_image_free(vr_image *image) {
    if (!image) return;
    free(image->rgb);
    *image = (vr_image){0};
}

/* ---- what the decoders share ------------------------------------------------------------------ */

vr_status vr_picture_check(const vr_source *source, int64_t width, int64_t height, vr_error *err) {
    if (width < 1 || height < 1 || width > INT_MAX || height > INT_MAX)
        return vr_fail(err, VRWKV_ERR_FORMAT,
                       "%s picture of %lld x %lld pixels, expected at least 1 x 1 and at most 2^31-1", source->format,
                       (long long)width, (long long)height);
    if ((uint64_t)width * (uint64_t)height > source->max_pixels)
        return vr_fail(err, VRWKV_ERR_MEMORY, "%s picture of %lld x %lld pixels, over the limit of %llu pixels",
                       source->format, (long long)width, (long long)height, (unsigned long long)source->max_pixels);
    return VRWKV_OK;
}

vr_status vr_picture_new(vr_image *out, const vr_source *source, int64_t width, int64_t height, vr_error *err) {
    VR_TRY(vr_picture_check(source, width, height, err));
    uint64_t pixels = (uint64_t)width * (uint64_t)height;
    uint8_t *rgb = pixels <= SIZE_MAX / 3 ? vr_alloc((size_t)pixels, 3) : NULL;
    if (!rgb)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a picture of %lld x %lld pixels", (long long)width,
                       (long long)height);
    *out = (vr_image){(int)width, (int)height, rgb};
    return VRWKV_OK;
}

vr_status vr_picture_rows(const vr_source *source, uint64_t done, uint64_t rows, vr_error *err) {
    if (done >= rows) return VRWKV_OK;
    if (done == 0)
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s picture of which not one row of pixels can be decoded",
                       source->format);
    if (!source->friendly) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s picture is cut short or damaged: %llu of %llu rows could be decoded",
                   source->format, (unsigned long long)done, (unsigned long long)rows);
}

vr_status vr_picture_bad(const vr_source *source, const char *what, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s picture is damaged: %s (%zu bytes)", source->format, what, source->size);
}
