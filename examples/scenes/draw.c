#include "draw.h"

#include "glyphs.h"

#include <math.h>
#include <string.h>

/* Outlines in thousandths of an object's half extent. No sines: they differ in their last bit from one
 * mathematical library to the next. */
typedef struct point { short x, y; } point;

static const point square[] = {{-820, -820}, {820, -820}, {820, 820}, {-820, 820}};
static const point triangle[] = {{0, -950}, {1000, 820}, {-1000, 820}};
static const point star[] = {{0, -1050}, {282, -338}, {999, -274}, {456, 198}, {617, 899},
                             {0, 530}, {-617, 899}, {-456, 198}, {-999, -274}, {-282, -338}};
static const point cross[] = {{-330, -980}, {330, -980}, {330, -330}, {980, -330}, {980, 330}, {330, 330},
                              {330, 980}, {-330, 980}, {-330, 330}, {-980, 330}, {-980, -330}, {-330, -330}};

/* A polygon, or circles of these radii inside each other, filled in turn. */
static const struct outline {
    const point *points;
    int n, radii[2];
} outlines[SC_SHAPES] = {
    [SC_CIRCLE] = {.radii = {1000, 0}}, [SC_SQUARE] = {square, 4, {0}}, [SC_TRIANGLE] = {triangle, 3, {0}},
    [SC_STAR] = {star, 10, {0}},        [SC_CROSS] = {cross, 12, {0}},  [SC_RING] = {.radii = {1000, 540}},
};

static void draw_shape(cairo_t *cairo, const sc_object *object) {
    const struct outline *outline = &outlines[object->value[SC_SHAPE]];
    for (int i = 0; i < outline->n; i++)
        cairo_line_to(cairo, object->x + object->wide * outline->points[i].x / 1000.0,
                      object->y + object->wide * outline->points[i].y / 1000.0);
    for (int i = 0; i < 2 && outline->radii[i]; i++) {
        cairo_new_sub_path(cairo);
        cairo_arc(cairo, object->x, object->y, object->wide * outline->radii[i] / 1000.0, 0, 2 * M_PI);
    }
    cairo_close_path(cairo);
    cairo_fill(cairo);
}

/* The strokes of c in the box from x, y. */
static void draw_glyph(cairo_t *cairo, char c, double x, double y, double wide, double high) {
    bool down = false;
    for (const char *p = sc_glyph(c); p && *p; p++) {
        if (*p == '/') down = false;
        if (*p == '/' || *p == ' ') continue;
        double px = x + (p[0] - '0') * wide / SC_GLYPH_WIDTH, py = y + (p[1] - '0') * high / SC_GLYPH_HEIGHT;
        if (down)
            cairo_line_to(cairo, px, py);
        else
            cairo_move_to(cairo, px, py);
        down = true;
        p++;
    }
    cairo_stroke(cairo);
}

/* The letters side by side in the object's extent, the pen's width inside it. */
static void draw_text(cairo_t *cairo, const sc_object *object) {
    const char *text = sc_value_name(SC_TEXT, object->value[SC_TEXT], SC_ENGLISH);
    size_t n = strlen(text);
    double pen = object->high / 3.0, wide = 2 * object->wide - SC_ADVANCE * (double)(n - 1) - pen;
    cairo_set_line_width(cairo, pen);
    for (size_t i = 0; i < n; i++)
        draw_glyph(cairo, text[i], object->x - object->wide + pen / 2 + SC_ADVANCE * (double)i,
                   object->y - object->high + pen / 2, wide, 2 * object->high - pen);
}

static void set_paint(cairo_t *cairo, const unsigned char *rgb) {
    cairo_set_source_rgb(cairo, rgb[0] / 255.0, rgb[1] / 255.0, rgb[2] / 255.0);
}

cairo_surface_t *sc_draw(const sc_scene *scene, int pixels) {
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, pixels, pixels);
    cairo_t *cairo = cairo_create(surface);
    set_paint(cairo, scene->ground);
    cairo_paint(cairo);
    cairo_scale(cairo, (double)pixels / SC_SPAN, (double)pixels / SC_SPAN);
    cairo_set_fill_rule(cairo, CAIRO_FILL_RULE_EVEN_ODD);
    cairo_set_line_cap(cairo, CAIRO_LINE_CAP_ROUND);
    cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
    for (int i = 0; i < scene->n_objects; i++) {
        set_paint(cairo, scene->objects[i].rgb);
        if (scene->objects[i].value[SC_TEXT] >= 0)
            draw_text(cairo, &scene->objects[i]);
        else
            draw_shape(cairo, &scene->objects[i]);
    }
    cairo_destroy(cairo);
    cairo_surface_flush(surface);
    return surface;
}
