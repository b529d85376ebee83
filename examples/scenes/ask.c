/* A table of question types: which layouts they fit, how often they are asked, which function finds what to
 * ask and answer, and how it is said. The functions give false where the scene has nothing of that type whose
 * answer would be clear, new and, for "yes" and "no", as likely one as the other. */
#include "ask.h"

#include "caption.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

#define BOTH (SC_BIT(SC_SHAPE) | SC_BIT(SC_COLOUR))

/* What a conversation has told; beside the attributes of single objects (asker.known). */
enum { FACT_NUMBER, FACT_SIDES, FACT_HEIGHTS, FACT_SAME };

typedef struct asker {
    const sc_scene *scene;
    const sc_manner *manner;
    sc_language language;
    vr_rng *rng;
    unsigned known[SC_MAX_OBJECTS]; /* bits of sc_attribute */
    unsigned facts;
    int last; /* the object of the question before; -1: it had none, or several */
} asker;

/* A question in the making: becomes part of the conversation only where everything about it was found. */
typedef struct draft {
    char a[SC_TEXT_BYTES], b[SC_TEXT_BYTES], v[SC_TEXT_BYTES]; /* of the phrase */
    char answer[SC_TEXT_BYTES];
    int yes;                          /* of yes-no questions */
    unsigned reveals[SC_MAX_OBJECTS]; /* attributes that asker.known gains */
    unsigned facts;
    int subject; /* -1: no single object */
    bool novel;
} draft;

typedef struct question_type {
    sc_kind kind;
    sc_form form;
    unsigned layouts; /* bits of sc_layout */
    int weight;
    int most; /* in one conversation */
    bool (*build)(asker *k, draft *d, int parameter);
    int parameter;
    bool opens, ends;                     /* a conversation, always */
    bool has;                             /* a Chinese "yes" is 有 */
    const char *phrases[SC_LANGUAGES][3]; /* {a}, {b}: references to objects; {v}: what is asked after */
} question_type;

static int below(asker *k, int n) { return sc_below(k->rng, n); }
static bool coin(asker *k) { return sc_below(k->rng, 2) == 1; }

static bool is_novel(const sc_object *object) { return sc_held_out(object->value[SC_SHAPE], object->value[SC_COLOUR]); }

static bool shows_novel(const sc_scene *scene) {
    for (int i = 0; i < scene->n_objects; i++)
        if (is_novel(&scene->objects[i])) return true;
    return false;
}

/* ---- references ---- */

/* Whether it has the shape and the colour, as far as these are named. */
static bool is_named(const sc_object *object, unsigned named, int shape, int colour) {
    const int *own = object->value;
    return (!(named & SC_BIT(SC_SHAPE)) || own[SC_SHAPE] == shape) &&
           (!(named & SC_BIT(SC_COLOUR)) || own[SC_COLOUR] == colour);
}

/* How an object can be called so that it is the only one. */
typedef enum way { BY_SHAPE, BY_COLOUR, BY_BOTH, BY_NOTHING, WAYS } way;

static bool is_only(const sc_scene *scene, int object, way how) {
    const int *own = scene->objects[object].value;
    int same_both = 0;
    for (int i = 0; i < scene->n_objects; i++)
        same_both += is_named(&scene->objects[i], BOTH, own[SC_SHAPE], own[SC_COLOUR]);
    if (how == BY_SHAPE) return sc_count(scene, SC_SHAPE, own[SC_SHAPE]) == 1;
    /* a digit or a word is no "red object", and where there is one "object" would be doubtful */
    if (scene->layout == SC_READING || scene->layout == SC_WRITING) return false;
    if (how == BY_COLOUR) return sc_count(scene, SC_COLOUR, own[SC_COLOUR]) == 1;
    return how == BY_BOTH ? same_both == 1 : scene->n_objects == 1;
}

static void add_coloured(char *text, int colour, const char *noun, sc_language language) {
    sc_add(text, sc_value_name(SC_COLOUR, colour, language));
    if (language == SC_ENGLISH) sc_add(text, " ");
    sc_add(text, noun);
}

static const char *object_word(sc_language language) { return language == SC_ENGLISH ? "object" : "物体"; }

