/* The room `image`: the originals' pixel tensors and decoded pictures, small pictures of every kind
 * by digest in both manners, cuts, hostile headers, limits. VRWKV_ORACLES: the complete reference. */
#include "base/half.h"
#include "base/io.h"
#include "image/image.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define DATA VRWKV_SOURCE_DIR "/tests/data/image"

static vr_map read_whole(const char *folder, const char *name) {
    char path[4096];
    vr_map map;
    vr_error err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (vr_map_open(&map, path, false, &err) != VRWKV_OK) fail_msg("%s", err.message);
    return map;
}

static vr_image decode_named(const char *folder, const char *name, vrwkv_manner manner) {
    vr_map map = read_whole(folder, name);
    vr_image image;
    vr_error err;
    if (vr_image_decode(&image, map.data, map.size, manner, 0, &err) != VRWKV_OK) fail_msg("%s: %s", name, err.message);
    vr_map_close(&map);
    return image;
}

static size_t bytes_of(const vr_image *image) {
    return (size_t)image->width * (size_t)image->height * 3;
}

static void same_picture(const char *what, const vr_image *found, const vr_image *expected) {
    if (found->width != expected->width || found->height != expected->height)
        fail_msg("%s: %d x %d, expected %d x %d", what, found->width, found->height, expected->width, expected->height);
    for (size_t i = 0; i < bytes_of(found); i++)
        if (found->rgb[i] != expected->rgb[i])
            fail_msg("%s: byte %zu is %d, expected %d", what, i, found->rgb[i], expected->rgb[i]);
}

/* ---- the originals' tensors -------------------------------------------------------------------- */

typedef struct tensors {
    vr_map map;
    json_t *head;
    const uint8_t *data;
} tensors;

static bool open_tensors(tensors *t, const char *folder, const char *name) {
    char path[4096];
    uint64_t n = 0;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    if (access(path, R_OK) != 0 || vr_map_open(&t->map, path, false, NULL) != VRWKV_OK) return false;
    memcpy(&n, t->map.data, 8);
    t->head = json_loadb((const char *)t->map.data + 8, n, 0, NULL);
    assert_non_null(t->head);
    t->data = t->map.data + 8 + n;
    return true;
}

static const void *tensor(const tensors *t, const char *name) {
    json_t *offsets = json_object_get(json_object_get(t->head, name), "data_offsets");
    if (!offsets) fail_msg("no tensor %s", name);
    return t->data + json_integer_value(json_array_get(offsets, 0));
}

static const struct {
    const char *name;
    vr_preprocess how;
} towers[] = {
    {"clip",
     {0, VR_BICUBIC, true, true, {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}}},
    {"siglip", {0, VR_BICUBIC, false, false, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}}},
    {"dino", {0, VR_BICUBIC, false, false, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}},
    {"sam", {0, VR_BICUBIC, false, false, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}},
    {"hf_siglip_bilinear", {0, VR_BILINEAR, false, true, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}}},
};
static const struct {
    const char *name;
    vr_filter filter;
} filters[] = {{"bicubic", VR_BICUBIC}, {"bilinear", VR_BILINEAR}, {"lanczos", VR_LANCZOS}};

/* expected [3, n, n] holds every step-th row and column of [3, size, size]. */
static void check_tower(const char *what, const vr_image *image, vr_preprocess how, int step,
                        const uint16_t *expected) {
    size_t size = (size_t)how.size, n = size / (size_t)step;
    float *pixels = malloc(3 * size * size * sizeof(float));
    vr_error err;
    if (vr_image_preprocess(pixels, image, &how, &err) != VRWKV_OK) fail_msg("%s: %s", what, err.message);
    for (size_t i = 0; i < 3 * n * n; i++) {
        size_t c = i / (n * n), y = i / n % n * (size_t)step, x = i % n * (size_t)step;
        float found = pixels[(c * size + y) * size + x], wanted = vr_f16_f32(expected[i]);
        if (!(fabsf(found - wanted) <= 2e-3f))
            fail_msg("%s at %zu,%zu,%zu: %g, expected %g", what, c, y, x, found, wanted);
    }
    free(pixels);
}

