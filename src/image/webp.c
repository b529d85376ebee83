/* WebP through libwebp. A still picture is decoded as it is. Of an animation the first frame stands
 * in the canvas, transparent black around it; its chunks are put into a container of their own,
 * because libwebp's plain decoder reads still pictures only.
 *
 * Containers: RIFF, "WEBP", chunks {name, size, data, padding to even}; VP8X: flags, canvas; ANMF:
 * place and size, then ALPH and VP8 or VP8L (Google's "WebP Container Specification"). A file cut
 * short is an error in both manners, as in Pillow. */
#include "base/memory.h"
#include "image/decode.h"

#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>

typedef struct chunk {
    const uint8_t *data;
    size_t size;
} chunk;

/* The first chunk of this name among those in [data, data+size); data NULL where there is none. */
static chunk find_chunk(const uint8_t *data, size_t size, const char *name) {
    size_t at = 0;
    while (at <= size && size - at >= 8) {
        size_t n = vr_le32(data + at + 4);
        if (n > size - at - 8) break;
        if (memcmp(data + at, name, 4) == 0) return (chunk){data + at + 8, n};
        at += 8 + n + (n & 1);
    }
    return (chunk){0};
}

static vr_status failed(VP8StatusCode code, vr_error *err) {
    static const char *const reasons[] = {
        "",          "out of memory", "invalid parameter", "damaged data", "unsupported feature",
        "suspended", "stopped",       "cut short"};
    const char *reason = (size_t)code < VR_COUNT(reasons) ? reasons[code] : "unknown error";
    return vr_fail(err, code == VP8_STATUS_OUT_OF_MEMORY ? VRWKV_ERR_MEMORY : VRWKV_ERR_FORMAT,
                   "WebP picture cannot be decoded: %s", reason);
}

/* Decodes a still picture of w x h into rgb; rows stand `stride` bytes apart. */
static vr_status decode_still(const uint8_t *data, size_t size, bool composite, int w, int h, uint8_t *rgb,
                              size_t stride, vr_error *err) {
    if (stride > INT32_MAX || (size_t)w * 4 > INT32_MAX)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "WebP picture is too wide");
    if (!composite) {
        size_t bytes = stride * (size_t)(h - 1) + (size_t)w * 3;
        if (WebPDecodeRGBInto(data, size, rgb, bytes, (int)stride)) return VRWKV_OK;
        return failed(VP8_STATUS_BITSTREAM_ERROR, err);
    }
    size_t row = (size_t)w * 4;
    uint8_t *rgba = vr_alloc((size_t)h, row);
    if (!rgba) return failed(VP8_STATUS_OUT_OF_MEMORY, err);
    bool good = WebPDecodeRGBAInto(data, size, rgba, row * (size_t)h, (int)row) != NULL;
    for (int y = 0; good && y < h; y++) {
        const uint8_t *from = rgba + (size_t)y * row;
        uint8_t *to = rgb + (size_t)y * stride;
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) to[3 * x + c] = vr_over_white(from[4 * x + c], from[4 * x + 3]);
    }
    free(rgba);
    return good ? VRWKV_OK : failed(VP8_STATUS_BITSTREAM_ERROR, err);
}

static void put_le(uint8_t *to, size_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

/* The chunks of one frame as a still picture; NULL when out of memory. */
static uint8_t *wrap_frame(chunk frame, int w, int h, bool alpha, size_t *size) {
    uint8_t *file = vr_alloc(30 + frame.size, 1);
    if (!file) return NULL;
    *size = 30 + frame.size;
    memcpy(file, "RIFF", 4);
    put_le(file + 4, *size - 8, 4);
    memcpy(file + 8, "WEBPVP8X", 8);
    put_le(file + 16, 10, 4);
    file[20] = alpha ? 0x10 : 0;
    put_le(file + 24, (size_t)w - 1, 3);
    put_le(file + 27, (size_t)h - 1, 3);
    memcpy(file + 30, frame.data, frame.size);
    return file;
}

static vr_status decode_first_frame(vr_image *out, const vr_source *source, chunk head, vr_error *err) {
    chunk frame = find_chunk(source->data + 12, source->size - 12, "ANMF");
    if (head.size < 10) return vr_picture_bad(source, "its VP8X chunk is too short", err);
    if (!frame.data || frame.size < 16) return vr_picture_bad(source, "an animation without a whole first frame", err);
    int64_t width = vr_le24(head.data + 4) + 1, height = vr_le24(head.data + 7) + 1;
    int64_t left = 2 * (int64_t)vr_le24(frame.data), top = 2 * (int64_t)vr_le24(frame.data + 3);
    int64_t w = vr_le24(frame.data + 6) + 1, h = vr_le24(frame.data + 9) + 1;
    VR_TRY(vr_picture_check(source, width, height, err));
    if (left + w > width || top + h > height)
        return vr_picture_bad(source, "its first frame is larger than the canvas", err);
    chunk inner = {frame.data + 16, frame.size - 16};
    bool alpha = find_chunk(inner.data, inner.size, "ALPH").data != NULL;
    WebPBitstreamFeatures features;
    size_t size;
    uint8_t *file = wrap_frame(inner, (int)w, (int)h, alpha, &size);
    if (!file) return failed(VP8_STATUS_OUT_OF_MEMORY, err);
    VP8StatusCode code = WebPGetFeatures(file, size, &features);
    vr_status status = code == VP8_STATUS_OK ? VRWKV_OK : failed(code, err);
    if (status == VRWKV_OK && (features.width != w || features.height != h))
        status = vr_picture_bad(source, "its first frame has another size than stated", err);
    if (status == VRWKV_OK) status = vr_picture_new(out, source, width, height, err);
    if (status == VRWKV_OK) {
        size_t stride = (size_t)width * 3;
        if (source->friendly) memset(out->rgb, 255, stride * (size_t)height);
        status = decode_still(file, size, source->friendly && features.has_alpha, (int)w, (int)h,
                              out->rgb + (size_t)top * stride + (size_t)left * 3, stride, err);
    }
    free(file);
    return status;
}

vr_status vr_decode_webp(vr_image *out, const vr_source *source, vr_error *err) {
    WebPBitstreamFeatures features;
    size_t stated = (size_t)vr_le32(source->data + 4) + 8;
    if (stated > source->size)
        return vr_fail(err, VRWKV_ERR_FORMAT, "WebP picture is cut short: %zu bytes of %zu", source->size, stated);
    chunk head = find_chunk(source->data + 12, source->size - 12, "VP8X");
    if (head.data && head.size >= 1 && head.data[0] & 0x02) {
        VR_TRY(decode_first_frame(out, source, head, err));
    } else {
        VP8StatusCode code = WebPGetFeatures(source->data, source->size, &features);
        if (code != VP8_STATUS_OK) return failed(code, err);
        VR_TRY(vr_picture_new(out, source, features.width, features.height, err));
        VR_TRY(decode_still(source->data, source->size, source->friendly && features.has_alpha, out->width, out->height,
                            out->rgb, (size_t)out->width * 3, err));
    }
    if (!source->friendly) return VRWKV_OK;
    chunk exif = find_chunk(source->data + 12, source->size - 12, "EXIF");
    size_t skip = exif.size > 6 && memcmp(exif.data, "Exif\0\0", 6) == 0 ? 6 : 0; /* some writers add JPEG's mark */
    return exif.data ? vr_picture_turn(out, vr_exif_orientation(exif.data + skip, exif.size - skip), err) : VRWKV_OK;
}
