/* The room base: messages, element types, half floats (all of them), arena, files, weight rows, pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/cpu.h"
#include "base/dtype.h"
#include "base/half.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/row.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- status ---- */

static vr_status third(vr_error *err) { return vr_fail(err, VRWKV_ERR_FORMAT, "found %d, expected %s", 7, "8"); }
static vr_status second(vr_error *err, int *reached) {
    VR_TRY(third(err));
    *reached = 1;
    return VRWKV_OK;
}

static void test_status(void **state) {
    (void)state;
    vr_error err = {0};
    char wide[3000];
    int reached = 0;
    assert_int_equal(second(&err, &reached), VRWKV_ERR_FORMAT);
    assert_int_equal(err.status, VRWKV_ERR_FORMAT);
    assert_string_equal(err.message, "found 7, expected 8");
    assert_int_equal(reached, 0);
    assert_int_equal(third(NULL), VRWKV_ERR_FORMAT);
    memset(wide, 'x', sizeof wide - 1);
    wide[sizeof wide - 1] = 0;
    vr_fail(&err, VRWKV_ERR_IO, "%s", wide);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    errno = ENOENT;
    assert_int_equal(vr_fail_io(&err, "open", "a/b"), VRWKV_ERR_IO);
    assert_string_equal(err.message, "cannot open 'a/b': No such file or directory");
    errno = ENOMEM;
    assert_int_equal(vr_fail_io(&err, "map", "a"), VRWKV_ERR_MEMORY);
    for (int i = VRWKV_OK; i <= VRWKV_ERR_CANCELLED; i++)
        assert_string_not_equal(vrwkv_status_name((vrwkv_status)i), "unknown status");
    assert_string_equal(vrwkv_status_name((vrwkv_status)77), "unknown status");
}

/* ---- types and shapes ---- */

static void test_dtype(void **state) {
    (void)state;
    vr_dtype type;
    for (int i = 0; i < VR_DTYPE_COUNT; i++) {
        const vr_dtype_info *info = vr_dtype_of((vr_dtype)i);
        assert_true(vr_dtype_parse(info->name, &type) && (int)type == i);
        assert_int_equal(vr_is_quantised((vr_dtype)i), info->block > 1);
        for (int j = 0; j < i; j++)
            if (info->gguf >= 0) assert_int_not_equal(info->gguf, vr_dtype_of((vr_dtype)j)->gguf);
    }
    assert_true(vr_dtype_parse("Q8_0", &type) && type == VR_Q8_0);
    assert_false(vr_dtype_parse("q9_0", &type));
    assert_non_null(vr_dtype_of((vr_dtype)1000));
}

static void test_shape(void **state) {
    (void)state;
    int64_t count;
    uint64_t bytes;
    char text[64], small[6];
    assert_true(vr_shape_count(0, NULL, &count) && count == 1);
    assert_true(vr_shape_count(3, (int64_t[]){2, 3, 4}, &count) && count == 24);
    assert_true(vr_shape_count(2, (int64_t[]){0, INT64_MAX}, &count) && count == 0);
    assert_false(vr_shape_count(2, (int64_t[]){2, -1}, &count));
    assert_false(vr_shape_count(2, (int64_t[]){INT64_MAX, 2}, &count));
    assert_true(vr_shape_bytes(VR_Q4_0, 2, (int64_t[]){3, 64}, &bytes) && bytes == 3 * 2 * 18);
    assert_true(vr_shape_bytes(VR_Q6_K, 1, (int64_t[]){512}, &bytes) && bytes == 2 * 210);
    assert_true(vr_shape_bytes(VR_F64, 1, (int64_t[]){5}, &bytes) && bytes == 40);
    assert_false(vr_shape_bytes(VR_Q4_0, 2, (int64_t[]){32, 33}, &bytes));
    assert_false(vr_shape_bytes(VR_Q8_0, 0, NULL, &bytes));
    assert_false(vr_shape_bytes(VR_F64, 1, (int64_t[]){INT64_MAX}, &bytes));
    assert_string_equal(vr_shape_text(3, (int64_t[]){2, 3, 40}, text, sizeof text), "[2, 3, 40]");
    assert_string_equal(vr_shape_text(0, NULL, text, sizeof text), "[]");
    assert_int_equal(strlen(vr_shape_text(2, (int64_t[]){123456, 2}, small, sizeof small)), 5);
}

