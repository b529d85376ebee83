/* Tensor files: what good files hold, how hostile ones are refused, round trips, failed writes.
 * The files come from tests/data/file/make.py, which writes every format by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/io.h"
#include "file/internal.h"
#include "file/weights.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DATA VRWKV_SOURCE_DIR "/tests/data/file/"

static char folder[200];

static const char *in_folder(const char *name, char *buffer, size_t size) {
    snprintf(buffer, size, "%s/%s", folder, name);
    return buffer;
}

static vr_weights *open_good(const char *path) {
    vr_error err = {0};
    vr_weights *weights = NULL;
    if (vr_weights_open(&weights, path, NULL, &err) != VRWKV_OK) fail_msg("%s: %s", path, err.message);
    return weights;
}

static unsigned char *read_tensor(const vr_weights *weights, const vr_entry *entry) {
    vr_error err = {0};
    unsigned char *data = malloc(entry->bytes ? entry->bytes : 1);
    if (vr_weights_read(weights, entry, data, &err) != VRWKV_OK) fail_msg("%s: %s", entry->name, err.message);
    return data;
}

static void check_floats(const vr_weights *weights, const char *name, const float *expected, size_t n) {
    const vr_entry *entry = vr_weights_find(weights, name);
    if (!entry) fail_msg("no tensor %s", name);
    assert_int_equal(entry->dtype, VR_F32);
    assert_int_equal(entry->bytes, n * sizeof *expected);
    unsigned char *data = read_tensor(weights, entry);
    assert_memory_equal(data, expected, n * sizeof *expected);
    free(data);
}

/* Same names, types, shapes and bytes; the order may differ. */
static void check_same(const vr_weights *a, const vr_weights *b) {
    assert_int_equal(vr_weights_count(a), vr_weights_count(b));
    for (size_t i = 0; i < vr_weights_count(a); i++) {
        const vr_entry *x = vr_weights_at(a, i), *y = vr_weights_find(b, x->name);
        if (!y) fail_msg("no tensor %s", x->name);
        if (x->dtype != y->dtype || x->ndim != y->ndim || x->bytes != y->bytes) fail_msg("%s differs in form", x->name);
        for (int d = 0; d < x->ndim; d++)
            if (x->shape[d] != y->shape[d]) fail_msg("%s differs in axis %d", x->name, d);
        unsigned char *p = read_tensor(a, x), *q = read_tensor(b, y);
        if (memcmp(p, q, x->bytes) != 0) fail_msg("%s differs in its bytes", x->name);
        const void *mapped = vr_weights_data(b, y);
        if (mapped && memcmp(p, mapped, x->bytes) != 0) fail_msg("%s differs where it is mapped", x->name);
        free(p);
        free(q);
    }
}

/* Every view that PyTorch saved equals PyTorch's own contiguous copy. */
static void test_pth_views(void **state) {
    (void)state;
    vr_weights *pth = open_good(DATA "views.pth"), *expected = open_good(DATA "views.safetensors");
    assert_int_equal(vr_weights_kind(pth), VR_FILE_PTH);
    assert_int_equal(vr_weights_kind(expected), VR_FILE_SAFETENSORS);
    assert_int_equal(vr_weights_count(pth), 21);
    check_same(expected, pth);
    assert_non_null(vr_weights_data(pth, vr_weights_find(pth, "base")));
    assert_null(vr_weights_data(pth, vr_weights_find(pth, "transposed")));
    assert_null(vr_weights_find(pth, "epoch"));
    assert_string_equal(vr_weights_at(pth, 1)->name, "transposed"); /* file order */
    vr_weights_close(pth);
    vr_weights_close(expected);
}

static void test_pth_forms(void **state) {
    static const char *const files[] = {"plain.pth", "wide.pth", "deflated.pth", "no-prefix.pth"};
    static const float a[] = {0, 1, 2, 3, 4, 5, 6, 7}, t[] = {0, 4, 1, 5, 2, 6, 3, 7};
    (void)state;
    for (size_t i = 0; i < VR_COUNT(files); i++) {
        char path[512];
        snprintf(path, sizeof path, DATA "%s", files[i]);
        vr_weights *pth = open_good(path);
        assert_int_equal(vr_weights_count(pth), 2);
        check_floats(pth, "a", a, 8);
        check_floats(pth, "t", t, 8);
        vr_weights_close(pth);
    }
    vr_weights *pth = open_good(DATA "wrapped.pth");
    assert_int_equal(vr_weights_count(pth), 1);
    check_floats(pth, "a", a, 8);
    vr_weights_close(pth);
    pth = open_good(DATA "nested.pth");
    assert_int_equal(vr_weights_count(pth), 2);
    check_floats(pth, "lm.a", a, 8);
    check_floats(pth, "vit.b", a + 7, 1);
    vr_weights_close(pth);
}

