/* A scene: up to five things on a light ground, made at random but so that what can be asked about it has one
 * answer. Everything is a whole number chosen by splitmix64, so a seed gives the same scene on every machine.
 *
 * Lengths are units of which a picture has SC_SPAN on each side, whatever its size in pixels: at the default
 * of 64 pixels, ten units are one pixel. */
#ifndef SC_SCENE_H
#define SC_SCENE_H
#include "base/rng.h"
#include "names.h"

#define SC_SPAN 640
#define SC_STEP 80        /* of the grid of centres: a shape meets a tower's patches of 8 pixels in one way only */
#define SC_MAX_OBJECTS 5
#define SC_LETTER 84      /* width of a word's letter */
#define SC_ADVANCE 112    /* from one letter to the next */

/* What a scene is about; which questions fit it is said in the table of ask.c. */
typedef enum sc_layout {
    SC_ONE,     /* one object, at one of the nine places */
    SC_TWO,     /* two, one beside, above or across from the other */
    SC_FEW,     /* three of different shapes and colours */
    SC_MANY,    /* one to five to be counted: all, or those of a shape or colour (`group`) */
    SC_READING, /* a digit, alone or with an object */
    SC_WRITING, /* a word */
    SC_LAYOUTS
} sc_layout;

typedef struct sc_object {
    int value[SC_ATTRIBUTES]; /* -1: it has none, or (place) none that is clear */
    int x, y;                 /* centre */
    int wide, high;           /* half of its extent */
    unsigned char rgb[3];
} sc_object;

/* What a scene of SC_MANY counts: the objects whose `attribute` is `value`; SC_ATTRIBUTES: all of them. */
typedef struct sc_group {
    sc_attribute attribute;
    int value, count;
} sc_group;

typedef struct sc_scene {
    sc_layout layout;
    sc_object objects[SC_MAX_OBJECTS];
    int n_objects;
    unsigned char ground[3];
    sc_group group;
    /* SC_TWO: attributes of which "are both the same?" may be asked, bits. Chosen so that yes and no are as
     * frequent, though two random colours are mostly different. */
    unsigned comparable;
} sc_scene;

/* The stream of random numbers of a picture: `purpose` 0 draws it, 1 asks about it. Independent of how many
 * pictures there are. */
vr_rng sc_stream(uint64_t seed, int split, int64_t index, int purpose);
/* A whole number below n. */
int sc_below(vr_rng *rng, int n);

/* Makes a scene. novel: one of its objects is a held-out combination of colour and shape; else none is. */
void sc_scene_make(sc_scene *scene, sc_layout layout, bool novel, vr_rng *rng);

/* Whether a is in that direction of b: their extents do not even overlap on that axis. */
bool sc_is(const sc_object *a, sc_direction direction, const sc_object *b);
/* How many objects have this value of the attribute. */
int sc_count(const sc_scene *scene, sc_attribute attribute, int value);
#endif
