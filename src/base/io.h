/* Files: read-only mappings, and writing that never destroys what was there before. */
#ifndef VR_BASE_IO_H
#define VR_BASE_IO_H
#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct vr_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
    bool heap; /* read into memory instead of mapped */
} vr_map;

/* Maps a regular file read-only; heap: reads it into allocated memory (pipes and --no-mmap). Folders and
 * devices are refused. */
vr_status vr_map_open(vr_map *map, const char *path, bool heap, vr_error *err);
void vr_map_close(vr_map *map);
/* Tells the system that these bytes are not needed soon (streaming conversion keeps memory flat). */
void vr_map_forget(const vr_map *map, size_t offset, size_t size);

/* Writes "<path>.<number>.tmp" beside the target (of a link: what it points to); commit = flush, fsync,
 * rename over the target and fsync of the folder; abandon = remove. One of the two must be called.
 * A target that is there must be a regular file: a folder, device or pipe is refused. */
typedef struct vr_writer {
    FILE *file;
    char *path;   /* as it was given, for messages */
    char *target; /* where the bytes go in the end */
    char *temporary;
    uint64_t written;
} vr_writer;

/* Whether a writer could be opened: asked before long work whose result goes there. */
vr_status vr_writer_check(const char *path, vr_error *err);
vr_status vr_writer_open(vr_writer *writer, const char *path, vr_error *err);
vr_status vr_writer_put(vr_writer *writer, const void *data, size_t size, vr_error *err);
vr_status vr_writer_zero(vr_writer *writer, size_t size, vr_error *err);                  /* size zero bytes */
vr_status vr_writer_patch(vr_writer *writer, uint64_t offset, const void *data, size_t size, vr_error *err);
vr_status vr_writer_commit(vr_writer *writer, vr_error *err); /* abandons by itself when it fails */
/* As commit, but does not wait for the disk: for one of many files that are easily made again. */
vr_status vr_writer_close(vr_writer *writer, vr_error *err);
void vr_writer_abandon(vr_writer *writer);
/* A whole file in one go, all of it or none. */
vr_status vr_file_write(const char *path, const void *data, size_t size, vr_error *err);

/* folder/name. */
#define VR_PATH_ROOM 4096
vr_status vr_path_make(char path[VR_PATH_ROOM], const char *folder, const char *name, vr_error *err);
#endif