static void check_tensor(const char *picture, const char *name, const vr_image *image, const tensors *t,
                         json_t *thinned) {
    char what[200];
    snprintf(what, sizeof what, "%s %s", picture, name);
    const char *dot = strchr(name, '.');
    assert_non_null(dot);
    for (size_t i = 0; i < VR_COUNT(filters); i++) {
        size_t n = strlen(filters[i].name);
        if (strncmp(name, "u8.", 3) != 0 || strncmp(dot + 1, filters[i].name, n) != 0) continue;
        int w = 0, h = 0;
        assert_int_equal(sscanf(dot + 1 + n, ".%dx%d", &w, &h), 2);
        vr_image small, expected = {w, h, (uint8_t *)(uintptr_t)tensor(t, name)};
        assert_int_equal(vr_image_resize(&small, image, w, h, filters[i].filter, NULL), VRWKV_OK);
        same_picture(what, &small, &expected);
        vr_image_free(&small);
        return;
    }
    for (size_t i = 0; i < VR_COUNT(towers); i++) {
        if (strlen(towers[i].name) != (size_t)(dot - name) || strncmp(name, towers[i].name, (size_t)(dot - name)) != 0)
            continue;
        vr_preprocess how = towers[i].how;
        json_t *step = json_object_get(thinned, name);
        how.size = atoi(dot + 1);
        check_tower(what, image, how, step ? (int)json_integer_value(step) : 1, tensor(t, name));
        return;
    }
    fail_msg("%s: an unknown kind of tensor", what);
}

static void run_reference(const char *folder, int at_least, int tensors_at_least) {
    char path[4096];
    json_error_t error;
    int pictures = 0, checked = 0;
    snprintf(path, sizeof path, "%s/case.json", folder);
    json_t *root = json_load_file(path, 0, &error), *entry, *shape;
    if (!root) fail_msg("%s: %s", path, error.text);
    json_t *thinned = json_object_get(json_object_get(root, "full_size"), "thinned");
    const char *name, *tensor_name;
    json_object_foreach(json_object_get(root, "images"), name, entry) {
        snprintf(path, sizeof path, "images/%s", json_string_value(json_object_get(entry, "file")));
        vr_image image = decode_named(folder, path, VRWKV_ORIGINAL);
        assert_int_equal(image.width, json_integer_value(json_object_get(entry, "width")));
        assert_int_equal(image.height, json_integer_value(json_object_get(entry, "height")));
        const char *rgb = json_string_value(json_object_get(entry, "rgb"));
        if (rgb) {
            vr_image expected = decode_named(folder, rgb, VRWKV_ORIGINAL);
            same_picture(name, &image, &expected);
            vr_image_free(&expected);
        }
        tensors t;
        if (open_tensors(&t, folder, name)) {
            json_object_foreach(json_object_get(entry, "tensors"), tensor_name, shape) {
                check_tensor(name, tensor_name, &image, &t, thinned);
                checked++;
            }
            json_decref(t.head);
            vr_map_close(&t.map);
        }
        vr_image_free(&image);
        pictures++;
    }
    json_decref(root);
    assert_true(pictures >= at_least);
    assert_true(checked >= tensors_at_least);
}

static void test_reference(void **state) {
    (void)state;
    run_reference(DATA, 15, 8 + 4 + 5);
}

static void test_complete_reference(void **state) {
    (void)state;
    char path[4096];
    const char *oracles = getenv("VRWKV_ORACLES");
    if (!oracles || !*oracles) skip();
    snprintf(path, sizeof path, "%s/preprocess", oracles);
    run_reference(path, 18, 18 * 8 - 1 + 4);
}

/* ---- pictures of every kind -------------------------------------------------------------------- */

