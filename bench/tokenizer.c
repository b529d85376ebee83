/* Speed of encoding one file with the world vocabulary on one thread: bench/tokenizer FILE [RUNS [IDS]].
 * Prints one line of JSON: bytes, ids, the median, least and greatest MB/s (10^6 bytes) of RUNS runs,
 * and how long making the vocabulary took. IDS: a file that gets the ids as 32-bit numbers. */
#include "text/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static char *read_all(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    size_t room = 0, got;
    *n = 0;
    if (!file) return NULL;
    do {
        if (*n == room) {
            char *more = realloc(data, room = room ? 2 * room : 1 << 20);
            if (!more) break;
            data = more;
        }
        got = fread(data + *n, 1, room - *n, file);
        *n += got;
    } while (got);
    fclose(file);
    return data;
}

static int failed(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    const vr_vocab *vocab = NULL;
    vr_error err = {0};
    size_t n, bytes, count = 0, capacity = 0;
    int32_t *ids = NULL;
    char *back;
    bool unknown;
    int runs = argc > 2 ? atoi(argv[2]) : 9;
    if (argc < 2 || runs < 1) return failed("usage: tokenizer FILE [RUNS [IDS]]"), 2;
    char *text = read_all(argv[1], &n);
    double *speed = calloc((size_t)runs, sizeof *speed), start = now();
    if (!text || !speed) return failed("cannot read the file");
    if (vr_vocab_world(&vocab, &err) != VRWKV_OK) return failed(err.message);
    double made = now() - start;
    for (int i = 0; i < runs; i++) {
        /* The list of ids is made anew each time: its memory is part of the work. */
        free(ids);
        ids = NULL;
        count = capacity = 0;
        start = now();
        if (vr_encode(vocab, text, n, &ids, &count, &capacity, &err) != VRWKV_OK) return failed(err.message);
        speed[i] = (double)n / 1e6 / (now() - start);
    }
    if (vr_decode_bytes(vocab, ids, count, &back, &bytes, &unknown, &err) != VRWKV_OK) return failed(err.message);
    if (bytes != n || memcmp(back, text, n)) return failed("decoded text differs");
    qsort(speed, (size_t)runs, sizeof *speed, compare);
    printf("{\"bytes\": %zu, \"ids\": %zu, \"mb_per_s\": %.1f, \"least\": %.1f, \"greatest\": %.1f, \"vocabulary_ms\": %.2f}\n", n, count,
           speed[runs / 2], speed[0], speed[runs - 1], 1e3 * made);
    FILE *out = argc > 3 ? fopen(argv[3], "wb") : NULL;
    if (argc > 3 && (!out || fwrite(ids, sizeof *ids, count, out) != count || fclose(out))) return failed("cannot write the ids");
    free(back);
    free(ids);
    free(text);
    free(speed);
    return 0;
}
