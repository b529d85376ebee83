/* Settings and descriptions as JSON: one table of fields serves reading, checking and writing. */
#include "vl/config.h"
#include "base/io.h"
#include "base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vl/config_internal.h"

struct vr_settings { json_t *root; };

typedef enum { INT, FLOAT, TEXT, FLAG, LAYERS, CHANNELS } field_kind;

typedef struct field {
    const char *key;
    field_kind kind;     /* FLAG: int 0 or 1; LAYERS: list of layers, bits of a uint64_t;
                          * CHANNELS: three floats, for red, green and blue */
    size_t offset, size; /* size: of a TEXT buffer */
    bool measured;       /* shapes tell it: a setting must agree */
    bool sparse;         /* not written where it is 0: few towers have it */
} field;

#define INT_OF(key, type, member, measured) {key, INT, offsetof(type, member), 0, measured, false}
#define TEXT_OF(key, member) {key, TEXT, offsetof(vr_config, member), sizeof((vr_config *)0)->member, false, false}
#define SPARSE(key, kind, member, measured) {key, kind, offsetof(vr_tower_dims, member), 0, measured, true}
static const field fields[] = {
    TEXT_OF("version", version),
    TEXT_OF("rwkv", rwkv),
    INT_OF("n_layer", vr_config, lm.n_layer, true),
    INT_OF("n_embd", vr_config, lm.n_embd, true),
    INT_OF("dim_att", vr_config, lm.dim_att, true),
    INT_OF("dim_ffn", vr_config, lm.dim_ffn, true),
    INT_OF("head_size", vr_config, lm.head_size, true),
    INT_OF("vocab_size", vr_config, lm.n_vocab, true),
    INT_OF("rank_mix", vr_config, lm.rank_mix, true),
    INT_OF("rank_decay", vr_config, lm.rank_decay, true),
    INT_OF("rank_iclr", vr_config, lm.rank_iclr, true),
    INT_OF("rank_value", vr_config, lm.rank_value, true),
    INT_OF("rank_gate", vr_config, lm.rank_gate, true),
    INT_OF("head_size_divisor", vr_config, head_size_divisor, false),
    {"norm_eps", FLOAT, offsetof(vr_config, lm.norm_eps), 0, false, false},
    {"group_norm_eps", FLOAT, offsetof(vr_config, lm.group_norm_eps), 0, false, false},
    INT_OF("ctx_len", vr_config, ctx_len, false),
    INT_OF("stop_token", vr_config, stop_token, false),
    INT_OF("pad_token", vr_config, pad_token, false),
    TEXT_OF("scan", scan),
    TEXT_OF("image_position", image_position),
    INT_OF("grid_size", vr_config, grid_size, false),
    INT_OF("num_token_per_image", vr_config, num_token_per_image, false),
    INT_OF("n_vtc_layer", vr_config, n_vtc_layer, false),
    TEXT_OF("proj_type", proj_type),
};
static const field tower_fields[] = {
    INT_OF("image_size", vr_tower_dims, image_size, false), /* describe.c compares it with the position table */
    INT_OF("patch_size", vr_tower_dims, patch_size, true),
    INT_OF("hidden_size", vr_tower_dims, hidden_size, true),
    INT_OF("num_hidden_layers", vr_tower_dims, num_hidden_layers, true),
    INT_OF("num_attention_heads", vr_tower_dims, num_attention_heads, false),
    INT_OF("intermediate_size", vr_tower_dims, intermediate_size, true),
    INT_OF("prefix_tokens", vr_tower_dims, prefix_tokens, false),
    INT_OF("taken_block", vr_tower_dims, taken_block, false),
    INT_OF("resample", vr_tower_dims, resample, false),
    {"layer_norm_eps", FLOAT, offsetof(vr_tower_dims, layer_norm_eps), 0, false, false},
    {"image_mean", CHANNELS, offsetof(vr_tower_dims, image_mean), 0, false, false},
    {"image_std", CHANNELS, offsetof(vr_tower_dims, image_std), 0, false, false},
    SPARSE("positions", INT, positions, true),
    SPARSE("window_size", INT, window_size, true),
    SPARSE("global_attn_indexes", LAYERS, global_attn_indexes, true),
    SPARSE("out_chans", INT, out_chans, true),
    SPARSE("down_sampler", FLAG, down_sampler, false),
};

static const struct { const char *name; vr_act act; } acts[] = {
    {"quick_gelu", VR_ACT_QUICK_GELU}, {"gelu", VR_ACT_GELU}, {"gelu_pytorch_tanh", VR_ACT_GELU_TANH},
    {"gelu (erf)", VR_ACT_GELU}}; /* the first name of a function is the one that is written */