static uint64_t fnv(const vr_image *image) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes_of(image); i++) hash = (hash ^ image->rgb[i]) * 0x100000001b3u;
    return hash;
}

static void check_digest(const char *name, json_t *entry, vrwkv_manner manner) {
    bool friendly = manner == VRWKV_FRIENDLY;
    char digest[20];
    vr_image image = decode_named(DATA "/more", name, manner);
    assert_int_equal(image.width, json_integer_value(json_object_get(entry, friendly ? "friendly_width" : "width")));
    assert_int_equal(image.height, json_integer_value(json_object_get(entry, friendly ? "friendly_height" : "height")));
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)fnv(&image));
    const char *wanted = json_string_value(json_object_get(entry, friendly ? "friendly" : "original"));
    if (strcmp(digest, wanted) != 0) fail_msg("%s, %s: other pixels", name, friendly ? "friendly" : "original");
    vr_image_free(&image);
}

typedef void (*each_fn)(const char *name, json_t *entry);

static void for_each_kind(each_fn each) {
    json_t *root = json_load_file(DATA "/more/expect.json", 0, NULL), *entry;
    const char *name;
    assert_true(json_object_size(root) >= 60);
    json_object_foreach(root, name, entry) each(name, entry);
    json_decref(root);
}

static void check_both(const char *name, json_t *entry) {
    check_digest(name, entry, VRWKV_ORIGINAL);
    check_digest(name, entry, VRWKV_FRIENDLY);
}

static void test_every_kind(void **state) {
    (void)state;
    for_each_kind(check_both);
}

static void test_deep_grey(void **state) {
    (void)state;
    const char picture[] = "P5 2 1 65535\n\x00\x80\x80\x00";
    vr_image image;
    assert_int_equal(vr_image_decode(&image, picture, 17, VRWKV_ORIGINAL, 0, NULL), VRWKV_OK);
    assert_memory_equal(image.rgb, "\x80\x80\x80\xff\xff\xff", 6);
    vr_image_free(&image);
    assert_int_equal(vr_image_decode(&image, picture, 17, VRWKV_FRIENDLY, 0, NULL), VRWKV_OK);
    assert_memory_equal(image.rgb, "\x00\x00\x00\x80\x80\x80", 6);
    vr_image_free(&image);
}

/* ---- cut short ---------------------------------------------------------------------------------- */

/* Every length in steps: no crash; a cut picture that decodes has the whole one's size. */
static void check_cuts(const char *name, json_t *entry) {
    vr_map map = read_whole(DATA "/more", name);
    for (size_t n = 0; n < map.size; n += 1 + map.size / 150) {
        uint8_t *copy = malloc(n + 1); /* of its own, so that reading past the end is found */
        uint8_t *tight = realloc(copy, n ? n : 1);
        memcpy(tight, map.data, n);
        for (int manner = 0; manner < 2; manner++) {
            vr_image image;
            vr_error err = {0};
            if (vr_image_decode(&image, tight, n, manner, 0, &err) == VRWKV_OK) {
                assert_non_null(image.rgb);
                assert_int_equal(image.width,
                                 json_integer_value(json_object_get(entry, manner ? "width" : "friendly_width")));
                vr_image_free(&image);
            } else {
                assert_null(image.rgb);
                assert_true(err.message[0]);
            }
        }
        free(tight);
    }
    vr_map_close(&map);
}

static void test_all_cuts(void **state) {
    (void)state;
    for_each_kind(check_cuts);
}

static const struct cut_row {
    const char *file;
    size_t percent;
    bool original;    /* decodes in the original manner */
    int below;        /* level in the last row then */
    bool non_grey_ok; /* the last row need not be grey */
} cuts[] = {
    {"images/base444.jpg", 60, true, 128, false},   {"images/cmyk.jpg", 70, true, -1, true},
    {"images/progressive.jpg", 70, true, -1, true}, {"images/rgba.png", 50, true, 0, false},
    {"images/rgb16.png", 50, true, 0, false},       {"images/tall.png", 50, true, 0, false},
    {"images/base444.jpg", 8, false, 0, false}, /* ends in its header */
    {"images/tall.png", 0, false, 0, false},        {"more/lossy.webp", 80, false, 0, false},
};

