/* A scene as a picture, by cairo. */
#ifndef SC_DRAW_H
#define SC_DRAW_H
#include "scene.h"

#include <cairo.h>

/* A picture of pixels x pixels, the caller's; its status (cairo_surface_status) tells of failure. */
cairo_surface_t *sc_draw(const sc_scene *scene, int pixels);
#endif
