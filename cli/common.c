/* Shared by the verbs: buffers, ids, the model and its pictures. */
#include "common.h"

#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

vr_status vr_buffer_add(vr_buffer *buffer, const char *data, size_t n, vr_error *err) {
    VR_TRY(vr_grow(&buffer->data, &buffer->capacity, buffer->n + n + 1, 1, err));
    if (n) memcpy(buffer->data + buffer->n, data, n);
    buffer->n += n;
    buffer->data[buffer->n] = 0;
    return VRWKV_OK;
}

vr_status vr_buffer_read(vr_buffer *buffer, FILE *file, const char *name, vr_error *err) {
    char block[65536];
    size_t n;
    VR_TRY(vr_buffer_add(buffer, "", 0, err));
    while ((n = fread(block, 1, sizeof block, file)) > 0) VR_TRY(vr_buffer_add(buffer, block, n, err));
    if (ferror(file)) return vr_fail_io(err, "read", name);
    return VRWKV_OK;
}

/* ---- ids ---- */

vr_status vr_ids_add(vr_ids *list, int32_t id, vr_error *err) {
    VR_TRY(vr_grow(&list->ids, &list->capacity, list->n + 1, sizeof *list->ids, err));
    list->ids[list->n++] = id;
    return VRWKV_OK;
}

vr_status vr_ids_parse(vr_ids *list, const char *text, bool lenient, vr_error *err) {
    static const char separators[] = ", \t\r\n[]";
    for (;;) {
        text += strspn(text, separators);
        if (!*text) return VRWKV_OK;
        char *end;
        errno = 0;
        long value = strtol(text, &end, 10);
        size_t length = strcspn(text, separators);
        if (end != text + length)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "\"%.*s\" is no token id (a whole number is expected)",
                           length > 40 ? 40 : (int)length, text);
        bool fits = !errno && value >= INT32_MIN && value <= INT32_MAX;
        if (!fits && !lenient)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "\"%.*s\" is larger than any token id", length > 40 ? 40 : (int)length, text);
        VR_TRY(vr_ids_add(list, fits ? (int32_t)value : -1, err));
        text = end;
    }
}

vr_status vr_ids_prompt(vr_ids *list, const vrwkv_model *model, const char *question, size_t n_images, vr_error *err) {
    size_t count;
    VR_TRY(vrwkv_prompt(model, question, n_images, NULL, 0, &count, err));
    VR_TRY(vr_grow(&list->ids, &list->capacity, list->n + count, sizeof *list->ids, err));
    VR_TRY(vrwkv_prompt(model, question, n_images, list->ids + list->n, count, &count, err));
    list->n += count;
    return VRWKV_OK;
}

static vr_status add_text(vr_ids *list, const vrwkv_model *model, const char *text, size_t n, vr_error *err) {
    size_t count;
    if (!n) return VRWKV_OK;
    VR_TRY(vrwkv_tokenize(model, text, n, NULL, 0, &count, err));
    VR_TRY(vr_grow(&list->ids, &list->capacity, list->n + count, sizeof *list->ids, err));
    VR_TRY(vrwkv_tokenize(model, text, n, list->ids + list->n, count, &count, err));
    list->n += count;
    return VRWKV_OK;
}

vr_status vr_ids_raw(vr_ids *list, const vrwkv_model *model, const char *text, size_t n, size_t n_images, vr_error *err) {
    static const char mark[] = "<image>";
    const size_t length = sizeof mark - 1;
    size_t marks = 0;
    for (const char *at = text; n_images && (at = memmem(at, n - (size_t)(at - text), mark, length)); at += length) marks++;
    if (marks > n_images)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "the text has %zu marks <image>, but %zu pictures are given", marks,
                       n_images);
    for (size_t i = marks; i < n_images; i++) VR_TRY(vr_ids_add(list, VRWKV_IMAGE, err));
    for (; marks > 0; marks--) {
        const char *at = memmem(text, n, mark, length);
        size_t before = (size_t)(at - text);
        VR_TRY(add_text(list, model, text, before, err));
        VR_TRY(vr_ids_add(list, VRWKV_IMAGE, err));
        text = at + length;
        n -= before + length;
    }
    return add_text(list, model, text, n, err);
}