static void test_safetensors(void **state) {
    static const float a[] = {1, 2, 3, 4, 5, 6}, seven[] = {7}, xy[] = {1, 2, 3};
    (void)state;
    vr_weights *file = open_good(DATA "good.safetensors");
    assert_int_equal(vr_weights_count(file), 6);
    check_floats(file, "a", a, 6);
    check_floats(file, "scalar", seven, 1);
    assert_int_equal(vr_weights_find(file, "scalar")->ndim, 0);
    assert_int_equal(vr_weights_find(file, "none")->bytes, 0);
    assert_null(vr_weights_data(file, vr_weights_find(file, "late"))); /* at an odd address */
    assert_string_equal(vr_weights_meta(file, "note")->string, "caf\xc3\xa9");
    assert_null(vr_weights_meta(file, "absent"));
    assert_null(vr_weights_find(file, "__metadata__"));
    vr_weights_close(file);
    file = open_good(DATA "wrapped.safetensors");
    check_floats(file, "a", (float[]){5}, 1);
    check_floats(file, "module.b", (float[]){6}, 1);
    vr_weights_close(file);
    file = open_good(DATA "half-wrapped.safetensors");
    check_floats(file, "module.a", (float[]){5}, 1);
    check_floats(file, "b", (float[]){6}, 1);
    vr_weights_close(file);
    file = open_good(DATA "model.safetensors.index.json");
    assert_int_equal(vr_weights_count(file), 2);
    check_floats(file, "x", xy, 2);
    check_floats(file, "y", xy + 2, 1);
    assert_string_equal(vr_weights_meta(file, "format")->string, "pt");
    vr_weights_close(file);
}

static void check_int(const vr_weights *file, const char *key, int64_t expected) {
    const vr_meta *meta = vr_weights_meta(file, key);
    if (!meta) fail_msg("no metadata %s", key);
    if (meta->type != VR_META_INT || meta->integer != expected) fail_msg("%s is %lld", key, (long long)meta->integer);
}

static void test_gguf(void **state) {
    static const char *const files[] = {DATA "good.gguf", DATA "v2.gguf"};
    static const float w[] = {1, 2, 3, 4, 5, 6};
    (void)state;
    for (size_t i = 0; i < VR_COUNT(files); i++) {
        vr_weights *file = open_good(files[i]);
        const vr_entry *entry = vr_weights_find(file, "w");
        assert_int_equal(entry->shape[0], 2);
        assert_int_equal(entry->shape[1], 3);
        check_floats(file, "w", w, 6);
        const unsigned char *q = vr_weights_data(file, vr_weights_find(file, "q"));
        assert_non_null(q);
        for (int k = 0; k < 34; k++) assert_int_equal(q[k], k);
        check_int(file, "u8", 255);
        check_int(file, "i8", -1);
        check_int(file, "u16", 65534);
        check_int(file, "i16", -2);
        check_int(file, "u32", UINT32_MAX);
        check_int(file, "i32", -1);
        check_int(file, "u64", INT64_MAX);
        check_int(file, "i64", INT64_MIN);
        assert_true(vr_weights_meta(file, "f32")->number == 0.5);
        assert_true(vr_weights_meta(file, "f64")->number == 0.1);
        assert_int_equal(vr_weights_meta(file, "bool")->type, VR_META_BOOL);
        assert_int_equal(vr_weights_meta(file, "bool")->integer, 1);
        assert_string_equal(vr_weights_meta(file, "string")->string, "caf\xc3\xa9");
        const vr_meta *tokens = vr_weights_meta(file, "tokens");
        assert_int_equal(tokens->n_items, 3);
        assert_int_equal(tokens->item_bytes[1], 3);
        assert_memory_equal(tokens->strings[1], "\xff\x00\xfe", 4);
        assert_string_equal(tokens->strings[2], "");
        const vr_meta *ints = vr_weights_meta(file, "ints"), *floats = vr_weights_meta(file, "floats");
        assert_int_equal(ints->n_items, 3);
        assert_int_equal(ints->integers[0], -1);
        assert_int_equal(ints->integers[2], 7);
        assert_true(floats->numbers[1] == -2);
        assert_int_equal(vr_weights_meta(file, "bools")->item_type, VR_META_BOOL);
        assert_int_equal(vr_weights_meta(file, "bytes")->integers[1], 255);
        assert_int_equal(vr_weights_meta(file, "empty")->n_items, 0);
        vr_weights_close(file);
    }
}

/* Nothing in a .bin is aligned: what happens to lie well is mapped, the rest is copied. */
static void test_rwkv_cpp(void **state) {
    static const float emb[] = {1, 2, 3, 4, 5, 6}, seven[] = {7};
    vr_weights *file = open_good(DATA "good.bin"), *old = open_good(DATA "old.bin");
    (void)state;
    assert_int_equal(vr_weights_kind(file), VR_FILE_RWKV_CPP);
    check_int(file, "version", 101);
    check_int(file, "n_vocab", 3);
    check_int(file, "n_embed", 2);
    check_int(file, "n_layer", 1);
    const vr_entry *entry = vr_weights_find(file, "emb.weight"), *half = vr_weights_find(file, "half");
    assert_true(entry->ndim == 2 && entry->shape[0] == 3 && entry->shape[1] == 2);
    check_floats(file, "emb.weight", emb, 6);
    assert_true(half->dtype == VR_F16 && half->ndim == 3 && half->shape[0] == 2 && half->shape[1] == 1);
    entry = vr_weights_find(file, "q5_1");
    assert_true(entry->dtype == VR_Q5_1 && entry->bytes == 48 && entry->shape[0] == 2);
    unsigned char *q = read_tensor(file, vr_weights_find(file, "q8_0"));
    for (int k = 0; k < 32; k++) assert_int_equal(q[2 + k], k);
    free(q);
    check_floats(old, "a", seven, 1); /* version 100: plain numbers were the same */
    vr_weights_close(file);
    vr_weights_close(old);
}

