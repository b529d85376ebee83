/* Comparison, element by element. A difference never cancels another one, a NaN never passes, and a
 * shape that is not the expected one fails with both named. */
#include "base/half.h"
#include "base/memory.h"
#include "verify/verify.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void report(vr_verify *verify, const vr_check *check) {
    verify->checks++;
    if (!check->ok) verify->failed_checks++;
    if (verify->on_check) verify->on_check(verify->user, verify->case_name, check);
}

void vr_check_failed(vr_verify *verify, const char *name, const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    report(verify, &(vr_check){.name = name, .message = message});
}

/* ---- arrays ---- */

void vr_array_free(vr_array *array) {
    free(array->data);
    *array = (vr_array){0};
}

static vr_status array_new(vr_array *out, int ndim, const int64_t *shape, int64_t *count, vr_error *err) {
    *out = (vr_array){.ndim = ndim};
    if (ndim < 0 || ndim > VR_MAX_DIMS || !vr_shape_count(ndim, shape, count))
        return vr_fail(err, VRWKV_ERR_SHAPE, "a tensor of %d axes is too large, expected at most %d axes", ndim,
                       VR_MAX_DIMS);
    memcpy(out->shape, shape, (size_t)ndim * sizeof *shape);
    out->data = vr_alloc(*count ? (size_t)*count : 1, sizeof *out->data);
    if (!out->data) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a tensor of %lld elements", (long long)*count);
    return VRWKV_OK;
}

vr_status vr_array_make(vr_array *out, int ndim, const int64_t *shape, const float *data, vr_error *err) {
    int64_t count;
    VR_TRY(array_new(out, ndim, shape, &count, err));
    if (count) memcpy(out->data, data, (size_t)count * sizeof *data);
    return VRWKV_OK;
}

#define WIDEN(name, type, value)                                                                                       \
    static void name(float *out, const void *raw, int64_t n) {                                                         \
        const type *in = raw;                                                                                          \
        for (int64_t i = 0; i < n; i++) out[i] = (float)(value);                                                       \
    }
WIDEN(widen_f32, float, in[i])
WIDEN(widen_f64, double, in[i])
WIDEN(widen_f16, uint16_t, vr_f16_f32(in[i]))
WIDEN(widen_bf16, uint16_t, vr_bf16_f32(in[i]))
WIDEN(widen_i8, int8_t, in[i])
WIDEN(widen_u8, uint8_t, in[i])
WIDEN(widen_i16, int16_t, in[i])
WIDEN(widen_i32, int32_t, in[i])
WIDEN(widen_i64, int64_t, in[i])

static void (*const widen[VR_DTYPE_COUNT])(float *, const void *, int64_t) = {
    [VR_F32] = widen_f32, [VR_F64] = widen_f64, [VR_F16] = widen_f16, [VR_BF16] = widen_bf16, [VR_I8] = widen_i8,
    [VR_U8] = widen_u8,   [VR_I16] = widen_i16, [VR_I32] = widen_i32, [VR_I64] = widen_i64,   [VR_BOOL] = widen_u8,
};

vr_status vr_array_load(vr_array *out, const vr_weights *file, const vr_entry *entry, vr_error *err) {
    int64_t count;
    *out = (vr_array){0};
    if (!widen[entry->dtype])
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s: tensor %s has type %s, expected a plain one",
                       vr_weights_path(file), entry->name, vr_dtype_of(entry->dtype)->name);
    void *raw = vr_alloc(entry->bytes ? entry->bytes : 1, 1);
    if (!raw) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for tensor %s", entry->name);
    vr_status status = vr_weights_read(file, entry, raw, err);
    if (status == VRWKV_OK) status = array_new(out, entry->ndim, entry->shape, &count, err);
    if (status == VRWKV_OK) widen[entry->dtype](out->data, raw, count);
    free(raw);
    return status;
}