size_t vr_ids_rows(const vr_ids *list, const vrwkv_model *model) {
    int32_t row_id = vr_model_config(model)->rules->row_id;
    size_t n = 0;
    for (size_t i = 0; i < list->n && row_id; i++) n += list->ids[i] == row_id;
    return n;
}

size_t vr_ids_images(const vr_ids *list) {
    size_t count = 0;
    for (size_t i = 0; i < list->n; i++) count += list->ids[i] == VRWKV_IMAGE;
    return count;
}

/* ---- model and pictures ---- */

vr_status vr_model_args_open(const vr_model_args *args, vr_progress *progress, vrwkv_model **out, vr_error *err) {
    vrwkv_model_options options = {
        .threads = args->threads,
        .mmproj = args->mmproj,
        .scan = args->scan,
        .image_position = args->image_position,
        .no_mmap = args->no_mmap,
        .lock_memory = args->lock,
        .log = vr_log_note,
        .progress = vr_progress_show,
        .user = progress,
    };
    vr_status status = vr_model_open(args->path, &options, NULL, out, err);
    vr_progress_end();
    return status;
}

vr_status vr_model_args_vocab(const vr_model_args *args, vrwkv_model **model, const vr_vocab **vocab, vr_error *err) {
    vr_progress progress = {0};
    if (!args->path) return vr_vocab_world(vocab, err);
    VR_TRY(vr_model_args_open(args, &progress, model, err));
    *vocab = vr_model_vocab(*model);
    if (!*vocab)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s has no vocabulary (vrwkv convert --vocab FILE adds one)", args->path);
    return VRWKV_OK;
}

vr_status vr_pictures_encode(vr_pictures *pictures, vrwkv_model *model, const vr_strings *files, vrwkv_manner manner,
                             vr_error *err) {
    if (!files->n) return VRWKV_OK;
    pictures->items = vr_alloc(files->n, sizeof *pictures->items);
    if (!pictures->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu pictures", files->n);
    for (size_t i = 0; i < files->n; i++) {
        vr_progress_say("looking at the picture");
        vr_status status = vrwkv_encode_file(model, files->items[i], manner, &pictures->items[i], err);
        vr_progress_end();
        VR_TRY(status);
        pictures->n++;
        if (vr_interrupted()) return vr_fail(err, VRWKV_ERR_CANCELLED, "interrupted");
    }
    return VRWKV_OK;
}

vr_status vr_pictures_zero(vr_pictures *pictures, vrwkv_model *model, size_t n, vr_error *err) {
    pictures->items = vr_alloc(n, sizeof *pictures->items);
    if (!pictures->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu pictures", n);
    VR_TRY(vrwkv_encode_pixels(model, NULL, 1, &pictures->items[0], err));
    pictures->n = 1;
    while (pictures->n < n) {
        pictures->items[pictures->n] = vrwkv_features_share(pictures->items[0]);
        pictures->n++;
    }
    return VRWKV_OK;
}

void vr_pictures_free(vr_pictures *pictures) {
    for (size_t i = 0; i < pictures->n; i++) vrwkv_features_free(pictures->items[i]);
    free(pictures->items);
    *pictures = (vr_pictures){0};
}

vr_status vr_decoded_read(vr_decoded *out, vrwkv_model *model, const vr_strings *files, vrwkv_manner manner, vr_error *err) {
    if (!files->n) return VRWKV_OK;
    out->items = vr_alloc(files->n, sizeof *out->items);
    if (!out->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu pictures", files->n);
    for (size_t i = 0; i < files->n; i++) {
        vr_image image = {0};
        VR_TRY(vr_image_decode_file(&image, files->items[i], manner, 0, err));
        vr_status status = vr_model_picture(model, &image, &out->items[i], err);
        vr_image_free(&image);
        VR_TRY(status);
        out->n++;
    }
    return VRWKV_OK;
}

void vr_decoded_free(vr_decoded *pictures) {
    for (size_t i = 0; i < pictures->n; i++) vr_picture_free(&pictures->items[i]);
    free(pictures->items);
    *pictures = (vr_decoded){0};
}