typedef struct refusal {
    const char *file;
    vr_status status;
    const char *says; /* part of the message */
} refusal;

static const refusal refusals[] = {
    {"absent.pth", VRWKV_ERR_IO, "absent.pth"},
    {"truncated.pth", VRWKV_ERR_FORMAT, "no end record"},
    {"cut-start.pth", VRWKV_ERR_FORMAT, "directory"},
    {"os-system.pth", VRWKV_ERR_UNSUPPORTED, "refuses to load 'os.system'"},
    {"builtins-eval.pth", VRWKV_ERR_UNSUPPORTED, "refuses to load 'builtins.eval'"},
    {"untyped.pth", VRWKV_ERR_UNSUPPORTED, "refuses to load 'torch.storage.UntypedStorage'"},
    {"unused-global.pth", VRWKV_ERR_UNSUPPORTED, "refuses to load 'posix.system'"},
    {"expand.pth", VRWKV_ERR_FORMAT, "tensor 'big'"},
    {"expand-int64.pth", VRWKV_ERR_FORMAT, "'big' of type f32 claims the impossible shape"},
    {"claim.pth", VRWKV_ERR_FORMAT, "claims 1152921504606846976 elements, its member has 32 bytes"},
    {"beyond.pth", VRWKV_ERR_FORMAT, "beyond its storage of 8 elements"},
    {"stride-overflow.pth", VRWKV_ERR_FORMAT, "beyond its storage"},
    {"stride-negative.pth", VRWKV_ERR_FORMAT, "tensor 'a' has a shape or strides"},
    {"no-storage.pth", VRWKV_ERR_FORMAT, "storage '9' of tensor 'a' is not in the archive"},
    {"path-key.pth", VRWKV_ERR_FORMAT, "is not in the archive"},
    {"axes.pth", VRWKV_ERR_UNSUPPORTED, "'six' has 6 axes, expected at most 5"},
    {"twice.pth", VRWKV_ERR_FORMAT, "two tensors named 'a'"},
    {"member-twice.pth", VRWKV_ERR_FORMAT, "two members named 'p/data/0'"},
    {"memo.pth", VRWKV_ERR_FORMAT, "memo index"},
    {"memo-get.pth", VRWKV_ERR_FORMAT, "memo entry"},
    {"cycle.pth", VRWKV_ERR_FORMAT, "contain each other"},
    {"deep.pth", VRWKV_ERR_FORMAT, "nested deeper than 16"},
    {"laughs.pth", VRWKV_ERR_FORMAT, "contain each other"},
    {"no-stop.pth", VRWKV_ERR_FORMAT, "ends without a stop"},
    {"marks.pth", VRWKV_ERR_FORMAT, "no mark"},
    {"list.pth", VRWKV_ERR_UNSUPPORTED, "holds no dict of tensors"},
    {"protocol-0.pth", VRWKV_ERR_UNSUPPORTED, "opcode 0x70"},
    {"big-endian.pth", VRWKV_ERR_UNSUPPORTED, "byte order 'big'"},
    {"no-pickle.pth", VRWKV_ERR_UNSUPPORTED, "without data.pkl"},
    {"bomb.pth", VRWKV_ERR_FORMAT, "claims to inflate from"},
    {"bomb-pickle.pth", VRWKV_ERR_FORMAT, "claims to inflate from"},
    {"crc.pth", VRWKV_ERR_FORMAT, "checksum of member 'p/data.pkl'"},
    {"legacy.pth", VRWKV_ERR_UNSUPPORTED, "save it again"},
    {"tar.pth", VRWKV_ERR_UNSUPPORTED, "save it again"},
    {"bare.pth", VRWKV_ERR_UNSUPPORTED, "bare pickle"},
    {"text.pth", VRWKV_ERR_FORMAT, "no end record"},
    {"make.py", VRWKV_ERR_FORMAT, "is no .pth, .safetensors, .gguf or rwkv.cpp file"},
    {"truncated.safetensors", VRWKV_ERR_FORMAT, "tensor 'scalar' lies at bytes"},
    {"header-cut.safetensors", VRWKV_ERR_FORMAT, "its header claims"},
    {"header-huge.safetensors", VRWKV_ERR_FORMAT, "its header claims 1152921504606846976 bytes"},
    {"twice.safetensors", VRWKV_ERR_FORMAT, "duplicate object key"},
    {"overlap.safetensors", VRWKV_ERR_FORMAT, "tensors 'a' and 'b' overlap"},
    {"claim.safetensors", VRWKV_ERR_FORMAT, "'big' of type f32 and shape [1152921504606846976] has 4 bytes"},
    {"claim-overflow.safetensors", VRWKV_ERR_FORMAT, "impossible shape [4294967296, 4294967296]"},
    {"axes.safetensors", VRWKV_ERR_UNSUPPORTED, "'six' has 6 axes"},
    {"dtype.safetensors", VRWKV_ERR_UNSUPPORTED, "'eight' has the unknown type 'F8_E4M3'"},
    {"negative.safetensors", VRWKV_ERR_FORMAT, "tensor 'n'"},
    {"control.safetensors", VRWKV_ERR_FORMAT, "no printable UTF-8: 'a?b'"},
    {"outside.safetensors.index.json", VRWKV_ERR_FORMAT, "expected a file in its own folder"},
    {"missing.safetensors.index.json", VRWKV_ERR_FORMAT, "'z' is not in its shard 'shard-2.safetensors'"},
    {"v1.gguf", VRWKV_ERR_UNSUPPORTED, "version 1, expected 2 or 3"},
    {"big-endian.gguf", VRWKV_ERR_UNSUPPORTED, "big-endian"},
    {"truncated.gguf", VRWKV_ERR_FORMAT, "tensor 'q' takes 34 bytes at 32"},
    {"cut-meta.gguf", VRWKV_ERR_FORMAT, "cut-meta.gguf"},
    {"count-tensors.gguf", VRWKV_ERR_FORMAT, "claims 1152921504606846976 tensors"},
    {"count-metas.gguf", VRWKV_ERR_FORMAT, "1152921504606846976 metadata entries"},
    {"key-long.gguf", VRWKV_ERR_FORMAT, "key claims 1152921504606846976 bytes"},
    {"string-long.gguf", VRWKV_ERR_FORMAT, "string claims 1152921504606846976 bytes"},
    {"array-long.gguf", VRWKV_ERR_FORMAT, "'list' claims 1152921504606846976 items"},
    {"array-nested.gguf", VRWKV_ERR_UNSUPPORTED, "'list' is an array of type 9"},
    {"type.gguf", VRWKV_ERR_FORMAT, "'odd' has the unknown type 13"},
    {"alignment.gguf", VRWKV_ERR_FORMAT, "general.alignment is 33"},
    {"axes.gguf", VRWKV_ERR_UNSUPPORTED, "'six' has 6 axes, expected at most 5"},
    {"claim.gguf", VRWKV_ERR_FORMAT, "tensor 'big' takes 4611686018427387904 bytes"},
    {"claim-overflow.gguf", VRWKV_ERR_FORMAT, "impossible shape"},
    {"axis-huge.gguf", VRWKV_ERR_FORMAT, "'big' claims an axis of 9223372036854775808"},
    {"offset.gguf", VRWKV_ERR_FORMAT, "tensor 'far' takes 4 bytes at 1152921504606846976"},
    {"misaligned.gguf", VRWKV_ERR_FORMAT, "'odd' has offset 4, expected a multiple of 32"},
    {"block.gguf", VRWKV_ERR_FORMAT, "'q' of type q8_0 claims the impossible shape [31]"},
    {"ggml-type.gguf", VRWKV_ERR_UNSUPPORTED, "'q' has the unknown GGML type 99, expected one of f32, f16, bf16"},
    {"ggml-name.gguf", VRWKV_ERR_UNSUPPORTED, "'q' has the unsupported GGML type iq4_xs (23), expected one of f32, f16, bf16"},
    {"overlap.gguf", VRWKV_ERR_FORMAT, "tensors 'a' and 'b' overlap"},
    {"twice.gguf", VRWKV_ERR_FORMAT, "two tensors named 'a'"},
    {"meta-twice.gguf", VRWKV_ERR_FORMAT, "two metadata entries named 'k'"},
    {"truncated.bin", VRWKV_ERR_FORMAT, "tensor 'q8_0' takes 34 bytes, 33 are left"},
    {"cut-head.bin", VRWKV_ERR_FORMAT, "the head of a tensor is cut off at byte 24 of 32"},
    {"cut-name.bin", VRWKV_ERR_FORMAT, "the name of a tensor is cut off at byte 44 of 47"},
    {"short.bin", VRWKV_ERR_FORMAT, "it has 23 bytes and starts with 'fmgg'"},
    {"magic.bin", VRWKV_ERR_FORMAT, "starts with 'lmgg', expected 'fmgg'"},
    {"version.bin", VRWKV_ERR_UNSUPPORTED, "version 102, expected 100 or 101"},
    {"old-blocks.bin", VRWKV_ERR_UNSUPPORTED, "tensor 'q' has the type q4_0 in the form of version 100, expected version 101"},
    {"type.bin", VRWKV_ERR_UNSUPPORTED, "tensor 'q' has type number 4, expected f32 (0), f16 (1)"},
    {"axes.bin", VRWKV_ERR_FORMAT, "the tensor at byte 24 has 4 axes, expected 1 to 3"},
    {"no-axes.bin", VRWKV_ERR_FORMAT, "has 0 axes"},
    {"block.bin", VRWKV_ERR_FORMAT, "'q' of type q8_0 claims the impossible shape [31]"},
    {"claim.bin", VRWKV_ERR_FORMAT, "'big' of type f32 claims the impossible shape [4294967295, 4294967295]"},
    {"claim-overflow.bin", VRWKV_ERR_FORMAT, "'big' of type f32 claims the impossible shape"},
    {"name-long.bin", VRWKV_ERR_FORMAT, "the name of a tensor is cut off"},
    {"name-none.bin", VRWKV_ERR_FORMAT, "a tensor name has 0 bytes"},
    {"twice.bin", VRWKV_ERR_FORMAT, "two tensors named 'a'"},
};

