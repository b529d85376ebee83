/* Growing text, and the small string work that scorers do, as Python does it (their originals are
 * Python): white space and letters are Unicode's. A text that could not grow stays as it was and is
 * marked; vr_str_check says so once at the end. */
#ifndef VR_EVAL_STR_H
#define VR_EVAL_STR_H
#include "base/status.h"

#include <stdbool.h>

typedef struct vr_str {
    char *data; /* closed by a zero; NULL while empty */
    size_t n, room;
    bool failed;
} vr_str;

typedef struct vr_slice { /* bytes that belong to someone else */
    const char *p;
    size_t n;
} vr_slice;

void vr_str_put(vr_str *str, const char *data, size_t n);
void vr_str_add(vr_str *str, const char *text);
void vr_str_add_slice(vr_str *str, vr_slice span);
void vr_str_format(vr_str *str, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vr_str_clear(vr_str *str); /* empty again, memory kept */
void vr_str_free(vr_str *str);
const char *vr_str_text(const vr_str *str); /* "" where nothing was put */
vr_slice vr_str_slice(const vr_str *str);
vr_status vr_str_check(const vr_str *str, vr_error *err);

vr_slice vr_slice_of(const char *text);
vr_slice vr_trim(vr_slice span); /* white space at both ends */
bool vr_slice_is(vr_slice span, const char *text);
bool vr_slice_same(vr_slice a, vr_slice b);
const char *vr_slice_find(vr_slice span, const char *text); /* NULL: not in it */
char *vr_slice_copy(vr_slice span);                         /* heap, closed by a zero; NULL: out of memory */
/* The next part up to `separator` (not empty) of *rest, which moves behind it; false at the end. As
 * str.split(separator): n separators give n + 1 parts. Start with *rest = the text, rest->p not NULL. */
bool vr_next_part(vr_slice *rest, const char *separator, vr_slice *part);
/* The next run without white space, as str.split(). */
bool vr_next_word(vr_slice *rest, vr_slice *word);

void vr_str_lower(vr_str *out, vr_slice span);
void vr_str_replace(vr_str *out, vr_slice span, const char *what, const char *by);
#endif