/* ---- half floats ---- */

/* The number a binary16 stands for, from the standard's definition. */
static double half_value(unsigned half) {
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double size = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -size : size;
}

static void test_f16(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float value = vr_f16_f32((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true((h & 1023) ? isnan(value) : isinf(value) && (value < 0) == (h >> 15));
            assert_true((h & 1023) ? isnan(vr_f16_f32(vr_f32_f16(value))) : vr_f32_f16(value) == h);
            continue;
        }
        assert_true((double)value == half_value(h) && !!signbit(value) == (int)(h >> 15));
        assert_int_equal(vr_f32_f16(value), h);
        /* the middle between h and the next one is exact in f32: it goes to the even one, its neighbours to theirs */
        double next = (h & 0x7fff) == 0x7bff ? copysign(65536, value) : half_value(h + 1);
        float middle = (float)(((double)value + next) / 2);
        assert_int_equal(vr_f32_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(vr_f32_f16(nextafterf(middle, value)), h);
        assert_int_equal(vr_f32_f16(nextafterf(middle, (float)next)), h + 1);
    }
    assert_int_equal(vr_f32_f16(1e30f), 0x7c00);
    assert_int_equal(vr_f32_f16(-1e-30f), 0x8000);
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float value = vr_bf16_f32((uint16_t)h);
        if ((h & 0x7f80) == 0x7f80 && (h & 0x7f)) {
            assert_true(isnan(value) && isnan(vr_bf16_f32(vr_f32_bf16(value))));
            continue;
        }
        assert_int_equal(vr_f32_bits(value), h << 16);
        assert_int_equal(vr_f32_bf16(value), h);
        if ((h & 0x7f80) == 0x7f80) continue; /* infinite: no neighbour above */
        assert_int_equal(vr_f32_bf16(vr_bits_f32(h << 16 | 0x8000)), h & 1 ? h + 1 : h);
        assert_int_equal(vr_f32_bf16(vr_bits_f32(h << 16 | 0x7fff)), h);
        assert_int_equal(vr_f32_bf16(vr_bits_f32(h << 16 | 0x8001)), h + 1);
    }
    assert_true(isnan(vr_bf16_f32(vr_f32_bf16(vr_bits_f32(0x7f800001))))); /* payload only in the lost bits */
}

/* ---- memory ---- */

