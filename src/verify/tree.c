#include "verify/tree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Puts a step of the path in front of the reason. */
static void at_step(const char *step, char *why, size_t size) {
    char rest[1024];
    snprintf(rest, sizeof rest, "%s", why);
    snprintf(why, size, "%.64s%s%s", step, rest[0] == '[' || rest[0] == ':' ? "" : ".", rest);
}

static void show(const json_t *value, char *out, size_t size) {
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    snprintf(out, size, "%.120s", text ? text : "nothing");
    free(text);
}

static bool differ(const json_t *found, const json_t *expected, char *why, size_t size) {
    char a[128], b[128];
    show(found, a, sizeof a);
    show(expected, b, sizeof b);
    snprintf(why, size, ": %s, expected %s", a, b);
    return false;
}

static bool same_list(const json_t *found, const json_t *expected, double bound, char *why, size_t size) {
    size_t i;
    const json_t *item;
    if (!json_is_array(found) || json_array_size(found) != json_array_size(expected)) {
        snprintf(why, size, ": %zu entries, expected %zu", json_array_size(found), json_array_size(expected));
        return false;
    }
    json_array_foreach(expected, i, item) {
        char step[24];
        if (vr_same_json(json_array_get(found, i), item, bound, why, size)) continue;
        snprintf(step, sizeof step, "[%zu]", i);
        at_step(step, why, size);
        return false;
    }
    return true;
}

bool vr_same_json(const json_t *found, const json_t *expected, double bound, char *why, size_t size) {
    const char *key;
    json_t *value;
    if (json_is_number(expected) && json_is_number(found)) {
        double a = json_number_value(found), b = json_number_value(expected);
        return fabs(a - b) <= bound * fmax(fabs(b), 1e-300) || a == b || differ(found, expected, why, size);
    }
    if (json_is_array(expected)) return same_list(found, expected, bound, why, size);
    if (!json_is_object(expected) || !json_is_object(found))
        return json_equal((json_t *)found, (json_t *)expected) || differ(found, expected, why, size);
    json_object_foreach((json_t *)expected, key, value) {
        if (vr_same_json(json_object_get(found, key), value, bound, why, size)) continue;
        at_step(key, why, size);
        return false;
    }
    return true;
}
