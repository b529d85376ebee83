#include "scene.h"

#include <stdlib.h>
#include <string.h>

#define MARGIN 20  /* between an object and the picture's edge */
#define GAP 40     /* between objects */
#define LEVEL 60   /* what is beside or above is at most so far off the other's line */
#define MOST_BIG 3 /* more of them leave no room for five */
#define ALL_COLOURS (SC_BIT(SC_COLOURS) - 1)
#define ALL_SHAPES (SC_BIT(SC_SHAPES) - 1)

/* A third of the picture: where a centre must lie to be in it, with room between the thirds. */
static const struct third { int from, to; } thirds[3] = {{0, 180}, {280, 360}, {460, SC_SPAN}};

vr_rng sc_stream(uint64_t seed, int split, int64_t index, int purpose) {
    vr_rng rng = {seed};
    rng.state = vr_rng_next(&rng) ^ ((uint64_t)split << 1 | (uint64_t)purpose);
    rng.state = vr_rng_next(&rng) ^ (uint64_t)index;
    rng.state = vr_rng_next(&rng);
    return rng;
}

int sc_below(vr_rng *rng, int n) { return (int)((vr_rng_next(rng) >> 32) * (uint64_t)n >> 32); }

static bool coin(vr_rng *rng) { return sc_below(rng, 2) == 1; }

/* A multiple of SC_STEP from `from` to `to`; there must be one. */
static int draw_length(vr_rng *rng, int from, int to) {
    int first = (from + SC_STEP - 1) / SC_STEP, last = to / SC_STEP;
    return SC_STEP * (first + sc_below(rng, last - first + 1));
}

bool sc_is(const sc_object *a, sc_direction direction, const sc_object *b) {
    int dx = a->x - b->x, dy = a->y - b->y, wide = a->wide + b->wide, high = a->high + b->high;
    switch (direction) {
    case SC_LEFT: return -dx >= wide;
    case SC_RIGHT: return dx >= wide;
    case SC_ABOVE: return -dy >= high;
    default: return dy >= high;
    }
}

int sc_count(const sc_scene *scene, sc_attribute attribute, int value) {
    int n = 0;
    for (int i = 0; i < scene->n_objects; i++) n += scene->objects[i].value[attribute] == value;
    return n;
}

/* ---- what it is ---- */

/* One of the numbers whose bits are set. */
static int draw_bit(vr_rng *rng, unsigned bits) {
    for (;;) {
        int n = sc_below(rng, 32);
        if (bits >> n & 1) return n;
    }
}

static void draw_paint(unsigned char *rgb, int colour, vr_rng *rng) {
    for (int i = 0; i < 3; i++) {
        int c = sc_rgb[colour][i] + sc_below(rng, 21) - 10;
        rgb[i] = (unsigned char)(c < 0 ? 0 : c > 255 ? 255 : c);
    }
}

static void set_size(sc_object *object, sc_size size, vr_rng *rng) {
    object->value[SC_SIZE] = size;
    object->wide = object->high = (size == SC_BIG ? 100 : 55) + 5 * sc_below(rng, 3);
}

/* Adds an object of one of these shapes and colours; a held-out combination where it is novel, none else. */
static sc_object *add_object(sc_scene *scene, unsigned shapes, unsigned colours, bool novel, vr_rng *rng) {
    sc_object *object = &scene->objects[scene->n_objects++];
    int shape, colour;
    do {
        shape = draw_bit(rng, shapes);
        colour = draw_bit(rng, colours);
    } while (sc_held_out(shape, colour) != novel);
    *object = (sc_object){.value = {colour, shape, -1, -1, -1}};
    draw_paint(object->rgb, colour, rng);
    bool room = sc_count(scene, SC_SIZE, SC_BIG) < MOST_BIG;
    set_size(object, coin(rng) && room ? SC_BIG : SC_SMALL, rng);
    return object;
}

/* A digit or a word: a colour and a text, but no size. */
static sc_object *add_text(sc_scene *scene, sc_shape kind, int text, int wide, int high, vr_rng *rng) {
    sc_object *object = &scene->objects[scene->n_objects++];
    *object = (sc_object){.value = {sc_below(rng, SC_COLOURS), kind, -1, -1, text}, .wide = wide, .high = high};
    draw_paint(object->rgb, object->value[SC_COLOUR], rng);
    return object;
}

