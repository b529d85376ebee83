#include "train/batch.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define IGNORE (-100)
#define FILLER 0 /* the token whose embedding stands in front of shorter texts */

/* One sample on its way: a place in the source for each row. Rows of pictures are counted apart until the
 * number of text rows is known: picture row i is IMAGE_ROW(i). */
#define ZEROS INT32_MIN
#define IMAGE_ROW(i) (-1 - (int32_t)(i))

typedef struct rows {
    int32_t *source, *labels;
    int64_t n, first; /* rows [first, n) are kept */
} rows;

typedef struct maker {
    const vrwkv_model *model;
    const vr_sample *samples;
    const vr_batch_options *options;
    vr_batch *out;
    rows *rows;          /* [n] */
    int64_t *first_row;  /* [n] of each sample's pictures among all pictures' rows */
    int64_t next_row;    /* v7: of a picture, to be placed next */
    size_t ids_room;
    vr_error *err;
} maker;

static int64_t place_of(const vr_sample *sample) {
    for (size_t i = 0; i < sample->n; i++)
        if (sample->ids[i] == VRWKV_IMAGE) return (int64_t)i;
    return -1;
}

static void put(rows *r, int32_t source, int32_t label) {
    r->source[r->n] = source;
    r->labels[r->n++] = label;
}

static vr_status put_text(maker *m, rows *r, int32_t id, int32_t label) {
    if (id < 0 || id >= m->model->config.lm.n_vocab)
        return vr_fail(m->err, VRWKV_ERR_ARGUMENT, "id %d is outside the vocabulary 0..%d", id,
                       m->model->config.lm.n_vocab - 1);
    VR_TRY(vr_grow(&m->out->ids, &m->ids_room, (size_t)m->out->n_ids + 1, sizeof *m->out->ids, m->err));
    put(r, (int32_t)m->out->n_ids, label);
    m->out->ids[m->out->n_ids++] = id;
    return VRWKV_OK;
}

/* ---- v5, v6 ---- */

/* The picture's rows in the order of a scan that permutes its input. */
static vr_status put_picture(maker *m, rows *r, int64_t s, int64_t n) {
    const vr_scan *scan = m->model->scan;
    int64_t scanned = vr_scanned_rows(m->model, n);
    int32_t *order = vr_alloc((size_t)n + 1, sizeof *order);
    if (!order) return vr_fail(m->err, VRWKV_ERR_MEMORY, "out of memory");
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    if (scan->when == VR_SCAN_INPUT) scan->order(order, (int)scanned, vr_scan_side(scanned), 0);
    for (int64_t i = 0; i < n; i++) put(r, IMAGE_ROW(m->first_row[s] + order[i]), IGNORE);
    free(order);
    return VRWKV_OK;
}

static vr_status fill_at_common_place(maker *m, int64_t s, int64_t start, int64_t image_rows) {
    const vr_sample *sample = &m->samples[s];
    int64_t place = place_of(sample), before = place > 0 ? place : 0;
    rows *r = &m->rows[s];
    for (int64_t i = before; i < start; i++) VR_TRY(put_text(m, r, FILLER, IGNORE));
    for (int64_t i = 0; i < before; i++) VR_TRY(put_text(m, r, sample->ids[i], sample->labels[i]));
    if (place >= 0) VR_TRY(put_picture(m, r, s, image_rows));
    for (int64_t i = 0; place < 0 && i < image_rows; i++) put(r, ZEROS, IGNORE);
    for (size_t i = (size_t)(place + 1); i < sample->n; i++) {
        if (sample->ids[i] == VRWKV_IMAGE)
            return vr_fail(m->err, VRWKV_ERR_UNSUPPORTED, "sample %lld has more than one picture", (long long)s + 1);
        VR_TRY(put_text(m, r, sample->ids[i], sample->labels[i]));
    }
    return VRWKV_OK;
}

static void cut(rows *r, int64_t ctx_len) {
    if (ctx_len == 0 || r->n <= ctx_len) return;
    for (int64_t i = 0; i < ctx_len; i++)
        if (r->labels[i] >= 0) {
            r->n = ctx_len;
            return;
        }
    r->first = r->n - ctx_len;
}

/* ---- v7 ---- */

