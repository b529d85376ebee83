#include "caption.h"

#include "ask.h"
#include "text.h"

#include <stdio.h>

void sc_add_name(char *text, const sc_object *object, bool with_size, sc_language language) {
    const char *space = language == SC_ENGLISH ? " " : "";
    if (with_size) {
        sc_add(text, sc_value_name(SC_SIZE, object->value[SC_SIZE], language));
        sc_add(text, space);
    }
    sc_add(text, sc_value_name(SC_COLOUR, object->value[SC_COLOUR], language));
    sc_add(text, space);
    sc_add(text, sc_value_name(SC_SHAPE, object->value[SC_SHAPE], language));
}

/* "a red circle", "红色圆形". */
static void add_noun(char *text, const sc_object *object, bool with_size, sc_language language) {
    char name[SC_TEXT_BYTES] = "";
    sc_add_name(name, object, with_size, language);
    if (language == SC_ENGLISH)
        sc_add_with_article(text, name);
    else
        sc_add(text, name);
}

/* Between the parts of a list: "a, b and c", "a、b和c". */
static void add_separator(char *text, int i, int n, sc_language language) {
    static const sc_term comma = {{", ", "、"}}, and = {{" and ", "和"}};
    if (i > 0) sc_add(text, (i == n - 1 ? and : comma).in[language]);
}

static bool caption_one(char *text, const sc_scene *scene, sc_language language) {
    char noun[SC_TEXT_BYTES] = "";
    const sc_object *object = &scene->objects[0];
    if (object->value[SC_PLACE] < 0) return false;
    add_noun(noun, object, true, language);
    const sc_slots slots = {.a = noun, .v = sc_at[object->value[SC_PLACE]].in[language]};
    sc_add_phrase(text, language == SC_ENGLISH ? "{a} {v}" : "{v}有一个{a}", &slots);
    return true;
}

/* The left or upper one is the subject; beside each other counts before above each other. */
static bool caption_two(char *text, const sc_scene *scene, sc_language language) {
    const sc_object *a = &scene->objects[0], *b = &scene->objects[1];
    bool beside = sc_is(a, SC_LEFT, b) || sc_is(a, SC_RIGHT, b);
    if (beside && (sc_is(a, SC_ABOVE, b) || sc_is(a, SC_BELOW, b))) return false;
    sc_direction direction = beside ? SC_LEFT : SC_ABOVE;
    bool swapped = !sc_is(a, direction, b);
    char first[SC_TEXT_BYTES] = "", second[SC_TEXT_BYTES] = "";
    add_noun(first, swapped ? b : a, true, language);
    add_noun(second, swapped ? a : b, true, language);
    const sc_slots slots = {.a = first, .b = second, .v = sc_relations[direction].in[language]};
    sc_add_phrase(text, language == SC_ENGLISH ? "{a} {v} {b}" : "{a}在{b}的{v}", &slots);
    return true;
}

/* In the order of the table of shapes: left to right would hang on a pixel. */
static bool caption_few(char *text, const sc_scene *scene, sc_language language) {
    int n = 0;
    for (int shape = 0; shape < SC_SHAPES; shape++)
        for (int i = 0; i < scene->n_objects; i++) {
            if (scene->objects[i].value[SC_SHAPE] != shape) continue;
            add_separator(text, n++, scene->n_objects, language);
            add_noun(text, &scene->objects[i], false, language);
        }
    return true;
}

/* "2 circles and 1 star", in the order of the table of shapes. */
static bool caption_many(char *text, const sc_scene *scene, sc_language language) {
    int n = 0, parts = 0;
    for (int shape = 0; shape < SC_SHAPES; shape++) parts += sc_count(scene, SC_SHAPE, shape) > 0;
    for (int shape = 0; shape < SC_SHAPES; shape++) {
        char number[16];
        int count = sc_count(scene, SC_SHAPE, shape);
        if (!count) continue;
        snprintf(number, sizeof number, language == SC_ENGLISH ? "%d " : "%d个", count);
        add_separator(text, n++, parts, language);
        sc_add(text, number);
        sc_add(text, (count == 1 ? sc_things : sc_plurals)[shape].in[language]);
    }
    return true;
}

/* "the digit 7 in red", and what stands beside it. */
static bool caption_text(char *text, const sc_scene *scene, sc_language language) {
    const sc_object *read = &scene->objects[0];
    const sc_slots slots = {.a = sc_things[read->value[SC_SHAPE]].in[language],
                            .b = sc_value_name(SC_TEXT, read->value[SC_TEXT], language),
                            .v = sc_value_name(SC_COLOUR, read->value[SC_COLOUR], language)};
    sc_add_phrase(text, language == SC_ENGLISH ? "the {a} {b} in {v}" : "{v}的{a}{b}", &slots);
    if (scene->n_objects > 1) {
        add_separator(text, 1, 2, language);
        add_noun(text, &scene->objects[1], false, language);
    }
    return true;
}

bool sc_add_caption(char *text, const sc_scene *scene, sc_language language) {
    static bool (*const captions[SC_LAYOUTS])(char *, const sc_scene *, sc_language) = {
        caption_one, caption_two, caption_few, caption_many, caption_text, caption_text,
    };
    return captions[scene->layout](text, scene, language);
}
