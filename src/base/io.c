#include "base/io.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TEMPORARY 1000 /* writers of one process on one target, and what killed ones left */

static vr_status read_all(vr_map *map, int fd, const char *path, vr_error *err) {
    size_t capacity = 0, size = 0;
    unsigned char *data = NULL;
    for (;;) {
        if (vr_grow(&data, &capacity, size + 65536, 1, err) != VRWKV_OK) {
            free(data);
            return VRWKV_ERR_MEMORY;
        }
        ssize_t n = read(fd, data + size, capacity - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            free(data);
            return vr_fail_io(err, "read", path);
        }
        if (n == 0) break;
        size += (size_t)n;
    }
    *map = (vr_map){data, size, true};
    return VRWKV_OK;
}

vr_status vr_map_open(vr_map *map, const char *path, bool heap, vr_error *err) {
    struct stat info;
    *map = (vr_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return vr_fail_io(err, "open", path);
    vr_status status = VRWKV_OK;
    if (fstat(fd, &info) != 0)
        status = vr_fail_io(err, "examine", path);
    else if (S_ISDIR(info.st_mode))
        status = vr_fail(err, VRWKV_ERR_IO, "'%s' is a folder, expected a file", path);
    else if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) /* some of them never end */
        status = vr_fail(err, VRWKV_ERR_IO, "'%s' is a device, expected a file", path);
    else if (heap || !S_ISREG(info.st_mode))
        status = read_all(map, fd, path, err);
    else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            status = vr_fail_io(err, "map", path);
        else
            *map = (vr_map){data, (size_t)info.st_size, false};
    }
    close(fd);
    return status;
}

void vr_map_close(vr_map *map) {
    if (map->heap)
        free((void *)map->data);
    else if (map->data)
        munmap((void *)map->data, map->size);
    *map = (vr_map){0};
}

void vr_map_forget(const vr_map *map, size_t offset, size_t size) {
    size_t start = (offset + 4095) & ~(size_t)4095, end = (offset + size) & ~(size_t)4095;
    if (!map->heap && end > start && end <= map->size)
        madvise((void *)(map->data + start), end - start, MADV_DONTNEED);
}

/* The file that is to be replaced: what a link points to, not the link itself. */
static vr_status find_target(char **target, const char *path, vr_error *err) {
    struct stat info;
    bool there = stat(path, &info) == 0;
    *target = NULL;
    if (there && S_ISDIR(info.st_mode)) return vr_fail(err, VRWKV_ERR_IO, "'%s' is a folder, expected the name of a file", path);
    if (there && !S_ISREG(info.st_mode))
        return vr_fail(err, VRWKV_ERR_IO, "'%s' is no regular file: it cannot be replaced by one", path);
    *target = there ? realpath(path, NULL) : vr_strdup(path);
    return *target ? VRWKV_OK : vr_fail_io(err, "resolve", path);
}

vr_status vr_writer_check(const char *path, vr_error *err) {
    char *target;
    VR_TRY(find_target(&target, path, err));
    vr_status status = access(dirname(target), W_OK | X_OK) == 0 ? VRWKV_OK : vr_fail_io(err, "create a file beside", path);
    free(target);
    return status;
}

