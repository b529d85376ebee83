#include "text/shape.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define MOST_VALUES 64    /* of an enum */
#define MOST_DIGITS 15    /* a double holds them all */
#define MOST_LENGTH 2000  /* of a text without maxLength */
#define MOST_ITEMS 64     /* of an array without maxItems */
#define MOST_LIMIT 1000000 /* that a schema may set */

typedef enum kind { KIND_OBJECT, KIND_ARRAY, KIND_STRING, KIND_NUMBER, KIND_ENUM } kind;

typedef struct node {
    kind kind;
    bool integer;
    int low, high;  /* items, or characters */
    int *children;  /* of an object; of an array one */
    char **texts;   /* of an object: what stands before each child, and the end; of an enum: its values */
    int n;          /* children; values */
} node;

struct vr_shape {
    node *nodes;
    size_t n, room;
};

/* ---- from the schema ---- */

static vr_status no_memory(vr_error *err) { return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a schema"); }

static vr_status add_node(vr_shape *shape, kind what, int n, int texts, int *out, vr_error *err) {
    VR_TRY(vr_grow(&shape->nodes, &shape->room, shape->n + 1, sizeof *shape->nodes, err));
    node *added = &shape->nodes[shape->n];
    *added = (node){.kind = what,
                    .n = n,
                    .children = vr_alloc((size_t)n + 1, sizeof(int)),
                    .texts = vr_alloc((size_t)texts + 1, sizeof(char *))};
    *out = (int)shape->n++;
    return added->children && added->texts ? VRWKV_OK : no_memory(err);
}

/* A limit of the schema into *out, which keeps its default where there is none. */
static vr_status read_limit(const json_t *schema, const char *key, int *out, vr_error *err) {
    const json_t *limit = json_object_get(schema, key);
    json_int_t value = json_integer_value(limit);
    if (!limit) return VRWKV_OK;
    if (!json_is_integer(limit) || value < 0 || value > MOST_LIMIT)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "schema: %s must be a whole number from 0 to %d", key, MOST_LIMIT);
    *out = (int)value;
    return VRWKV_OK;
}

/* Both limits of a value. */
static vr_status read_limits(node *own, const json_t *schema, const char *low, const char *high, vr_error *err) {
    VR_TRY(read_limit(schema, low, &own->low, err));
    VR_TRY(read_limit(schema, high, &own->high, err));
    return own->low <= own->high ? VRWKV_OK
                                 : vr_fail(err, VRWKV_ERR_ARGUMENT, "schema: %s is %d, more than %s, %d", low, own->low,
                                           high, own->high);
}

static vr_status check_keys(const json_t *schema, vr_error *err) {
    static const char *const known[] = {"type",
                                        "properties",
                                        "items",
                                        "enum",
                                        "const",
                                        "minItems",
                                        "maxItems",
                                        "minLength",
                                        "maxLength",
                                        "required",
                                        "additionalProperties",
                                        "title",
                                        "description",
                                        "$schema",
                                        "$id",
                                        "default",
                                        "examples"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        bool found = false;
        for (size_t i = 0; i < VR_COUNT(known); i++) found |= strcmp(known[i], key) == 0;
        if (!found) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "schema: the keyword \"%.60s\" is not understood", key);
    }
    return VRWKV_OK;
}

static vr_status make(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err);

static vr_status make_enum(vr_shape *shape, const json_t *values, int *out, vr_error *err) {
    size_t n = json_array_size(values);
    if (n < 1 || n > MOST_VALUES)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "schema: an enum of %zu values, expected 1 to %d", n, MOST_VALUES);
    VR_TRY(add_node(shape, KIND_ENUM, (int)n, (int)n, out, err));
    for (size_t i = 0; i < n; i++) {
        char *text = json_dumps(json_array_get(values, i), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        shape->nodes[*out].texts[i] = text;
        if (!text) return no_memory(err);
    }
    return VRWKV_OK;
}