vr_status vr_array_list(vr_array *out, const json_t *list, const char *what, vr_error *err) {
    int64_t n = (int64_t)json_array_size(list), count;
    VR_TRY(array_new(out, 1, &n, &count, err));
    for (int64_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value)) {
            vr_array_free(out);
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s[%lld] is no number", what, (long long)i);
        }
        out->data[i] = (float)json_number_value(value);
    }
    return VRWKV_OK;
}

/* In place: what is kept never lies behind where it is written. */
vr_status vr_array_thin(vr_array *array, const int64_t *step, vr_error *err) {
    int64_t shape[VR_MAX_DIMS], at[VR_MAX_DIMS] = {0}, count;
    for (int i = 0; i < array->ndim; i++) {
        if (step[i] < 1)
            return vr_fail(err, VRWKV_ERR_FORMAT, "thinned has a step of %lld, expected 1 or more", (long long)step[i]);
        shape[i] = array->shape[i] / step[i] + (array->shape[i] % step[i] != 0);
    }
    vr_shape_count(array->ndim, shape, &count);
    for (int64_t k = 0; k < count; k++) {
        int64_t from = 0;
        for (int i = 0; i < array->ndim; i++) from = from * array->shape[i] + at[i] * step[i];
        array->data[k] = array->data[from];
        for (int i = array->ndim; i-- > 0;) {
            if (++at[i] < shape[i]) break;
            at[i] = 0;
        }
    }
    memcpy(array->shape, shape, (size_t)array->ndim * sizeof *shape);
    return VRWKV_OK;
}

double vr_array_largest(const vr_array *array) {
    int64_t count = 0;
    double largest = 0;
    vr_shape_count(array->ndim, array->shape, &count);
    for (int64_t i = 0; i < count; i++)
        if (fabs((double)array->data[i]) > largest) largest = fabs((double)array->data[i]);
    return largest;
}

/* ---- numbers ---- */

static double difference(double found, double expected) {
    if (found == expected) return 0; /* equal infinities too */
    double error = fabs(found - expected);
    return isnan(error) ? INFINITY : error;
}

static void unravel(vr_check *check, int ndim, const int64_t *shape, int64_t flat) {
    check->ndim = ndim;
    for (int i = ndim; i-- > 0;) {
        check->index[i] = flat % shape[i];
        flat /= shape[i];
    }
}

void vr_check_array(vr_verify *verify, const char *name, const vr_array *found, const vr_array *expected, double bound) {
    char a[96], b[96];
    int64_t count = 0, worst = 0;
    double largest = vr_array_largest(expected);
    vr_check check = {.name = name, .measured = true, .bound = bound, .absolute = -1, .message = ""};
    if (found->ndim != expected->ndim ||
        memcmp(found->shape, expected->shape, (size_t)expected->ndim * sizeof *expected->shape) != 0) {
        vr_check_failed(verify, name, "shape %s, expected %s", vr_shape_text(found->ndim, found->shape, a, sizeof a),
                        vr_shape_text(expected->ndim, expected->shape, b, sizeof b));
        return;
    }
    vr_shape_count(expected->ndim, expected->shape, &count);
    for (int64_t i = 0; i < count; i++) {
        double error = difference((double)found->data[i], (double)expected->data[i]);
        if (error > check.absolute) {
            check.absolute = error;
            worst = i;
        }
    }
    if (count) {
        unravel(&check, expected->ndim, expected->shape, worst);
        check.found = (double)found->data[worst];
        check.expected = (double)expected->data[worst];
    } else {
        check.absolute = 0;
    }
    check.relative = check.absolute == 0 ? 0 : check.absolute / largest;
    check.ok = check.absolute <= bound;
    report(verify, &check);
}

void vr_check_floats(vr_verify *verify, const char *name, const float *found, size_t n_found, const float *expected,
                     size_t n_expected, double bound) {
    /* The views are read only: the casts lend the caller's arrays to vr_array, which is not freed. */
    vr_array a = {.ndim = 1, .shape = {(int64_t)n_found}, .data = (float *)(uintptr_t)found};
    vr_array b = {.ndim = 1, .shape = {(int64_t)n_expected}, .data = (float *)(uintptr_t)expected};
    vr_check_array(verify, name, &a, &b, bound);
}

