/* BMP: headers of 12 to 124 bytes, 1, 4, 8 bits with a palette, RLE8 and RLE4, 16, 24, 32 bits with
 * the usual or stated masks, rows from the bottom or (negative height) from the top.
 *
 * Masked values of m levels become v * 255 / (m - 1), truncated, as in Pillow. Alpha counts in the
 * friendly manner only, and only where a mask names it and not all of it is 0 (writers that name an
 * alpha mask and leave it empty mean an opaque picture). Skipped and missing pixels are colour 0. */
#include "image/decode.h"

#include <string.h>

enum { BMP_PLAIN = 0, BMP_RLE8 = 1, BMP_RLE4 = 2, BMP_MASKS = 3, BMP_ALPHA_MASKS = 6 };

typedef struct bmp {
    const vr_source *from;
    int64_t width, height;
    bool top_down;
    unsigned bits, compression;
    size_t pixels;    /* where they begin */
    uint32_t mask[4]; /* red, green, blue, alpha */
    uint8_t palette[256][3];
} bmp;

static bool has(const bmp *b, size_t at, size_t n) {
    return at <= b->from->size && b->from->size - at >= n;
}

static vr_status check_kind(const bmp *b, vr_error *err) {
    static const struct {
        unsigned compression, bits;
    } kinds[] = {{BMP_PLAIN, 1},  {BMP_PLAIN, 4},        {BMP_PLAIN, 8},       {BMP_PLAIN, 16}, {BMP_PLAIN, 24},
                 {BMP_PLAIN, 32}, {BMP_RLE8, 8},         {BMP_RLE4, 4},        {BMP_MASKS, 16}, {BMP_MASKS, 24},
                 {BMP_MASKS, 32}, {BMP_ALPHA_MASKS, 16}, {BMP_ALPHA_MASKS, 32}};
    for (size_t i = 0; i < VR_COUNT(kinds); i++)
        if (kinds[i].compression == b->compression && kinds[i].bits == b->bits) return VRWKV_OK;
    return vr_fail(
        err, VRWKV_ERR_UNSUPPORTED,
        "BMP picture with %u bits and compression %u, expected 1, 4, 8, 16, 24 or 32 bits, plain, RLE or masks",
        b->bits, b->compression);
}

/* Masks stand in the header from 52 bytes on, behind it where it has 40. */
static vr_status read_masks(bmp *b, size_t header, vr_error *err) {
    if (b->compression == BMP_PLAIN) {
        static const uint32_t usual[2][4] = {{0x7c00, 0x3e0, 0x1f, 0}, {0xff0000, 0xff00, 0xff, 0}};
        memcpy(b->mask, usual[b->bits != 16], sizeof b->mask);
        return VRWKV_OK;
    }
    int n = header >= 56 || (header == 40 && b->compression == BMP_ALPHA_MASKS) ? 4 : 3;
    if (!has(b, 54, 4 * (size_t)n)) return vr_picture_bad(b->from, "its masks are missing", err);
    for (int i = 0; i < n; i++) b->mask[i] = vr_le32(b->from->data + 54 + 4 * i);
    if (!(b->mask[0] | b->mask[1] | b->mask[2] | b->mask[3]))
        memcpy(b->mask, (uint32_t[4]){0xff0000, 0xff00, 0xff, 0xff000000u}, sizeof b->mask);
    return VRWKV_OK;
}

static vr_status read_palette(bmp *b, size_t header, uint32_t stated, vr_error *err) {
    size_t entry = header == 12 ? 3 : 4, at = 14 + header;
    size_t colours = stated ? stated : (size_t)1 << b->bits;
    if (colours > 65536) return vr_picture_bad(b->from, "a palette of more than 65536 colours", err);
    for (size_t i = 0; i < colours && i < 256 && has(b, at + i * entry, 3); i++) {
        const uint8_t *bgr = b->from->data + at + i * entry;
        memcpy(b->palette[i], (uint8_t[3]){bgr[2], bgr[1], bgr[0]}, 3);
    }
    /* Some writers state the palette's place as that of the pixels. */
    if (b->pixels <= at) b->pixels = at + colours * entry;
    return VRWKV_OK;
}

