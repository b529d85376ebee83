/* What the scenes are made of and how it is called in each language. Scenes hold indices into these tables;
 * texts are made of them only where a question is put into words. */
#ifndef SC_NAMES_H
#define SC_NAMES_H
#include <stdbool.h>

typedef enum sc_language { SC_ENGLISH, SC_CHINESE, SC_LANGUAGES } sc_language;

/* The same thing said in each language; UTF-8. */
typedef struct sc_term {
    const char *in[SC_LANGUAGES];
} sc_term;

/* What can be asked of one object. */
typedef enum sc_attribute { SC_COLOUR, SC_SHAPE, SC_SIZE, SC_PLACE, SC_TEXT, SC_ATTRIBUTES } sc_attribute;
#define SC_BIT(n) (1u << (n))

typedef enum sc_shape {
    SC_CIRCLE, SC_SQUARE, SC_TRIANGLE, SC_STAR, SC_CROSS, SC_RING,
    SC_SHAPES,            /* drawn shapes end here; what can be read follows */
    SC_DIGIT = SC_SHAPES, /* one digit, 0 to 9 */
    SC_WORD,              /* one of sc_words */
    SC_THINGS
} sc_shape;

typedef enum sc_size { SC_SMALL, SC_BIG, SC_SIZES } sc_size;

#define SC_COLOURS 8
#define SC_PLACES 9 /* 3 * row + column */
#define SC_DIGITS 10
#define SC_WORDS 32

typedef enum sc_direction { SC_LEFT, SC_RIGHT, SC_ABOVE, SC_BELOW, SC_DIRECTIONS } sc_direction;

extern const sc_term sc_things[SC_THINGS], sc_plurals[SC_SHAPES];
extern const sc_term sc_colours[SC_COLOURS];
extern const unsigned char sc_rgb[SC_COLOURS][3];
extern const sc_term sc_sizes[SC_SIZES], sc_bigger[SC_SIZES]; /* "small", "smaller" */
extern const sc_term sc_places[SC_PLACES], sc_at[SC_PLACES];  /* "top left", "at the top left" */
extern const sc_term sc_directions[SC_DIRECTIONS];            /* "left" */
extern const sc_term sc_relations[SC_DIRECTIONS];             /* "left of" */
extern const sc_term sc_attributes[SC_ATTRIBUTES];            /* "colour" */
extern const char *const sc_words[SC_WORDS];                  /* the same in all languages */

/* The name of a value of an attribute: sc_value_name(SC_COLOUR, 0, SC_ENGLISH) is "red". A digit's text is
 * its value, a word's text is SC_DIGITS plus its index. */
const char *sc_value_name(sc_attribute attribute, int value, sc_language language);

/* Whether this combination is kept out of the train split: never drawn there and never mentioned. There is one
 * shape for each colour, and every shape has at least one. */
bool sc_held_out(int shape, int colour);
int sc_held_out_shape(int colour);
#endif