void vr_check_norm(vr_verify *verify, const char *name, const float *found, size_t n_found, const float *expected, size_t n_expected,
                   double bound) {
    double off = 0, squares = 0;
    if (n_found != n_expected) {
        vr_check_failed(verify, name, "%zu numbers, expected %zu", n_found, n_expected);
        return;
    }
    for (size_t i = 0; i < n_found; i++) {
        double error = (double)found[i] - (double)expected[i];
        off += error * error;
        squares += (double)expected[i] * (double)expected[i];
    }
    double norm = squares > 0 ? sqrt(squares) : 1;
    report(verify, &(vr_check){.name = name,
                               .ok = sqrt(off) <= bound * norm,
                               .measured = true,
                               .absolute = isnan(off) ? INFINITY : sqrt(off),
                               .relative = sqrt(off) / norm,
                               .bound = bound * norm,
                               .message = "length of the difference"});
}

void vr_check_value(vr_verify *verify, const char *name, double found, double expected, double bound) {
    double error = difference(found, expected);
    report(verify, &(vr_check){.name = name,
                               .ok = error <= bound,
                               .measured = true,
                               .absolute = error,
                               .relative = error == 0 ? 0 : error / fabs(expected),
                               .bound = bound,
                               .found = found,
                               .expected = expected,
                               .message = ""});
}

/* ---- ids, text, counts: equal or not ---- */

void vr_report_ids(vr_verify *verify, const char *name, const int32_t *found, size_t n_found, const int32_t *expected,
                  size_t n_expected) {
    char message[128];
    size_t at = 0, n = n_found < n_expected ? n_found : n_expected;
    while (at < n && found[at] == expected[at]) at++;
    bool ok = at == n && n_found == n_expected;
    if (ok)
        snprintf(message, sizeof message, "%zu ids equal", n);
    else if (at < n)
        snprintf(message, sizeof message, "id %d at [%zu], expected %d", found[at], at, expected[at]);
    else
        snprintf(message, sizeof message, "%zu ids, expected %zu; the first %zu are equal", n_found, n_expected, n);
    report(verify, &(vr_check){.name = name, .ok = ok, .message = message});
}

/* A few bytes from `at` on, printable. */
static void excerpt(char *out, size_t size, const char *text, size_t n, size_t at) {
    size_t used = 0;
    for (size_t i = at; i < n && i < at + 16 && used + 5 < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        used += (size_t)snprintf(out + used, size - used, plain ? "%c" : "\\x%02x", c);
    }
    out[used < size ? used : size - 1] = 0;
}

void vr_check_text(vr_verify *verify, const char *name, const char *found, size_t n_found, const char *expected,
                   size_t n_expected) {
    char message[256], a[80] = "", b[80] = "";
    size_t at = 0;
    while (at < n_found && at < n_expected && found[at] == expected[at]) at++;
    bool ok = n_found == n_expected && at == n_found;
    if (ok) {
        snprintf(message, sizeof message, "%zu bytes equal", n_found);
    } else {
        excerpt(a, sizeof a, found, n_found, at);
        excerpt(b, sizeof b, expected, n_expected, at);
        snprintf(message, sizeof message, "%zu bytes, expected %zu; from byte %zu on \"%s\", expected \"%s\"", n_found,
                 n_expected, at, a, b);
    }
    report(verify, &(vr_check){.name = name, .ok = ok, .message = message});
}

void vr_check_tally(vr_verify *verify, const char *name, size_t n, size_t different, const char *first) {
    char message[1200];
    if (different)
        snprintf(message, sizeof message, "%zu of %zu differ; the first: %s", different, n, first);
    else
        snprintf(message, sizeof message, "%zu equal", n);
    report(verify, &(vr_check){.name = name, .ok = different == 0, .message = message});
}