/* A value of fixed words, "true|false". */
static vr_status make_words(vr_shape *shape, const char *json, int *out, vr_error *err) {
    json_t *values = json_loads(json, 0, NULL);
    vr_status status = make_enum(shape, values, out, err);
    json_decref(values);
    return status;
}

static char *before_child(bool first, const char *key) {
    json_t *name = json_string_nocheck(key);
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL, *text = NULL;
    if (quoted && (text = vr_alloc(strlen(quoted) + 3, 1))) {
        text[0] = first ? '{' : ',';
        memcpy(text + 1, quoted, strlen(quoted));
        text[strlen(quoted) + 1] = ':';
    }
    free(quoted);
    json_decref(name);
    return text;
}

static vr_status make_object(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    const json_t *properties = json_object_get(schema, "properties");
    int n = (int)json_object_size(properties), i = 0;
    const char *key;
    json_t *value;
    if (properties && !json_is_object(properties))
        return vr_fail(err, VRWKV_ERR_FORMAT, "schema: \"properties\" is no object");
    VR_TRY(add_node(shape, KIND_OBJECT, n, n + 1, out, err));
    json_object_foreach((json_t *)properties, key, value) {
        int child = 0;
        char *text = before_child(i == 0, key);
        shape->nodes[*out].texts[i] = text;
        if (!text) return no_memory(err);
        VR_TRY(make(shape, value, depth + 1, &child, err));
        shape->nodes[*out].children[i++] = child;
    }
    shape->nodes[*out].texts[n] = vr_strdup(n ? "}" : "{}");
    return shape->nodes[*out].texts[n] ? VRWKV_OK : no_memory(err);
}

static vr_status make_array(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    int child = 0;
    VR_TRY(add_node(shape, KIND_ARRAY, 1, 0, out, err));
    VR_TRY(make(shape, json_object_get(schema, "items"), depth + 1, &child, err));
    node *own = &shape->nodes[*out];
    own->children[0] = child;
    own->high = MOST_ITEMS;
    return read_limits(own, schema, "minItems", "maxItems", err);
}

static vr_status make_string(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    (void)depth;
    VR_TRY(add_node(shape, KIND_STRING, 0, 0, out, err));
    shape->nodes[*out].high = MOST_LENGTH;
    return read_limits(&shape->nodes[*out], schema, "minLength", "maxLength", err);
}

static vr_status make_number(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    (void)depth;
    VR_TRY(add_node(shape, KIND_NUMBER, 0, 0, out, err));
    shape->nodes[*out].integer = strcmp(json_string_value(json_object_get(schema, "type")), "integer") == 0;
    return VRWKV_OK;
}

static vr_status make_boolean(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    (void)schema;
    (void)depth;
    return make_words(shape, "[true, false]", out, err);
}

static vr_status make_null(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    (void)schema;
    (void)depth;
    return make_words(shape, "[null]", out, err);
}

static const struct {
    const char *type;
    vr_status (*make)(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err);
} types[] = {{"object", make_object}, {"array", make_array},     {"string", make_string}, {"number", make_number},
             {"integer", make_number}, {"boolean", make_boolean}, {"null", make_null}};

static vr_status make(vr_shape *shape, const json_t *schema, int depth, int *out, vr_error *err) {
    const char *type = json_string_value(json_object_get(schema, "type"));
    const json_t *values = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    if (!json_is_object(schema)) return vr_fail(err, VRWKV_ERR_FORMAT, "schema: a part is missing or no object");
    if (depth >= VR_SHAPE_DEPTH) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "schema: deeper than %d", VR_SHAPE_DEPTH);
    VR_TRY(check_keys(schema, err));
    if (values) return make_enum(shape, values, out, err);
    if (only) {
        json_t *list = json_pack("[O]", only);
        vr_status status = make_enum(shape, list, out, err);
        json_decref(list);
        return status;
    }
    for (size_t i = 0; type && i < VR_COUNT(types); i++)
        if (strcmp(types[i].type, type) == 0) return types[i].make(shape, schema, depth, out, err);
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                   "schema: type \"%.40s\", expected object, array, string, number, integer, boolean or null",
                   type ? type : "(none)");
}