static void test_memory(void **state) {
    (void)state;
    vr_error err = {0};
    int *list = NULL;
    size_t capacity = 0;
    assert_null(vr_alloc(SIZE_MAX / 2, 3));
    void *nothing = vr_alloc(0, 8);
    assert_non_null(nothing);
    free(nothing);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(vr_grow(&list, &capacity, i + 1, sizeof *list, &err), VRWKV_OK);
        list[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(list[i], i);
    int *before = list;
    size_t had = capacity;
    assert_int_equal(vr_grow(&list, &capacity, SIZE_MAX / 2, sizeof *list, &err), VRWKV_ERR_MEMORY);
    assert_true(list == before && capacity == had && err.message[0]);
    free(list);
    assert_null(vr_strdup(NULL));
    char *copy = vr_strdup("copy");
    assert_string_equal(copy, "copy");
    free(copy);
}

static void test_arena(void **state) {
    (void)state;
    vr_error err = {0};
    vr_arena arena;
    assert_int_equal(vr_arena_open(&arena, 100000, &err), VRWKV_OK);
    assert_true(arena.reserved >= 100000);
    char *a = vr_arena_get(&arena, 10, 10), *b = vr_arena_get(&arena, 1, 1);
    assert_true(a && b && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0 && b >= a + 100);
    size_t mark = vr_arena_mark(&arena);
    assert_null(vr_arena_get(&arena, arena.reserved, 1)); /* over the cap: nothing changes */
    assert_null(vr_arena_get(&arena, SIZE_MAX, 2));
    assert_null(vr_arena_get(&arena, SIZE_MAX, 1));
    assert_int_equal(vr_arena_mark(&arena), mark);
    size_t rest = arena.reserved - (mark + 63) / 64 * 64;
    char *all = vr_arena_get(&arena, rest, 1);
    assert_non_null(all);
    memset(all, 1, rest);
    assert_null(vr_arena_get(&arena, 1, 1));
    assert_int_equal(arena.peak, arena.reserved);
    vr_arena_release(&arena, mark);
    assert_ptr_equal(vr_arena_get(&arena, 1, 1), all);
    a[0] = 'k';
    vr_arena_trim(&arena, 4096);
    assert_int_equal(a[0], 'k');
    all = arena.base + arena.reserved - 1;
    assert_int_equal(*all, 0); /* the page was given back */
    vr_arena_close(&arena);
    vr_arena_close(&arena);
    assert_int_equal(vr_arena_open(&arena, (size_t)1 << 62, &err), VRWKV_ERR_MEMORY);
}

/* ---- files: all in one fresh folder ---- */

static char folder[] = "/tmp/vrwkv-test-XXXXXX";

static int enter_folder(void **state) {
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state) {
    (void)state;
    unlink("file");
    unlink("empty");
    rmdir("folder");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static int count_files(void) {
    int n = 0;
    DIR *dir = opendir(".");
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2;
}

static void write_file(const char *path, const char *text) {
    vr_error err = {0};
    vr_writer writer;
    assert_int_equal(vr_writer_open(&writer, path, &err), VRWKV_OK);
    assert_int_equal(vr_writer_put(&writer, text, strlen(text), &err), VRWKV_OK);
    assert_int_equal(vr_writer_commit(&writer, &err), VRWKV_OK);
}

static void expect_file(const char *path, const void *data, size_t size) {
    vr_error err = {0};
    for (int heap = 0; heap < 2; heap++) {
        vr_map map;
        assert_int_equal(vr_map_open(&map, path, heap, &err), VRWKV_OK);
        assert_int_equal(map.size, size);
        if (size) assert_memory_equal(map.data, data, size);
        vr_map_forget(&map, 0, map.size);
        if (size) assert_memory_equal(map.data, data, size);
        vr_map_close(&map);
        vr_map_close(&map);
    }
}

static void test_writer(void **state) {
    (void)state;
    vr_error err = {0};
    vr_writer writer;
    struct stat info;
    write_file("file", "old");
    assert_int_equal(stat("file", &info), 0);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(info.st_mode & 0777, 0666 & ~mask);
    assert_int_equal(vr_writer_open(&writer, "file", &err), VRWKV_OK);
    assert_int_equal(vr_writer_put(&writer, "ab", 2, &err), VRWKV_OK);
    assert_int_equal(vr_writer_zero(&writer, 10000, &err), VRWKV_OK);
    assert_int_equal(vr_writer_put(&writer, "yz", 2, &err), VRWKV_OK);
    assert_int_equal(vr_writer_patch(&writer, 1, "PQ", 2, &err), VRWKV_OK);
    assert_int_equal(writer.written, 10004);
    expect_file("file", "old", 3); /* until the commit */
    assert_int_equal(count_files(), 2);
    assert_int_equal(vr_writer_commit(&writer, &err), VRWKV_OK);
    char expected[10004] = "aPQ";
    memcpy(expected + 10002, "yz", 2);
    expect_file("file", expected, sizeof expected);
    assert_int_equal(count_files(), 1);
    assert_int_equal(vr_writer_open(&writer, "file", &err), VRWKV_OK);
    assert_int_equal(vr_writer_put(&writer, "new", 3, &err), VRWKV_OK);
    vr_writer_abandon(&writer);
    vr_writer_abandon(&writer);
    expect_file("file", expected, sizeof expected);
    assert_int_equal(count_files(), 1);
    write_file("empty", "");
    expect_file("empty", "", 0);
    /* through a link: the link stays, what it points to is replaced */
    assert_int_equal(symlink("empty", "link"), 0);
    write_file("link", "more");
    expect_file("empty", "more", 4);
    assert_int_equal(lstat("link", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    unlink("link");
    unlink("empty");
    /* two writers of one target do not meet */
    vr_writer second;
    assert_int_equal(vr_writer_open(&writer, "file", &err), VRWKV_OK);
    assert_int_equal(vr_writer_open(&second, "file", &err), VRWKV_OK);
    assert_int_equal(vr_writer_put(&second, "2", 1, &err), VRWKV_OK);
    assert_int_equal(vr_writer_commit(&second, &err), VRWKV_OK);
    vr_writer_abandon(&writer);
    expect_file("file", "2", 1);
    assert_int_equal(count_files(), 1);
}

static void test_io_failures(void **state) {
    (void)state;
    vr_error err = {0};
    vr_writer writer;
    vr_map map;
    write_file("file", "old");
    assert_int_equal(vr_map_open(&map, "missing", false, &err), VRWKV_ERR_IO);
    assert_string_equal(err.message, "cannot open 'missing': No such file or directory");
    assert_int_equal(vr_map_open(&map, ".", false, &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "is a folder"));
    assert_int_equal(vr_map_open(&map, "/dev/zero", false, &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "is a device"));
    assert_int_equal(vr_writer_open(&writer, "missing/file", &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "'missing/file'"));
    assert_int_equal(vr_writer_check("missing/file", &err), VRWKV_ERR_IO);
    assert_int_equal(vr_writer_check("file", &err), VRWKV_OK);
    assert_int_equal(vr_writer_check("new", &err), VRWKV_OK);
    /* what is no regular file stays what it is */
    assert_int_equal(mkdir("folder", 0755), 0);
    assert_int_equal(vr_writer_open(&writer, "folder", &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "'folder' is a folder"));
    assert_int_equal(vr_writer_check("folder", &err), VRWKV_ERR_IO);
    assert_int_equal(mkfifo("pipe", 0666), 0);
    assert_int_equal(vr_writer_open(&writer, "pipe", &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "'pipe' is no regular file"));
    unlink("pipe");
    /* the target becomes a folder in the meantime: the temporary file goes, the message names the target */
    assert_int_equal(vr_writer_open(&writer, "late", &err), VRWKV_OK);
    assert_int_equal(mkdir("late", 0755), 0);
    assert_int_equal(vr_writer_commit(&writer, &err), VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "cannot replace 'late'"));
    rmdir("late");
    assert_int_equal(count_files(), 2);
    /* a full disk, played by a limit on the size of files */
    struct rlimit before, limit;
    char block[20000] = {1};
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 16384;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(vr_writer_open(&writer, "file", &err), VRWKV_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    vr_status put = vr_writer_put(&writer, block, sizeof block, &err);
    vr_status commit = put == VRWKV_OK ? vr_writer_commit(&writer, &err) : VRWKV_OK;
    vr_writer_abandon(&writer);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_true(put == VRWKV_ERR_IO || commit == VRWKV_ERR_IO);
    assert_non_null(strstr(err.message, "cannot write 'file'"));
    expect_file("file", "old", 3);
    assert_int_equal(count_files(), 2);
}

/* ---- rows of weights, random numbers ---- */

static void test_row(void **state) {
    (void)state;
    vr_dims dims = {0};
    int64_t shape[VR_MAX_DIMS];
    char name[VR_NAME_SIZE];
    dims.size['D' - 'A'] = 24;
    dims.size['R' - 'A'] = 4;
    vr_row row = {.shape = "5R,D"}, fixed = {.shape = "1,1,D"}, patch = {.shape = "D,3,R,R"};
    assert_int_equal(vr_letters_shape(row.shape, &dims, shape), 2);
    assert_true(shape[0] == 20 && shape[1] == 24);
    assert_int_equal(vr_letters_shape(fixed.shape, &dims, shape), 3);
    assert_true(shape[0] == 1 && shape[1] == 1 && shape[2] == 24);
    assert_int_equal(vr_letters_shape(patch.shape, &dims, shape), 4);
    assert_true(shape[0] == 24 && shape[1] == 3 && shape[2] == 4 && shape[3] == 4);
    assert_string_equal(vr_row_name("blocks.%d.ln1.weight", 31, name), "blocks.31.ln1.weight");
    assert_string_equal(vr_row_name("head.weight", 31, name), "head.weight");
}

/* Known outputs of splitmix64 for seed 1234567, and uniform's range. */
static void test_rng(void **state) {
    (void)state;
    vr_rng rng = {1234567};
    assert_true(vr_rng_next(&rng) == 6457827717110365317u);
    assert_true(vr_rng_next(&rng) == 3203168211198807973u);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double u = vr_rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.01);
}

/* ---- pool ---- */

enum { CHUNKS = 1000 };

typedef struct counted {
    vr_pool *pool;
    atomic_int runs[CHUNKS], inner;
    atomic_int wrong_thread;
    int threads;
} counted;

static void count_chunk(void *job, int64_t chunk, int thread) {
    counted *c = job;
    atomic_fetch_add(&c->runs[chunk], 1);
    if (thread < 0 || thread >= c->threads) atomic_fetch_add(&c->wrong_thread, 1);
}

static void run_counted(counted *c, int64_t n) {
    vr_pool_run(c->pool, count_chunk, c, n);
    for (int64_t i = 0; i < CHUNKS; i++) {
        assert_int_equal(atomic_load(&c->runs[i]), i < n);
        atomic_store(&c->runs[i], 0);
    }
    assert_int_equal(atomic_load(&c->wrong_thread), 0);
}

static void test_pool(void **state) {
    (void)state;
    vr_error err = {0};
    static counted c;
    for (int threads = 1; threads <= 5; threads++) {
        assert_int_equal(vr_pool_open(&c.pool, threads, &err), VRWKV_OK);
        c.threads = threads;
        assert_int_equal(vr_pool_threads(c.pool), threads);
        for (int64_t n = 0; n <= CHUNKS; n = n * 3 + 1) run_counted(&c, n);
        for (int i = 0; i < 300; i++) {
            if (i % 100 == 99) usleep(20000); /* long enough for the workers to sleep */
            run_counted(&c, 2 + i % 7);
        }
        vr_pool_close(c.pool);
    }
    c.pool = NULL;
    c.threads = 1;
    run_counted(&c, 17);
    assert_int_equal(vr_pool_threads(NULL), 1);
    assert_int_equal(vr_pool_open(&c.pool, 0, &err), VRWKV_OK);
    assert_int_equal(vr_pool_threads(c.pool), vr_cpu_get()->cores);
    vr_pool_close(c.pool);
    vr_pool_close(NULL);
    assert_int_equal(vr_pool_open(&c.pool, -1, &err), VRWKV_ERR_ARGUMENT);
    assert_null(c.pool);
    assert_non_null(strstr(err.message, "-1 threads"));
}

static void inner_chunk(void *job, int64_t chunk, int thread) {
    (void)chunk;
    (void)thread;
    atomic_fetch_add(&((counted *)job)->inner, 1);
}

static void outer_chunk(void *job, int64_t chunk, int thread) {
    counted *c = job;
    (void)chunk;
    (void)thread;
    vr_pool_run(c->pool, inner_chunk, c, 5);
}

/* A job that starts a job on the same pool does it alone, without a deadlock. */
static void test_pool_nested(void **state) {
    (void)state;
    vr_error err = {0};
    static counted c;
    assert_int_equal(vr_pool_open(&c.pool, 3, &err), VRWKV_OK);
    for (int i = 0; i < 50; i++) vr_pool_run(c.pool, outer_chunk, &c, 20);
    assert_int_equal(atomic_load(&c.inner), 50 * 20 * 5);
    vr_pool_close(c.pool);
}

static void sum_chunk(void *job, int64_t chunk, int thread) {
    (void)thread;
    ((int64_t *)job)[chunk] += chunk * chunk;
}

static void *caller(void *pool) {
    int64_t squares[64] = {0};
    intptr_t wrong = 0;
    for (int i = 1; i <= 400; i++) {
        vr_pool_run(pool, sum_chunk, squares, 64);
        for (int64_t k = 0; k < 64; k++) wrong += squares[k] != k * k * i;
    }
    return (void *)wrong;
}

/* Several callers at once: each gets its own job done; one has the pool, the others work alone. */
static void test_pool_callers(void **state) {
    (void)state;
    vr_error err = {0};
    vr_pool *pool;
    pthread_t threads[4];
    void *wrong;
    assert_int_equal(vr_pool_open(&pool, 3, &err), VRWKV_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, caller, pool), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    vr_pool_close(pool);
}

static void wait_chunk(void *job, int64_t chunk, int thread) {
    (void)thread;
    if (chunk == 0) usleep(30000); /* the others are through first, and wait asleep */
    atomic_fetch_add(&((counted *)job)->inner, 1);
}

/* Whoever finishes first waits for a slow chunk: all of a job is done when the call returns. */
static void test_pool_slow_chunk(void **state) {
    (void)state;
    vr_error err = {0};
    static counted c;
    assert_int_equal(vr_pool_open(&c.pool, 4, &err), VRWKV_OK);
    for (int i = 1; i <= 10; i++) {
        vr_pool_run(c.pool, wait_chunk, &c, 9);
        assert_int_equal(atomic_load(&c.inner), i * 9);
    }
    vr_pool_close(c.pool);
}

/* ---- helped jobs ---- */

enum { HELPED = 60 };

typedef struct helped {
    int number;     /* of the job, in every word of `input` */
    int input[100];
    struct helped_log { pthread_t caller; atomic_int published[HELPED], wrong, late; useconds_t delay; } *log;
} helped;

/* Whoever is not the caller dawdles; its input must stay what it was. */
static void compute_helped(const void *job, int64_t chunk, void *result) {
    const helped *h = job;
    if (h->log->delay && !pthread_equal(pthread_self(), h->log->caller)) {
        atomic_fetch_add(&h->log->late, 1);
        usleep(h->log->delay);
        atomic_fetch_sub(&h->log->late, 1);
    }
    *(int64_t *)result = chunk * chunk;
    for (int i = 0; i < 100; i++)
        if (h->input[i] != h->number) atomic_fetch_add(&h->log->wrong, 1);
}

static void publish_helped(const void *job, int64_t chunk, const void *result) {
    const helped *h = job;
    if (*(const int64_t *)result != chunk * chunk) atomic_fetch_add(&h->log->wrong, 1);
    atomic_fetch_add(&h->log->published[chunk], 1);
}

static const vr_pool_helped helped_fns = {compute_helped, publish_helped};

static void run_helped(vr_pool *pool, struct helped_log *log, int number, int64_t n) {
    helped *h = vr_pool_claim(pool, sizeof *h);
    assert_non_null(h);
    *h = (helped){.number = number, .log = log};
    for (int i = 0; i < 100; i++) h->input[i] = number;
    vr_pool_help(pool, &helped_fns, n);
    for (int64_t i = 0; i < HELPED; i++) {
        assert_int_equal(atomic_load(&log->published[i]), i < n);
        atomic_store(&log->published[i], 0);
    }
}

/* Every chunk is published once; a caller does not wait for a thread that is late, and what that thread
 * still reads is left alone by the jobs that follow. */
static void test_pool_helped(void **state) {
    (void)state;
    vr_error err = {0};
    vr_pool *pool;
    static struct helped_log log;
    bool overtaken = false;
    log.caller = pthread_self();
    for (int threads = 2; threads <= 4; threads++) {
        assert_int_equal(vr_pool_open(&pool, threads, &err), VRWKV_OK);
        log.delay = 0;
        for (int i = 0; i < 2000; i++) run_helped(pool, &log, i, i % HELPED + 1);
        vr_pool_drain(pool); /* a late thread may still read the delay */
        log.delay = 20000;
        for (int i = 0; i < 40; i++) {
            usleep(i % 4 * 3000); /* at times all workers are free, at times all are late */
            run_helped(pool, &log, i, HELPED);
            overtaken = overtaken || atomic_load(&log.late) > 0;
        }
        vr_pool_drain(pool);
        assert_int_equal(atomic_load(&log.late), 0); /* nobody is late any more */
        assert_null(vr_pool_claim(pool, VR_POOL_JOB_BYTES + 1));
        assert_non_null(vr_pool_claim(pool, VR_POOL_JOB_BYTES));
        assert_null(vr_pool_claim(pool, 1)); /* taken */
        vr_pool_unclaim(pool);
        vr_pool_close(pool);
    }
    assert_true(overtaken);
    assert_int_equal(atomic_load(&log.wrong), 0);
    assert_null(vr_pool_claim(NULL, 1));
    assert_int_equal(vr_pool_open(&pool, 1, &err), VRWKV_OK);
    assert_null(vr_pool_claim(pool, 1)); /* nobody to help */
    vr_pool_close(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),      cmocka_unit_test(test_dtype),        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_f16),         cmocka_unit_test(test_bf16),         cmocka_unit_test(test_memory),
        cmocka_unit_test(test_arena),       cmocka_unit_test(test_row),          cmocka_unit_test(test_rng),
        cmocka_unit_test(test_pool),        cmocka_unit_test(test_pool_nested),  cmocka_unit_test(test_pool_callers),
        cmocka_unit_test(test_pool_slow_chunk), cmocka_unit_test(test_pool_helped),
    };
    const struct CMUnitTest files[] = {cmocka_unit_test(test_writer), cmocka_unit_test(test_io_failures)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + cmocka_run_group_tests(files, enter_folder, leave_folder);
}