/* A new file "<path>.<number>.tmp" of the ordinary mode; its descriptor, -1 with errno set. */
static int create_beside(const char *path, char *name, size_t size) {
    int fd = -1;
    errno = EEXIST;
    for (int i = 0; i < MAX_TEMPORARY && fd < 0 && errno == EEXIST; i++) {
        snprintf(name, size, "%s.%ld-%d.tmp", path, (long)getpid(), i);
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    return fd;
}

vr_status vr_writer_open(vr_writer *writer, const char *path, vr_error *err) {
    *writer = (vr_writer){0};
    VR_TRY(find_target(&writer->target, path, err));
    size_t n = strlen(writer->target) + sizeof ".-9223372036854775808-2147483648.tmp";
    writer->path = vr_strdup(path);
    writer->temporary = vr_alloc(n, 1);
    if (!writer->path || !writer->temporary) {
        vr_writer_abandon(writer);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    int fd = create_beside(writer->target, writer->temporary, n);
    if (fd < 0) {
        vr_status status = vr_fail_io(err, "create a file beside", path);
        writer->temporary[0] = 0; /* nothing to remove */
        vr_writer_abandon(writer);
        return status;
    }
    writer->file = fdopen(fd, "wb");
    if (!writer->file) {
        vr_status status = vr_fail_io(err, "open", writer->temporary);
        close(fd);
        vr_writer_abandon(writer);
        return status;
    }
    return VRWKV_OK;
}

vr_status vr_writer_put(vr_writer *writer, const void *data, size_t size, vr_error *err) {
    if (size && fwrite(data, 1, size, writer->file) != size) return vr_fail_io(err, "write", writer->path);
    writer->written += size;
    return VRWKV_OK;
}

vr_status vr_writer_zero(vr_writer *writer, size_t size, vr_error *err) {
    static const char zeros[4096];
    while (size) {
        size_t part = size < sizeof zeros ? size : sizeof zeros;
        VR_TRY(vr_writer_put(writer, zeros, part, err));
        size -= part;
    }
    return VRWKV_OK;
}

vr_status vr_writer_patch(vr_writer *writer, uint64_t offset, const void *data, size_t size, vr_error *err) {
    if (fflush(writer->file) != 0) return vr_fail_io(err, "write", writer->path);
    const char *bytes = data;
    while (size) {
        ssize_t n = pwrite(fileno(writer->file), bytes, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return vr_fail_io(err, "write", writer->path);
        bytes += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return VRWKV_OK;
}

/* The rename itself must reach the disk; a file system that cannot sync folders is no error. */
static void sync_folder(char *path) {
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

static vr_status finish(vr_writer *writer, bool sync, vr_error *err) {
    vr_status status = VRWKV_OK;
    if (fflush(writer->file) != 0 || (sync && fsync(fileno(writer->file)) != 0)) status = vr_fail_io(err, "write", writer->path);
    int closed = fclose(writer->file);
    writer->file = NULL;
    if (status == VRWKV_OK && closed != 0) status = vr_fail_io(err, "write", writer->path);
    if (status == VRWKV_OK && rename(writer->temporary, writer->target) != 0)
        status = vr_fail_io(err, "replace", writer->path);
    if (status == VRWKV_OK) {
        writer->temporary[0] = 0;
        if (sync) sync_folder(writer->target);
    }
    vr_writer_abandon(writer);
    return status;
}

vr_status vr_writer_commit(vr_writer *writer, vr_error *err) { return finish(writer, true, err); }
vr_status vr_writer_close(vr_writer *writer, vr_error *err) { return finish(writer, false, err); }

void vr_writer_abandon(vr_writer *writer) {
    if (writer->file) fclose(writer->file);
    if (writer->temporary && writer->temporary[0]) unlink(writer->temporary);
    free(writer->path);
    free(writer->target);
    free(writer->temporary);
    *writer = (vr_writer){0};
}

vr_status vr_file_write(const char *path, const void *data, size_t size, vr_error *err) {
    vr_writer writer;
    VR_TRY(vr_writer_open(&writer, path, err));
    vr_status status = vr_writer_put(&writer, data, size, err);
    if (status == VRWKV_OK) return vr_writer_commit(&writer, err);
    vr_writer_abandon(&writer);
    return status;
}

vr_status vr_path_make(char path[VR_PATH_ROOM], const char *folder, const char *name, vr_error *err) {
    int n = snprintf(path, VR_PATH_ROOM, "%s/%s", folder, name);
    return n > 0 && n < VR_PATH_ROOM ? VRWKV_OK
                                     : vr_fail(err, VRWKV_ERR_ARGUMENT, "'%.80s..' is too long a path", folder);
}