static vr_status read_header(bmp *b, vr_error *err) {
    const uint8_t *data = b->from->data;
    if (!has(b, 0, 26)) return vr_picture_bad(b->from, "its header is cut off", err);
    size_t header = vr_le32(data + 14);
    uint32_t colours = 0;
    b->pixels = vr_le32(data + 10);
    if (header == 12) {
        b->width = vr_le16(data + 18);
        b->height = vr_le16(data + 20);
        b->bits = vr_le16(data + 24);
    } else if (header == 40 || header == 52 || header == 56 || header == 64 || header == 108 || header == 124) {
        if (!has(b, 14, header)) return vr_picture_bad(b->from, "its header is cut off", err);
        b->width = (int32_t)vr_le32(data + 18);
        b->height = (int32_t)vr_le32(data + 22);
        b->bits = vr_le16(data + 28);
        b->compression = vr_le32(data + 30);
        colours = vr_le32(data + 46);
        b->top_down = b->height < 0;
        if (b->top_down) b->height = -b->height;
    } else {
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                       "BMP picture with a header of %zu bytes, expected 12, 40, 52, 56, 64, 108 or 124", header);
    }
    VR_TRY(check_kind(b, err));
    VR_TRY(vr_picture_check(b->from, b->width, b->height, err));
    if (b->bits <= 8) return read_palette(b, header, colours, err);
    VR_TRY(read_masks(b, header, err));
    if (b->pixels == 0) b->pixels = 14 + header + (header == 40 && b->compression == BMP_MASKS ? 12 : 0);
    return VRWKV_OK;
}

static uint8_t *row_of(const bmp *b, vr_image *out, int64_t y) {
    int64_t row = b->top_down ? y : b->height - 1 - y;
    return out->rgb + (size_t)row * (size_t)b->width * 3;
}

static unsigned masked(uint32_t pixel, uint32_t mask) {
    if (!mask) return 0;
    int shift = __builtin_ctz(mask);
    return (unsigned)((uint64_t)((pixel & mask) >> shift) * 255 / (mask >> shift));
}

static uint32_t pixel_at(const bmp *b, const uint8_t *row, size_t x) {
    static uint32_t (*const get[5])(const uint8_t *) = {[3] = vr_le24, [4] = vr_le32};
    return b->bits == 16 ? vr_le16(row + 2 * x) : get[b->bits / 8](row + x * (b->bits / 8));
}

static void plain_row(const bmp *b, const uint8_t *row, uint8_t *rgb, bool alpha) {
    for (size_t x = 0; x < (size_t)b->width; x++, rgb += 3) {
        if (b->bits <= 8) {
            unsigned per_byte = 8 / b->bits, shift = (per_byte - 1 - (unsigned)(x % per_byte)) * b->bits;
            memcpy(rgb, b->palette[(row[x / per_byte] >> shift) & ((1u << b->bits) - 1)], 3);
        } else if (b->bits == 24 && b->compression == BMP_PLAIN) {
            memcpy(rgb, (uint8_t[3]){row[3 * x + 2], row[3 * x + 1], row[3 * x]}, 3);
        } else {
            uint32_t pixel = pixel_at(b, row, x);
            unsigned opaque = alpha ? masked(pixel, b->mask[3]) : 255;
            for (int c = 0; c < 3; c++) rgb[c] = vr_over_white(masked(pixel, b->mask[c]), opaque);
        }
    }
}

static bool any_alpha(const bmp *b, size_t stride, int64_t rows) {
    for (int64_t y = 0; y < rows; y++)
        for (size_t x = 0; x < (size_t)b->width; x++)
            if (pixel_at(b, b->from->data + b->pixels + (size_t)y * stride, x) & b->mask[3]) return true;
    return false;
}

