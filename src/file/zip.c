/* Zip: end record -> (zip64 end record) -> central directory -> members. Format: PKWARE APPNOTE 6.3.
 * All numbers are little-endian; 0xffff and 0xffffffff say "see the zip64 extra field". */
#include "file/zip.h"
#include "base/memory.h"
#include "file/internal.h"

#include <stdlib.h>
#include <zlib.h>

enum { END_SIZE = 22, LOCATOR_SIZE = 20, END64_SIZE = 56, CENTRAL_SIZE = 46, LOCAL_SIZE = 30 };

/* Deflate's best case is 1032 to 1 (258 bytes from two bits). */
#define MOST_PER_BYTE 1032u

static vr_status damaged(const vr_zip *zip, const char *what, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is a damaged or truncated zip archive: %s", zip->path, what);
}

/* The end record is last, but for a comment of up to 65535 bytes whose length it states. */
static const unsigned char *find_end(const unsigned char *data, size_t size) {
    for (size_t back = END_SIZE; back <= size && back <= END_SIZE + 65535u; back++) {
        const unsigned char *at = data + (size - back);
        if (vr_get32(at) == 0x06054b50 && vr_get16(at + 20) == back - END_SIZE) return at;
    }
    return NULL;
}

typedef struct directory { uint64_t entries, size, offset; } directory;

static vr_status read_end(const vr_zip *zip, directory *dir, vr_error *err) {
    const unsigned char *end = find_end(zip->data, zip->size);
    if (!end) return damaged(zip, "no end record", err);
    *dir = (directory){vr_get16(end + 10), vr_get32(end + 12), vr_get32(end + 16)};
    if (vr_get16(end + 4) != 0 && vr_get16(end + 4) != 0xffff)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is one part of a multi-part zip archive", zip->path);
    if ((size_t)(end - zip->data) < LOCATOR_SIZE || vr_get32(end - LOCATOR_SIZE) != 0x07064b50) return VRWKV_OK;
    uint64_t at = vr_get64(end - LOCATOR_SIZE + 8);
    if (zip->size < END64_SIZE || at > zip->size - END64_SIZE || vr_get32(zip->data + at) != 0x06064b50)
        return damaged(zip, "its zip64 end record is not where it is said to be", err);
    *dir = (directory){vr_get64(zip->data + at + 32), vr_get64(zip->data + at + 40), vr_get64(zip->data + at + 48)};
    return VRWKV_OK;
}

/* The zip64 extra field holds, in this order, those of the three numbers that did not fit. */
static bool apply_zip64(vr_zip_entry *entry, vr_cursor extra) {
    bool size = entry->size == 0xffffffffu, packed = entry->packed == 0xffffffffu, header = entry->header == 0xffffffffu;
    if (!size && !packed && !header) return true;
    const unsigned char *head;
    while ((head = vr_take(&extra, 4))) {
        vr_cursor field = {extra.at, extra.at};
        if (!vr_take(&extra, vr_get16(head + 2))) return false;
        field.end = extra.at;
        if (vr_get16(head) != 1) continue;
        uint64_t *const numbers[] = {size ? &entry->size : NULL, packed ? &entry->packed : NULL,
                                     header ? &entry->header : NULL};
        for (size_t i = 0; i < VR_COUNT(numbers); i++) {
            const unsigned char *number = numbers[i] ? vr_take(&field, 8) : NULL;
            if (numbers[i] && !number) return false;
            if (number) *numbers[i] = vr_get64(number);
        }
        return true;
    }
    return false;
}

static vr_status read_entry(const vr_zip *zip, vr_cursor *cursor, vr_zip_entry *entry, vr_error *err) {
    char text[VR_SHOW_SIZE];
    const unsigned char *at = vr_take(cursor, CENTRAL_SIZE);
    if (!at || vr_get32(at) != 0x02014b50) return damaged(zip, "its directory ends early", err);
    unsigned flags = vr_get16(at + 8), method = vr_get16(at + 10);
    size_t name_bytes = vr_get16(at + 28), extra_bytes = vr_get16(at + 30);
    *entry = (vr_zip_entry){.name_bytes = name_bytes,
                            .deflated = method == 8,
                            .crc = vr_get32(at + 16),
                            .packed = vr_get32(at + 20),
                            .size = vr_get32(at + 24),
                            .header = vr_get32(at + 42)};
    entry->name = vr_take(cursor, name_bytes);
    const unsigned char *extra = vr_take(cursor, extra_bytes);
    if (!entry->name || !extra || !vr_take(cursor, vr_get16(at + 32)))
        return damaged(zip, "its directory ends early", err);
    if (!apply_zip64(entry, (vr_cursor){extra, extra + extra_bytes}))
        return damaged(zip, "a member's zip64 sizes are missing", err);
    vr_show(entry->name, name_bytes, text);
    if (flags & 1) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': member '%s' is encrypted", zip->path, text);
    if (method != 0 && method != 8)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s': member '%s' has compression method %u, expected 0 or 8", zip->path,
                       text, method);
    if (!entry->deflated && entry->packed != entry->size)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': stored member '%s' claims %llu bytes in the archive for %llu", zip->path,
                       text, (unsigned long long)entry->packed, (unsigned long long)entry->size);
    return VRWKV_OK;
}

