/* Memory: checked allocation for what lives long, an arena for what lives one call.
 *
 * vr_arena reserves address space once and touches pages as they are used, so a large cap costs
 * nothing; a request over the cap gives NULL, and the caller reports vr_arena's numbers. */
#ifndef VR_BASE_MEMORY_H
#define VR_BASE_MEMORY_H
#include "base/status.h"

/* calloc(count, size) with 64-byte alignment is not needed by callers of these: plain heap. NULL on
 * overflow or when out of memory. Freed with free(). */
void *vr_alloc(size_t count, size_t size);
/* Grows *array (elements of `size` bytes) to hold at least `need` elements; doubles *capacity.
 * VRWKV_ERR_MEMORY leaves all as it was. */
vr_status vr_grow(void *array, size_t *capacity, size_t need, size_t size, vr_error *err);
char *vr_strdup(const char *text); /* NULL gives NULL */

typedef struct vr_arena {
    char *base;
    size_t reserved, used, peak;
} vr_arena;

vr_status vr_arena_open(vr_arena *arena, size_t cap, vr_error *err);
void vr_arena_close(vr_arena *arena);
/* 64-byte aligned, not cleared; NULL when the cap is reached or the size overflows. */
void *vr_arena_get(vr_arena *arena, size_t count, size_t size);
static inline size_t vr_arena_mark(const vr_arena *arena) { return arena->used; }
static inline void vr_arena_release(vr_arena *arena, size_t mark) { arena->used = mark; }
/* Gives touched pages above `keep` bytes back to the system. */
void vr_arena_trim(vr_arena *arena, size_t keep);
#endif
