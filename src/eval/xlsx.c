/* The smallest set of parts that Office Open XML asks for, in a zip archive. src: ECMA-376. */
#include "eval/xlsx.h"

#include "eval/str.h"
#include "file/zip.h"
#include "text/unicode.h"

#include <string.h>

#define LONGEST_TEXT 32767

static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
static const char content_types[] =
    "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">"
    "<Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>"
    "<Default Extension=\"xml\" ContentType=\"application/xml\"/>"
    "<Override PartName=\"/xl/workbook.xml\" "
    "ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/>"
    "<Override PartName=\"/xl/worksheets/sheet1.xml\" "
    "ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml\"/></Types>";
static const char package_links[] =
    "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" "
    "Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" "
    "Target=\"xl/workbook.xml\"/></Relationships>";
static const char workbook[] =
    "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" "
    "xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\">"
    "<sheets><sheet name=\"Sheet1\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>";
static const char workbook_links[] =
    "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" "
    "Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" "
    "Target=\"worksheets/sheet1.xml\"/></Relationships>";

/* "A1", "B1", .., "AA1". */
static void put_name(vr_str *out, size_t column, size_t row) {
    char letters[16];
    size_t n = sizeof letters;
    for (size_t c = column + 1; c > 0 && n > 0; c = (c - 1) / 26) letters[--n] = (char)('A' + (c - 1) % 26);
    vr_str_put(out, letters + n, sizeof letters - n);
    vr_str_format(out, "%zu", row + 1);
}

static void put_text(vr_str *out, const char *text, size_t n) {
    size_t length;
    for (size_t i = 0, count = 0; i < n && count < LONGEST_TEXT; i += length, count++) {
        uint32_t code = vr_utf8_code(text + i, n - i, &length);
        bool printable = code == '\t' || code == '\n' || code == '\r' ||
                         (code >= 0x20 && code < 0x110000 && code != 0xFFFE && code != 0xFFFF);
        if (code == '&')
            vr_str_add(out, "&amp;");
        else if (code == '<')
            vr_str_add(out, "&lt;");
        else if (code == '>')
            vr_str_add(out, "&gt;");
        else if (code == '\r')
            vr_str_add(out, "&#13;"); /* a reader would make a line feed of it */
        else if (printable)
            vr_str_put(out, text + i, length);
        else
            vr_str_add(out, "\xEF\xBF\xBD");
    }
}

static void put_cell(vr_str *out, const json_t *value, size_t column, size_t row) {
    if (json_is_string(value) && json_string_length(value) == 0) return;
    vr_str_add(out, "<c r=\"");
    put_name(out, column, row);
    if (json_is_integer(value)) {
        vr_str_format(out, "\"><v>%lld</v></c>", (long long)json_integer_value(value));
        return;
    }
    vr_str_add(out, "\" t=\"inlineStr\"><is><t xml:space=\"preserve\">");
    put_text(out, json_string_value(value), json_string_length(value));
    vr_str_add(out, "</t></is></c>");
}

static void put_row(vr_str *out, const json_t *cells, size_t row) {
    size_t i;
    const json_t *value;
    vr_str_format(out, "<row r=\"%zu\">", row + 1);
    json_array_foreach(cells, i, value) put_cell(out, value, i, row);
    vr_str_add(out, "</row>");
}

static void put_sheet(vr_str *out, const json_t *columns, const json_t *rows) {
    size_t i;
    const json_t *cells;
    vr_str_add(out, "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>");
    put_row(out, columns, 0);
    json_array_foreach(rows, i, cells) put_row(out, cells, i + 1);
    vr_str_add(out, "</sheetData></worksheet>");
}

static vr_status put_part(vr_zip_writer *zip, const char *name, vr_slice text, vr_error *err) {
    VR_TRY(vr_zip_begin(zip, name, sizeof head - 1 + text.n, err));
    VR_TRY(vr_zip_put(zip, head, sizeof head - 1, err));
    return vr_zip_put(zip, text.p, text.n, err);
}

vr_status vr_xlsx_save(const char *path, const json_t *columns, const json_t *rows, vr_error *err) {
    vr_str sheet = {0};
    vr_writer file;
    put_sheet(&sheet, columns, rows);
    vr_status status = vr_str_check(&sheet, err);
    if (status == VRWKV_OK) status = vr_writer_open(&file, path, err);
    if (status == VRWKV_OK) {
        const struct { const char *name; vr_slice text; } parts[] = {
            {"[Content_Types].xml", vr_slice_of(content_types)}, {"_rels/.rels", vr_slice_of(package_links)},
            {"xl/workbook.xml", vr_slice_of(workbook)},          {"xl/_rels/workbook.xml.rels", vr_slice_of(workbook_links)},
            {"xl/worksheets/sheet1.xml", vr_str_slice(&sheet)}};
        vr_zip_writer zip = {.out = &file};
        for (size_t i = 0; i < VR_COUNT(parts) && status == VRWKV_OK; i++)
            status = put_part(&zip, parts[i].name, parts[i].text, err);
        if (status == VRWKV_OK) status = vr_zip_finish(&zip, err);
        vr_zip_free(&zip);
        if (status == VRWKV_OK)
            status = vr_writer_commit(&file, err);
        else
            vr_writer_abandon(&file);
    }
    vr_str_free(&sheet);
    return status;
}