/* Writes one of the ways to call it that name no attribute of `hidden`; what it names becomes known. */
static bool refer(asker *k, draft *d, int object, unsigned hidden, char *text) {
    static const unsigned names[WAYS] = {SC_BIT(SC_SHAPE), SC_BIT(SC_COLOUR), BOTH, 0};
    const int *own = k->scene->objects[object].value;
    way ways[WAYS];
    int n = 0;
    for (way how = 0; how < WAYS; how++)
        if (!(hidden & names[how]) && is_only(k->scene, object, how)) ways[n++] = how;
    if (n == 0) return false;
    way how = ways[below(k, n)];
    const char *noun =
        how == BY_SHAPE || how == BY_BOTH ? sc_things[own[SC_SHAPE]].in[k->language] : object_word(k->language);
    if (names[how] & SC_BIT(SC_COLOUR))
        add_coloured(text, own[SC_COLOUR], noun, k->language);
    else
        sc_add(text, noun);
    d->reveals[object] |= names[how];
    d->novel = d->novel || is_novel(&k->scene->objects[object]);
    return true;
}

/* ---- one attribute of one object ---- */

static bool is_open(const asker *k, int object, int attribute) {
    return k->scene->objects[object].value[attribute] >= 0 && !(k->known[object] & SC_BIT(attribute));
}

/* An object of which the attribute is there and not yet known; -1: none. */
static int pick_object(asker *k, int attribute) {
    int candidates[SC_MAX_OBJECTS], n = 0;
    for (int i = 0; i < k->scene->n_objects; i++) {
        bool is_shape = k->scene->objects[i].value[SC_SHAPE] < SC_SHAPES;
        if (is_open(k, i, attribute) && (is_shape || attribute != SC_SHAPE)) candidates[n++] = i;
    }
    return n ? candidates[below(k, n)] : -1;
}

static void answer_value(asker *k, draft *d, int object, int attribute) {
    sc_add(d->answer, sc_value_name(attribute, k->scene->objects[object].value[attribute], k->language));
    d->reveals[object] |= SC_BIT(attribute);
    d->subject = object;
}

static bool ask_value(asker *k, draft *d, int attribute) {
    int object = pick_object(k, attribute);
    if (object < 0 || !refer(k, d, object, SC_BIT(attribute), d->a)) return false;
    answer_value(k, d, object, attribute);
    return true;
}

static bool follow_value(asker *k, draft *d, int attribute) {
    if (!is_open(k, k->last, attribute) ||
        (attribute == SC_SHAPE && k->scene->objects[k->last].value[SC_SHAPE] >= SC_SHAPES))
        return false;
    answer_value(k, d, k->last, attribute);
    d->novel = is_novel(&k->scene->objects[k->last]);
    return true;
}

/* The sides that a place has: what is at the top left is also at the top, so one must not stand for "no" of
 * the other. */
static bool may_be_confused(int a, int b) {
    static const unsigned sides[SC_PLACES] = {1 | 4, 1, 1 | 8, 4, 0, 8, 2 | 4, 2, 2 | 8};
    unsigned both = sides[a] & sides[b];
    return both && (both == sides[a] || both == sides[b]);
}

/* Whether "no" is the only answer to "is this object <value>?". No combination that is held out is named so: in
 * train that would tell of it, in test it would make "no" more frequent among the questions that are novel. */
static bool is_wrong(const int *own, int attribute, int value) {
    if (value == own[attribute] || (attribute == SC_PLACE && may_be_confused(value, own[attribute]))) return false;
    if (attribute == SC_SHAPE) return !sc_held_out(value, own[SC_COLOUR]);
    return attribute != SC_COLOUR || !sc_held_out(own[SC_SHAPE], value);
}

/* A value that the object does not have; half of the time one of another object, so that the answer hangs on
 * which object it is. */
static int other_value(asker *k, const int *own, int attribute) {
    static const int counts[SC_ATTRIBUTES] = {SC_COLOURS, SC_SHAPES, SC_SIZES, SC_PLACES, SC_DIGITS};
    for (bool near = coin(k);; near = false) {
        int value = near ? k->scene->objects[below(k, k->scene->n_objects)].value[attribute] : below(k, counts[attribute]);
        if (value >= 0 && value < counts[attribute] && is_wrong(own, attribute, value)) return value;
    }
}