static bool parse_act(const char *name, vr_act *act) {
    for (size_t i = 0; i < VR_COUNT(acts); i++)
        if (strcmp(acts[i].name, name) == 0) {
            *act = acts[i].act;
            return true;
        }
    return false;
}

static const char *act_name(vr_act act) {
    for (size_t i = 0; i < VR_COUNT(acts); i++)
        if (acts[i].act == act) return acts[i].name;
    return "gelu";
}

vr_status vr_settings_parse(vr_settings **out, const char *json, size_t n, vr_error *err) {
    json_error_t error;
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &error);
    *out = NULL;
    if (!root) return vr_fail(err, VRWKV_ERR_FORMAT, "settings: line %d: %s", error.line, error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return vr_fail(err, VRWKV_ERR_FORMAT, "settings: found another JSON value, expected an object");
    }
    *out = vr_alloc(1, sizeof **out);
    if (!*out) {
        json_decref(root);
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    (*out)->root = root;
    return VRWKV_OK;
}

vr_status vr_settings_file(vr_settings **out, const char *path, vr_error *err) {
    vr_map map;
    vr_error inner = {0};
    *out = NULL;
    VR_TRY(vr_map_open(&map, path, false, err));
    vr_status status = vr_settings_parse(out, (const char *)map.data, map.size, &inner);
    vr_map_close(&map);
    return status == VRWKV_OK ? status : vr_fail(err, status, "'%s': %s", path, inner.message);
}

vr_status vr_settings_put(vr_settings **settings, const char *key, const char *value, vr_error *err) {
    if (!*settings) VR_TRY(vr_settings_parse(settings, "{}", 2, err));
    const field *found = NULL;
    for (size_t i = 0; i < VR_COUNT(fields); i++)
        if (strcmp(fields[i].key, key) == 0) found = &fields[i];
    json_t *json = NULL;
    if (found && found->kind != TEXT) {
        char *end;
        double number = strtod(value, &end);
        if (end == value || *end || !(fabs(number) < 1e9) || (found->kind == INT && number != floor(number)))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s: found '%s', expected a %snumber", key, value,
                           found->kind == INT ? "whole " : "");
        json = found->kind == INT ? json_integer((json_int_t)number) : json_real(number);
    } else {
        json = json_string(value);
    }
    if (!json || json_object_set_new((*settings)->root, key, json) != 0)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s: '%s' is no valid text", key, value);
    return VRWKV_OK;
}

void vr_settings_free(vr_settings *settings) {
    if (!settings) return;
    json_decref(settings->root);
    free(settings);
}

json_t *vr_settings_root(const vr_settings *settings) { return settings ? settings->root : NULL; }

static vr_status apply_layers(const field *f, void *at, const json_t *list, vr_error *err) {
    uint64_t old, bits = 0;
    memcpy(&old, at, sizeof old);
    if (!json_is_array(list)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: expected a list of layers", f->key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) >= VR_SAM_MAX_LAYERS)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: item %zu is no layer, expected 0 to %d", f->key, i, VR_SAM_MAX_LAYERS - 1);
        bits |= (uint64_t)1 << json_integer_value(item);
    }
    if (f->measured && old && old != bits)
        return vr_fail(err, VRWKV_ERR_SHAPE, "setting %s names other layers than the checkpoint's shapes", f->key);
    memcpy(at, &bits, sizeof bits);
    return VRWKV_OK;
}

static vr_status apply_channels(const field *f, float *at, const json_t *list, vr_error *err) {
    bool divides = f->offset == offsetof(vr_tower_dims, image_std);
    if (json_array_size(list) != 3)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: expected a list of three numbers, for red, green and blue", f->key);
    for (size_t i = 0; i < 3; i++) {
        double number = json_number_value(json_array_get(list, i));
        if (!json_is_number(json_array_get(list, i)) || fabs(number) > 255 || (divides && number < 1e-3))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: item %zu is no number between %g and 255", f->key, i, divides ? 1e-3 : -255.0);
        at[i] = (float)number;
    }
    return VRWKV_OK;
}