vr_status vr_shape_make(vr_shape **out, const json_t *schema, vr_error *err) {
    int root = 0;
    *out = vr_alloc(1, sizeof **out);
    if (!*out) return no_memory(err);
    vr_status status = make(*out, schema, 0, &root, err); /* the first node made is the root */
    if (status == VRWKV_OK) return VRWKV_OK;
    vr_shape_free(*out);
    *out = NULL;
    return status;
}

void vr_shape_free(vr_shape *shape) {
    for (size_t i = 0; shape && i < shape->n; i++) {
        node *own = &shape->nodes[i];
        int texts = own->kind == KIND_OBJECT ? own->n + 1 : own->kind == KIND_ENUM ? own->n : 0;
        for (int k = 0; own->texts && k < texts; k++) free(own->texts[k]);
        free(own->texts);
        free(own->children);
    }
    if (shape) free(shape->nodes);
    free(shape);
}

/* ---- reading ---- */

static void enter(vr_shape_state *state, int which) {
    const node *own = &state->shape->nodes[which];
    uint64_t all = own->kind == KIND_ENUM ? (own->n == 64 ? UINT64_MAX : (UINT64_C(1) << own->n) - 1) : 0;
    state->frames[state->depth++] = (vr_shape_frame){.node = which, .open = all};
}

/* Each reader takes one byte of its value: taken; refused; or the value ended before it, and the byte is
 * for what is around. */
typedef enum taken { TAKEN, REFUSED, BEHIND } taken;

static taken read_object(vr_shape_state *state, vr_shape_frame *f, const node *own, unsigned char byte) {
    const char *text = own->texts[f->phase];
    if ((unsigned char)text[f->at] != byte) return REFUSED;
    if (text[++f->at]) return TAKEN;
    f->at = 0;
    if (f->phase == own->n)
        state->depth--;
    else
        enter(state, own->children[f->phase++]);
    return TAKEN;
}

/* phase 0: before "[", 1: behind it, 2: behind an item, 3: behind a comma */
static taken read_array(vr_shape_state *state, vr_shape_frame *f, const node *own, unsigned char byte) {
    if (f->phase == 0) {
        if (byte != '[') return REFUSED;
        f->phase = 1;
        return TAKEN;
    }
    if (byte == ']' && f->phase < 3 && f->count >= own->low) {
        state->depth--;
        return TAKEN;
    }
    if (f->count >= own->high) return REFUSED;
    if (f->phase == 2) {
        if (byte != ',') return REFUSED;
        f->phase = 3;
        return TAKEN;
    }
    f->phase = 2;
    f->count++;
    enter(state, own->children[0]);
    return vr_shape_push(state, byte) ? TAKEN : REFUSED;
}

/* phase 0: before the quote, 1: inside, 2: behind a backslash, 3 to 6: hex digits to come */
static taken read_string(vr_shape_state *state, vr_shape_frame *f, const node *own, unsigned char byte) {
    bool continues = (byte & 0xC0) == 0x80;
    if (f->phase == 0) {
        f->phase = 1;
        return byte == '"' ? TAKEN : REFUSED;
    }
    if (f->phase == 2) {
        f->phase = byte == 'u' ? 3 : 1;
        return strchr("\"\\/bfnrtu", byte) && byte ? TAKEN : REFUSED;
    }
    if (f->phase > 2) {
        f->phase = f->phase == 6 ? 1 : f->phase + 1;
        return byte && strchr("0123456789abcdefABCDEF", byte) ? TAKEN : REFUSED;
    }
    if (byte == '"') {
        if (f->count < own->low) return REFUSED;
        state->depth--;
        return TAKEN;
    }
    if (byte < 0x20 || byte == 0x7F || (!continues && f->count >= own->high)) return REFUSED;
    f->count += !continues;
    if (byte == '\\') f->phase = 2;
    return TAKEN;
}