/* How a value stands behind "is": "red", "a circle", "at the top". */
static void add_predicate(char *text, int attribute, int value, sc_language language) {
    if (attribute == SC_PLACE)
        sc_add(text, sc_at[value].in[language]);
    else if (attribute == SC_SHAPE && language == SC_ENGLISH)
        sc_add_with_article(text, sc_value_name(attribute, value, language));
    else
        sc_add(text, sc_value_name(attribute, value, language));
}

static bool confirm_value(asker *k, draft *d, int attribute) {
    int object = pick_object(k, attribute);
    if (object < 0 || !refer(k, d, object, SC_BIT(attribute), d->a)) return false;
    const int *own = k->scene->objects[object].value;
    d->yes = coin(k);
    int value = d->yes ? own[attribute] : other_value(k, own, attribute);
    add_predicate(d->v, attribute, value, k->language);
    /* a "no" leaves the value open, where there are more than two: "What colour is it?" may follow */
    if (d->yes || attribute == SC_SIZE) d->reveals[object] |= SC_BIT(attribute);
    d->subject = object;
    return true;
}

/* ---- numbers ---- */

/* "circles", "red objects", "objects". */
static void add_group(char *text, const sc_group *group, sc_language language) {
    if (group->attribute == SC_SHAPE) {
        sc_add(text, sc_plurals[group->value].in[language]);
        return;
    }
    if (group->attribute == SC_COLOUR)
        add_coloured(text, group->value, object_word(language), language);
    else
        sc_add(text, object_word(language));
    if (language == SC_ENGLISH) sc_add(text, "s");
}

/* How many there are has been told, and with it something about each of them. */
static void reveal_number(const asker *k, draft *d) {
    const sc_group *group = &k->scene->group;
    d->facts = SC_BIT(FACT_NUMBER);
    if (group->attribute == SC_ATTRIBUTES) return;
    for (int i = 0; i < k->scene->n_objects; i++)
        if (k->scene->objects[i].value[group->attribute] == group->value) d->reveals[i] = SC_BIT(group->attribute);
}

static bool ask_number(asker *k, draft *d, int parameter) {
    (void)parameter;
    if (k->facts & SC_BIT(FACT_NUMBER)) return false;
    add_group(d->v, &k->scene->group, k->language);
    snprintf(d->answer, sizeof d->answer, "%d", k->scene->group.count);
    reveal_number(k, d);
    return true;
}

/* "Are there 3 circles?"; from 2 on, where English needs no other words. */
static bool confirm_number(asker *k, draft *d, int parameter) {
    (void)parameter;
    int count = k->scene->group.count;
    if (count < 2 || k->facts & SC_BIT(FACT_NUMBER)) return false;
    d->yes = coin(k);
    while (!d->yes && count == k->scene->group.count) count = 2 + below(k, SC_MAX_OBJECTS - 1);
    add_group(d->v, &k->scene->group, k->language);
    snprintf(d->b, sizeof d->b, "%d", count);
    reveal_number(k, d);
    return true;
}

/* ---- two objects ---- */

/* Two different objects in any order; false where there is only one. */
static bool pick_two(asker *k, int *a, int *b) {
    int n = k->scene->n_objects;
    if (n < 2) return false;
    *a = below(k, n);
    *b = (*a + 1 + below(k, n - 1)) % n;
    return true;
}

/* The direction of a from b on the axis of `direction` (SC_LEFT or SC_ABOVE); false where there is none. */
static bool find_direction(const asker *k, int a, int b, sc_direction *direction) {
    const sc_object *objects = k->scene->objects;
    if (sc_is(&objects[a], *direction, &objects[b])) return true;
    *direction += 1;
    return sc_is(&objects[a], *direction, &objects[b]);
}

static unsigned axis_fact(int axis) { return SC_BIT(axis == SC_LEFT ? FACT_SIDES : FACT_HEIGHTS); }