/* ---- where it is ---- */

static int longest(const sc_object *object) { return object->wide > object->high ? object->wide : object->high; }

/* By circles: boxes would leave too little room for five. The gap is wide enough for the corners of squares,
 * which stick out of their circles. */
static bool apart(const sc_object *a, const sc_object *b) {
    int dx = a->x - b->x, dy = a->y - b->y, reach = longest(a) + longest(b) + GAP;
    return dx * dx + dy * dy >= reach * reach;
}

/* Somewhere in this third of each axis; -1: anywhere. */
static void place_in(sc_object *object, int row, int column, vr_rng *rng) {
    struct third x = {0, SC_SPAN}, y = {0, SC_SPAN};
    int left = object->wide + MARGIN, top = object->high + MARGIN;
    if (column >= 0) x = thirds[column];
    if (row >= 0) y = thirds[row];
    object->x = draw_length(rng, x.from > left ? x.from : left, x.to < SC_SPAN - left ? x.to : SC_SPAN - left);
    object->y = draw_length(rng, y.from > top ? y.from : top, y.to < SC_SPAN - top ? y.to : SC_SPAN - top);
}

static int third_of(int x) {
    for (int i = 0; i < 3; i++)
        if (x >= thirds[i].from && x <= thirds[i].to) return i;
    return -1;
}

/* All but the first `fixed` objects at random, apart from each other; false where that has failed too often. */
static bool try_scatter(sc_scene *scene, int fixed, vr_rng *rng) {
    for (int i = fixed; i < scene->n_objects; i++) {
        bool fits = false;
        for (int attempt = 0; attempt < 100 && !fits; attempt++) {
            fits = true;
            place_in(&scene->objects[i], -1, -1, rng);
            for (int j = 0; j < i; j++) fits = fits && apart(&scene->objects[i], &scene->objects[j]);
        }
        if (!fits) return false;
    }
    return true;
}

/* Where there is no room, big ones become small, one after the other: the grid has room for five of these. */
static void scatter(sc_scene *scene, vr_rng *rng) {
    for (int failed = 1; !try_scatter(scene, 0, rng); failed++)
        for (int i = 0; failed % 20 == 0 && i < scene->n_objects; i++)
            if (scene->objects[i].value[SC_SIZE] == SC_BIG) {
                set_size(&scene->objects[i], SC_SMALL, rng);
                break;
            }
}

/* ---- layouts ---- */

static void make_one(sc_scene *scene, bool novel, vr_rng *rng) {
    sc_object *object = add_object(scene, ALL_SHAPES, ALL_COLOURS, novel, rng);
    int row = sc_below(rng, 3), column = sc_below(rng, 3); /* not as arguments: their order is the compiler's */
    place_in(object, row, column, rng);
}

/* Two objects of one colour, of one shape, or of neither: the last half of the scenes is parted between the
 * questions after colour and shape, so that each sees as much agreement as difference. */
static void make_two(sc_scene *scene, bool novel, vr_rng *rng) {
    int likeness = sc_below(rng, 4);
    const sc_object *a = add_object(scene, ALL_SHAPES, ALL_COLOURS, novel, rng);
    int shape = a->value[SC_SHAPE], colour = a->value[SC_COLOUR];
    unsigned shapes = likeness == 1 ? SC_BIT(shape) : ALL_SHAPES & ~SC_BIT(shape);
    unsigned colours = likeness == 0 ? SC_BIT(colour) : ALL_COLOURS & ~SC_BIT(colour);
    const sc_object *b = add_object(scene, shapes, colours, false, rng);
    scene->comparable = SC_BIT(SC_SIZE) | SC_BIT(likeness % 2 == 0 ? SC_COLOUR : SC_SHAPE);

    int arrangement = sc_below(rng, 5); /* beside, beside, above, above, across */
    bool good = false;
    while (!good) {
        scatter(scene, rng);
        bool beside = sc_is(a, SC_LEFT, b) || sc_is(a, SC_RIGHT, b), above = sc_is(a, SC_ABOVE, b) || sc_is(a, SC_BELOW, b);
        int dx = abs(a->x - b->x), dy = abs(a->y - b->y);
        good = arrangement < 2   ? beside && dy <= LEVEL
               : arrangement < 4 ? above && dx <= LEVEL
                                 : beside && above;
    }
}