static void test_cut_manner(void **state) {
    (void)state;
    for (size_t i = 0; i < VR_COUNT(cuts); i++) {
        vr_map map = read_whole(DATA, cuts[i].file);
        size_t n = cuts[i].percent ? map.size * cuts[i].percent / 100 : 45;
        vr_image image, whole;
        vr_error err = {0};
        assert_int_equal(vr_image_decode(&image, map.data, n, VRWKV_FRIENDLY, 0, &err), VRWKV_ERR_FORMAT);
        assert_true(strstr(err.message, "cut short") || strstr(err.message, "not one row"));
        vr_status status = vr_image_decode(&image, map.data, n, VRWKV_ORIGINAL, 0, &err);
        if (!cuts[i].original) {
            assert_int_equal(status, VRWKV_ERR_FORMAT);
        } else {
            if (status != VRWKV_OK) fail_msg("%s: %s", cuts[i].file, err.message);
            whole = decode_named(DATA, cuts[i].file, VRWKV_ORIGINAL);
            assert_int_equal(image.height, whole.height);
            size_t row = (size_t)image.width * 3;
            if (!cuts[i].non_grey_ok) {
                assert_memory_equal(image.rgb, whole.rgb, row);
                for (size_t k = 0; k < row; k++) assert_int_equal(image.rgb[bytes_of(&image) - 1 - k], cuts[i].below);
            }
            vr_image_free(&whole);
            vr_image_free(&image);
        }
        vr_map_close(&map);
    }
}

/* ---- hostile headers and limits ----------------------------------------------------------------- */

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1
static const struct hostile_row {
    const char *what;
    const uint8_t *data;
    size_t n;
    vr_status status;
} hostile[] = {
    {"png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x9c\x40\0\0\x9c\x40\x08\2\0\0\0\0\0\0\0"), VRWKV_ERR_MEMORY},
    {"jpeg",
     BYTES("\xff\xd8\xff\xc0\0\x11\x08\x9c\x40\x9c\x40\3\1\x11\0\2\x11\0\3\x11\0\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0"),
     VRWKV_ERR_MEMORY},
    {"progressive",
     BYTES("\xff\xd8\xff\xc2\0\x11\x08\x9c\x40\x9c\x40\3\1\x11\0\2\x11\0\3\x11\0\xff\xda\0\x0c\3\1\0\2\0\3\0\0\0\0"),
     VRWKV_ERR_MEMORY},
    {"gif", BYTES("GIF89a\x40\x9c\x40\x9c\0\0\0,\0\0\0\0\x40\x9c\x40\x9c\0\2\0;"), VRWKV_ERR_MEMORY},
    {"gif frame", BYTES("GIF89a\1\0\1\0\0\0\0,\0\0\0\0\x40\x9c\x40\x9c\0\2\0;"), VRWKV_ERR_MEMORY},
    {"bmp",
     BYTES("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x40\x9c\0\0\x40\x9c\0\0\1\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
           "\0\0\0\0\0\0\0"),
     VRWKV_ERR_MEMORY},
    {"ppm", BYTES("P6 40000 40000 255\n"), VRWKV_ERR_MEMORY},
    {"pbm", BYTES("P1 40000 40000\n1"), VRWKV_ERR_MEMORY},
    {"webp vp8", BYTES("RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\x50\0\0\x9d\1\x2a\xff\x3f\xff\x3f"), VRWKV_ERR_MEMORY},
    {"webp vp8l", BYTES("RIFF\x12\0\0\0WEBPVP8L\5\0\0\0\x2f\xff\xff\xff\x0f\0"), VRWKV_ERR_MEMORY},
    {"webp animation",
     BYTES("RIFF\x36\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0\x3f\x9c\0\x3f\x9c\0"
           "ANMF\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0VP8L\0\0\0\0"),
     VRWKV_ERR_MEMORY},
    {"no pixels png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\1\x08\2\0\0\0\0\0\0\0"), VRWKV_ERR_FORMAT},
    {"no pixels ppm", BYTES("P6 0 5 255\n"), VRWKV_ERR_FORMAT},
    {"no pixels gif", BYTES("GIF89a\1\0\1\0\0\0\0,\0\0\0\0\0\0\0\0\0\2\0;"), VRWKV_ERR_FORMAT},
    {"no pixels bmp",
     BYTES("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\0\0\0\0\1\0\0\0\1\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
           "\0\0\0"),
     VRWKV_ERR_FORMAT},
    {"no pixels jpeg", BYTES("\xff\xd8\xff\xc0\0\x11\x08\0\0\0\0\3\1\x11\0\2\x11\0\3\x11\0\xff\xd9"), VRWKV_ERR_FORMAT},
    {"maxval", BYTES("P5 1 1 65536\nx"), VRWKV_ERR_FORMAT},
    {"huge numbers", BYTES("P6 99999999999999999999 1 255\n"), VRWKV_ERR_FORMAT},
    {"empty", BYTES(""), VRWKV_ERR_FORMAT},
    {"unknown", BYTES("II*\0 this is a TIFF"), VRWKV_ERR_UNSUPPORTED},
    {"bmp of jpeg",
     BYTES("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
           "\0\0"),
     VRWKV_ERR_UNSUPPORTED},
};

