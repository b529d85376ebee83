/* A small picture of numbers: two panels over one axis, as SVG. */
#ifndef VR_CLI_BENCH_PLOT_H
#define VR_CLI_BENCH_PLOT_H
#include "base/status.h"

enum { VR_PLOT_POINTS = 64, VR_PLOT_PANELS = 2 };

typedef struct vr_plot {
    const char *x_name, *names[VR_PLOT_PANELS];
    int n;
    double x[VR_PLOT_POINTS], y[VR_PLOT_PANELS][VR_PLOT_POINTS]; /* x rising, all above 0 */
} vr_plot;

vr_status vr_plot_write(const vr_plot *plot, const char *path, vr_error *err);
#endif