/* Finds two objects that lie in a clear direction on this axis, and calls them. */
static bool relate(asker *k, draft *d, int axis, sc_direction *direction) {
    int a, b;
    *direction = axis;
    if (k->facts & axis_fact(axis) || !pick_two(k, &a, &b) || !find_direction(k, a, b, direction)) return false;
    d->facts = axis_fact(axis);
    return refer(k, d, a, 0, d->a) && refer(k, d, b, 0, d->b);
}

static bool confirm_relation(asker *k, draft *d, int axis) {
    sc_direction direction;
    if (!relate(k, d, axis, &direction)) return false;
    d->yes = coin(k);
    if (!d->yes) direction ^= 1; /* the opposite one */
    sc_add(d->v, sc_relations[direction].in[k->language]);
    return true;
}

static bool choose_relation(asker *k, draft *d, int axis) {
    sc_direction direction;
    if (!relate(k, d, axis, &direction)) return false;
    sc_add(d->answer, sc_directions[direction].in[k->language]);
    return true;
}

/* "What is left of the square?": of two objects that lie on one axis only. */
static bool ask_neighbour(asker *k, draft *d, int axis) {
    sc_direction direction = axis, other = axis == SC_LEFT ? SC_ABOVE : SC_LEFT;
    int a, b;
    if (k->facts & axis_fact(axis) || !pick_two(k, &a, &b) || k->known[a] & BOTH) return false;
    if (!find_direction(k, a, b, &direction) || find_direction(k, a, b, &other) || !refer(k, d, b, 0, d->a)) return false;
    sc_add(d->v, sc_relations[direction].in[k->language]);
    sc_add_name(d->answer, &k->scene->objects[a], false, k->language);
    d->novel = d->novel || is_novel(&k->scene->objects[a]);
    d->reveals[a] |= BOTH;
    d->facts = axis_fact(axis);
    d->subject = a;
    return true;
}

static bool confirm_same(asker *k, draft *d, int attribute) {
    const int *a = k->scene->objects[0].value, *b = k->scene->objects[1].value;
    bool known = (k->known[0] | k->known[1]) & SC_BIT(attribute);
    if (known || k->facts & SC_BIT(FACT_SAME) || !(k->scene->comparable & SC_BIT(attribute))) return false;
    d->yes = a[attribute] == b[attribute];
    sc_add(d->v, sc_attributes[attribute].in[k->language]);
    d->facts = SC_BIT(FACT_SAME);
    d->novel = shows_novel(k->scene);
    return true;
}

/* Two objects of different sizes that the conversation has not told, called by their shapes; a, b are their
 * indices. */
static bool compare(asker *k, draft *d, int *a, int *b) {
    const unsigned hidden = SC_BIT(SC_COLOUR) | SC_BIT(SC_SIZE);
    if (!pick_two(k, a, b) || !is_open(k, *a, SC_SIZE) || !is_open(k, *b, SC_SIZE)) return false;
    if (k->facts & SC_BIT(FACT_SAME) || k->scene->objects[*a].value[SC_SIZE] == k->scene->objects[*b].value[SC_SIZE])
        return false;
    d->reveals[*a] = d->reveals[*b] = SC_BIT(SC_SIZE); /* there are but two */
    return refer(k, d, *a, hidden, d->a) && refer(k, d, *b, hidden, d->b);
}

static bool ask_bigger(asker *k, draft *d, int parameter) {
    (void)parameter;
    int a, b, size = below(k, SC_SIZES);
    if (!compare(k, d, &a, &b)) return false;
    sc_add(d->v, sc_bigger[size].in[k->language]);
    sc_add(d->answer, k->scene->objects[a].value[SC_SIZE] == size ? d->a : d->b);
    return true;
}

static bool confirm_bigger(asker *k, draft *d, int parameter) {
    (void)parameter;
    int a, b, size = below(k, SC_SIZES);
    if (!compare(k, d, &a, &b)) return false;
    sc_add(d->v, sc_bigger[size].in[k->language]);
    d->yes = k->scene->objects[a].value[SC_SIZE] == size;
    return true;
}

/* ---- the whole picture ---- */

static bool is_absent(const sc_scene *scene, unsigned named, int shape, int colour) {
    for (int i = 0; i < scene->n_objects; i++)
        if (is_named(&scene->objects[i], named, shape, colour)) return false;
    return true;
}

