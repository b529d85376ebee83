/* Encoding, for small copies that go into reports. */
#include "base/memory.h"
#include "image/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

typedef struct failure {
    struct jpeg_error_mgr base;
    jmp_buf back;
} failure;

static void give_up(j_common_ptr jpeg) { longjmp(((failure *)jpeg->err)->back, 1); }
static void say_nothing(j_common_ptr jpeg) { (void)jpeg; }

vr_status vr_image_encode_jpeg(const vr_image *image, int quality, unsigned char **out, size_t *size, vr_error *err) {
    struct jpeg_compress_struct jpeg;
    failure fault;
    unsigned char *volatile data = NULL;
    unsigned long bytes = 0;
    *out = NULL;
    *size = 0;
    jpeg.err = jpeg_std_error(&fault.base);
    fault.base.error_exit = give_up;
    fault.base.output_message = say_nothing;
    if (setjmp(fault.back)) {
        jpeg_destroy_compress(&jpeg);
        free(data);
        return vr_fail(err, VRWKV_ERR_MEMORY, "a picture of %d x %d could not be encoded as JPEG", image->width,
                       image->height);
    }
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, (unsigned char **)&data, &bytes);
    jpeg.image_width = (JDIMENSION)image->width;
    jpeg.image_height = (JDIMENSION)image->height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = image->rgb + (size_t)jpeg.next_scanline * (size_t)image->width * 3;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    *out = data;
    *size = bytes;
    return VRWKV_OK;
}