/* Refused with the right words, quickly, and never by asking the system for much memory. */
static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < VR_COUNT(refusals); i++) {
        char path[512];
        vr_error err = {0};
        struct timespec from, to;
        vr_weights *weights = NULL;
        snprintf(path, sizeof path, DATA "%s", refusals[i].file);
        clock_gettime(CLOCK_MONOTONIC, &from);
        vr_status status = vr_weights_open(&weights, path, NULL, &err);
        clock_gettime(CLOCK_MONOTONIC, &to);
        double seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        if (status != refusals[i].status || !strstr(err.message, refusals[i].says) || !strstr(err.message, refusals[i].file))
            fail_msg("%s: status %d, expected %d; '%s' should say '%s'", refusals[i].file, status, refusals[i].status, err.message,
                     refusals[i].says);
        if (seconds > 0.5) fail_msg("%s took %.2f s", refusals[i].file, seconds);
        assert_null(weights);
    }
}

/* Opens, and if that works reads everything that is small. */
static void touch(const unsigned char *data, size_t size) {
    vr_weights *weights = NULL;
    vr_error err = {0};
    if (vr_weights_open_memory(&weights, data, size, NULL, &err) != VRWKV_OK) {
        assert_null(weights);
        assert_true(err.message[0] != 0);
        return;
    }
    for (size_t i = 0; i < vr_weights_count(weights); i++) {
        const vr_entry *entry = vr_weights_at(weights, i);
        if (entry->bytes > 1 << 20) continue;
        unsigned char *out = malloc(entry->bytes ? entry->bytes : 1);
        const unsigned char *mapped = vr_weights_data(weights, entry);
        if (vr_weights_read(weights, entry, out, &err) == VRWKV_OK && mapped) assert_memory_equal(mapped, out, entry->bytes);
        free(out);
    }
    vr_weights_close(weights);
}