static int compare_names(const unsigned char *a, size_t na, const unsigned char *b, size_t nb) {
    int order = memcmp(a, b, na < nb ? na : nb);
    return order ? order : (na > nb) - (na < nb);
}

static int compare_entries(const void *a, const void *b) {
    const vr_zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_bytes, y->name, y->name_bytes);
}

vr_status vr_zip_open(vr_zip *zip, const char *path, const unsigned char *data, size_t size, vr_error *err) {
    directory dir;
    *zip = (vr_zip){.path = path, .data = data, .size = size};
    VR_TRY(read_end(zip, &dir, err));
    if (dir.offset > size || dir.size > size - dir.offset) return damaged(zip, "its directory lies beyond its end", err);
    if (dir.entries > dir.size / CENTRAL_SIZE || dir.entries > VR_TENSOR_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the zip directory of %llu bytes claims %llu members", path,
                       (unsigned long long)dir.size, (unsigned long long)dir.entries);
    zip->entries = vr_alloc((size_t)dir.entries, sizeof *zip->entries);
    if (!zip->entries) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for the directory of '%s'", path);
    vr_cursor cursor = {data + dir.offset, data + dir.offset + dir.size};
    for (; zip->n < dir.entries; zip->n++) {
        vr_status status = read_entry(zip, &cursor, &zip->entries[zip->n], err);
        if (status != VRWKV_OK) {
            vr_zip_close(zip);
            return status;
        }
    }
    qsort(zip->entries, zip->n, sizeof *zip->entries, compare_entries);
    for (size_t i = 1; i < zip->n; i++)
        if (compare_entries(&zip->entries[i - 1], &zip->entries[i]) == 0) {
            char text[VR_SHOW_SIZE];
            vr_show(zip->entries[i].name, zip->entries[i].name_bytes, text);
            vr_zip_close(zip);
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the archive has two members named '%s'", path, text);
        }
    return VRWKV_OK;
}

void vr_zip_close(vr_zip *zip) {
    free(zip->entries);
    zip->entries = NULL;
    zip->n = 0;
}

const vr_zip_entry *vr_zip_find(const vr_zip *zip, const char *name, size_t name_bytes) {
    vr_zip_entry wanted = {.name = (const unsigned char *)name, .name_bytes = name_bytes};
    return bsearch(&wanted, zip->entries, zip->n, sizeof wanted, compare_entries);
}

vr_status vr_zip_locate(const vr_zip *zip, const vr_zip_entry *entry, uint64_t *offset, vr_error *err) {
    char text[VR_SHOW_SIZE];
    vr_show(entry->name, entry->name_bytes, text);
    if (zip->size < LOCAL_SIZE || entry->header > zip->size - LOCAL_SIZE ||
        vr_get32(zip->data + entry->header) != 0x04034b50)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is damaged or truncated: member '%s' is not at offset %llu of %zu",
                       zip->path, text, (unsigned long long)entry->header, zip->size);
    const unsigned char *local = zip->data + entry->header;
    vr_cursor cursor = {local + LOCAL_SIZE, zip->data + zip->size};
    size_t name_bytes = vr_get16(local + 26);
    const unsigned char *name = vr_take(&cursor, name_bytes);
    if (!name || !vr_take(&cursor, vr_get16(local + 28)) || vr_left(&cursor) < entry->packed)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' is damaged or truncated: member '%s' claims %llu bytes, %zu are left",
                       zip->path, text, (unsigned long long)entry->packed, vr_left(&cursor));
    if (compare_names(name, name_bytes, entry->name, entry->name_bytes) != 0)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': member '%s' has another name at its data", zip->path, text);
    if (entry->deflated && entry->size / MOST_PER_BYTE > entry->packed)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': member '%s' claims to inflate from %llu to %llu bytes", zip->path, text,
                       (unsigned long long)entry->packed, (unsigned long long)entry->size);
    *offset = (uint64_t)(cursor.at - zip->data);
    return VRWKV_OK;
}