static vr_status fill_in_place(maker *m, int64_t s) {
    const vr_sample *sample = &m->samples[s];
    int32_t row_id = m->model->config.rules->row_id;
    rows *r = &m->rows[s];
    int64_t end = m->first_row[s];
    for (int i = 0; i < sample->n_pictures; i++) end += sample->picture_rows[i];
    if (m->options->original)
        end = m->out->n_image_rows;
    else
        m->next_row = m->first_row[s];
    for (size_t i = 0; i < sample->n; i++) {
        bool of_picture = sample->ids[i] == row_id;
        if (of_picture && m->next_row < end)
            put(r, IMAGE_ROW(m->next_row++), sample->labels[i]);
        else if (of_picture && row_id >= m->model->config.lm.n_vocab)
            put(r, ZEROS, sample->labels[i]); /* an id without an embedding, and no picture left for it */
        else
            VR_TRY(put_text(m, r, sample->ids[i], sample->labels[i]));
    }
    return VRWKV_OK;
}

/* ---- the batch ---- */

/* Counts pictures' rows; the most rows of text before a picture. *longest: of ids. */
static int64_t measure(maker *m, int64_t *longest) {
    int64_t start = 0;
    for (int64_t s = 0; s < m->out->n; s++) {
        const vr_sample *sample = &m->samples[s];
        int64_t place = place_of(sample);
        if (place > start) start = place;
        m->first_row[s] = m->out->n_image_rows;
        for (int i = 0; i < sample->n_pictures; i++) m->out->n_image_rows += sample->picture_rows[i];
        if ((int64_t)sample->n > *longest) *longest = (int64_t)sample->n;
    }
    return start;
}

/* Rows that have a target: those with a labelled row behind. */
static int64_t count_targets(const rows *r) {
    int64_t n = 0;
    for (int64_t i = r->first + 1; i < r->n; i++) n += r->labels[i] >= 0;
    return n;
}

static vr_status fill_sample(maker *m, int64_t s, int64_t longest, bool in_place) {
    rows *r = &m->rows[s];
    r->source = vr_alloc((size_t)longest + 1, sizeof *r->source);
    r->labels = vr_alloc((size_t)longest + 1, sizeof *r->labels);
    if (!r->source || !r->labels)
        return vr_fail(m->err, VRWKV_ERR_MEMORY, "out of memory for %lld rows", (long long)longest);
    if (in_place) return fill_in_place(m, s);
    VR_TRY(fill_at_common_place(m, s, m->out->image_start, vr_config_image_rows(&m->model->config)));
    cut(r, m->options->ctx_len);
    return VRWKV_OK;
}

/* What the whole batch has of it: the most rows, all samples and targets. */
static vr_status compare_samples(maker *m, vr_status status) {
    vr_batch *b = m->out;
    int64_t targets = 0;
    for (int64_t s = 0; s < b->n && status == VRWKV_OK; s++) {
        const rows *r = &m->rows[s];
        if (r->n - r->first > b->T) b->T = r->n - r->first;
        targets += count_targets(r);
    }
    double sums[2] = {(double)b->n, (double)targets};
    VR_TRY(vr_team_agree(m->options->team, status, m->err));
    VR_TRY(vr_team_largest(m->options->team, &b->T, 1, m->err));
    VR_TRY(vr_team_sum(m->options->team, sums, 2, m->err));
    b->n_all = (int64_t)sums[0];
    b->n_targets = (int64_t)sums[1];
    return VRWKV_OK;
}

static vr_status fill(maker *m) {
    const vr_config *config = &m->model->config;
    int64_t image_rows = vr_config_image_rows(config), longest = 0;
    bool in_place = config->rules->row_id != 0 || config->n_towers == 0;
    vr_status status = VRWKV_OK;
    m->out->image_start = measure(m, &longest);
    VR_TRY(vr_team_largest(m->options->team, &m->out->image_start, 1, m->err));
    longest += m->out->image_start + image_rows;
    for (int64_t s = 0; s < m->out->n && status == VRWKV_OK; s++) status = fill_sample(m, s, longest, in_place);
    VR_TRY(compare_samples(m, status));
    if (in_place) {
        m->out->padding = m->options->original ? vr_left_padding(m->model, m->out->T) : 0;
        m->out->image_start = 0;
        return VRWKV_OK;
    }
    int64_t start = m->out->image_start < m->out->T ? m->out->image_start : m->out->T,
            scanned = vr_scanned_rows(m->model, image_rows);
    m->out->image_start = start;
    m->out->image_length = scanned < m->out->T - start ? scanned : m->out->T - start;
    return VRWKV_OK;
}