/* Each file cut at every length, and with every byte changed in three ways: errors, never a crash. */
static void test_damage(void **state) {
    static const char *const files[] = {"plain.pth", "wide.pth", "deflated.pth", "good.safetensors", "good.gguf", "good.bin"};
    static const unsigned char flips[] = {0x01, 0x80, 0xff};
    (void)state;
    for (size_t f = 0; f < VR_COUNT(files); f++) {
        char path[512];
        vr_map map;
        snprintf(path, sizeof path, DATA "%s", files[f]);
        assert_int_equal(vr_map_open(&map, path, false, NULL), VRWKV_OK);
        for (size_t n = 0; n < map.size; n++) {
            unsigned char *copy = malloc(n ? n : 1); /* of exact size, so that a sanitizer sees each step too far */
            memcpy(copy, map.data, n);
            touch(copy, n);
            free(copy);
        }
        unsigned char *copy = malloc(map.size);
        memcpy(copy, map.data, map.size);
        touch(copy, map.size);
        for (size_t i = 0; i < map.size; i++)
            for (size_t k = 0; k < VR_COUNT(flips); k++) {
                copy[i] ^= flips[k];
                touch(copy, map.size);
                copy[i] ^= flips[k];
            }
        free(copy);
        vr_map_close(&map);
    }
}

typedef struct sample {
    const char *name;
    vr_dtype dtype;
    int ndim;
    int64_t shape[VR_MAX_DIMS];
} sample;

static const sample samples[] = {
    {"blocks.0.att.key.weight", VR_F32, 2, {3, 5}}, {"scalar", VR_F32, 0, {0}},   {"half", VR_F16, 3, {2, 3, 7}},
    {"brain", VR_BF16, 1, {11}},                    {"empty", VR_F32, 2, {0, 4}}, {"double", VR_F64, 2, {4, 1}},
    {"long", VR_I64, 5, {1, 2, 1, 3, 2}},           {"int", VR_I32, 1, {300}},    {"short", VR_I16, 1, {3}},
    {"char", VR_I8, 1, {70000}},                    {"caf\xc3\xa9", VR_F32, 1, {1}},
    {"byte", VR_U8, 1, {9}},                        {"bool", VR_BOOL, 1, {4}},    {"q8", VR_Q8_0, 2, {2, 64}},
    {"q4k", VR_Q4_K, 1, {256}},
};

static bool storable(vr_file_kind kind, vr_dtype dtype) {
    return kind == VR_FILE_GGUF ? vr_dtype_of(dtype)->gguf >= 0 : vr_dtype_of(dtype)->safetensors != NULL;
}

static uint64_t sample_bytes(const sample *s) {
    uint64_t bytes = 0;
    assert_true(vr_shape_bytes(s->dtype, s->ndim, s->shape, &bytes));
    return bytes;
}