vr_status vr_zip_inflate(const char *path, const vr_zip_entry *entry, const unsigned char *packed, void *dst,
                         vr_error *err) {
    char text[VR_SHOW_SIZE];
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for inflating");
    const unsigned char *in = packed;
    unsigned char *out = dst, spare; /* one byte more than claimed shows content that is too long */
    uint64_t in_left = entry->packed, out_left = entry->size;
    int result = Z_OK;
    bool overflow = false;
    while (result == Z_OK && !overflow) {
        uInt in_part = (uInt)(in_left < (1u << 30) ? in_left : 1u << 30);
        uInt out_part = (uInt)(out_left < (1u << 30) ? out_left : 1u << 30);
        stream.next_in = (Bytef *)in;
        stream.avail_in = in_part;
        stream.next_out = out_part ? out : &spare;
        stream.avail_out = out_part ? out_part : 1;
        result = inflate(&stream, Z_NO_FLUSH);
        in += in_part - stream.avail_in;
        in_left -= in_part - stream.avail_in;
        if (out_part) {
            out += out_part - stream.avail_out;
            out_left -= out_part - stream.avail_out;
        } else if (stream.avail_out == 0)
            overflow = true;
    }
    inflateEnd(&stream);
    vr_show(entry->name, entry->name_bytes, text);
    if (result != Z_STREAM_END || overflow || out_left)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the deflated data of member '%s' is damaged or not of %llu bytes", path,
                       text, (unsigned long long)entry->size);
    if (crc32_z(0, dst, (size_t)entry->size) != entry->crc)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the checksum of member '%s' is wrong", path, text);
    return VRWKV_OK;
}

/* ---- writing ---- */

static bool wide(uint64_t value) { return value >= 0xffffffffu; }

static uint64_t narrow(uint64_t value) { return wide(value) ? 0xffffffffu : value; }

/* Fields that local and central headers share: version, flags, method, time, date, crc, sizes, name length. */
static void put_common(vr_buffer *buffer, const vr_zip_member *member) {
    vr_buffer_number(buffer, 45, 2); /* version needed: 4.5, zip64 */
    vr_buffer_number(buffer, 0, 2);
    vr_buffer_number(buffer, 0, 2);  /* stored */
    vr_buffer_number(buffer, 0, 2);
    vr_buffer_number(buffer, 0x21, 2); /* 1980-01-01, the earliest: files depend on their content alone */
    vr_buffer_number(buffer, member->crc, 4);
    vr_buffer_number(buffer, narrow(member->size), 4);
    vr_buffer_number(buffer, narrow(member->size), 4);
    vr_buffer_number(buffer, strlen(member->name), 2);
}

static vr_status flush(vr_zip_writer *zip, vr_buffer *buffer, vr_error *err) {
    vr_status status = buffer->failed ? vr_fail(err, VRWKV_ERR_MEMORY, "out of memory")
                                      : vr_writer_put(zip->out, buffer->data, buffer->n, err);
    free(buffer->data);
    *buffer = (vr_buffer){0};
    return status;
}

/* The checksum is known only after the data: it is written into the header then. */
static vr_status end_member(vr_zip_writer *zip, vr_error *err) {
    vr_zip_member *last = zip->n ? &zip->members[zip->n - 1] : NULL;
    unsigned char bytes[4];
    if (!last) return VRWKV_OK;
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(last->crc >> 8 * i);
    return vr_writer_patch(zip->out, last->header + 14, bytes, sizeof bytes, err);
}

