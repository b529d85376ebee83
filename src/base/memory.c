#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void *vr_alloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

vr_status vr_grow(void *array, size_t *capacity, size_t need, size_t size, vr_error *err) {
    void **slot = array;
    size_t room = *capacity ? *capacity : 16, bytes;
    if (need <= *capacity) return VRWKV_OK;
    while (room < need)
        if (__builtin_mul_overflow(room, (size_t)2, &room)) room = need;
    void *grown = __builtin_mul_overflow(room, size, &bytes) ? NULL : realloc(*slot, bytes);
    if (!grown) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu elements of %zu bytes", room, size);
    *slot = grown;
    *capacity = room;
    return VRWKV_OK;
}

char *vr_strdup(const char *text) {
    if (!text) return NULL;
    size_t n = strlen(text) + 1;
    char *copy = vr_alloc(n, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

vr_status vr_arena_open(vr_arena *arena, size_t cap, vr_error *err) {
    *arena = (vr_arena){0};
    cap = (cap + 4095) & ~(size_t)4095;
    void *base = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return vr_fail(err, VRWKV_ERR_MEMORY, "cannot reserve %zu bytes of address space for scratch memory", cap);
    arena->base = base;
    arena->reserved = cap;
    return VRWKV_OK;
}

void vr_arena_close(vr_arena *arena) {
    if (arena->base) munmap(arena->base, arena->reserved);
    *arena = (vr_arena){0};
}

void *vr_arena_get(vr_arena *arena, size_t count, size_t size) {
    size_t bytes, start = (arena->used + 63) & ~(size_t)63;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    if (start > arena->reserved || bytes > arena->reserved - start) return NULL;
    arena->used = start + bytes;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return arena->base + start;
}

void vr_arena_trim(vr_arena *arena, size_t keep) {
    size_t start = (keep + 4095) & ~(size_t)4095, end = (arena->peak + 4095) & ~(size_t)4095;
    if (end > start) madvise(arena->base + start, end - start, MADV_DONTNEED);
    arena->peak = arena->used;
}