/* A shape and a colour that are not there. Where both are named, one of them mostly is, and often both are, but
 * on different objects. */
static void pick_absent(asker *k, unsigned named, int *shape, int *colour) {
    const sc_scene *scene = k->scene;
    do {
        *shape = scene->objects[below(k, scene->n_objects)].value[SC_SHAPE];
        *colour = scene->objects[below(k, scene->n_objects)].value[SC_COLOUR];
        int change = below(k, 3);
        if (change == 1 || named == SC_BIT(SC_SHAPE)) *shape = below(k, SC_SHAPES);
        if (change == 2 || named == SC_BIT(SC_COLOUR)) *colour = below(k, SC_COLOURS);
    } while (!is_absent(scene, named, *shape, *colour) || (named == BOTH && sc_held_out(*shape, *colour)));
}

/* "Is there a circle / a red object / a red circle?": the parameter has the bits of what it names. */
static bool confirm_existence(asker *k, draft *d, int parameter) {
    const sc_scene *scene = k->scene;
    const int *own = scene->objects[below(k, scene->n_objects)].value;
    unsigned named = (unsigned)parameter;
    int shape = own[SC_SHAPE], colour = own[SC_COLOUR];
    d->yes = coin(k);
    if (!d->yes) pick_absent(k, named, &shape, &colour);
    for (int i = 0; i < scene->n_objects; i++)
        if (is_named(&scene->objects[i], named, shape, colour)) d->reveals[i] = named;

    char noun[SC_TEXT_BYTES] = "";
    const char *thing = named & SC_BIT(SC_SHAPE) ? sc_things[shape].in[k->language] : object_word(k->language);
    if (named & SC_BIT(SC_COLOUR))
        add_coloured(noun, colour, thing, k->language);
    else
        sc_add(noun, thing);
    if (k->language == SC_ENGLISH)
        sc_add_with_article(d->v, noun);
    else
        sc_add(d->v, noun);
    d->novel = named == BOTH && shows_novel(scene);
    return true;
}

static bool ask_caption(asker *k, draft *d, int parameter) {
    (void)parameter;
    d->novel = shows_novel(k->scene);
    return sc_add_caption(d->answer, k->scene, k->language);
}

/* ---- the table ---- */

#define ONE SC_BIT(SC_ONE)
#define TWO SC_BIT(SC_TWO)
#define FEW SC_BIT(SC_FEW)
#define MANY SC_BIT(SC_MANY)
#define READING SC_BIT(SC_READING)
#define WRITING SC_BIT(SC_WRITING)
#define SHAPES (ONE | TWO | FEW | MANY)
#define ALL (SHAPES | READING | WRITING)