/* Small numbers: their bytes are valid for bool and for every other type; never a NaN. */
static unsigned char sample_byte(size_t which, uint64_t at) { return (unsigned char)(((at * 7 + which) >> 1) & 1); }

static void put_samples(vr_save *save, vr_file_kind kind) {
    vr_error err = {0};
    for (size_t i = 0; i < VR_COUNT(samples); i++)
        if (storable(kind, samples[i].dtype))
            if (vr_save_declare(save, samples[i].name, samples[i].dtype, samples[i].ndim, samples[i].shape, &err) != VRWKV_OK)
                fail_msg("%s", err.message);
    for (size_t i = 0; i < VR_COUNT(samples); i++) {
        if (!storable(kind, samples[i].dtype)) continue;
        uint64_t bytes = sample_bytes(&samples[i]), first = bytes / 3;
        unsigned char *data = malloc(bytes ? bytes : 1);
        for (uint64_t k = 0; k < bytes; k++) data[k] = sample_byte(i, k);
        assert_int_equal(vr_save_put(save, data, first, &err), VRWKV_OK); /* in two parts */
        assert_int_equal(vr_save_put(save, data + first, bytes - first, &err), VRWKV_OK);
        free(data);
    }
}

static void put_metas(vr_save *save, vr_file_kind kind) {
    static const char *const words[] = {"a", "b\0c", ""};
    static const size_t bytes[] = {1, 3, 0};
    static const int64_t ints[] = {-5, 0, INT32_MAX}, wide[] = {INT64_MAX};
    vr_error err = {0};
    assert_int_equal(vr_save_meta_string(save, "general.architecture", "visualrwkv", &err), VRWKV_OK);
    assert_int_equal(vr_save_meta_int(save, "small", 7, &err), VRWKV_OK);
    assert_int_equal(vr_save_meta_int(save, "negative", -7, &err), VRWKV_OK);
    assert_int_equal(vr_save_meta_float(save, "eps", 1e-5, &err), VRWKV_OK);
    assert_int_equal(vr_save_meta_bool(save, "yes", true, &err), VRWKV_OK);
    assert_int_equal(vr_save_meta_string(save, "", "x", &err), VRWKV_ERR_FORMAT);
    vr_status expected = kind == VR_FILE_SAFETENSORS ? VRWKV_ERR_ARGUMENT : VRWKV_OK;
    assert_int_equal(vr_save_meta_strings(save, "words", words, bytes, 3, &err), expected);
    assert_int_equal(vr_save_meta_ints(save, "ints", ints, 3, &err), expected);
    assert_int_equal(vr_save_meta_ints(save, "wide", wide, 1, &err), VRWKV_ERR_ARGUMENT);
}

static void check_metas(const vr_weights *file, vr_file_kind kind) {
    if (kind == VR_FILE_PTH) {
        assert_int_equal(vr_weights_meta_count(file), 0);
        return;
    }
    assert_string_equal(vr_weights_meta(file, "general.architecture")->string, "visualrwkv");
    if (kind == VR_FILE_SAFETENSORS) { /* has only strings */
        assert_string_equal(vr_weights_meta(file, "negative")->string, "-7");
        assert_true(strtod(vr_weights_meta(file, "eps")->string, NULL) == 1e-5);
        assert_string_equal(vr_weights_meta(file, "yes")->string, "true");
        return;
    }
    check_int(file, "small", 7);
    check_int(file, "negative", -7);
    assert_true(vr_weights_meta(file, "eps")->number == (double)1e-5f);
    assert_int_equal(vr_weights_meta(file, "yes")->integer, 1);
    const vr_meta *words = vr_weights_meta(file, "words");
    assert_int_equal(words->n_items, 3);
    assert_int_equal(words->item_bytes[1], 3);
    assert_memory_equal(words->strings[1], "b\0c", 4);
    assert_int_equal(vr_weights_meta(file, "ints")->integers[0], -5);
    assert_int_equal(vr_weights_meta(file, "ints")->integers[2], INT32_MAX);
}

static const char *const endings[] = {"t.pth", "t.safetensors", "t.gguf"};

static void write_samples(const char *path) {
    vr_error err = {0};
    vr_file_kind kind;
    vr_save *save = NULL;
    assert_int_equal(vr_file_kind_of(path, &kind, &err), VRWKV_OK);
    if (vr_save_open(&save, path, &err) != VRWKV_OK) fail_msg("%s", err.message);
    put_metas(save, kind);
    put_samples(save, kind);
    if (vr_save_commit(save, &err) != VRWKV_OK) fail_msg("%s", err.message);
}