static void make_few(sc_scene *scene, bool novel, vr_rng *rng) {
    unsigned shapes = ALL_SHAPES, colours = ALL_COLOURS;
    for (int i = 0; i < 3; i++) {
        const sc_object *object = add_object(scene, shapes, colours, novel && i == 0, rng);
        shapes &= ~SC_BIT(object->value[SC_SHAPE]);
        colours &= ~SC_BIT(object->value[SC_COLOUR]);
    }
    scatter(scene, rng);
}

/* First the group, as many as were drawn for it, then others that do not belong to it. */
static void make_many(sc_scene *scene, bool novel, vr_rng *rng) {
    static const sc_attribute attributes[] = {SC_ATTRIBUTES, SC_SHAPE, SC_COLOUR};
    sc_group group = {.attribute = attributes[sc_below(rng, 3)]};
    unsigned shapes = ALL_SHAPES, colours = ALL_COLOURS;
    int total;
    if (group.attribute == SC_ATTRIBUTES) {
        total = group.count = 1 + sc_below(rng, SC_MAX_OBJECTS);
    } else {
        bool shape = group.attribute == SC_SHAPE;
        group.value = sc_below(rng, shape ? SC_SHAPES : SC_COLOURS);
        group.count = sc_below(rng, 4) ? 1 + sc_below(rng, SC_MAX_OBJECTS) : 0; /* "all" is never 0: makes up for it */
        total = group.count + sc_below(rng, SC_MAX_OBJECTS - group.count + 1);
        if (total == 0) total = 1;
        *(shape ? &shapes : &colours) = SC_BIT(group.value);
    }
    for (int i = 0; i < total; i++) {
        if (i == group.count && group.attribute != SC_ATTRIBUTES) {
            shapes = ALL_SHAPES & ~(group.attribute == SC_SHAPE ? shapes : 0);
            colours = ALL_COLOURS & ~(group.attribute == SC_COLOUR ? colours : 0);
        }
        add_object(scene, shapes, colours, novel && i == 0, rng);
    }
    scene->group = group;
    scatter(scene, rng);
}

static void make_reading(sc_scene *scene, bool novel, vr_rng *rng) {
    int high = 110 + 5 * sc_below(rng, 4);
    sc_object *digit = add_text(scene, SC_DIGIT, sc_below(rng, SC_DIGITS), high * 5 / 8, high, rng);
    if (novel || coin(rng)) add_object(scene, ALL_SHAPES, ALL_COLOURS, novel, rng);
    do { /* in the middle it leaves no room for a big object */
        int row = sc_below(rng, 3), column = sc_below(rng, 3);
        place_in(digit, row, column, rng);
    } while (!try_scatter(scene, 1, rng));
}

static void make_writing(sc_scene *scene, bool novel, vr_rng *rng) {
    (void)novel; /* a word has no shape */
    int word = sc_below(rng, SC_WORDS), letters = (int)strlen(sc_words[word]);
    sc_object *object = add_text(scene, SC_WORD, SC_DIGITS + word, (SC_LETTER + SC_ADVANCE * (letters - 1)) / 2, 66, rng);
    place_in(object, -1, -1, rng);
}

void sc_scene_make(sc_scene *scene, sc_layout layout, bool novel, vr_rng *rng) {
    static void (*const make[SC_LAYOUTS])(sc_scene *, bool, vr_rng *) = {
        make_one, make_two, make_few, make_many, make_reading, make_writing,
    };
    *scene = (sc_scene){.layout = layout};
    memset(scene->ground, 255 - 10 * sc_below(rng, 6), sizeof scene->ground);
    make[layout](scene, novel, rng);
    for (int i = 0; i < scene->n_objects; i++) {
        sc_object *object = &scene->objects[i];
        int row = third_of(object->y), column = third_of(object->x);
        if (row >= 0 && column >= 0 && object->value[SC_SHAPE] != SC_WORD) object->value[SC_PLACE] = 3 * row + column;
    }
}