static void test_hostile(void **state) {
    (void)state;
    for (size_t i = 0; i < VR_COUNT(hostile); i++)
        for (int manner = 0; manner < 2; manner++) {
            vr_image image;
            vr_error err = {0};
            clock_t start = clock();
            vr_status status = vr_image_decode(&image, hostile[i].data, hostile[i].n, manner, 0, &err);
            if (status != hostile[i].status) fail_msg("%s: status %d, '%s'", hostile[i].what, status, err.message);
            if (status == VRWKV_ERR_MEMORY) assert_non_null(strstr(err.message, "over the limit"));
            assert_null(image.rgb);
            assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 0.1);
        }
}

static void test_pixel_limit(void **state) {
    (void)state;
    static const char *const files[] = {"more/17x8.jpg", "more/lossy.webp"};
    for (size_t i = 0; i < VR_COUNT(files); i++) {
        vr_map map = read_whole(DATA, files[i]);
        vr_image image;
        assert_int_equal(vr_image_decode(&image, map.data, map.size, VRWKV_FRIENDLY, 17 * 8 - 1, NULL),
                         VRWKV_ERR_MEMORY);
        assert_int_equal(vr_image_decode(&image, map.data, map.size, VRWKV_FRIENDLY, 17 * 8, NULL), VRWKV_OK);
        vr_image_free(&image);
        vr_map_close(&map);
    }
}

static uint8_t *find_marker(uint8_t *data, size_t size, int marker) {
    for (size_t i = 0; i + 1 < size; i++)
        if (data[i] == 0xff && data[i + 1] == marker) return data + i;
    fail_msg("no marker %x", marker);
    return NULL;
}

/* Whole scans that are missing cause no warning in libjpeg, but the picture is not complete. */
static void test_missing_scans(void **state) {
    (void)state;
    vr_map map = read_whole(DATA, "images/progressive.jpg");
    size_t last = 0;
    for (size_t i = 0; i + 1 < map.size; i++)
        if (map.data[i] == 0xff && map.data[i + 1] == 0xda) last = i;
    vr_image image;
    vr_error err;
    assert_int_equal(vr_image_decode(&image, map.data, last, VRWKV_ORIGINAL, 0, &err), VRWKV_OK);
    vr_image_free(&image);
    assert_int_equal(vr_image_decode(&image, map.data, last, VRWKV_FRIENDLY, 0, &err), VRWKV_ERR_FORMAT);
    assert_non_null(strstr(err.message, "cut short"));
    vr_map_close(&map);
}