static const question_type types[] = {
    {SC_KIND_COLOUR, SC_OPEN, ALL, 6, 2, ask_value, SC_COLOUR, .phrases = {
        {"What colour is the {a}?", "What color is the {a}?", "Which colour does the {a} have?"},
        {"{a}是什么颜色？", "{a}是什么颜色的？", "{a}的颜色是什么？"}}},
    {SC_KIND_COLOUR, SC_YES_NO, ALL, 3, 1, confirm_value, SC_COLOUR, .phrases = {
        {"Is the {a} {v}?", "Is the colour of the {a} {v}?"},
        {"{a}是{v}的吗？", "{a}是不是{v}的？"}}},
    {SC_KIND_COLOUR, SC_FOLLOW, ALL, 5, 1, follow_value, SC_COLOUR, .phrases = {
        {"And its colour?", "What colour is it?", "And what color is it?"},
        {"它是什么颜色？", "它是什么颜色的？", "那颜色呢？"}}},
    {SC_KIND_SHAPE, SC_OPEN, SHAPES, 8, 2, ask_value, SC_SHAPE, .phrases = {
        {"What shape is the {a}?", "What is the shape of the {a}?", "Which shape does the {a} have?"},
        {"{a}是什么形状？", "{a}是什么形状的？", "{a}的形状是什么？"}}},
    {SC_KIND_SHAPE, SC_YES_NO, SHAPES, 3, 1, confirm_value, SC_SHAPE, .phrases = {
        {"Is the {a} {v}?", "Is the shape of the {a} {v}?"},
        {"{a}是{v}吗？", "{a}是不是{v}？"}}},
    {SC_KIND_SHAPE, SC_FOLLOW, SHAPES, 5, 1, follow_value, SC_SHAPE, .phrases = {
        {"And its shape?", "What shape is it?", "And what shape is it?"},
        {"它是什么形状？", "它是什么形状的？", "那形状呢？"}}},
    {SC_KIND_SIZE, SC_OPEN, SHAPES, 3, 1, ask_value, SC_SIZE, .phrases = {
        {"Is the {a} big or small?", "What size is the {a}?", "How big is the {a}?"},
        {"{a}是大还是小？", "{a}有多大？", "{a}的大小如何？"}}},
    {SC_KIND_SIZE, SC_YES_NO, SHAPES, 2, 1, confirm_value, SC_SIZE, .phrases = {
        {"Is the {a} {v}?"},
        {"{a}是{v}的吗？", "{a}是不是{v}的？"}}},
    {SC_KIND_SIZE, SC_FOLLOW, SHAPES, 4, 1, follow_value, SC_SIZE, .phrases = {
        {"And its size?", "Is it big or small?", "How big is it?"},
        {"它是大还是小？", "它有多大？", "那大小呢？"}}},
    {SC_KIND_POSITION, SC_OPEN, ONE | FEW | READING, 8, 1, ask_value, SC_PLACE, .phrases = {
        {"Where is the {a}?", "Where in the picture is the {a}?", "In which part of the picture is the {a}?"},
        {"{a}在哪里？", "{a}在图中的什么位置？", "{a}在什么地方？"}}},
    {SC_KIND_POSITION, SC_YES_NO, ONE | FEW | READING, 4, 1, confirm_value, SC_PLACE, .phrases = {
        {"Is the {a} {v}?", "Is the {a} {v} of the picture?"},
        {"{a}在{v}吗？", "{a}是不是在{v}？"}}},
    {SC_KIND_POSITION, SC_FOLLOW, ONE | FEW | READING, 6, 1, follow_value, SC_PLACE, .phrases = {
        {"Where is it?", "And where is it?", "And its position?"},
        {"它在哪里？", "它在什么位置？", "那位置呢？"}}},
    {SC_KIND_COUNT, SC_OPEN, MANY, 40, 1, ask_number, 0, .phrases = {
        {"How many {v} are there?", "How many {v} are in the picture?", "How many {v} can you see?"},
        {"图中有几个{v}？", "有多少个{v}？", "图中一共有多少个{v}？"}}},
    {SC_KIND_COUNT, SC_YES_NO, MANY, 10, 1, confirm_number, 0, .has = true, .phrases = {
        {"Are there {b} {v}?", "Are there {b} {v} in the picture?"},
        {"图中有{b}个{v}吗？", "有没有{b}个{v}？"}}},
    {SC_KIND_RELATION, SC_YES_NO, TWO | FEW | READING, 5, 1, confirm_relation, SC_LEFT, .phrases = {
        {"Is the {a} {v} the {b}?"},
        {"{a}在{b}的{v}吗？", "{a}是不是在{b}的{v}？"}}},
    {SC_KIND_RELATION, SC_YES_NO, TWO | FEW | READING, 5, 1, confirm_relation, SC_ABOVE, .phrases = {
        {"Is the {a} {v} the {b}?"},
        {"{a}在{b}的{v}吗？", "{a}是不是在{b}的{v}？"}}},
    {SC_KIND_RELATION, SC_OPEN, TWO | FEW | READING, 4, 1, choose_relation, SC_LEFT, .phrases = {
        {"Is the {a} left or right of the {b}?"},
        {"{a}在{b}的左边还是右边？"}}},
    {SC_KIND_RELATION, SC_OPEN, TWO | FEW | READING, 4, 1, choose_relation, SC_ABOVE, .phrases = {
        {"Is the {a} above or below the {b}?"},
        {"{a}在{b}的上边还是下边？"}}},
    {SC_KIND_RELATION, SC_OPEN, TWO, 3, 1, ask_neighbour, SC_LEFT, .phrases = {
        {"What is {v} the {a}?"},
        {"{a}的{v}是什么？", "{a}的{v}有什么？"}}},
    {SC_KIND_RELATION, SC_OPEN, TWO, 3, 1, ask_neighbour, SC_ABOVE, .phrases = {
        {"What is {v} the {a}?"},
        {"{a}的{v}是什么？", "{a}的{v}有什么？"}}},
    {SC_KIND_RELATION, SC_YES_NO, TWO, 3, 1, confirm_same, SC_COLOUR, .opens = true, .phrases = {
        {"Do the two objects have the same {v}?", "Are both objects the same {v}?"},
        {"两个物体的{v}一样吗？", "这两个物体{v}相同吗？"}}},
    {SC_KIND_RELATION, SC_YES_NO, TWO, 3, 1, confirm_same, SC_SHAPE, .opens = true, .phrases = {
        {"Do the two objects have the same {v}?", "Are both objects the same {v}?"},
        {"两个物体的{v}一样吗？", "这两个物体{v}相同吗？"}}},
    {SC_KIND_RELATION, SC_YES_NO, TWO, 2, 1, confirm_same, SC_SIZE, .opens = true, .phrases = {
        {"Do the two objects have the same {v}?", "Are both objects the same {v}?"},
        {"两个物体的{v}一样吗？", "这两个物体{v}相同吗？"}}},
    {SC_KIND_RELATION, SC_OPEN, TWO | FEW, 3, 1, ask_bigger, 0, .phrases = {
        {"Which is {v}, the {a} or the {b}?", "What is {v}, the {a} or the {b}?"},
        {"{a}和{b}哪个更{v}？", "哪个更{v}，{a}还是{b}？"}}},
    {SC_KIND_RELATION, SC_YES_NO, TWO | FEW, 3, 1, confirm_bigger, 0, .phrases = {
        {"Is the {a} {v} than the {b}?"},
        {"{a}比{b}{v}吗？", "{a}是不是比{b}{v}？"}}},
    {SC_KIND_EXIST, SC_YES_NO, SHAPES, 3, 1, confirm_existence, SC_BIT(SC_SHAPE), .opens = true, .has = true, .phrases = {
        {"Is there {v}?", "Is there {v} in the picture?", "Can you see {v}?"},
        {"图中有{v}吗？", "有没有{v}？", "图里有没有{v}？"}}},
    {SC_KIND_EXIST, SC_YES_NO, SHAPES, 3, 1, confirm_existence, SC_BIT(SC_COLOUR), .opens = true, .has = true, .phrases = {
        {"Is there {v}?", "Is there {v} in the picture?", "Can you see {v}?"},
        {"图中有{v}吗？", "有没有{v}？", "图里有没有{v}？"}}},
    {SC_KIND_EXIST, SC_YES_NO, SHAPES, 6, 1, confirm_existence, BOTH, .opens = true, .has = true, .phrases = {
        {"Is there {v}?", "Is there {v} in the picture?", "Can you see {v}?"},
        {"图中有{v}吗？", "有没有{v}？", "图里有没有{v}？"}}},
    {SC_KIND_DIGIT, SC_OPEN, READING, 30, 1, ask_value, SC_TEXT, .phrases = {
        {"Which digit is it?", "What digit do you see?", "Which number is written there?"},
        {"图中是什么数字？", "这是数字几？", "写的是哪个数字？"}}},
    {SC_KIND_DIGIT, SC_YES_NO, READING, 8, 1, confirm_value, SC_TEXT, .phrases = {
        {"Is the {a} {v}?", "Is it the {a} {v}?"},
        {"图中的{a}是{v}吗？", "这个{a}是不是{v}？"}}},
    {SC_KIND_WORD, SC_OPEN, WRITING, 30, 1, ask_value, SC_TEXT, .phrases = {
        {"What word is written there?", "Which word do you see?", "What does it say?"},
        {"图中写的是什么单词？", "这个单词是什么？", "上面写着什么？"}}},
    {SC_KIND_CAPTION, SC_OPEN, ALL, 5, 1, ask_caption, 0, .opens = true, .ends = true, .phrases = {
        {"Describe the picture.", "What do you see?", "What is in the picture?"},
        {"描述这张图片。", "你看到了什么？", "图中有什么？"}}},
};
#define N_TYPES ((int)(sizeof types / sizeof *types))

