/* Progress, notes, previews and Ctrl-C. Everything here goes to stderr but the preview. */
#include "terminal.h"

#include "options.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifdef VRWKV_CHAFA
#include <chafa.h>
#endif

#define BAR_WIDTH 24
#define REDRAW_SECONDS 0.1
#define PATIENCE_SECONDS 0.3 /* what ends sooner shows no bar */

/* Of the process, as the terminal and its signals are: is a bar drawn; which signal came. */
static bool bar_drawn;
static volatile sig_atomic_t interrupted;
static vrwkv_context *volatile target;

int vr_terminal_width(FILE *stream) {
    struct winsize size;
    int descriptor = fileno(stream);
    if (isatty(descriptor) && ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

void vr_progress_end(void) {
    if (!bar_drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    bar_drawn = false;
}

void vr_note(const char *format, ...) {
    va_list args;
    vr_progress_end();
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void vr_log_note(void *user, const char *message) {
    (void)user;
    vr_note("note: %s", message);
}

int vr_report(const char *verb, const vr_error *err) {
    if (interrupted) {
        vr_progress_end();
        fputc('\n', stderr);
        return vr_interrupt_code();
    }
    vr_note("%s%s: %s", vr_program, verb, err->message[0] ? err->message : vrwkv_status_name(err->status));
    return 1;
}

vr_status vr_stdout_flush(vr_error *err) {
    errno = 0;
    return fflush(stdout) == 0 ? VRWKV_OK : vr_fail_io(err, "write to", "stdout");
}

void vr_print_text(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool control = (c < 32 && c != '\n' && c != '\t') || c == 127;
        bool c1 = c == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0; /* U+0080..9F */
        if (!control && !c1) putchar(c);
        if (c1) i++;
    }
}

const char *vr_size_text(double bytes, char *buffer) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    while (bytes >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        bytes /= 1000;
        unit++;
    }
    snprintf(buffer, 24, unit == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return buffer;
}

/* Totals above this count bytes, below it steps. */
#define BYTES_FROM 100000

static void rate_text(double rate, bool bytes, char *buffer, size_t size) {
    char amount[24];
    if (bytes)
        snprintf(buffer, size, "%s/s", vr_size_text(rate, amount));
    else
        snprintf(buffer, size, rate < 10 ? "%.1f/s" : "%.0f/s", rate);
}

static void draw(vr_progress *bar, uint64_t done, uint64_t total, double now) {
    char rate[40], left[32] = "", line[256];
    double share = total ? (double)done / (double)total : 0, spent = now - bar->began;
    int filled = (int)(share * BAR_WIDTH);
    if (share > 1) share = 1;
    if (filled > BAR_WIDTH) filled = BAR_WIDTH;
    rate_text(spent > 0 ? (double)done / spent : 0, total >= BYTES_FROM, rate, sizeof rate);
    if (done > 0 && done < total) {
        double seconds = spent * (1 - share) / share;
        if (seconds < 60)
            snprintf(left, sizeof left, "%.0f s left", ceil(seconds));
        else
            snprintf(left, sizeof left, "%.0f:%02d min left", floor(seconds / 60), (int)fmod(seconds, 60));
    }
    int n = snprintf(line, sizeof line, "%s [%.*s%*s] %3.0f%%  %s  %s  %s", bar->what, filled, "========================",
                     BAR_WIDTH - filled, "", 100 * share, rate, left, bar->note);
    int width = vr_terminal_width(stderr) - 1;
    if (n > width) n = width;
    if (n >= (int)sizeof line) n = (int)sizeof line - 1;
    fprintf(stderr, "\r%.*s\033[K", n, line);
    fflush(stderr);
    bar_drawn = true;
}

int vr_progress_show(void *user, const char *what, uint64_t done, uint64_t total) {
    vr_progress *bar = user;
    double now = vr_seconds();
    if (interrupted) return 1;
    if (!isatty(STDERR_FILENO)) return 0;
    if (strncmp(bar->what, what, sizeof bar->what - 1) != 0 || done == 0) {
        snprintf(bar->what, sizeof bar->what, "%s", what);
        bar->began = bar->drawn = now;
    }
    if (done >= total) {
        vr_progress_end();
        bar->what[0] = 0;
    } else if (now - bar->began >= PATIENCE_SECONDS && now - bar->drawn >= REDRAW_SECONDS) {
        draw(bar, done, total, now);
        bar->drawn = now;
    }
    return 0;
}

void vr_progress_say(const char *what) {
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r%s ...\033[K", what);
    fflush(stderr);
    bar_drawn = true;
}

#ifdef VRWKV_CHAFA
void vr_preview(const vr_image *image) {
    if (!isatty(STDOUT_FILENO)) return;
    const char *depth = getenv("COLORTERM"), *kind = getenv("TERM");
    if (!kind || strcmp(kind, "dumb") == 0) return;
    bool true_color = depth && (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0);
    gint width = vr_terminal_width(stdout) - 2, height = 12;
    if (width > 40) width = 40;
    chafa_calc_canvas_geometry(image->width, image->height, &width, &height, 0.5f, FALSE, FALSE);
    if (width < 1 || height < 1) return;
    ChafaSymbolMap *symbols = chafa_symbol_map_new();
    chafa_symbol_map_add_by_tags(symbols, CHAFA_SYMBOL_TAG_BLOCK | CHAFA_SYMBOL_TAG_SPACE);
    ChafaCanvasConfig *config = chafa_canvas_config_new();
    chafa_canvas_config_set_geometry(config, width, height);
    chafa_canvas_config_set_symbol_map(config, symbols);
    chafa_canvas_config_set_canvas_mode(config,
                                        true_color ? CHAFA_CANVAS_MODE_TRUECOLOR : CHAFA_CANVAS_MODE_INDEXED_240);
    ChafaCanvas *canvas = chafa_canvas_new(config);
    chafa_canvas_draw_all_pixels(canvas, CHAFA_PIXEL_RGB8, image->rgb, image->width, image->height, image->width * 3);
    GString *text = chafa_canvas_print(canvas, NULL);
    if (text) {
        fwrite(text->str, 1, text->len, stdout);
        fputs("\033[0m\n", stdout);
        fflush(stdout);
        g_string_free(text, TRUE);
    }
    chafa_canvas_unref(canvas);
    chafa_canvas_config_unref(config);
    chafa_symbol_map_unref(symbols);
}
#else
void vr_preview(const vr_image *image) { (void)image; }
#endif

static void on_interrupt(int number) {
    interrupted = number;
    if (target) vrwkv_cancel(target); /* stores a flag, nothing else */
}

void vr_interrupt_install(bool keep) {
    struct sigaction action = {.sa_handler = on_interrupt}, before;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < (keep ? 1 : (int)(sizeof numbers / sizeof *numbers)); i++) {
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN) continue; /* nohup */
        /* the second Ctrl-C kills; not so a kill, which some senders repeat at once (`timeout` does) */
        action.sa_flags = keep || numbers[i] != SIGINT ? 0 : (int)SA_RESETHAND;
        sigaction(numbers[i], &action, NULL); /* without SA_RESTART: a waiting read comes back */
    }
}

bool vr_interrupted(void) { return interrupted != 0; }
const int *vr_interrupt_flag(void) { return (const int *)(uintptr_t)&interrupted; }
int vr_interrupt_code(void) { return 128 + (int)interrupted; }
void vr_interrupt_clear(void) { interrupted = 0; }
void vr_interrupt_target(vrwkv_context *context) { target = context; }
