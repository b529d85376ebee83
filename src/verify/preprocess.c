/* Kind `preprocess`: picture files to 8-bit RGB, resized 8-bit RGB and normalised pixels.
 *
 * case.json has an object `images`: name -> {file, rgb, width, height}; the pictures lie in images/,
 * their decoded form in the file `rgb` (where the picture itself is no plain 8-bit RGB PNG), the
 * expected tensors in <name>.safetensors. A tensor's name tells what it is:
 *   FAMILY.S          [3,S,S] as the tower family wants its pixels
 *   u8.FILTER.WxH     [H,W,3] after the 8-bit resize, equal to the last bit
 * Formulas: docs/MODEL.md, "Pictures". */
#include "base/memory.h"
#include "image/image.h"
#include "verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST_SIDE 16384 /* of expected tensors: more is a damaged name */

typedef struct family_row {
    const char *name;
    const char *constants; /* key of case.json with mean and std, which win over the ones here */
    vr_preprocess how;
} family_row;

#define CLIP_MEAN {0.48145466f, 0.4578275f, 0.40821073f}
#define CLIP_STD {0.26862954f, 0.26130258f, 0.27577711f}
#define HALVES {0.5f, 0.5f, 0.5f}
#define IMAGENET_MEAN {0.485f, 0.456f, 0.406f}
#define IMAGENET_STD {0.229f, 0.224f, 0.225f}

static const family_row families[] = {
    {"clip", "clip", {0, VR_BICUBIC, true, true, CLIP_MEAN, CLIP_STD}},
    {"siglip", "siglip", {0, VR_BICUBIC, false, false, HALVES, HALVES}},
    {"dino", "dino", {0, VR_BICUBIC, false, false, IMAGENET_MEAN, IMAGENET_STD}},
    {"sam", "sam", {0, VR_BICUBIC, false, false, IMAGENET_MEAN, IMAGENET_STD}},
    {"hf_siglip_bilinear", "siglip", {0, VR_BILINEAR, false, true, HALVES, HALVES}},
};

static const struct {
    const char *name;
    vr_filter filter;
} filters[] = {{"bilinear", VR_BILINEAR}, {"bicubic", VR_BICUBIC}, {"lanczos", VR_LANCZOS}};

static vr_status from_rgb(vr_array *out, const vr_image *image, vr_error *err) {
    int64_t shape[3] = {image->height, image->width, 3};
    size_t n = (size_t)image->height * (size_t)image->width * 3;
    float *wide = vr_alloc(n, sizeof *wide);
    if (!wide) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a picture of %dx%d", image->width, image->height);
    for (size_t i = 0; i < n; i++) wide[i] = image->rgb[i];
    vr_status status = vr_array_make(out, 3, shape, wide, err);
    free(wide);
    return status;
}

static vr_status check_decoded(vr_verify *verify, const vr_case *item, const json_t *about, const char *name,
                               const vr_image *image, vr_error *err) {
    char label[160];
    const char *rgb = vr_case_text(about, "rgb", NULL);
    int64_t width = vr_case_int(about, "width", image->width), height = vr_case_int(about, "height", image->height);
    snprintf(label, sizeof label, "%s.rgb", name);
    if (width != image->width || height != image->height)
        vr_check_failed(verify, label, "%dx%d, expected %lldx%lld", image->width, image->height, (long long)width,
                        (long long)height);
    if (!rgb) return VRWKV_OK;
    vr_image expected = {0};
    vr_array a = {0}, b = {0};
    char *path = vr_path_join(item->folder, rgb);
    vr_status status = path ? vr_image_decode_file(&expected, path, VRWKV_ORIGINAL, 0, err)
                            : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    if (status == VRWKV_OK) status = from_rgb(&a, image, err);
    if (status == VRWKV_OK) status = from_rgb(&b, &expected, err);
    if (status == VRWKV_OK) vr_check_array(verify, label, &a, &b, 0);
    vr_array_free(&a);
    vr_array_free(&b);
    vr_image_free(&expected);
    free(path);
    return status;
}

/* "u8.bicubic.61x47" */
static vr_status make_resized(vr_array *out, const char *name, const vr_image *image, vr_error *err) {
    char filter[16] = "";
    int width = 0, height = 0, end = 0;
    size_t i = 0;
    sscanf(name, "u8.%15[a-z].%dx%d%n", filter, &width, &height, &end);
    while (i < VR_COUNT(filters) && strcmp(filter, filters[i].name) != 0) i++;
    if (!end || name[end] || i == VR_COUNT(filters) || width < 1 || height < 1 || width > LARGEST_SIDE ||
        height > LARGEST_SIDE)
        return vr_fail(err, VRWKV_ERR_FORMAT, "tensor \"%s\", expected u8.FILTER.WxH", name);
    vr_image resized = {0};
    vr_status status = vr_image_resize(&resized, image, width, height, filters[i].filter, err);
    if (status == VRWKV_OK) status = from_rgb(out, &resized, err);
    vr_image_free(&resized);
    return status;
}

static void constants(float out[3], const json_t *list) {
    if (json_array_size(list) != 3) return;
    for (size_t i = 0; i < 3; i++) out[i] = (float)json_number_value(json_array_get(list, i));
}

