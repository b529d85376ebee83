/* Errors: every fallible function returns a vrwkv_status and writes the message once, where it
 * happened, into the caller's vrwkv_error (which may be NULL). */
#ifndef VR_BASE_STATUS_H
#define VR_BASE_STATUS_H
#include "vrwkv.h"

typedef vrwkv_status vr_status;
typedef vrwkv_error vr_error;

/* Writes status and message; returns status, so that `return vr_fail(...)` reads well. */
vr_status vr_fail(vr_error *err, vr_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a failed system call on `path`: appends errno's text. */
vr_status vr_fail_io(vr_error *err, const char *action, const char *path);

/* The only macro that hides control flow: returns from the caller if the expression failed. */
#define VR_TRY(expression)                                                                                             \
    do {                                                                                                               \
        vr_status vr_try_status = (expression);                                                                        \
        if (vr_try_status != VRWKV_OK) return vr_try_status;                                                           \
    } while (0)

#define VR_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#endif