static void test_round_trip(void **state) {
    (void)state;
    for (size_t e = 0; e < VR_COUNT(endings); e++)
        for (int heap = 0; heap < 2; heap++) {
            char path[256];
            vr_error err = {0};
            vr_weights *file = NULL;
            size_t n = 0;
            write_samples(in_folder(endings[e], path, sizeof path));
            vr_weights_options options = {.no_mmap = heap};
            assert_int_equal(vr_weights_open(&file, path, &options, &err), VRWKV_OK);
            assert_string_equal(vr_weights_path(file), path);
            for (size_t i = 0; i < VR_COUNT(samples); i++) {
                if (!storable(vr_weights_kind(file), samples[i].dtype)) continue;
                const vr_entry *entry = vr_weights_at(file, n++);
                assert_string_equal(entry->name, samples[i].name);
                assert_int_equal(entry->dtype, samples[i].dtype);
                assert_int_equal(entry->ndim, samples[i].ndim);
                assert_memory_equal(entry->shape, samples[i].shape, (size_t)entry->ndim * sizeof *entry->shape);
                unsigned char *data = read_tensor(file, entry);
                for (uint64_t k = 0; k < entry->bytes; k++) assert_int_equal(data[k], sample_byte(i, k));
                free(data);
                const unsigned char *mapped = vr_weights_data(file, entry);
                if (vr_weights_kind(file) != VR_FILE_SAFETENSORS) { /* aligned by the writer */
                    assert_non_null(mapped);
                    if (!heap) assert_int_equal((uintptr_t)mapped % 32, 0);
                }
            }
            assert_int_equal(n, vr_weights_count(file));
            check_metas(file, vr_weights_kind(file));
            vr_weights_close(file);
        }
}

/* Two files of the same content are the same bytes. */
static void test_reproducible(void **state) {
    (void)state;
    for (size_t e = 0; e < VR_COUNT(endings); e++) {
        char path[2][256], name[40];
        vr_map map[2];
        snprintf(name, sizeof name, "again-%s", endings[e]);
        in_folder(endings[e], path[0], sizeof path[0]);
        in_folder(name, path[1], sizeof path[1]);
        for (int i = 0; i < 2; i++) {
            write_samples(path[i]);
            assert_int_equal(vr_map_open(&map[i], path[i], false, NULL), VRWKV_OK);
        }
        assert_int_equal(map[0].size, map[1].size);
        assert_memory_equal(map[0].data, map[1].data, map[0].size);
        for (int i = 0; i < 2; i++) vr_map_close(&map[i]);
        unlink(path[1]);
    }
}

