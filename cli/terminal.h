/* What the program shows to a person: progress and notes on stderr, pictures, Ctrl-C. */
#ifndef VR_CLI_TERMINAL_H
#define VR_CLI_TERMINAL_H
#include "base/clock.h"
#include "image/image.h"

#include <stdbool.h>
#include <stdio.h>

int vr_terminal_width(FILE *stream); /* columns; 80 where it is no terminal */

/* A line on stderr; a progress bar that stands there is wiped first. */
void vr_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "vrwkv VERB: message" on stderr, and the exit code: 1, or that of vr_interrupt_code. */
int vr_report(const char *verb, const vr_error *err);
/* Sends what waits in stdout's buffer; the system's reason where that fails. */
vr_status vr_stdout_flush(vr_error *err);

/* A progress bar, only where stderr is a terminal; all zeros at the start. `vr_progress_show` is a
 * vrwkv_progress_fn with a vr_progress as its user; after Ctrl-C it cancels. */
typedef struct vr_progress {
    char what[64];
    char note[48]; /* behind the numbers, "71.3%"; the caller's */
    double began, drawn;
} vr_progress;
int vr_progress_show(void *user, const char *what, uint64_t done, uint64_t total);
void vr_progress_say(const char *what); /* a step of unknown length: its name in place of a bar */
void vr_progress_end(void);             /* wipes what stands there */
void vr_log_note(void *user, const char *message); /* a vrwkv_log_fn */

/* Text of a file or a model: without control characters but line end and tab, so that it cannot
 * steer the terminal. */
void vr_print_text(const char *text, size_t n);

/* "1.5 GB", "96 KB" in powers of 1000, into a buffer of at least 24 bytes; returns it. */
const char *vr_size_text(double bytes, char *buffer);

/* A small copy of the picture on stdout, where stdout is a terminal and the program has libchafa. */
void vr_preview(const vr_image *image);

/* Ctrl-C, and a polite kill: the first one sets a flag (and cancels the context that is set), so that
 * half-written files are removed; a second Ctrl-C kills. keep: every Ctrl-C sets the flag, kill kills. */
void vr_interrupt_install(bool keep);
bool vr_interrupted(void);
const int *vr_interrupt_flag(void); /* not 0 once interrupted: for calls that look at it themselves */
int vr_interrupt_code(void); /* the shell's: 128 and the signal's number */
void vr_interrupt_clear(void);
/* While a long call of this context runs; NULL afterwards. */
void vr_interrupt_target(vrwkv_context *context);

#endif
