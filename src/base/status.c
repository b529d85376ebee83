#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

vr_status vr_fail(vr_error *err, vr_status status, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        err->status = status;
    }
    return status;
}

vr_status vr_fail_io(vr_error *err, const char *action, const char *path) {
    int code = errno;
    const char *text = strerror(code); /* of known codes a constant in glibc and musl, safe in threads */
    return vr_fail(err, code == ENOMEM ? VRWKV_ERR_MEMORY : VRWKV_ERR_IO, "cannot %s '%s': %s", action, path, text);
}

const char *vrwkv_status_name(vrwkv_status status) {
    static const char *const names[] = {"ok",    "wrong argument", "input/output error", "bad format", "unsupported",
                                        "shape", "out of memory",  "cancelled"};
    return (size_t)status < VR_COUNT(names) ? names[status] : "unknown status";
}