/* The first scan of a progressive picture, two thousand times. */
static void test_many_scans(void **state) {
    (void)state;
    vr_map map = read_whole(DATA, "more/progressive420.jpg");
    uint8_t *data = (uint8_t *)(uintptr_t)map.data, *scan = find_marker(data, map.size, 0xda), *end = scan + 2;
    while (end[0] != 0xff || end[1] == 0) end++;
    size_t before = (size_t)(scan - data), n = (size_t)(end - scan), total = before + 2000 * n;
    uint8_t *bomb = malloc(total);
    memcpy(bomb, data, before);
    for (size_t i = 0; i < 2000; i++) memcpy(bomb + before + i * n, scan, n);
    vr_image image;
    vr_error err;
    for (int manner = 0; manner < 2; manner++) {
        assert_int_equal(vr_image_decode(&image, bomb, total, manner, 0, &err), VRWKV_ERR_FORMAT);
        assert_non_null(strstr(err.message, "500 scans"));
    }
    free(bomb);
    vr_map_close(&map);
}

/* Out of memory is a status: a child process with little address space. */
static void test_no_memory(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip();
#else
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {300u << 20, 300u << 20};
        vr_image image;
        setrlimit(RLIMIT_AS, &limit);
        vr_status status = vr_image_decode(&image, "P6 12000 12000 255\n", 19, VRWKV_ORIGINAL, 0, NULL);
        _exit(status == VRWKV_ERR_MEMORY && !image.rgb ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
#endif
}

/* The picture libraries like to talk; ours must keep them quiet. */
static void test_silence(void **state) {
    (void)state;
    FILE *file = tmpfile();
    fflush(stderr);
    int saved = dup(2);
    dup2(fileno(file), 2);
    static const char *const files[] = {"images/base444.jpg", "images/tall.png", "more/lossy.webp",
                                        "more/transparent.gif"};
    for (size_t i = 0; i < VR_COUNT(files); i++) {
        vr_map map = read_whole(DATA, files[i]);
        uint8_t *copy = malloc(map.size);
        for (size_t at = 20; at < map.size; at += 1 + map.size / 60) {
            vr_image image;
            memcpy(copy, map.data, map.size);
            copy[at] ^= 0xff;
            if (vr_image_decode(&image, copy, map.size, VRWKV_ORIGINAL, 1 << 22, NULL) == VRWKV_OK)
                vr_image_free(&image);
        }
        free(copy);
        vr_map_close(&map);
    }
    dup2(saved, 2);
    close(saved);
    fseek(file, 0, SEEK_END);
    assert_int_equal(ftell(file), 0);
    fclose(file);
}

static void test_names(void **state) {
    (void)state;
    assert_true(vr_image_name("a.png") && vr_image_name("/b.c/d.JPeG") && vr_image_name("\xe5\x9b\xbe.webp"));
    assert_false(vr_image_name("png") || vr_image_name("a.png.txt") || vr_image_name("a.jp") || vr_image_name(""));
}

static void test_files(void **state) {
    (void)state;
    vr_image image;
    vr_error err;
    assert_int_equal(vr_image_decode_file(&image, DATA "/images/tiny.png", VRWKV_FRIENDLY, 0, &err), VRWKV_OK);
    assert_int_equal(image.width, 17);
    vr_image_free(&image);
    assert_int_equal(vr_image_decode_file(&image, DATA "/no such file", VRWKV_FRIENDLY, 0, &err), VRWKV_ERR_IO);
    assert_int_equal(vr_image_decode_file(&image, DATA "/case.json", VRWKV_FRIENDLY, 0, &err), VRWKV_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "case.json"));
}