/* Takes one setting over; where the shapes have told the value, it must agree. */
static vr_status apply_field(const field *f, void *base, const json_t *value, vr_error *err) {
    char *at = (char *)base + f->offset;
    if (f->kind == TEXT) {
        if (!json_is_string(value)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: expected text", f->key);
        if (json_string_length(value) >= f->size)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: '%s' is too long", f->key, json_string_value(value));
        memcpy(at, json_string_value(value), json_string_length(value) + 1);
        return VRWKV_OK;
    }
    if (f->kind == LAYERS) return apply_layers(f, at, value, err);
    if (f->kind == CHANNELS) return apply_channels(f, (float *)(void *)at, value, err);
    if (f->kind == FLAG) {
        int flag = json_is_true(value);
        if (!json_is_boolean(value)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: expected true or false", f->key);
        memcpy(at, &flag, sizeof flag);
        return VRWKV_OK;
    }
    if (!json_is_number(value)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: expected a number", f->key);
    if (f->kind == FLOAT) {
        float number = (float)json_number_value(value);
        if (!(number > 0 && number < 1))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: found %g, expected a number between 0 and 1", f->key, (double)number);
        memcpy(at, &number, sizeof number);
        return VRWKV_OK;
    }
    json_int_t wide = json_integer_value(value);
    int number = (int)wide, old;
    memcpy(&old, at, sizeof old);
    if (!json_is_integer(value) || wide < -1 || wide > (1 << 28) || (f->measured && wide < 1))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting %s: found %g, out of range", f->key, json_number_value(value));
    if (f->measured && old > 0 && old != number)
        return vr_fail(err, VRWKV_ERR_SHAPE, "setting %s is %d, but the checkpoint's shapes say %d", f->key, number, old);
    memcpy(at, &number, sizeof number);
    return VRWKV_OK;
}

static vr_status apply_fields(const field *table, size_t n, void *base, const json_t *root, vr_error *err) {
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(root, table[i].key);
        if (value && !json_is_null(value)) VR_TRY(apply_field(&table[i], base, value, err));
    }
    return VRWKV_OK;
}

/* The MLP's width over the tower's: another way to say intermediate_size. */
static vr_status apply_mlp_ratio(vr_tower_dims *dims, double ratio, vr_error *err) {
    double width = ratio * dims->hidden_size;
    if (!(width >= 1 && width < 1 << 28)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "setting mlp_ratio: found %g, out of range", ratio);
    if (dims->intermediate_size > 0 && (int)width != dims->intermediate_size)
        return vr_fail(err, VRWKV_ERR_SHAPE, "setting mlp_ratio %g makes an MLP of %d, but it has %d", ratio, (int)width, dims->intermediate_size);
    dims->intermediate_size = (int)width;
    return VRWKV_OK;
}

/* Whether there is a position table: false stands for no positions. */
static vr_status apply_use_abs_pos(vr_tower_dims *dims, bool use, vr_error *err) {
    if (dims->positions >= 0 && use != (dims->positions > 0))
        return vr_fail(err, VRWKV_ERR_SHAPE, "setting use_abs_pos is %s, but there is %s position table", use ? "true" : "false",
                       dims->positions ? "a" : "no");
    if (!use) dims->positions = 0;
    return VRWKV_OK;
}

/* Settings that are no plain field. */
static vr_status apply_tower_words(vr_tower_dims *dims, const json_t *tower, vr_error *err) {
    const json_t *act = json_object_get(tower, "hidden_act"), *table = json_object_get(tower, "use_abs_pos");
    const json_t *ratio = json_object_get(tower, "mlp_ratio");
    if (json_is_string(act) && !parse_act(json_string_value(act), &dims->hidden_act))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "hidden_act '%s' is unknown", json_string_value(act));
    if (json_is_boolean(table)) VR_TRY(apply_use_abs_pos(dims, json_is_true(table), err));
    return json_is_number(ratio) ? apply_mlp_ratio(dims, json_number_value(ratio), err) : VRWKV_OK;
}

static vr_status apply_tower(vr_config *config, int index, const json_t *tower, vr_error *err) {
    const char *type = json_string_value(json_object_get(tower, "type"));
    const vr_tower_arch *arch = type ? vr_tower_arch_find(type) : NULL;
    vr_error inner = {0};
    if (!arch) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "tower %d: type '%s' is unknown", index + 1, type ? type : "?");
    if (index < config->n_towers && strcmp(config->tower_type[index], arch->type) != 0)
        return vr_fail(err, VRWKV_ERR_SHAPE, "tower %d: settings say '%s', the checkpoint holds '%s'", index + 1, type,
                       config->tower_type[index]);
    vr_tower_dims *dims = &config->towers[index];
    if (index >= config->n_towers) { /* a stored description may leave out what the type tells */
        snprintf(config->tower_type[index], sizeof config->tower_type[index], "%s", arch->type);
        vr_tower_defaults(dims, arch);
    }
    vr_status status = apply_fields(tower_fields, VR_COUNT(tower_fields), dims, tower, &inner);
    if (status == VRWKV_OK) status = apply_tower_words(dims, tower, &inner);
    return status == VRWKV_OK ? status : vr_fail(err, status, "tower %d: %s", index + 1, inner.message);
}

