/* PNG through libpng's push reader: rows come as they can be inflated, so a picture cut short gives
 * exactly the rows that are there. Interlaced passes are delivered unexpanded and scattered here,
 * which leaves pixels of missing passes black (in a palette picture: its first colour), as Pillow.
 *
 * Samples become 8 bits here, not in libpng, because the manners differ: original clips 16-bit grey
 * at 255 and drops alpha; friendly takes the high byte and composites over white. */
#include "image/decode.h"

#include <png.h>
#include <stdio.h>
#include <string.h>

/* deflate makes at most 1032 bytes of one (RFC 1951: 258 bytes by two bits). */
#define MAX_INFLATION 1040

typedef struct png_job {
    const vr_source *from;
    vr_image *out;
    png_structp png;
    png_infop info;
    char message[160];
    int depth, color, channels;
    bool interlaced, key_set;
    unsigned key[3];         /* the colour that is transparent */
    uint8_t palette[256][4]; /* RGBA */
    uint64_t done, rows;     /* of all passes */
} png_job;

/* The seven passes of Adam7 (and the one of a plain picture): first column and row, and steps. */
typedef struct pass_grid {
    uint32_t x, y, dx, dy;
} pass_grid;
static const pass_grid adam7[7] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                   {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
static const pass_grid plain = {0, 0, 1, 1};

static void on_error(png_structp png, png_const_charp text) {
    png_job *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static uint64_t count_rows(const png_job *job, uint32_t width, uint32_t height) {
    if (!job->interlaced) return height;
    uint64_t rows = 0;
    for (int i = 0; i < 7; i++)
        if (width > adam7[i].x && height > adam7[i].y) rows += (height - adam7[i].y + adam7[i].dy - 1) / adam7[i].dy;
    return rows;
}

static void read_colours(png_job *job) {
    png_colorp colours = NULL;
    png_bytep alphas = NULL;
    png_color_16p key = NULL;
    int n = 0;
    for (int i = 0; i < 256; i++) job->palette[i][3] = 255;
    if (png_get_PLTE(job->png, job->info, &colours, &n))
        for (int i = 0; i < n && i < 256; i++)
            memcpy(job->palette[i], (uint8_t[3]){colours[i].red, colours[i].green, colours[i].blue}, 3);
    if (!png_get_tRNS(job->png, job->info, &alphas, &n, &key)) return;
    if (job->color == PNG_COLOR_TYPE_PALETTE) {
        for (int i = 0; alphas && i < n && i < 256; i++) job->palette[i][3] = alphas[i];
    } else if (key) {
        bool grey = job->color == PNG_COLOR_TYPE_GRAY;
        job->key_set = true;
        job->key[0] = grey ? key->gray : key->red;
        job->key[1] = key->green;
        job->key[2] = key->blue;
    }
}

static void fill_first_colour(png_job *job) {
    uint8_t *pixel = job->out->rgb, *first = job->palette[0];
    size_t n = (size_t)job->out->width * (size_t)job->out->height;
    if (job->color != PNG_COLOR_TYPE_PALETTE || !(first[0] | first[1] | first[2])) return;
    for (size_t i = 0; i < n; i++, pixel += 3) memcpy(pixel, first, 3);
}

static void on_info(png_structp png, png_infop info) {
    png_job *job = png_get_progressive_ptr(png);
    uint32_t width = (uint32_t)job->out->width, height = (uint32_t)job->out->height;
    job->info = info;
    job->depth = png_get_bit_depth(png, info);
    job->color = png_get_color_type(png, info);
    job->channels = png_get_channels(png, info);
    job->interlaced = png_get_interlace_type(png, info) != PNG_INTERLACE_NONE;
    job->rows = count_rows(job, width, height);
    if (png_get_image_width(png, info) != width || png_get_image_height(png, info) != height)
        png_error(png, "two headers that differ");
    /* A cut or hostile file must not make libpng allocate rows that its bytes cannot fill. */
    uint64_t bits = (uint64_t)job->depth * (uint64_t)job->channels, limit = (uint64_t)job->from->size * MAX_INFLATION;
    uint64_t first_row = (bits * (job->interlaced ? (width + 7) / 8 : width) + 7) / 8;
    if (first_row > limit || (job->from->friendly && (bits * width + 7) / 8 * height > limit))
        png_error(png, "too few bytes for so many pixels");
    read_colours(job);
    if (!job->from->friendly) fill_first_colour(job);
    png_set_packing(png);
    png_read_update_info(png, info);
}

static void put_pixel(const png_job *job, const uint8_t *row, size_t i, uint8_t *rgb) {
    unsigned s[4] = {0}, alpha = 255;
    int colours = job->color & PNG_COLOR_MASK_COLOR ? 3 : 1, channels = job->channels;
    for (int c = 0; c < channels; c++) {
        size_t at = i * (size_t)channels + (size_t)c;
        s[c] = job->depth == 16 ? vr_be16(row + 2 * at) : row[at];
    }
    if (job->color == PNG_COLOR_TYPE_PALETTE) {
        memcpy(rgb, job->palette[s[0] & 255], 3);
        alpha = job->palette[s[0] & 255][3];
    } else {
        if (channels > colours) alpha = job->depth == 16 ? s[colours] >> 8 : s[colours];
        if (job->key_set && s[0] == job->key[0] && (colours == 1 || (s[1] == job->key[1] && s[2] == job->key[2])))
            alpha = 0;
        bool clip = !job->from->friendly && channels == 1; /* 16-bit grey: the original's values */
        for (int c = 0; c < 3; c++) {
            unsigned v = s[colours == 1 ? 0 : c];
            if (job->depth == 16) v = !clip ? v >> 8 : v > 255 ? 255 : v;
            if (job->depth < 8) v = v * 255 / ((1u << job->depth) - 1);
            rgb[c] = (uint8_t)v;
        }
    }
    if (job->from->friendly && alpha != 255)
        for (int c = 0; c < 3; c++) rgb[c] = vr_over_white(rgb[c], alpha);
}

static void on_row(png_structp png, png_bytep row, png_uint_32 number, int pass) {
    png_job *job = png_get_progressive_ptr(png);
    pass_grid grid = job->interlaced && pass >= 0 && pass < 7 ? adam7[pass] : plain;
    uint64_t y = grid.y + (uint64_t)number * grid.dy;
    size_t width = (size_t)job->out->width;
    if (!row || y >= (uint64_t)job->out->height) return;
    uint8_t *to = job->out->rgb + y * width * 3;
    job->done++;
    if (!job->interlaced && job->color == PNG_COLOR_TYPE_RGB && job->depth == 8 && !job->key_set) {
        memcpy(to, row, width * 3);
        return;
    }
    size_t i = 0;
    for (size_t x = grid.x; x < width; x += grid.dx, i++) put_pixel(job, row, i, to + 3 * x);
}

/* True where libpng gave up. Nothing automatic changes after setjmp. */
static bool failed(png_job *job) {
    if (setjmp(png_jmpbuf(job->png))) return true;
    png_set_user_limits(job->png, 0x7fffffff, 0x7fffffff);
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* profiles, texts: not even inflated */
    if (!job->from->friendly) png_set_crc_action(job->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_progressive_read_fn(job->png, job, on_info, on_row, NULL);
    png_process_data(job->png, job->info, (png_bytep)(uintptr_t)job->from->data, job->from->size);
    return false;
}

static int orientation_of(const vr_source *source) {
    size_t at = 8;
    while (source->size - at >= 12) {
        size_t n = vr_be32(source->data + at);
        if (n > source->size - at - 12) break;
        if (memcmp(source->data + at + 4, "eXIf", 4) == 0) return vr_exif_orientation(source->data + at + 8, n);
        at += n + 12;
    }
    return 1;
}

vr_status vr_decode_png(vr_image *out, const vr_source *source, vr_error *err) {
    if (source->size < 33 || memcmp(source->data + 12, "IHDR", 4) != 0)
        return vr_picture_bad(source, "no header (IHDR)", err);
    VR_TRY(vr_picture_new(out, source, vr_be32(source->data + 16), vr_be32(source->data + 20), err));
    png_job job = {.from = source, .out = out};
    job.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    job.info = job.png ? png_create_info_struct(job.png) : NULL;
    if (!job.info) {
        png_destroy_read_struct(&job.png, NULL, NULL);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the PNG reader");
    }
    bool gave_up = failed(&job);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    if (gave_up && (job.done == 0 || (source->friendly && job.done < job.rows)))
        return vr_fail(err, VRWKV_ERR_FORMAT, "PNG picture is damaged or cut short: %s, after %llu rows", job.message,
                       (unsigned long long)job.done);
    if (!job.rows) job.rows = 1; /* ended before its pixels began */
    VR_TRY(vr_picture_rows(source, job.done, job.rows, err));
    return source->friendly ? vr_picture_turn(out, orientation_of(source), err) : VRWKV_OK;
}