/* ---- resize ------------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed) {
    return *seed = *seed * 1664525u + 1013904223u;
}

/* A crop is exactly that part of the whole result. */
static void test_crops(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 200; round++) {
        int v[8];
        for (int i = 0; i < 8; i++) v[i] = (int)(next_random(&seed) >> 8);
        vr_image in = {1 + v[0] % 60, 1 + v[1] % 60, NULL}, whole, part;
        in.rgb = malloc(bytes_of(&in));
        for (size_t i = 0; i < bytes_of(&in); i++) in.rgb[i] = (uint8_t)(next_random(&seed) >> 24);
        int w = round % 5 ? 1 + v[2] % 90 : in.width, h = round % 7 ? 1 + v[3] % 90 : in.height;
        int left = v[4] % w, top = v[5] % h, cw = 1 + v[6] % (w - left), ch = 1 + v[7] % (h - top);
        vr_filter filter = (vr_filter)(round % 3);
        assert_int_equal(vr_image_resize(&whole, &in, w, h, filter, NULL), VRWKV_OK);
        assert_int_equal(vr_image_resize_crop(&part, &in, w, h, filter, left, top, cw, ch, NULL), VRWKV_OK);
        for (int y = 0; y < ch; y++)
            assert_memory_equal(part.rgb + (size_t)y * (size_t)cw * 3,
                                whole.rgb + ((size_t)(top + y) * (size_t)w + (size_t)left) * 3, (size_t)cw * 3);
        if (w == in.width && h == in.height) same_picture("equal size", &whole, &in);
        vr_image_free(&whole);
        vr_image_free(&part);
        free(in.rgb);
    }
}

static void test_resize_arguments(void **state) {
    (void)state;
    uint8_t rgb[2 * 2 * 3] = {0};
    vr_image in = {2, 2, rgb}, out;
    static const int bad[][6] = {
        {0, 1, 0, 0, 1, 1}, {4, 4, -1, 0, 1, 1}, {4, 4, 0, 4, 1, 1}, {4, 4, 2, 0, 3, 1}, {4, 4, 0, 0, 0, 1}};
    for (size_t i = 0; i < VR_COUNT(bad); i++)
        assert_int_equal(vr_image_resize_crop(&out, &in, bad[i][0], bad[i][1], VR_BICUBIC, bad[i][2], bad[i][3],
                                              bad[i][4], bad[i][5], NULL),
                         VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_image_resize(&out, &in, 4, 4, (vr_filter)7, NULL), VRWKV_ERR_ARGUMENT);
}

/* 1 x 5,000,000 at 448 is 2.2 billion pixels long: only the crop may be made. */
static void test_very_long(void **state) {
    (void)state;
    vr_image in = {1, 5000000, NULL};
    in.rgb = malloc(bytes_of(&in));
    memset(in.rgb, 200, bytes_of(&in));
    vr_preprocess how = towers[0].how;
    how.size = 448;
    float *pixels = malloc(3 * 448 * 448 * sizeof(float));
    assert_int_equal(vr_image_preprocess(pixels, &in, &how, NULL), VRWKV_OK);
    for (int i = 0; i < 448 * 448; i++) assert_float_equal(pixels[i], (200 / 255.0f - how.mean[0]) / how.std[0], 1e-5);
    free(pixels);
    free(in.rgb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),  cmocka_unit_test(test_complete_reference),
        cmocka_unit_test(test_every_kind), cmocka_unit_test(test_deep_grey),
        cmocka_unit_test(test_all_cuts),   cmocka_unit_test(test_cut_manner),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_pixel_limit),
        cmocka_unit_test(test_many_scans),
        cmocka_unit_test(test_missing_scans), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_silence),    cmocka_unit_test(test_names), cmocka_unit_test(test_files),
        cmocka_unit_test(test_crops),      cmocka_unit_test(test_resize_arguments),
        cmocka_unit_test(test_very_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
