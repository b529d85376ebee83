/* JPEG through libjpeg-turbo: accurate integer IDCT, smooth chroma upsampling (both its defaults).
 *
 * Data that ends early: the source feeds an end marker, libjpeg fills what is missing with grey and
 * warns; the place of the first warning after the end tells whether one row of pixels was there.
 * CMYK and YCCK: stored inverted, as Adobe writes them, with or without its marker (Pillow assumes
 * the same); R = k' - muldiv(255 - c', k') with the stored values c', k'.
 * libjpeg's errors come back by longjmp; all that changes after setjmp lives in the struct. */
#include "base/memory.h"
#include "image/decode.h"

#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

/* Real progressive files have about ten scans; thousands are an attack on time. */
#define MAX_SCANS 500

typedef struct jpeg_job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr input;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX];
    const vr_source *from;
    vr_image *out;
    vr_error *err;
    uint8_t *inks;    /* [width, 4], one row of CMYK */
    bool ended;       /* the data ran out before the end marker */
    bool starved;     /* pixels are missing because of that */
    bool nothing;     /* ... already in the first row of blocks of the first scan */
    bool silent_cuts; /* of a kind in which data can be missing without a warning */
} jpeg_job;

static const JOCTET end_marker[2] = {0xff, JPEG_EOI};

static void on_error(j_common_ptr any) {
    jpeg_job *job = any->client_data;
    any->err->format_message(any, job->message);
    longjmp(job->escape, 1);
}

static void on_message(j_common_ptr any, int level) {
    jpeg_job *job = any->client_data;
    if (level >= 0) return;
    any->err->num_warnings++;
    bool early_end = any->err->msg_code == JWRN_HIT_MARKER && job->jpeg.unread_marker == JPEG_EOI;
    if (!job->ended && !early_end) return;
    if (!job->starved) job->nothing = job->jpeg.input_scan_number <= 1 && job->jpeg.input_iMCU_row == 0;
    job->starved = true;
}

static void on_output(j_common_ptr any) {
    (void)any;
}

static void on_progress(j_common_ptr any) {
    jpeg_job *job = any->client_data;
    if (job->jpeg.input_scan_number <= MAX_SCANS) return;
    snprintf(job->message, sizeof job->message, "more than %d scans", MAX_SCANS);
    longjmp(job->escape, 1);
}

static void no_action(j_decompress_ptr jpeg) {
    (void)jpeg;
}

static boolean fill_input(j_decompress_ptr jpeg) {
    jpeg_job *job = jpeg->client_data;
    job->ended = true;
    job->input.next_input_byte = end_marker;
    job->input.bytes_in_buffer = sizeof end_marker;
    return TRUE;
}

static void skip_input(j_decompress_ptr jpeg, long n) {
    jpeg_job *job = jpeg->client_data;
    if (n <= 0) return;
    if ((size_t)n > job->input.bytes_in_buffer) {
        fill_input(jpeg);
        return;
    }
    job->input.next_input_byte += n;
    job->input.bytes_in_buffer -= (size_t)n;
}

static void set_up(jpeg_job *job) {
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->errors.output_message = on_output;
    job->jpeg.client_data = job;
    job->progress.progress_monitor = on_progress;
    job->input = (struct jpeg_source_mgr){
        .next_input_byte = job->from->data,
        .bytes_in_buffer = job->from->size,
        .init_source = no_action,
        .fill_input_buffer = fill_input,
        .skip_input_data = skip_input,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = no_action,
    };
}

/* Stored (inverted) inks to RGB, one row. */
static void inks_to_rgb(uint8_t *rgb, const uint8_t *inks, size_t width) {
    for (size_t x = 0; x < width; x++, inks += 4, rgb += 3)
        for (int i = 0; i < 3; i++) {
            unsigned light = inks[3], t = (255u - inks[i]) * light + 128;
            rgb[i] = (uint8_t)(light - (((t >> 8) + t) >> 8));
        }
}

static vr_status read_rows(jpeg_job *job) {
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    size_t width = jpeg->output_width;
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *rgb = job->out->rgb + (size_t)jpeg->output_scanline * width * 3;
        JSAMPROW row = job->inks ? job->inks : rgb;
        if (jpeg_read_scanlines(jpeg, &row, 1) != 1) break;
        if (job->inks) inks_to_rgb(rgb, job->inks, width);
    }
    return VRWKV_OK;
}

static vr_status read_picture(jpeg_job *job) {
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->src = &job->input;
    jpeg->progress = &job->progress;
    if (job->from->friendly) jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    VR_TRY(vr_picture_new(job->out, job->from, jpeg->image_width, jpeg->image_height, job->err));
    /* Later scans that are missing altogether cause no warning, nor do bits missing in arithmetic coding. */
    job->silent_cuts = jpeg_has_multiple_scans(jpeg) || jpeg->arith_code;
    bool four = jpeg->num_components == 4;
    if (four && !(job->inks = vr_alloc(jpeg->image_width, 4)))
        return vr_fail(job->err, VRWKV_ERR_MEMORY, "out of memory for a row of %u pixels", jpeg->image_width);
    jpeg->out_color_space = four ? JCS_CMYK : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg_start_decompress(jpeg);
    return read_rows(job);
}

/* True where libjpeg gave up. Behind it no function of libjpeg that can fail may be called. */
static bool failed(jpeg_job *job, vr_status *status) {
    if (setjmp(job->escape)) return true;
    *status = read_picture(job);
    return false;
}

static vr_status judge(jpeg_job *job, bool gave_up) {
    uint64_t rows = (uint64_t)job->out->height, done = gave_up ? job->jpeg.output_scanline : rows;
    if (gave_up && (!job->out->rgb || job->from->friendly || done == 0))
        return vr_fail(job->err, VRWKV_ERR_FORMAT, "JPEG picture is damaged or cut short: %s", job->message);
    if (gave_up && job->inks) /* no ink below the cut */
        memset(job->out->rgb + done * (uint64_t)job->out->width * 3, 255,
               (rows - done) * (uint64_t)job->out->width * 3);
    if (job->nothing) return vr_picture_rows(job->from, 0, rows, job->err);
    if (job->from->friendly && (job->starved || (job->ended && job->silent_cuts)))
        return vr_fail(job->err, VRWKV_ERR_FORMAT, "JPEG picture is cut short: %zu bytes end before the last pixels",
                       job->from->size);
    return VRWKV_OK;
}

static int orientation_of(const jpeg_job *job) {
    for (jpeg_saved_marker_ptr marker = job->jpeg.marker_list; marker; marker = marker->next)
        if (marker->data_length > 6 && memcmp(marker->data, "Exif\0\0", 6) == 0)
            return vr_exif_orientation(marker->data + 6, marker->data_length - 6);
    return 1;
}

vr_status vr_decode_jpeg(vr_image *out, const vr_source *source, vr_error *err) {
    jpeg_job *job = vr_alloc(1, sizeof *job);
    vr_status status = VRWKV_OK;
    if (!job) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    job->from = source;
    job->out = out;
    job->err = err;
    set_up(job);
    bool gave_up = failed(job, &status);
    if (status == VRWKV_OK) status = judge(job, gave_up);
    if (status == VRWKV_OK && source->friendly) status = vr_picture_turn(out, orientation_of(job), err);
    jpeg_destroy_decompress(&job->jpeg);
    free(job->inks);
    free(job);
    return status;
}
