/* Zip archives, as far as tensor files need them: members by name, stored or deflated, zip64; and a
 * writer of stored members whose data is aligned, so that readers can map it.
 *
 * Member names are labels to look up, never paths. The directory is checked as a whole when it is
 * read; a member's local header when it is located. */
#ifndef VR_FILE_ZIP_H
#define VR_FILE_ZIP_H
#include "base/io.h"

#define VR_ZIP_ALIGN 64

typedef struct vr_zip_entry {
    const unsigned char *name; /* in the archive's bytes, not terminated */
    size_t name_bytes;
    bool deflated;
    uint32_t crc;
    uint64_t packed, size; /* bytes in the archive, bytes of content */
    uint64_t header;       /* offset of the local header */
} vr_zip_entry;

typedef struct vr_zip {
    const char *path; /* for messages; the caller's */
    const unsigned char *data;
    size_t size;
    vr_zip_entry *entries; /* sorted by name */
    size_t n;
} vr_zip;

vr_status vr_zip_open(vr_zip *zip, const char *path, const unsigned char *data, size_t size, vr_error *err);
void vr_zip_close(vr_zip *zip);
const vr_zip_entry *vr_zip_find(const vr_zip *zip, const char *name, size_t name_bytes); /* NULL: none */
/* Offset of the member's bytes, all of which lie in the archive. Refuses a deflated member whose
 * claimed size no deflated data of that length can have. */
vr_status vr_zip_locate(const vr_zip *zip, const vr_zip_entry *entry, uint64_t *offset, vr_error *err);
/* Inflates a member at packed[0..entry->packed) to dst, entry->size bytes, and checks length and CRC. */
vr_status vr_zip_inflate(const char *path, const vr_zip_entry *entry, const unsigned char *packed, void *dst,
                         vr_error *err);

typedef struct vr_zip_member {
    char name[40];
    uint32_t crc;
    uint64_t size, header;
} vr_zip_member;

typedef struct vr_zip_writer {
    vr_writer *out;
    vr_zip_member *members;
    size_t n, capacity;
} vr_zip_writer;

/* A member: begin with its size, put that many bytes, then the next begin or the end. */
vr_status vr_zip_begin(vr_zip_writer *zip, const char *name, uint64_t size, vr_error *err);
vr_status vr_zip_put(vr_zip_writer *zip, const void *data, size_t bytes, vr_error *err);
vr_status vr_zip_finish(vr_zip_writer *zip, vr_error *err); /* writes the directory */
void vr_zip_free(vr_zip_writer *zip);
#endif