/* "clip.56" */
static vr_status make_pixels(vr_array *out, const char *name, const json_t *settings, const vr_image *image,
                             vr_error *err) {
    size_t i = 0, length = strcspn(name, ".");
    char *end = NULL;
    long size = name[length] ? strtol(name + length + 1, &end, 10) : 0;
    while (i < VR_COUNT(families) &&
           (strlen(families[i].name) != length || strncmp(families[i].name, name, length) != 0))
        i++;
    if (i == VR_COUNT(families) || size < 1 || size > LARGEST_SIDE || *end)
        return vr_fail(err, VRWKV_ERR_FORMAT, "tensor \"%s\" is of no known family of pictures", name);
    vr_preprocess how = families[i].how;
    const json_t *own = json_object_get(settings, families[i].constants);
    how.size = (int)size;
    constants(how.mean, json_object_get(own, "mean"));
    constants(how.std, json_object_get(own, "std"));
    int64_t shape[3] = {3, size, size};
    float *pixels = vr_alloc(3 * (size_t)size * (size_t)size, sizeof *pixels);
    if (!pixels) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %s", name);
    vr_status status = vr_image_preprocess(pixels, image, &how, err);
    if (status == VRWKV_OK) status = vr_array_make(out, 3, shape, pixels, err);
    free(pixels);
    return status;
}

/* full_size.thinned: one step for rows and columns, of one picture, by the tensor's whole name. */
static int64_t step_of(const json_t *settings, const char *file, const char *name) {
    const json_t *full = json_object_get(settings, "full_size");
    if (strcmp(vr_case_text(full, "image", ""), file) != 0) return 1;
    return vr_case_int(json_object_get(full, "thinned"), name, 1);
}

static vr_status check_tensor(vr_verify *verify, const vr_case *item, const char *picture, const char *file,
                              const vr_image *image, const vr_weights *weights, const vr_entry *entry, vr_error *err) {
    char label[256];
    vr_array found = {0}, expected = {0};
    int64_t step = step_of(item->json, file, entry->name), steps[VR_MAX_DIMS] = {1, step, step, 1, 1};
    bool bytes = strncmp(entry->name, "u8.", 3) == 0;
    vr_status status = bytes ? make_resized(&found, entry->name, image, err)
                             : make_pixels(&found, entry->name, item->json, image, err);
    if (status == VRWKV_OK && step != 1 && !bytes) status = vr_array_thin(&found, steps, err);
    if (status == VRWKV_OK) status = vr_array_load(&expected, weights, entry, err);
    if (status == VRWKV_OK) {
        snprintf(label, sizeof label, "%s.%s", picture, entry->name);
        vr_check_array(verify, label, &found, &expected, bytes ? 0 : VR_BOUND_HALF);
    }
    vr_array_free(&found);
    vr_array_free(&expected);
    return status;
}

/* A picture whose case.json lists tensors, and one that has a file of tensors anyway, is compared with
 * them; else the decoded picture is all there is. */
static bool has_tensors(const json_t *about, const char *path) {
    return json_object_get(about, "tensors") || access(path, F_OK) == 0;
}

/* case.json lists what the file of tensors must hold. */
static void check_listed(vr_verify *verify, const char *picture, const json_t *about, const vr_weights *weights) {
    const char *name;
    json_t *shape;
    char label[256];
    json_object_foreach(json_object_get(about, "tensors"), name, shape) {
        if (vr_weights_find(weights, name)) continue;
        snprintf(label, sizeof label, "%s.%s", picture, name);
        vr_check_failed(verify, label, "listed in case.json, but not in the file of tensors");
    }
}

static vr_status check_picture(vr_verify *verify, const vr_case *item, const char *name, const json_t *about,
                               vr_error *err) {
    char tensors[256], picture[300];
    const char *file = vr_case_text(about, "file", NULL);
    if (!file) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: images.%s has no file", item->path, name);
    snprintf(tensors, sizeof tensors, "%s.safetensors", name);
    snprintf(picture, sizeof picture, "images/%s", file);
    char *tensors_path = vr_path_join(item->folder, tensors), *picture_path = vr_path_join(item->folder, picture);
    vr_image image = {0};
    vr_weights *weights = NULL;
    vr_status status = VRWKV_OK;
    if (!tensors_path || !picture_path) status = vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    if (status == VRWKV_OK) status = vr_image_decode_file(&image, picture_path, verify->manner, 0, err);
    if (status == VRWKV_OK) status = check_decoded(verify, item, about, name, &image, err);
    bool more = status == VRWKV_OK && has_tensors(about, tensors_path);
    if (more) status = vr_weights_open(&weights, tensors_path, NULL, err);
    if (more && status == VRWKV_OK) check_listed(verify, name, about, weights);
    for (size_t i = 0; more && status == VRWKV_OK && i < vr_weights_count(weights); i++)
        status = check_tensor(verify, item, name, file, &image, weights, vr_weights_at(weights, i), err);
    vr_weights_close(weights);
    vr_image_free(&image);
    free(tensors_path);
    free(picture_path);
    return status;
}

vr_status vr_verify_preprocess(vr_verify *verify, const vr_case *item, vr_error *err) {
    const char *name;
    json_t *about;
    json_t *images = json_object_get(item->json, "images");
    if (!json_is_object(images)) return vr_fail(err, VRWKV_ERR_FORMAT, "%s has no object images", item->path);
    json_object_foreach(images, name, about) {
        vr_error own = {0};
        if (check_picture(verify, item, name, about, &own) != VRWKV_OK)
            vr_check_failed(verify, name, "%s", own.message); /* the other pictures still count */
    }
    return VRWKV_OK;
}