/* phase 0: nothing, 1: a minus, 2: a leading zero, 3: digits, 4: a point, 5: digits behind it */
static taken read_number(vr_shape_state *state, vr_shape_frame *f, const node *own, unsigned char byte) {
    bool digit = byte >= '0' && byte <= '9';
    bool whole = f->phase == 2 || f->phase == 3 || f->phase == 5;
    if (f->phase == 0 && byte == '-') {
        f->phase = 1;
        return TAKEN;
    }
    if (digit && f->phase != 2 && f->count < MOST_DIGITS) {
        f->phase = f->phase >= 4 ? 5 : f->phase == 3 || byte != '0' ? 3 : 2;
        f->count++;
        return TAKEN;
    }
    if (byte == '.' && !own->integer && (f->phase == 2 || f->phase == 3) && f->count < MOST_DIGITS) {
        f->phase = 4;
        return TAKEN;
    }
    if (!whole) return REFUSED;
    state->depth--;
    return BEHIND;
}

static bool enum_complete(const node *own, const vr_shape_frame *f) {
    for (int i = 0; i < own->n; i++)
        if (f->open >> i & 1 && !own->texts[i][f->at]) return true;
    return false;
}

static taken read_enum(vr_shape_state *state, vr_shape_frame *f, const node *own, unsigned char byte) {
    uint64_t open = 0;
    bool longer = false;
    for (int i = 0; i < own->n; i++)
        if (f->open >> i & 1 && (unsigned char)own->texts[i][f->at] == byte && byte) open |= UINT64_C(1) << i;
    if (!open) {
        bool complete = enum_complete(own, f);
        if (complete) state->depth--;
        return complete ? BEHIND : REFUSED;
    }
    f->open = open;
    f->at++;
    for (int i = 0; i < own->n; i++) longer |= (open >> i & 1) && own->texts[i][f->at];
    if (!longer) state->depth--;
    return TAKEN;
}

static taken (*const readers[])(vr_shape_state *state, vr_shape_frame *f, const node *own,
                                unsigned char byte) = {[KIND_OBJECT] = read_object,
                                                       [KIND_ARRAY] = read_array,
                                                       [KIND_STRING] = read_string,
                                                       [KIND_NUMBER] = read_number,
                                                       [KIND_ENUM] = read_enum};

void vr_shape_start(vr_shape_state *state, const vr_shape *shape) {
    *state = (vr_shape_state){.shape = shape};
    enter(state, 0);
}

bool vr_shape_push(vr_shape_state *state, unsigned char byte) {
    vr_shape_state before = *state;
    taken result = BEHIND;
    while (result == BEHIND && state->depth > 0) {
        vr_shape_frame *top = &state->frames[state->depth - 1];
        const node *own = &state->shape->nodes[top->node];
        result = readers[own->kind](state, top, own, byte);
    }
    if (result == TAKEN) return true;
    *state = before;
    return false;
}

bool vr_shape_push_all(vr_shape_state *state, const char *bytes, size_t n) {
    vr_shape_state before = *state;
    for (size_t i = 0; i < n; i++) {
        if (vr_shape_push(state, (unsigned char)bytes[i])) continue;
        *state = before;
        return false;
    }
    return true;
}

bool vr_shape_done(const vr_shape_state *state) { return state->depth == 0; }

bool vr_shape_may_end(const vr_shape_state *state) {
    if (state->depth != 1) return state->depth == 0;
    const vr_shape_frame *top = &state->frames[0];
    const node *own = &state->shape->nodes[top->node];
    if (own->kind == KIND_ENUM) return enum_complete(own, top);
    return own->kind == KIND_NUMBER && (top->phase == 2 || top->phase == 3 || top->phase == 5);
}
