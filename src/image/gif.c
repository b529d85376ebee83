/* The first frame of a GIF, through giflib, on its canvas.
 *
 * Original (as Pillow): pixels that the frame does not cover have the transparent colour where one
 * is named, else colour 0; transparency itself is dropped; without any palette the index is the grey
 * level. Friendly: transparent and uncovered pixels are white. A frame that reaches over the edge
 * makes the canvas larger in both. */
#include "base/memory.h"
#include "image/decode.h"

#include <gif_lib.h>
#include <stdlib.h>
#include <string.h>

typedef struct gif_reader {
    const uint8_t *data;
    size_t left;
} gif_reader;

/* After the end come zeros, that is closing blocks, so that a picture lacking nothing but its end
 * decodes; a block cut in the middle is an error. */
static int read_bytes(GifFileType *gif, GifByteType *to, int n) {
    gif_reader *reader = gif->UserData;
    if (n <= 0) return 0;
    if (reader->left == 0) {
        memset(to, 0, (size_t)n);
        return n;
    }
    if ((size_t)n > reader->left) return 0;
    memcpy(to, reader->data, (size_t)n);
    reader->data += n;
    reader->left -= (size_t)n;
    return n;
}

/* Goes on to the first frame; *transparent is the index that its graphic control block names, or -1. */
static vr_status find_frame(GifFileType *gif, const vr_source *source, int *transparent, vr_error *err) {
    const gif_reader *reader = gif->UserData;
    *transparent = -1;
    for (;;) {
        GifRecordType type;
        if (reader->left == 0 || DGifGetRecordType(gif, &type) != GIF_OK || type == TERMINATE_RECORD_TYPE)
            return vr_picture_bad(source, "no frame in it", err);
        if (type == IMAGE_DESC_RECORD_TYPE) break;
        int code;
        GifByteType *block;
        if (type != EXTENSION_RECORD_TYPE || DGifGetExtension(gif, &code, &block) != GIF_OK)
            return vr_picture_bad(source, "a broken block before the first frame", err);
        if (code == GRAPHICS_EXT_FUNC_CODE && block && block[0] >= 4 && block[1] & 1) *transparent = block[4];
        while (block)
            if (DGifGetExtensionNext(gif, &block) != GIF_OK)
                return vr_picture_bad(source, "a broken block before the first frame", err);
    }
    if (DGifGetImageDesc(gif) != GIF_OK) return vr_picture_bad(source, "a broken frame header", err);
    return VRWKV_OK;
}

typedef struct gif_colours {
    uint8_t rgb[256][3];
    int ground; /* the index of pixels that are not there */
} gif_colours;

static void read_colours(gif_colours *colours, const GifFileType *gif, int transparent) {
    const ColorMapObject *map = gif->Image.ColorMap ? gif->Image.ColorMap : gif->SColorMap;
    *colours = (gif_colours){.ground = transparent >= 0 ? transparent : 0};
    for (int i = 0; i < 256; i++) {
        if (!map) {
            memset(colours->rgb[i], i, 3);
        } else if (i < map->ColorCount) {
            GifColorType c = map->Colors[i];
            memcpy(colours->rgb[i], (uint8_t[3]){c.Red, c.Green, c.Blue}, 3);
        }
    }
}

static vr_status read_rows(GifFileType *gif, vr_image *out, const vr_source *source, const gif_colours *colours,
                           uint8_t *line, vr_error *err) {
    static const struct { int first, step; } interlaced[4] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
    GifImageDesc frame = gif->Image;
    int passes = frame.Interlace ? 4 : 1, done = 0;
    for (int pass = 0; pass < passes; pass++) {
        int first = frame.Interlace ? interlaced[pass].first : 0, step = frame.Interlace ? interlaced[pass].step : 1;
        for (int y = first; y < frame.Height; y += step, done++) {
            memset(line, colours->ground, (size_t)frame.Width);
            bool whole = DGifGetLine(gif, line, frame.Width) == GIF_OK;
            uint8_t *to = out->rgb + ((size_t)(frame.Top + y) * (size_t)out->width + (size_t)frame.Left) * 3;
            for (int x = 0; x < frame.Width; x++) memcpy(to + 3 * (size_t)x, colours->rgb[line[x]], 3);
            if (!whole) return vr_picture_rows(source, (uint64_t)done, (uint64_t)frame.Height, err);
        }
    }
    return VRWKV_OK;
}

static vr_status decode_frame(GifFileType *gif, vr_image *out, const vr_source *source, vr_error *err) {
    int transparent;
    VR_TRY(vr_picture_check(source, gif->SWidth > 0 ? gif->SWidth : 1, gif->SHeight > 0 ? gif->SHeight : 1, err));
    VR_TRY(find_frame(gif, source, &transparent, err));
    GifImageDesc frame = gif->Image;
    if (frame.Left < 0 || frame.Top < 0 || frame.Width < 1 || frame.Height < 1)
        return vr_picture_bad(source, "a first frame without pixels", err);
    int width = frame.Left + frame.Width > gif->SWidth ? frame.Left + frame.Width : gif->SWidth;
    int height = frame.Top + frame.Height > gif->SHeight ? frame.Top + frame.Height : gif->SHeight;
    VR_TRY(vr_picture_new(out, source, width, height, err));

    gif_colours colours;
    read_colours(&colours, gif, transparent);
    if (source->friendly) {
        if (transparent >= 0) memset(colours.rgb[transparent], 255, 3);
        memset(out->rgb, 255, (size_t)width * (size_t)height * 3);
    } else {
        const uint8_t *ground = colours.rgb[colours.ground];
        for (size_t i = 0; i < (size_t)width * (size_t)height; i++) memcpy(out->rgb + 3 * i, ground, 3);
    }
    uint8_t *line = vr_alloc((size_t)frame.Width, 1);
    if (!line) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a row of %d pixels", frame.Width);
    vr_status status = read_rows(gif, out, source, &colours, line, err);
    free(line);
    return status;
}

vr_status vr_decode_gif(vr_image *out, const vr_source *source, vr_error *err) {
    gif_reader reader = {source->data, source->size};
    int code = 0;
    GifFileType *gif = DGifOpen(&reader, read_bytes, &code);
    if (!gif)
        return vr_picture_bad(source, code == D_GIF_ERR_NOT_ENOUGH_MEM ? "out of memory" : "a broken header", err);
    vr_status status = decode_frame(gif, out, source, err);
    DGifCloseFile(gif, &code);
    return status;
}
