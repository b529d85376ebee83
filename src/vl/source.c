/* The tensor of a row in source files: found, checked, and read in the order that is wanted, with what
 * the file's layout did to it undone. */
#include "base/memory.h"
#include "ops/quant.h"
#include "vl/load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As many numbers, in whatever shape. */
static bool same_count(int na, const int64_t *a, int nb, const int64_t *b) {
    int64_t first, second;
    return vr_shape_count(na, a, &first) && vr_shape_count(nb, b, &second) && first == second;
}

bool vr_shape_same(int na, const int64_t *a, int nb, const int64_t *b) {
    int i = 0, j = 0;
    for (;;) { /* axes of size 1 do not count */
        while (i < na && a[i] == 1) i++;
        while (j < nb && b[j] == 1) j++;
        if (i == na || j == nb) return i == na && j == nb;
        if (a[i++] != b[j++]) return false;
    }
}

void vr_swap_axes(int ndim, int64_t *shape) {
    if (ndim < 2) return;
    int64_t keep = shape[ndim - 1];
    shape[ndim - 1] = shape[ndim - 2];
    shape[ndim - 2] = keep;
}

void vr_transpose(void *out, const void *in, int ndim, const int64_t *shape, size_t size) {
    int64_t rows = shape[ndim - 2], columns = shape[ndim - 1], batch = 1;
    for (int i = 0; i < ndim - 2; i++) batch *= shape[i];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++)
                memcpy((char *)out + (size_t)((b * columns + c) * rows + r) * size,
                       (const char *)in + (size_t)((b * rows + r) * columns + c) * size, size);
}

vr_status vr_row_find(vr_weights *const *files, int n, const vr_part *part, const vr_row *row, int layer, vr_source *out,
                      vr_error *err) {
    char name[VR_NAME_SIZE], found[96], wanted[96];
    int64_t expected[VR_MAX_DIMS];
    *out = (vr_source){0};
    out->ndim = vr_part_shape(part, row, layer, out->shape);
    if (!vr_row_exists(row, layer)) return VRWKV_OK;
    const vr_entry *entry = vr_config_find(files, n, part, row, layer, &out->found);
    if (!entry)
        return row->presence == VR_OPTIONAL
                   ? VRWKV_OK
                   : vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has no tensor '%s%s', shape %s", vr_weights_path(files[0]),
                             part->prefix, vr_row_name(row->key, layer, name),
                             vr_shape_text(out->ndim, out->shape, wanted, sizeof wanted));
    int ndim = vr_place_shape(&out->found.place, row, out->ndim, out->shape, expected);
    bool flat = out->found.place.change == VR_FLAT;
    if (!(flat ? same_count : vr_shape_same)(entry->ndim, entry->shape, ndim, expected))
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s': '%s' has shape %s, expected %s", vr_weights_path(out->found.file),
                       entry->name, vr_shape_text(entry->ndim, entry->shape, found, sizeof found),
                       vr_shape_text(ndim, expected, wanted, sizeof wanted));
    if (!vr_quant_of(entry->dtype))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': '%s' has type %s, which holds no weights",
                       vr_weights_path(out->found.file), entry->name, vr_dtype_of(entry->dtype)->name);
    return VRWKV_OK;
}

/* Puts new memory in the place of the numbers' own; NULL with a message. Where the numbers came from must
 * still be read, so the old memory is given back by the caller. */
static void *renew(vr_numbers *numbers, size_t bytes, void **old, vr_error *err) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes + 64) != 0) {
        vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a tensor of %zu bytes", bytes);
        return NULL;
    }
    *old = numbers->owned;
    numbers->owned = memory;
    numbers->data = memory;
    return memory;
}