static const char *const kind_names[SC_KINDS] = {"colour",   "shape", "size",  "count", "position",
                                                 "relation", "exist", "digit", "word",  "caption"};

const char *sc_kind_name(int kind) { return kind < SC_KINDS ? kind_names[kind] : NULL; }

const char *sc_form_name(sc_form form) {
    static const char *const names[SC_FORMS] = {"open", "yesno", "follow"};
    return names[form];
}

const char *sc_layout_name(int layout) {
    static const char *const names[SC_LAYOUTS] = {"one", "two", "few", "many", "reading", "writing"};
    return layout < SC_LAYOUTS ? names[layout] : NULL;
}

int sc_layout_weight(sc_layout layout, const sc_manner *manner) {
    static const int weights[SC_LAYOUTS] = {5, 7, 4, 8, 6, 3};
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].layouts & manner->layouts & SC_BIT(layout) && manner->kinds & SC_BIT(types[i].kind) &&
            types[i].form != SC_FOLLOW)
            return weights[layout];
    return 0;
}

/* ---- the conversation ---- */

/* Whether the type may come now: turn number `turn`, after the types counted in `used`. */
static bool may_come(const asker *k, const question_type *type, int turn, int used) {
    if (!(type->layouts & SC_BIT(k->scene->layout)) || !(k->manner->kinds & SC_BIT(type->kind))) return false;
    return used < type->most && (turn == 0 || !type->opens) && (type->form != SC_FOLLOW || k->last >= 0);
}