/* Of each sample's T rows, and their weights in the loss. */
static void set_targets(vr_batch *b, bool batch_loss) {
    for (int64_t s = 0; s < b->n; s++) {
        int64_t count = 0;
        for (int64_t t = 0; t < b->T; t++) {
            b->targets[s * b->T + t] = t + 1 < b->T ? b->labels[s * b->T + t + 1] : IGNORE;
            count += b->targets[s * b->T + t] >= 0;
        }
        double weight = batch_loss ? 1.0 / (double)(b->n_targets ? b->n_targets : 1)
                                   : 1.0 / ((double)b->n_all * (double)(count ? count : 1));
        for (int64_t t = 0; t < b->T; t++) b->weights[s * b->T + t] = b->targets[s * b->T + t] >= 0 ? (float)weight : 0.0f;
    }
}

static vr_status join(maker *m) {
    vr_batch *b = m->out;
    int64_t rows_each = b->padding + b->T, pad_row = -1;
    size_t all = (size_t)(b->n * rows_each), own = (size_t)(b->n * b->T);
    b->source = vr_alloc(all, sizeof *b->source);
    b->labels = vr_alloc(own, sizeof *b->labels);
    b->targets = vr_alloc(own, sizeof *b->targets);
    b->weights = vr_alloc(own, sizeof *b->weights);
    if (!b->source || !b->labels || !b->targets || !b->weights)
        return vr_fail(m->err, VRWKV_ERR_MEMORY, "out of memory for a batch");
    if (b->padding) { /* one text row serves all padding */
        VR_TRY(vr_grow(&b->ids, &m->ids_room, (size_t)b->n_ids + 1, sizeof *b->ids, m->err));
        pad_row = b->n_ids;
        b->ids[b->n_ids++] = m->model->config.pad_token;
    }
    for (int64_t s = 0; s < b->n; s++) {
        const rows *r = &m->rows[s];
        for (int64_t t = 0; t < b->padding; t++) b->source[s * rows_each + t] = (int32_t)pad_row;
        for (int64_t t = 0; t < b->T; t++) {
            int64_t from = r->first + t;
            int32_t source = from < r->n ? r->source[from] : ZEROS;
            b->labels[s * b->T + t] = from < r->n ? r->labels[from] : IGNORE;
            if (source < 0) source = source == ZEROS ? -1 : (int32_t)b->n_ids + IMAGE_ROW(source);
            b->source[s * rows_each + b->padding + t] = source;
        }
    }
    set_targets(b, m->model->config.rules->batch_loss);
    return VRWKV_OK;
}

vr_status vr_batch_make(vr_batch *out, const vrwkv_model *model, const vr_sample *samples, int64_t n,
                        const vr_batch_options *options, vr_error *err) {
    *out = (vr_batch){.n = n};
    maker m = {.model = model, .samples = samples, .options = options, .out = out, .err = err};
    m.rows = vr_alloc((size_t)n, sizeof *m.rows);
    m.first_row = vr_alloc((size_t)n, sizeof *m.first_row);
    vr_status status = m.rows && m.first_row
                           ? VRWKV_OK
                           : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %lld samples", (long long)n);
    status = vr_team_agree(options->team, status, err);
    if (status == VRWKV_OK) status = fill(&m);
    if (status == VRWKV_OK)
        status = out->T ? join(&m) : vr_fail(err, VRWKV_ERR_ARGUMENT, "a batch of samples without a single token");
    for (int64_t s = 0; m.rows && s < n; s++) {
        free(m.rows[s].source);
        free(m.rows[s].labels);
    }
    free(m.rows);
    free(m.first_row);
    if (status != VRWKV_OK) vr_batch_free(out);
    return status;
}

void vr_batch_free(vr_batch *batch) {
    free(batch->ids);
    free(batch->source);
    free(batch->labels);
    free(batch->targets);
    free(batch->weights);
    *batch = (vr_batch){0};
}