static vr_status read_plain(const bmp *b, vr_image *out, vr_error *err) {
    size_t bytes = ((size_t)b->width * b->bits + 7) / 8, stride = (bytes + 3) / 4 * 4;
    size_t left = has(b, b->pixels, 0) ? b->from->size - b->pixels : 0;
    uint64_t there = left / stride + (left % stride >= bytes); /* the last row may lack its padding */
    int64_t rows = there < (uint64_t)b->height ? (int64_t)there : b->height;
    VR_TRY(vr_picture_rows(b->from, (uint64_t)rows, (uint64_t)b->height, err));
    bool alpha = b->from->friendly && b->bits > 8 && b->mask[3] && any_alpha(b, stride, rows);
    for (int64_t y = 0; y < rows; y++)
        plain_row(b, b->from->data + b->pixels + (size_t)y * stride, row_of(b, out, y), alpha);
    return VRWKV_OK;
}

typedef struct rle {
    size_t at;
    int64_t x, y;
} rle;

static void put_index(const bmp *b, vr_image *out, rle *r, unsigned index) {
    if (r->x < b->width && r->y < b->height) memcpy(row_of(b, out, r->y) + r->x * 3, b->palette[index], 3);
    r->x++;
}

/* The k-th index in a run of RLE4 nibbles or RLE8 bytes. */
static unsigned run_index(const bmp *b, const uint8_t *data, unsigned k) {
    if (b->bits == 8) return data[k];
    return k & 1 ? data[k / 2] & 15 : data[k / 2] >> 4;
}

/* One command; false at the end of the bitmap or of the data (*cut tells which). */
static bool rle_step(const bmp *b, vr_image *out, rle *r, bool *cut) {
    const uint8_t *data = b->from->data;
    *cut = !has(b, r->at, 2);
    if (*cut || r->y >= b->height) return false;
    unsigned count = data[r->at], value = data[r->at + 1];
    r->at += 2;
    if (count) {
        uint8_t pair[2] = {(uint8_t)value, (uint8_t)value};
        for (unsigned k = 0; k < count; k++) put_index(b, out, r, run_index(b, pair, k & 1));
    } else if (value == 0) {
        r->x = 0;
        r->y++;
    } else if (value == 1) {
        return false;
    } else if (value == 2) {
        if ((*cut = !has(b, r->at, 2))) return false;
        r->x += data[r->at];
        r->y += data[r->at + 1];
        r->at += 2;
    } else {
        size_t bytes = b->bits == 8 ? value : (value + 1) / 2;
        if ((*cut = !has(b, r->at, bytes))) return false;
        for (unsigned k = 0; k < value; k++) put_index(b, out, r, run_index(b, data + r->at, k));
        r->at += bytes + (bytes & 1);
    }
    return true;
}

static vr_status read_rle(const bmp *b, vr_image *out, vr_error *err) {
    rle r = {.at = b->pixels};
    bool cut = false;
    while (rle_step(b, out, &r, &cut)) continue;
    int64_t done = r.y + (r.y < b->height && r.x >= b->width);
    return vr_picture_rows(b->from, (uint64_t)done, cut ? (uint64_t)b->height : 0, err);
}

vr_status vr_decode_bmp(vr_image *out, const vr_source *source, vr_error *err) {
    bmp b = {.from = source};
    VR_TRY(read_header(&b, err));
    VR_TRY(vr_picture_new(out, source, b.width, b.height, err));
    if (b.bits <= 8)
        for (size_t i = 0; i < (size_t)b.width * (size_t)b.height; i++) memcpy(out->rgb + 3 * i, b.palette[0], 3);
    bool packed = b.compression == BMP_RLE8 || b.compression == BMP_RLE4;
    return packed ? read_rle(&b, out, err) : read_plain(&b, out, err);
}