/* "--vit-heads 16" or one number per tower, "16,12". */
static vr_status apply_heads(vr_config *config, const char *list, vr_error *err) {
    for (int i = 0; i < config->n_towers; i++) {
        char *end;
        long heads = strtol(list, &end, 10);
        if (end == list || heads < 1 || heads > 4096 || (*end && *end != ','))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "vit_heads: '%s': expected one number per tower (%d)", list, config->n_towers);
        config->towers[i].num_attention_heads = (int)heads;
        list = *end ? end + 1 : end;
    }
    if (*list)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "vit_heads: '%s' is left over: one number per tower (%d)", list,
                       config->n_towers);
    return VRWKV_OK;
}

vr_status vr_config_apply(vr_config *config, const json_t *root, bool adds_towers, vr_error *err) {
    if (!root) return VRWKV_OK;
    const json_t *towers = json_object_get(root, "towers"), *heads = json_object_get(root, "vit_heads");
    VR_TRY(apply_fields(fields, VR_COUNT(fields), config, root, err));
    size_t n = json_array_size(towers);
    if (n > VR_MAX_TOWERS) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%zu towers, at most %d are possible", n, VR_MAX_TOWERS);
    if (!adds_towers && n && (int)n != config->n_towers)
        return vr_fail(err, VRWKV_ERR_SHAPE, "settings name %zu towers, the checkpoint holds %d", n, config->n_towers);
    for (size_t i = 0; i < n; i++) VR_TRY(apply_tower(config, (int)i, json_array_get(towers, i), err));
    if (json_is_array(towers) && n == 0) config->n_towers = 0; /* the language model alone */
    if (adds_towers && n) config->n_towers = (int)n;
    if (json_is_string(heads)) VR_TRY(apply_heads(config, json_string_value(heads), err));
    return VRWKV_OK;
}

static json_t *layers_json(uint64_t bits) {
    json_t *list = json_array();
    for (int i = 0; i < VR_SAM_MAX_LAYERS; i++)
        if (bits >> i & 1) json_array_append_new(list, json_integer(i));
    return list;
}

/* Round-trips a float, reads well. */
static json_t *float_json(float number) {
    char digits[32];
    snprintf(digits, sizeof digits, "%.9g", (double)number);
    return json_real(strtod(digits, NULL));
}

static json_t *channels_json(const float *numbers) {
    json_t *list = json_array();
    for (int i = 0; i < 3; i++) json_array_append_new(list, float_json(numbers[i]));
    return list;
}

static json_t *field_json(const field *f, const void *at) {
    union { int integer; float number; uint64_t bits; } value = {0};
    if (f->kind == TEXT) return json_string(at);
    if (f->kind == CHANNELS) return channels_json(at);
    memcpy(&value, at, f->kind == LAYERS ? sizeof value.bits : sizeof value.integer);
    if (f->kind == INT) return json_integer(value.integer);
    if (f->kind == FLAG) return json_boolean(value.integer);
    if (f->kind == LAYERS) return layers_json(value.bits);
    return float_json(value.number);
}

static void write_fields(json_t *root, const field *table, size_t n, const void *base) {
    static const char zeros[sizeof(uint64_t)];
    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *)base + table[i].offset;
        size_t size = table[i].kind == LAYERS ? sizeof(uint64_t) : sizeof(int);
        bool may_lack = table[i].sparse || (table[i].kind == INT && table[i].measured); /* a size that this version has not */
        if (may_lack && memcmp(at, zeros, size) == 0) continue;
        json_object_set_new(root, table[i].key, field_json(&table[i], at));
    }
}

char *vr_config_json(const vr_config *config) {
    json_t *root = json_object(), *towers = json_array();
    write_fields(root, fields, VR_COUNT(fields), config);
    for (int i = 0; i < config->n_towers; i++) {
        json_t *tower = json_object();
        json_object_set_new(tower, "type", json_string(config->tower_type[i]));
        write_fields(tower, tower_fields, VR_COUNT(tower_fields), &config->towers[i]);
        json_object_set_new(tower, "hidden_act", json_string(act_name(config->towers[i].hidden_act)));
        if (!config->towers[i].positions) json_object_set_new(tower, "use_abs_pos", json_false());
        json_array_append_new(towers, tower);
    }
    json_object_set_new(root, "towers", towers);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

bool vr_config_has_class_row(const vr_config *config) {
    return config->n_towers == 1 && vr_tower_arch_find(config->tower_type[0])->has_class_row;
}

int vr_config_image_rows(const vr_config *config) {
    if (config->n_towers == 0) return 0;
    int side = vr_tower_side(&config->towers[0]), pooled = 0, tokens = config->num_token_per_image;
    if (vr_config_has_class_row(config)) return vr_grid_rows(side * side, config->grid_size);
    if (vr_is_compressed(config->rules->rows)) return tokens;
    while ((pooled + 1) * (pooled + 1) <= tokens) pooled++;
    return tokens ? pooled * pooled : side * side;
}