static void test_misuse(void **state) {
    static const int64_t shape[] = {4}, odd[] = {33};
    char path[256];
    float data[5] = {0};
    vr_error err = {0};
    vr_save *save = NULL;
    (void)state;
    assert_int_equal(vr_save_open(&save, in_folder("x.txt", path, sizeof path), &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_open(&save, in_folder("x.index.json", path, sizeof path), &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_open(&save, in_folder("no/such.pth", path, sizeof path), &err), VRWKV_ERR_IO);
    assert_int_equal(vr_save_open(&save, in_folder("x.gguf", path, sizeof path), &err), VRWKV_OK);
    assert_int_equal(vr_save_declare(save, "q", VR_Q8_0, 1, odd, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_declare(save, "b", VR_BOOL, 1, shape, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_declare(save, "six", VR_F32, 6, shape, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_declare(save, "a", VR_F32, 1, shape, &err), VRWKV_OK);
    assert_int_equal(vr_save_put(save, data, sizeof data, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_put(save, data, 12, &err), VRWKV_OK);
    assert_int_equal(vr_save_declare(save, "late", VR_F32, 1, shape, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_meta_int(save, "late", 1, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_save_commit(save, &err), VRWKV_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "'a' lacks 4 of its 16 bytes"));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(vr_save_open(&save, path, &err), VRWKV_OK);
    assert_int_equal(vr_save_declare(save, "a", VR_F32, 1, shape, &err), VRWKV_OK);
    assert_int_equal(vr_save_declare(save, "a", VR_F32, 1, shape, &err), VRWKV_OK);
    assert_int_equal(vr_save_commit(save, &err), VRWKV_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "declared twice"));
    assert_int_equal(vr_save_open(&save, in_folder("x.pth", path, sizeof path), &err), VRWKV_OK);
    assert_int_equal(vr_save_declare(save, "q", VR_Q4_0, 1, (int64_t[]){32}, &err), VRWKV_ERR_ARGUMENT);
    vr_save_abandon(save);
    vr_save_abandon(NULL);
    vr_weights_close(NULL);
}

static int files_in_folder(void) {
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *item; (item = readdir(dir));) n += item->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* A disk that fills up: the old file stays, nothing else is left, and the error says which file. */
static void test_full_disk(void **state) {
    static const int64_t shape[] = {1 << 18};
    struct rlimit before, small;
    vr_error err = {0};
    float *data = calloc(1 << 18, sizeof *data);
    (void)state;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t e = 0; e < VR_COUNT(endings); e++) {
        char path[256];
        vr_save *save = NULL;
        struct stat old, now;
        write_samples(in_folder(endings[e], path, sizeof path));
        assert_int_equal(stat(path, &old), 0);
        int files = files_in_folder();
        small = before;
        small.rlim_cur = 1 << 16;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        vr_status status = vr_save_open(&save, path, &err);
        if (status == VRWKV_OK) status = vr_save_declare(save, "big", VR_F32, 1, shape, &err);
        if (status == VRWKV_OK) status = vr_save_put(save, data, sizeof *data << 18, &err);
        if (status == VRWKV_OK)
            status = vr_save_commit(save, &err);
        else
            vr_save_abandon(save);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(status, VRWKV_ERR_IO);
        assert_non_null(strstr(err.message, endings[e]));
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_ino, old.st_ino);
        assert_int_equal(now.st_size, old.st_size);
        assert_int_equal(files_in_folder(), files);
    }
    signal(SIGXFSZ, handler);
    free(data);
}

/* Runs a Python line with one argument; the exit status, or -1. */
static int python(const char *code, const char *argument) {
    pid_t child = fork();
    if (child == 0) {
        execl("/usr/bin/python3", "python3", "-c", code, argument, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* PyTorch reads what we write: order, types, shapes, and every byte. */
static void test_pytorch_reads(void **state) {
    static const char check[] =
        "import sys, torch\n"
        "d = torch.load(sys.argv[1], weights_only=True)\n"
        "names = [('blocks.0.att.key.weight', torch.float32, (3, 5), 0), ('scalar', torch.float32, (), 1), ('half', torch.float16, (2, 3, 7), 2),"
        " ('brain', torch.bfloat16, (11,), 3), ('empty', torch.float32, (0, 4), 4), ('double', torch.float64, (4, 1), 5),"
        " ('long', torch.int64, (1, 2, 1, 3, 2), 6), ('int', torch.int32, (300,), 7), ('short', torch.int16, (3,), 8), ('char', torch.int8, (70000,), 9),"
        " ('caf\\u00e9', torch.float32, (1,), 10), ('byte', torch.uint8, (9,), 11), ('bool', torch.bool, (4,), 12)]\n"
        "assert list(d) == [n[0] for n in names], list(d)\n"
        "for name, dtype, shape, which in names:\n"
        "    t = d[name]\n"
        "    assert t.dtype == dtype and tuple(t.shape) == shape and t.is_contiguous(), name\n"
        "    t = t.reshape(-1)\n"
        "    raw = t.view(torch.int16).numpy().tobytes() if dtype == torch.bfloat16 else t.numpy().tobytes()\n"
        "    assert all(b == (((i * 7 + which) >> 1) & 1) for i, b in enumerate(raw)), name\n";
    char path[256];
    (void)state;
    if (python("import importlib.util, sys\nsys.exit(importlib.util.find_spec('torch') is None)", "") != 0) {
        print_message("notice: no PyTorch here, its reading of our .pth is not tested\n");
        skip();
    }
    write_samples(in_folder("t.pth", path, sizeof path));
    assert_int_equal(python(check, path), 0);
}

static int oracle_files;

static int visit(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info;
    (void)where;
    const char *dot = strrchr(path, '.');
    if (type != FTW_F || !dot || (strcmp(dot, ".pth") != 0 && strcmp(dot, ".safetensors") != 0)) return 0;
    vr_weights *file = open_good(path);
    assert_true(vr_weights_count(file) > 0);
    for (size_t i = 0; i < vr_weights_count(file); i++) {
        const vr_entry *entry = vr_weights_at(file, i);
        assert_ptr_equal(vr_weights_find(file, entry->name), entry);
        unsigned char *data = read_tensor(file, entry);
        const void *mapped = vr_weights_data(file, entry);
        if (mapped) assert_memory_equal(mapped, data, entry->bytes);
        free(data);
    }
    vr_weights_close(file);
    oracle_files++;
    return 0;
}

static void test_oracles(void **state) {
    const char *root = getenv("VRWKV_ORACLES");
    (void)state;
    oracle_files = 0;
    assert_int_equal(nftw(VRWKV_SOURCE_DIR "/tests/data/cases", visit, 16, FTW_PHYS), 0);
    assert_true(oracle_files > 0);
    if (!root) return;
    oracle_files = 0;
    assert_int_equal(nftw(root, visit, 16, FTW_PHYS), 0);
    print_message("%d tensor files of the oracles opened and read\n", oracle_files);
    assert_true(oracle_files > 0);
}

static void test_lock_and_folder(void **state) {
    vr_error err = {0};
    vr_weights *file = open_good(DATA "good.gguf");
    (void)state;
    vr_status status = vr_weights_lock(file, &err); /* the limit may forbid it: then it says so */
    assert_true(status == VRWKV_OK || strstr(err.message, "ulimit"));
    vr_weights_close(file);
    assert_int_equal(vr_weights_open(&file, DATA, NULL, &err), VRWKV_ERR_IO);
    assert_int_equal(vr_weights_open(&file, "/dev/null", NULL, &err), VRWKV_ERR_FORMAT);
    assert_non_null(strstr(err.message, "empty"));
}

static int make_folder(void **state) {
    (void)state;
    const char *place = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vrwkv-file-XXXXXX", place ? place : P_tmpdir);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    for (size_t e = 0; e < VR_COUNT(endings); e++) {
        char path[256];
        unlink(in_folder(endings[e], path, sizeof path));
    }
    return rmdir(folder); /* fails where anything else was left behind */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pth_views),     cmocka_unit_test(test_pth_forms),    cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_gguf),          cmocka_unit_test(test_rwkv_cpp),     cmocka_unit_test(test_refusals),     cmocka_unit_test(test_damage),
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_reproducible), cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_full_disk),     cmocka_unit_test(test_pytorch_reads), cmocka_unit_test(test_oracles),
        cmocka_unit_test(test_lock_and_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
