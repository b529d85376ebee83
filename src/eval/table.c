/* Tables with tabs, as pandas reads them (MMBench). */
#include "base/memory.h"
#include "eval/source.h"
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

bool vr_is_missing(vr_slice field) {
    static const char *const words[] = {"",     "#N/A",   "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN",
                                        "-nan", "1.#IND", "1.#QNAN",  "<NA>", "N/A",     "NA",       "NULL",
                                        "NaN",  "None",   "n/a",      "nan",  "null"};
    for (size_t i = 0; i < VR_COUNT(words); i++)
        if (vr_slice_is(field, words[i])) return true;
    return false;
}

/* One field at *p: copied without its quotes where it has some, else where it stands. `from` is set to
 * its offset in table->unquoted plus one for a copied field, 0 for the other kind. */
static void take_field(vr_table *table, const char **p, const char *end, size_t *lines, vr_slice *field, size_t *from) {
    const char *at = *p;
    *from = 0;
    if (at < end && *at == '"') {
        size_t begin = table->unquoted.n;
        bool open = true;
        for (at++; at < end && (open || (*at != '\t' && *at != '\n')); at++) {
            *lines += *at == '\n';
            bool quote = open && *at == '"';
            if (quote && at + 1 < end && at[1] == '"')
                at++; /* "" is one " */
            else if (quote) {
                open = false;
                continue;
            }
            vr_str_put(&table->unquoted, at, 1);
        }
        *field = (vr_slice){NULL, table->unquoted.n - begin};
        *from = begin + 1;
    } else {
        while (at < end && *at != '\t' && *at != '\n') at++;
        *field = (vr_slice){*p, (size_t)(at - *p)};
    }
    *p = at;
}

/* Splits the row at table->at into `fields` of at most `most`; *n is how many it has. */
static vr_status take_row(vr_table *table, vr_slice *fields, size_t most, size_t *n, vr_error *err) {
    const char *begin = (const char *)table->map.data + table->at, *p = begin,
               *end = (const char *)table->map.data + table->map.size;
    size_t lines = 0, from[VR_TABLE_COLUMNS];
    vr_slice field = {NULL, 0};
    *n = 0;
    vr_str_clear(&table->unquoted);
    for (bool more = true; more; (*n)++) {
        size_t offset;
        take_field(table, &p, end, &lines, &field, &offset);
        more = p < end && *p == '\t';
        p += more;
        if (*n >= most) continue;
        fields[*n] = field;
        from[*n] = offset;
    }
    size_t kept = *n < most ? *n : most;
    for (size_t i = 0; i < kept; i++) /* only now does the copy stay where it is */
        if (from[i]) fields[i].p = vr_str_text(&table->unquoted) + from[i] - 1;
    if (kept && fields[kept - 1].n && fields[kept - 1].p[fields[kept - 1].n - 1] == '\r') fields[kept - 1].n--;
    bool valid = vr_utf8_valid(begin, (size_t)(p - begin));
    table->at += (size_t)(p - begin) + (p < end);
    VR_TRY(vr_str_check(&table->unquoted, err));
    if (!valid)
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: no valid UTF-8: the table must be in that encoding", table->path,
                       table->line);
    table->line += lines + 1;
    return VRWKV_OK;
}

static vr_status read_header(vr_table *table, vr_error *err) {
    vr_slice names[VR_TABLE_COLUMNS];
    if (table->map.size == 0) return vr_fail(err, VRWKV_ERR_FORMAT, "%s is empty, expected a table", table->path);
    VR_TRY(take_row(table, names, VR_TABLE_COLUMNS, &table->n_columns, err));
    if (table->n_columns > VR_TABLE_COLUMNS)
        return vr_fail(err, VRWKV_ERR_FORMAT, "%s: %zu columns, expected at most %d", table->path, table->n_columns,
                       VR_TABLE_COLUMNS);
    table->columns = vr_alloc(table->n_columns, sizeof *table->columns);
    table->fields = vr_alloc(table->n_columns, sizeof *table->fields);
    if (!table->columns || !table->fields) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a table");
    for (size_t i = 0; i < table->n_columns; i++)
        if (!(table->columns[i] = vr_slice_copy(names[i])))
            return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a table");
    return VRWKV_OK;
}

vr_status vr_table_open(vr_table *table, const char *path, vr_error *err) {
    *table = (vr_table){.line = 1, .path = vr_strdup(path)};
    vr_status status =
        table->path ? vr_map_open(&table->map, path, false, err) : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (status == VRWKV_OK && table->map.size >= 3 && memcmp(table->map.data, "\xEF\xBB\xBF", 3) == 0) table->at = 3;
    if (status == VRWKV_OK) status = read_header(table, err);
    if (status != VRWKV_OK) vr_table_close(table);
    return status;
}

static bool blank_line(const vr_table *table) {
    const unsigned char *p = table->map.data + table->at;
    return *p == '\n' || (*p == '\r' && table->at + 1 < table->map.size && p[1] == '\n');
}

vr_status vr_table_next(vr_table *table, vr_faults *faults, bool *more, vr_error *err) {
    for (;;) {
        while (table->at < table->map.size && blank_line(table)) {
            table->at += table->map.data[table->at] == '\r' ? 2 : 1;
            table->line++;
        }
        *more = table->at < table->map.size;
        if (!*more) return VRWKV_OK;
        size_t n, line = table->line;
        VR_TRY(take_row(table, table->fields, table->n_columns, &n, err));
        if (n == table->n_columns) return VRWKV_OK;
        VR_TRY(vr_fault(faults, err, "%s:%zu: %zu fields, expected %zu as in the header", table->path, line, n,
                        table->n_columns));
    }
}

int vr_table_column(const vr_table *table, const char *name) {
    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i], name) == 0) return (int)i;
    return -1;
}

void vr_table_close(vr_table *table) {
    for (size_t i = 0; table->columns && i < table->n_columns; i++) free(table->columns[i]);
    free(table->columns);
    free(table->fields);
    free(table->path);
    vr_str_free(&table->unquoted);
    vr_map_close(&table->map);
    *table = (vr_table){0};
}

/* ---- base64 ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

vr_status vr_base64_decode(vr_slice text, vr_str *out, vr_error *err) {
    signed char value[256];
    memset(value, -1, sizeof value);
    for (int i = 0; i < 64; i++) value[(unsigned char)digits[i]] = (signed char)i;
    uint32_t bits = 0;
    int n_bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '=' || c == '\n' || c == '\r' || c == ' ') continue;
        if (value[c] < 0) return vr_fail(err, VRWKV_ERR_FORMAT, "byte 0x%02x at %zu is no base64", c, i);
        bits = bits << 6 | (uint32_t)value[c];
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        char byte = (char)(bits >> n_bits);
        vr_str_put(out, &byte, 1);
    }
    return vr_str_check(out, err);
}

void vr_base64_encode(vr_slice bytes, vr_str *out) {
    for (size_t i = 0; i < bytes.n; i += 3) {
        uint32_t bits = 0;
        size_t n = bytes.n - i < 3 ? bytes.n - i : 3;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (k < n ? (unsigned char)bytes.p[i + k] : 0);
        char four[4];
        for (int k = 0; k < 4; k++) four[k] = (size_t)k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
        vr_str_put(out, four, 4);
    }
}
