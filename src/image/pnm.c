/* PBM, PGM, PPM, plain (P1-P3) and raw (P4-P6), maxval to 65535 (the netpbm manual pages).
 *
 * Scaling as Pillow: round half to even of value / maxval * 255, in double. Grey of more than 8 bits
 * is scaled to 65535 and, in the original manner, clipped at 255; friendly scales it to 255. */
#include "base/memory.h"
#include "image/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct pnm {
    const vr_source *from;
    size_t at;
    bool bits, plain;
    int channels;
    int64_t width, height, maxval;
} pnm;

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(pnm *p) {
    const vr_source *s = p->from;
    while (p->at < s->size && (is_space(s->data[p->at]) || s->data[p->at] == '#')) {
        if (s->data[p->at] == '#')
            while (p->at < s->size && s->data[p->at] != '\n' && s->data[p->at] != '\r') p->at++;
        else
            p->at++;
    }
}

/* The next number; -1 where there is none or it has more than ten digits. `one_digit` for P1. */
static int64_t next_number(pnm *p, bool one_digit) {
    const vr_source *s = p->from;
    skip_space(p);
    int64_t value = 0;
    int digits = 0;
    while (p->at < s->size && s->data[p->at] >= '0' && s->data[p->at] <= '9' && digits < 11) {
        value = value * 10 + (s->data[p->at++] - '0');
        digits++;
        if (one_digit) break;
    }
    return digits >= 1 && digits <= 10 ? value : -1;
}

static vr_status read_header(pnm *p, vr_error *err) {
    int kind = p->from->data[1] - '0';
    p->bits = kind == 1 || kind == 4;
    p->plain = kind <= 3;
    p->channels = kind == 3 || kind == 6 ? 3 : 1;
    p->at = 2;
    p->width = next_number(p, false);
    p->height = next_number(p, false);
    p->maxval = p->bits ? 1 : next_number(p, false);
    if (p->width < 0 || p->height < 0 || p->maxval < 0)
        return vr_picture_bad(p->from, "its header is no list of numbers", err);
    if (p->maxval < 1 || p->maxval > 65535)
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s picture with maxval %lld, expected 1 to 65535", p->from->format,
                       (long long)p->maxval);
    if (!p->plain) p->at++; /* one white-space byte, then the pixels */
    return VRWKV_OK;
}

static uint8_t *make_table(const pnm *p) {
    uint8_t *table = vr_alloc((size_t)p->maxval + 1, 1);
    bool clip = p->channels == 1 && p->maxval > 255 && !p->from->friendly;
    for (int64_t v = 0; table && v <= p->maxval; v++) {
        double share = (double)v / (double)p->maxval;
        table[v] =
            (uint8_t)(p->bits ? 255 * (1 - v) : (int64_t)(clip ? fmin(255, rint(share * 65535)) : rint(share * 255)));
    }
    return table;
}

/* One row of samples [width * channels]; false where the data end or hold no number in range. */
static bool read_row(pnm *p, const uint8_t *table, uint8_t *samples) {
    const vr_source *s = p->from;
    size_t n = (size_t)p->width * (size_t)p->channels;
    size_t wide = p->maxval > 255 ? 2 : 1, bytes = p->bits ? (n + 7) / 8 : n * wide;
    if (p->plain) {
        for (size_t i = 0; i < n; i++) {
            int64_t v = next_number(p, p->bits);
            if (v < 0 || v > p->maxval) return false;
            samples[i] = table[v];
        }
        return true;
    }
    if (p->at > s->size || s->size - p->at < bytes) return false;
    const uint8_t *from = s->data + p->at;
    for (size_t i = 0; i < n; i++) {
        unsigned v = p->bits ? from[i / 8] >> (7 - i % 8) & 1u : wide == 2 ? vr_be16(from + 2 * i) : from[i];
        samples[i] = table[v > p->maxval ? p->maxval : v];
    }
    p->at += bytes;
    return true;
}

vr_status vr_decode_pnm(vr_image *out, const vr_source *source, vr_error *err) {
    pnm p = {.from = source};
    VR_TRY(read_header(&p, err));
    VR_TRY(vr_picture_new(out, source, p.width, p.height, err));
    uint8_t *table = make_table(&p);
    if (!table) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    int64_t y = 0;
    for (; y < p.height; y++) {
        uint8_t *row = out->rgb + (size_t)y * (size_t)p.width * 3;
        if (!read_row(&p, table, row)) {
            memset(row, 0, (size_t)p.width * 3); /* a row begun is not there */
            break;
        }
        for (size_t x = (size_t)p.width; p.channels == 1 && x-- > 0;) memset(row + 3 * x, row[x], 3);
    }
    free(table);
    return vr_picture_rows(source, (uint64_t)y, (uint64_t)p.height, err);
}