/* The row's bytes as they are stored. */
static vr_status fetch(const vr_source *source, vr_numbers *out, vr_error *err) {
    const vr_entry *entry = source->found.entry;
    const vr_place *place = &source->found.place;
    void *nothing;
    out->type = entry->dtype;
    out->data = vr_weights_data(source->found.file, entry);
    if (!out->data) {
        void *copy = renew(out, (size_t)entry->bytes, &nothing, err);
        if (!copy) return VRWKV_ERR_MEMORY;
        VR_TRY(vr_weights_read(source->found.file, entry, copy, err));
    }
    if (place->change == VR_SLICE)
        out->data = (const char *)out->data + entry->bytes / (uint64_t)place->slices * (uint64_t)place->slice;
    return VRWKV_OK;
}

static vr_status widen(vr_numbers *numbers, int64_t count, vr_error *err) {
    const void *from = numbers->data;
    void *old;
    float *wide = renew(numbers, (size_t)count * sizeof *wide, &old, err);
    if (!wide) return VRWKV_ERR_MEMORY;
    vr_quant_of(numbers->type)->decode(wide, from, count);
    numbers->type = VR_F32;
    free(old);
    return VRWKV_OK;
}

static vr_status turn(vr_numbers *numbers, int ndim, const int64_t *shape, int64_t count, vr_error *err) {
    const void *from = numbers->data;
    size_t size = (size_t)vr_dtype_of(numbers->type)->bytes;
    void *old, *turned = renew(numbers, (size_t)count * size, &old, err);
    if (!turned) return VRWKV_ERR_MEMORY;
    vr_transpose(turned, from, ndim, shape, size);
    free(old);
    return VRWKV_OK;
}

static vr_status halve(vr_numbers *numbers, int64_t count, int halvings, vr_error *err) {
    const void *from = numbers->data;
    uint64_t bytes;
    void *old;
    vr_shape_bytes(numbers->type, 1, &count, &bytes);
    void *scaled = renew(numbers, (size_t)bytes, &old, err);
    if (!scaled) return VRWKV_ERR_MEMORY;
    memcpy(scaled, from, (size_t)bytes);
    vr_quant_scale(numbers->type, scaled, count, -halvings);
    free(old);
    return VRWKV_OK;
}

/* x of exp(-exp(x)); where that is 0 or 1 in f32, an x that gives it. */
static void undo_decay(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double raw = log(-log((double)x[i]));
        x[i] = !(raw > -20) ? -20.0f : raw < 6 ? (float)raw : 6.0f;
    }
}

vr_status vr_source_read(const vr_source *source, const vr_row *row, const vr_want *want, vr_numbers *out, vr_error *err) {
    const vr_place *place = &source->found.place;
    int64_t shape[VR_MAX_DIMS], count;
    int halvings = want->halvings - place->halvings;
    bool turned = row->transform == VR_TRANSPOSED && place->model_order != want->model_order;
    bool plain = vr_dtype_of(source->found.entry->dtype)->block == 1;
    *out = (vr_numbers){0};
    vr_shape_count(source->ndim, source->shape, &count);
    vr_status status = fetch(source, out, err);
    /* A block cannot be turned, and what is made smaller may fall below a half float's range. */
    bool wide =
        want->f32 || out->type == VR_F64 || place->change == VR_DECAY || (turned && !plain) || (halvings > 0 && plain);
    if (status == VRWKV_OK && wide && out->type != VR_F32) status = widen(out, count, err);
    if (status == VRWKV_OK && place->change == VR_DECAY) {
        status = halve(out, count, 0, err); /* a copy that may be written */
        if (status == VRWKV_OK) undo_decay(out->owned, count);
    }
    if (status == VRWKV_OK && turned) {
        memcpy(shape, source->shape, sizeof shape);
        if (place->model_order) vr_swap_axes(source->ndim, shape);
        status = turn(out, source->ndim, shape, count, err);
    }
    if (status == VRWKV_OK && halvings) status = halve(out, count, halvings, err);
    if (status == VRWKV_OK) return status;
    free(out->owned);
    *out = (vr_numbers){0};
    return status;
}