vr_status vr_zip_begin(vr_zip_writer *zip, const char *name, uint64_t size, vr_error *err) {
    VR_TRY(end_member(zip, err));
    VR_TRY(vr_grow(&zip->members, &zip->capacity, zip->n + 1, sizeof *zip->members, err));
    vr_zip_member *member = &zip->members[zip->n++];
    *member = (vr_zip_member){.crc = (uint32_t)crc32_z(0, NULL, 0), .size = size, .header = zip->out->written};
    snprintf(member->name, sizeof member->name, "%s", name);
    size_t zip64 = wide(size) ? 20 : 0, fixed = LOCAL_SIZE + strlen(member->name) + zip64;
    /* A further extra field, id "FB" as PyTorch's, moves the data to a multiple of the alignment. */
    size_t pad = 4 + (VR_ZIP_ALIGN - (size_t)((member->header + fixed + 4) % VR_ZIP_ALIGN)) % VR_ZIP_ALIGN;
    vr_buffer buffer = {0};
    vr_buffer_number(&buffer, 0x04034b50, 4);
    put_common(&buffer, member);
    vr_buffer_number(&buffer, zip64 + pad, 2);
    vr_buffer_put(&buffer, member->name, strlen(member->name));
    if (zip64) {
        vr_buffer_number(&buffer, 1, 2);
        vr_buffer_number(&buffer, 16, 2);
        vr_buffer_number(&buffer, size, 8);
        vr_buffer_number(&buffer, size, 8);
    }
    vr_buffer_put(&buffer, "FB", 2);
    vr_buffer_number(&buffer, pad - 4, 2);
    for (size_t i = 4; i < pad; i++) vr_buffer_put(&buffer, "Z", 1);
    return flush(zip, &buffer, err);
}

vr_status vr_zip_put(vr_zip_writer *zip, const void *data, size_t bytes, vr_error *err) {
    vr_zip_member *member = &zip->members[zip->n - 1];
    if (bytes) member->crc = (uint32_t)crc32_z(member->crc, data, bytes);
    return vr_writer_put(zip->out, data, bytes, err);
}

static void put_central(vr_buffer *buffer, const vr_zip_member *member) {
    size_t extra = (wide(member->size) ? 16 : 0) + (wide(member->header) ? 8 : 0);
    vr_buffer_number(buffer, 0x02014b50, 4);
    vr_buffer_number(buffer, 45, 2);
    put_common(buffer, member);
    vr_buffer_number(buffer, extra ? extra + 4 : 0, 2);
    vr_buffer_number(buffer, 0, 2); /* comment */
    vr_buffer_number(buffer, 0, 4); /* disk, internal attributes */
    vr_buffer_number(buffer, 0, 4); /* external attributes */
    vr_buffer_number(buffer, narrow(member->header), 4);
    vr_buffer_put(buffer, member->name, strlen(member->name));
    if (!extra) return;
    vr_buffer_number(buffer, 1, 2);
    vr_buffer_number(buffer, extra, 2);
    if (wide(member->size)) {
        vr_buffer_number(buffer, member->size, 8);
        vr_buffer_number(buffer, member->size, 8);
    }
    if (wide(member->header)) vr_buffer_number(buffer, member->header, 8);
}

static void put_end64(vr_buffer *buffer, uint64_t n, uint64_t size, uint64_t offset) {
    vr_buffer_number(buffer, 0x06064b50, 4);
    vr_buffer_number(buffer, END64_SIZE - 12, 8);
    vr_buffer_number(buffer, 45, 2);
    vr_buffer_number(buffer, 45, 2);
    vr_buffer_number(buffer, 0, 8); /* disks */
    vr_buffer_number(buffer, n, 8);
    vr_buffer_number(buffer, n, 8);
    vr_buffer_number(buffer, size, 8);
    vr_buffer_number(buffer, offset, 8);
    vr_buffer_number(buffer, 0x07064b50, 4);
    vr_buffer_number(buffer, 0, 4);
    vr_buffer_number(buffer, offset + size, 8);
    vr_buffer_number(buffer, 1, 4);
}

vr_status vr_zip_finish(vr_zip_writer *zip, vr_error *err) {
    VR_TRY(end_member(zip, err));
    uint64_t offset = zip->out->written, n = zip->n;
    vr_buffer buffer = {0};
    for (size_t i = 0; i < zip->n; i++) put_central(&buffer, &zip->members[i]);
    uint64_t size = buffer.n;
    if (n >= 0xffff || wide(size) || wide(offset)) put_end64(&buffer, n, size, offset);
    vr_buffer_number(&buffer, 0x06054b50, 4);
    vr_buffer_number(&buffer, 0, 4); /* disks */
    vr_buffer_number(&buffer, n < 0xffff ? n : 0xffff, 2);
    vr_buffer_number(&buffer, n < 0xffff ? n : 0xffff, 2);
    vr_buffer_number(&buffer, narrow(size), 4);
    vr_buffer_number(&buffer, narrow(offset), 4);
    vr_buffer_number(&buffer, 0, 2); /* comment */
    return flush(zip, &buffer, err);
}

void vr_zip_free(vr_zip_writer *zip) {
    free(zip->members);
    *zip = (vr_zip_writer){0};
}
