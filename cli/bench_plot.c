/* Both axes begin at 0, so that a flat line is flat and half is half. */
#include "bench_plot.h"

#include "base/io.h"

#include <math.h>

enum { WIDTH = 360, HEIGHT = 240, LEFT = 60, TOP = 40, BOTTOM = 50, GAP = 30, TICKS = 5 };

/* The least of 1, 2, 2.5, 5 times a power of ten that is not below x. */
static double round_up(double x) {
    static const double steps[] = {1, 2, 2.5, 5, 10};
    double power = pow(10, floor(log10(x)));
    for (int i = 0; i < 4; i++)
        if (steps[i] * power >= x * (1 - 1e-9)) return steps[i] * power;
    return 10 * power;
}

static double most_of(const double *values, int n) {
    double most = 1e-9;
    for (int i = 0; i < n; i++) most = values[i] > most ? values[i] : most;
    return most;
}

static void write_axes(FILE *file, double left, double step_x, double step_y, const char *name, const char *x_name) {
    for (int i = 0; i <= TICKS; i++) {
        double x = left + WIDTH * i / TICKS, y = TOP + HEIGHT - HEIGHT * i / TICKS;
        fprintf(file, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#ddd'/>\n", left, y, left + WIDTH, y);
        fprintf(file, "<text x='%.1f' y='%.1f' text-anchor='end'>%g</text>\n", left - 6, y + 4, step_y * i);
        fprintf(file, "<text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n", x, TOP + HEIGHT + 18, step_x * i);
    }
    fprintf(file, "<text x='%.1f' y='%d' font-weight='bold'>%s</text>\n", left, TOP - 14, name);
    fprintf(file, "<text x='%.1f' y='%d' text-anchor='middle'>%s</text>\n", left + WIDTH / 2.0, TOP + HEIGHT + 38, x_name);
}

static void write_panel(FILE *file, const vr_plot *plot, int panel) {
    double left = LEFT + panel * (WIDTH + LEFT + GAP);
    double step_x = round_up(plot->x[plot->n - 1] / TICKS), step_y = round_up(most_of(plot->y[panel], plot->n) * 1.05 / TICKS);
    write_axes(file, left, step_x, step_y, plot->names[panel], plot->x_name);
    fprintf(file, "<polyline fill='none' stroke='#1f6feb' stroke-width='2' points='");
    for (int i = 0; i < plot->n; i++)
        fprintf(file, "%.1f,%.1f ", left + plot->x[i] / (step_x * TICKS) * WIDTH, TOP + HEIGHT - plot->y[panel][i] / (step_y * TICKS) * HEIGHT);
    fprintf(file, "'/>\n");
}

vr_status vr_plot_write(const vr_plot *plot, const char *path, vr_error *err) {
    int width = VR_PLOT_PANELS * (WIDTH + LEFT + GAP), height = TOP + HEIGHT + BOTTOM;
    vr_writer writer;
    VR_TRY(vr_writer_open(&writer, path, err));
    FILE *file = writer.file;
    fprintf(file, "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' font-family='sans-serif' font-size='12'>\n", width, height);
    fprintf(file, "<rect width='100%%' height='100%%' fill='white'/>\n");
    for (int panel = 0; panel < VR_PLOT_PANELS; panel++) write_panel(file, plot, panel);
    fprintf(file, "</svg>\n");
    return vr_writer_commit(&writer, err);
}