static int pick_type(asker *k, int turn, const int *used) {
    int total = 0, chosen = -1;
    for (int i = 0; i < N_TYPES; i++)
        if (may_come(k, &types[i], turn, used[i])) {
            total += types[i].weight;
            if (below(k, total) < types[i].weight) chosen = i; /* each with its share of the total */
        }
    return chosen;
}

static void write_question(asker *k, sc_question *question, const question_type *type, const draft *d) {
    static const sc_term is[2] = {{{"no", "不是"}}, {{"yes", "是"}}}, has[2] = {{{"no", "没有"}}, {{"yes", "有"}}};
    const char *const *phrases = type->phrases[k->language];
    int n = 0;
    while (n < 3 && phrases[n]) n++;
    *question = (sc_question){.kind = type->kind, .form = type->form, .novel = d->novel};
    sc_add_phrase(question->text, phrases[below(k, n)], &(sc_slots){d->a, d->b, d->v});
    sc_add(question->answer, type->form == SC_YES_NO ? (type->has ? has : is)[d->yes].in[k->language] : d->answer);
}

/* The next question; false where none was found. The first one is tried once: were another one taken in its
 * place, scenes that suit few types would be asked more often what they suit, and answers would lose their
 * balance. */
static bool ask(asker *k, sc_talk *talk, int *used, bool *ended) {
    for (int attempt = 0; attempt < (talk->n ? 50 : 1); attempt++) {
        int chosen = pick_type(k, talk->n, used);
        if (chosen < 0) return false;
        draft d = {.subject = -1};
        if (!types[chosen].build(k, &d, types[chosen].parameter)) continue;
        write_question(k, &talk->questions[talk->n++], &types[chosen], &d);
        for (int i = 0; i < k->scene->n_objects; i++) k->known[i] |= d.reveals[i];
        k->facts |= d.facts;
        k->last = d.subject;
        used[chosen]++;
        *ended = types[chosen].ends;
        return true;
    }
    return false;
}

void sc_talk_make(sc_talk *talk, const sc_scene *scene, const sc_manner *manner, vr_rng *rng) {
    asker k = {.scene = scene, .manner = manner, .language = talk->language, .rng = rng, .last = -1};
    int used[N_TYPES] = {0}, turns = 1 + sc_below(rng, manner->most);
    bool ended = false;
    talk->n = 0;
    while (talk->n < turns && !ended && ask(&k, talk, used, &ended)) continue;
}
