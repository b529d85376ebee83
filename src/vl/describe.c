/* What is in a checkpoint: version, parts and sizes, from its keys and shapes. */
#include "vl/config_internal.h"

#include <stdio.h>
#include <string.h>

#include "vl/load.h"

#define LM_PREFIX "rwkv."
#define VIT_PREFIX "vit."
#define PROJ_PREFIX "proj."

static const vr_entry *find_key(vr_weights *const *files, int n, const char *prefix, const char *key, vr_weights **file) {
    char name[2 * VR_NAME_SIZE];
    for (int with = 1; with >= 0; with--) {
        snprintf(name, sizeof name, "%s%s", with ? prefix : "", key);
        for (int i = 0; i < n; i++) {
            const vr_entry *entry = vr_weights_find(files[i], name);
            if (!entry) continue;
            if (file) *file = files[i];
            return entry;
        }
    }
    return NULL;
}

/* In one file with a layout. Older files of llama.cpp have the fused tensors apart, under the base's names. */
static const vr_entry *find_placed(const vr_layout *layout, const vr_weights *file, const vr_part *part, const vr_row *row,
                                   int layer, vr_place *place) {
    vr_layout base = *layout;
    if (!vr_row_exists(row, layer)) return NULL;
    vr_layout_place(layout, part, row, layer, vr_llama_rescale(layout, file), place);
    const vr_entry *entry = vr_weights_find(file, place->name);
    if (entry || place->change != VR_SLICE) return entry;
    base.n_rows = 0;
    vr_layout_place(&base, part, row, layer, 0, place);
    return vr_weights_find(file, place->name);
}

const vr_entry *vr_config_find(vr_weights *const *files, int n, const vr_part *part, const vr_row *row, int layer,
                               vr_found *out) {
    char name[VR_NAME_SIZE];
    *out = (vr_found){0};
    for (int i = 0; i < n; i++) {
        const vr_layout *layout = vr_layout_of(files[i]);
        if (!layout) continue;
        out->file = files[i];
        out->entry = find_placed(layout, files[i], part, row, layer, &out->place);
        if (out->entry) return out->entry;
    }
    out->place = (vr_place){0};
    out->entry = find_key(files, n, part->prefix, vr_row_name(row->key, layer, name), &out->file);
    return out->entry;
}

/* The entry that a measure speaks of, and its shape in the checkpoint's order. `rows`, where given, tell
 * how a layout keeps it. */
static const vr_entry *find_measured(vr_weights *const *files, int n, const char *prefix, const vr_row *rows, int n_rows,
                                     const char *key, int64_t shape[VR_MAX_DIMS]) {
    const vr_entry *entry = find_key(files, n, prefix, key, NULL);
    vr_part part = {.prefix = prefix, .gguf_prefix = ""};
    char name[VR_NAME_SIZE];
    vr_found found;
    int layer = 0;
    sscanf(key, "blocks.%d.", &layer);
    if (entry) memcpy(shape, entry->shape, sizeof entry->shape);
    for (int r = 0; r < n_rows; r++) {
        if (strcmp(vr_row_name(rows[r].key, layer, name), key) != 0) continue;
        entry = vr_config_find(files, n, &part, &rows[r], layer, &found);
        if (!entry) return NULL;
        memcpy(shape, entry->shape, sizeof entry->shape);
        if (found.place.model_order && rows[r].transform == VR_TRANSPOSED) vr_swap_axes(entry->ndim, shape);
        break;
    }
    return entry;
}

static vr_status measure(vr_weights *const *files, int n, const char *prefix, const vr_row *rows, int n_rows,
                         const vr_measure *measures, int n_measures, void *base, vr_error *err) {
    for (int i = 0; i < n_measures; i++) {
        const vr_measure *m = &measures[i];
        int64_t shape[VR_MAX_DIMS];
        const vr_entry *entry = find_measured(files, n, prefix, rows, n_rows, m->key, shape);
        if (!entry) return vr_fail(err, VRWKV_ERR_SHAPE, "the checkpoint has no '%s%s'", prefix, m->key);
        int64_t size = m->axis < entry->ndim ? shape[m->axis] / m->divisor : 0;
        char text[80];
        if (size < 1 || size > (1 << 28))
            return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has shape %s: axis %d cannot be used", entry->name,
                           vr_shape_text(entry->ndim, shape, text, sizeof text), m->axis);
        int value = (int)size;
        memcpy((char *)base + m->offset, &value, sizeof value);
    }
    return VRWKV_OK;
}

static int count_layers(vr_weights *const *files, int n, const char *prefix, const char *key) {
    char name[VR_NAME_SIZE];
    int layers = 0;
    while (find_key(files, n, prefix, vr_row_name(key, layers, name), NULL)) layers++;
    return layers;
}

static vr_status missing(vr_weights *const *files, int n, vr_error *err) {
    char wanted[600] = "";
    size_t at = 0;
    for (int i = 0; vr_rwkv_arch_at(i); i++) {
        const vr_rwkv_arch *arch = vr_rwkv_arch_at(i);
        int wrote = snprintf(wanted + at, sizeof wanted - at, "%s'%s' (RWKV %s)", i ? ", " : "", arch->signature, arch->name);
        at += wrote > 0 && (size_t)wrote < sizeof wanted - at ? (size_t)wrote : 0;
    }
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                   "'%s' (%zu tensors) is no model that this program knows: with or without the prefix '" LM_PREFIX
                   "' it has neither 'emb.weight' and %s",
                   vr_weights_path(files[0]), n ? vr_weights_count(files[0]) : 0, wanted);
}

/* Versions of RWKV that are known and not run, told from those that are by the keys of layer 0. */
static const struct {
    const char *name, *key, *without; /* has the one key, and not the other (NULL: whatever else) */
    bool per_head;                    /* and `key` holds one number per head, not one per channel */
} refused[] = {
    {"RWKV-4", "blocks.0.att.time_mix_k", "blocks.0.att.ln_x.weight", false},
    {"RWKV-5.0", "blocks.0.att.time_mix_k", "blocks.0.att.gate.weight", false},
    {"RWKV-5.1", "blocks.0.att.time_decay", "blocks.0.att.time_maa_x", true},
    {"RWKV-7 with DeepEmbed", "blocks.0.ffn.s_emb.weight", NULL, false},
};

static vr_status refuse_by_name(vr_weights *const *files, int n, vr_error *err) {
    for (size_t i = 0; i < VR_COUNT(refused); i++) {
        char text[80];
        const vr_entry *entry = find_key(files, n, LM_PREFIX, refused[i].key, NULL);
        if (!entry || (refused[i].without && find_key(files, n, LM_PREFIX, refused[i].without, NULL))) continue;
        if (refused[i].per_head && entry->ndim > 1 && entry->shape[1] > 1) continue;
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is %s, which is not supported ('%s' has shape %s%s%s%s)",
                       vr_weights_path(files[0]), refused[i].name, entry->name,
                       vr_shape_text(entry->ndim, entry->shape, text, sizeof text),
                       refused[i].without ? ", there is no '" : "", refused[i].without ? refused[i].without : "",
                       refused[i].without ? "'" : "");
    }
    return VRWKV_OK;
}

static vr_status describe_language(vr_config *config, vr_weights *const *files, int n, vr_error *err) {
    static const vr_measure outer[] = {
        {"emb.weight", 0, 1, offsetof(vr_rwkv_dims, n_vocab)},
        {"emb.weight", 1, 1, offsetof(vr_rwkv_dims, n_embd)},
    };
    const vr_rwkv_arch *arch = NULL;
    for (int i = 0; i < n; i++) {
        const vr_layout *layout = vr_layout_of(files[i]);
        if (layout && layout->architecture) return vr_llama_describe(config, layout, files[i], err);
        if (!layout && vr_weights_kind(files[i]) == VR_FILE_RWKV_CPP) return vr_rwkv_cpp_refuse(files[i], err);
        if (!layout) continue;
        arch = vr_rwkv_arch_find(layout->rwkv);
        config->lm.group_norm_eps = layout->group_norm_eps;
        if (!arch)
            return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "'%s' is %s, which is not supported", vr_weights_path(files[i]), layout->name);
    }
    VR_TRY(refuse_by_name(files, n, err));
    for (int i = 0; !arch && vr_rwkv_arch_at(i); i++)
        if (find_key(files, n, LM_PREFIX, vr_rwkv_arch_at(i)->signature, NULL)) arch = vr_rwkv_arch_at(i);
    if (!arch || !find_key(files, n, LM_PREFIX, "emb.weight", NULL)) return missing(files, n, err);
    VR_TRY(measure(files, n, LM_PREFIX, NULL, 0, outer, VR_COUNT(outer), &config->lm, err));
    VR_TRY(measure(files, n, LM_PREFIX, arch->rows, arch->n_rows, arch->measures, arch->n_measures, &config->lm, err));
    config->lm.n_layer = count_layers(files, n, LM_PREFIX, "blocks.%d.ln1.weight");
    if (config->lm.n_layer > 1)
        VR_TRY(measure(files, n, LM_PREFIX, arch->rows, arch->n_rows, arch->later_measures, arch->n_later_measures,
                       &config->lm, err));
    snprintf(config->rwkv, sizeof config->rwkv, "%s", arch->name);
    return VRWKV_OK;
}

static vr_status describe_tower(vr_config *config, const vr_tower_arch *arch, vr_weights *const *files, int n, vr_error *err) {
    static const struct { int hidden, heads; } known[] = {{768, 12}, {1024, 16}, {1152, 16}, {1280, 16}};
    vr_tower_dims *dims = &config->towers[config->n_towers];
    VR_TRY(measure(files, n, VIT_PREFIX, NULL, 0, arch->measures, arch->n_measures, dims, err));
    dims->num_hidden_layers = count_layers(files, n, VIT_PREFIX, arch->layer_key);
    int side = vr_scan_side(dims->positions - (arch->has_class_row ? 1 : 0));
    if (side == 0)
        return vr_fail(err, VRWKV_ERR_SHAPE, "%s: %d positions make no square grid", arch->type, dims->positions);
    dims->image_size = side * dims->patch_size;
    dims->layer_norm_eps = arch->layer_norm_eps;
    vr_act_parse(arch->hidden_act, &dims->hidden_act);
    for (size_t i = 0; i < VR_COUNT(known); i++)
        if (known[i].hidden == dims->hidden_size) dims->num_attention_heads = known[i].heads;
    snprintf(config->tower_type[config->n_towers++], sizeof config->tower_type[0], "%s", arch->type);
    return VRWKV_OK;
}

static vr_status describe_checkpoint(vr_config *config, vr_weights *const *files, int n, vr_error *err) {
    VR_TRY(describe_language(config, files, n, err));
    for (int i = 0; vr_tower_arch_at(i); i++)
        if (find_key(files, n, VIT_PREFIX, vr_tower_arch_at(i)->signature, NULL) && config->n_towers < VR_MAX_TOWERS)
            VR_TRY(describe_tower(config, vr_tower_arch_at(i), files, n, err));
    if (config->n_towers && !find_key(files, n, PROJ_PREFIX, "weight", NULL))
        return vr_fail(err, VRWKV_ERR_SHAPE, "the checkpoint has a vision tower but no '" PROJ_PREFIX "weight'");
    return VRWKV_OK;
}

static void set_defaults(vr_config *config) {
    config->head_size_divisor = 8;
    config->lm.norm_eps = 1e-5f;
    config->ctx_len = 2048;
    config->stop_token = 261;
    config->grid_size = -1;
    snprintf(config->image_position, sizeof config->image_position, "middle");
}

/* What shapes would have told must stand in a description without shapes. */
static vr_status check_measured(const vr_measure *rows, int n, const void *base, const char *part, vr_error *err) {
    for (int i = 0; i < n; i++) {
        int value;
        memcpy(&value, (const char *)base + rows[i].offset, sizeof value);
        if (value < 1)
            return vr_fail(err, VRWKV_ERR_FORMAT, "the description of %s lacks the size that axis %d of '%s' has", part, rows[i].axis, rows[i].key);
    }
    return VRWKV_OK;
}

/* Everything that the code relies on later, whatever the source. */
static vr_status check(vr_config *config, vr_error *err) {
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(config->rwkv);
    const vr_rwkv_dims *lm = &config->lm;
    vr_position position;
    if (!arch) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "RWKV version '%s' is not supported", config->rwkv);
    if (lm->n_layer < 1 || lm->n_embd < 1 || lm->dim_att < 1 || lm->dim_ffn < 1 || lm->n_vocab < 1 || lm->head_size < 1)
        return vr_fail(err, VRWKV_ERR_FORMAT, "the description lacks a size: n_layer %d, n_embd %d, dim_att %d, dim_ffn %d, vocab_size %d, head_size %d",
                       lm->n_layer, lm->n_embd, lm->dim_att, lm->dim_ffn, lm->n_vocab, lm->head_size);
    VR_TRY(check_measured(arch->measures, arch->n_measures, lm, arch->name, err));
    if (lm->n_layer > 1) VR_TRY(check_measured(arch->later_measures, arch->n_later_measures, lm, arch->name, err));
    if (lm->dim_att % lm->head_size)
        return vr_fail(err, VRWKV_ERR_SHAPE, "dim_att %d is no multiple of head_size %d", lm->dim_att, lm->head_size);
    if (!vr_scan_find(config->scan)) return vr_fail(err, VRWKV_ERR_ARGUMENT, "scan '%s' is unknown", config->scan);
    if (!vr_position_parse(config->image_position, &position))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "image position '%s' is unknown (first, last, middle)", config->image_position);
    if (config->ctx_len < 1) return vr_fail(err, VRWKV_ERR_ARGUMENT, "ctx_len %d is too small", config->ctx_len);
    for (int i = 0; i < config->n_towers; i++) {
        const vr_tower_dims *t = &config->towers[i];
        if (t->image_size < 1 || t->patch_size < 1 || t->image_size < t->patch_size || t->hidden_size < 1 ||
            t->image_size > 16384 || t->num_hidden_layers < 1 || t->intermediate_size < 1)
            return vr_fail(err, VRWKV_ERR_SHAPE, "tower %s: image_size %d, patch_size %d, hidden_size %d, layers %d, intermediate_size %d cannot be",
                           config->tower_type[i], t->image_size, t->patch_size, t->hidden_size, t->num_hidden_layers, t->intermediate_size);
        if (t->num_attention_heads < 1 || t->hidden_size % t->num_attention_heads)
            return vr_fail(err, VRWKV_ERR_ARGUMENT,
                           "tower %s: %d attention heads for a width of %d; say how many with --vit-heads",
                           config->tower_type[i], t->num_attention_heads, t->hidden_size);
    }
    if (config->n_towers && vr_config_image_rows(config) < 1)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "grid_size %d is larger than the tower's grid of %d", config->grid_size,
                       config->towers[0].image_size / config->towers[0].patch_size);
    return VRWKV_OK;
}

static vr_status apply_stored(vr_config *config, const char *text, size_t n, vr_error *err) {
    vr_settings *stored = NULL;
    VR_TRY(vr_settings_parse(&stored, text, n, err));
    vr_status status = vr_config_apply(config, vr_settings_root(stored), true, err);
    vr_settings_free(stored);
    return status;
}

/* What follows from the rest, and the last look at all of it. */
static vr_status complete(vr_config *config, vr_error *err) {
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(config->rwkv);
    if (arch && !config->scan[0]) snprintf(config->scan, sizeof config->scan, "%s", arch->scan);
    if (config->lm.group_norm_eps == 0)
        config->lm.group_norm_eps = 1e-5f * (float)(config->head_size_divisor * config->head_size_divisor);
    VR_TRY(check(config, err));
    if (config->n_towers == 0)
        config->version[0] = 0;
    else if (!config->version[0])
        snprintf(config->version, sizeof config->version, "%s", arch->version);
    return VRWKV_OK;
}

vr_status vr_config_parse(vr_config *out, const char *json, size_t n, vr_error *err) {
    vr_config config = {0};
    set_defaults(&config);
    VR_TRY(apply_stored(&config, json, n, err));
    VR_TRY(complete(&config, err));
    *out = config;
    return VRWKV_OK;
}

vr_status vr_config_describe(vr_config *out, vr_weights *const *files, int n, const vr_settings *settings, vr_error *err) {
    const vr_meta *stored = NULL;
    vr_config config = {0};
    set_defaults(&config);
    for (int i = 0; i < n; i++) {
        const vr_meta *meta = vr_weights_meta(files[i], "vrwkv.config");
        if (meta && meta->type == VR_META_STRING && (!stored || strstr(meta->string, "\"type\""))) stored = meta;
        if (!vr_layout_of(files[i]) && vr_weights_kind(files[i]) == VR_FILE_GGUF) {
            static const char shown[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
            const vr_meta *architecture = vr_weights_meta(files[i], "general.architecture");
            bool clean = architecture && architecture->string && strspn(architecture->string, shown) == architecture->n_bytes;
            return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                           "'%s' is a GGUF file of architecture '%.40s' without 'vrwkv.config', expected one of vrwkv convert, or "
                           "rwkv6 or rwkv7 of llama.cpp",
                           vr_weights_path(files[i]), clean ? architecture->string : "?");
        }
    }
    if (stored)
        VR_TRY(apply_stored(&config, stored->string, stored->n_bytes, err));
    else
        VR_TRY(describe_checkpoint(&config, files, n, err));
    VR_TRY(vr_config_apply(&config, vr_settings_root(settings), false, err));
    VR_TRY(complete(&config, err));
    *out = config;
    return VRWKV_OK;
}

int vr_config_parts(const vr_config *config, vr_part parts[VR_MAX_PARTS]) {
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(config->rwkv);
    vr_dims lm = {{0}}, projector = {{0}};
    int n = 0;
    vr_rwkv_letters(&lm, arch, &config->lm);
    parts[n++] = (vr_part){"rwkv", LM_PREFIX, "", vr_rwkv_outer_rows, vr_rwkv_n_outer_rows, 1, NULL, 0, lm, NULL, NULL};
    parts[n++] = (vr_part){"rwkv", LM_PREFIX, "", arch->rows, arch->n_rows, config->lm.n_layer, NULL, arch->layer_size, lm, NULL, NULL};
    projector.size['D' - 'A'] = config->lm.n_embd;
    for (int i = 0; i < config->n_towers; i++) {
        const vr_tower_arch *tower = vr_tower_arch_find(config->tower_type[i]);
        vr_dims dims = {{0}};
        vr_tower_letters(&dims, &config->towers[i]);
        parts[n++] = (vr_part){"vision", VIT_PREFIX, "", tower->outer_rows, tower->n_outer_rows, 1, NULL, 0, dims, NULL, NULL};
        parts[n++] = (vr_part){"vision", VIT_PREFIX, "", tower->layer_rows, tower->n_layer_rows, config->towers[i].num_hidden_layers,
                               NULL, tower->layer_size, dims, tower->at_layer, &config->towers[i]};
        projector.size['C' - 'A'] += config->towers[i].hidden_size;
    }
    if (config->n_towers)
        parts[n++] = (vr_part){"projector", PROJ_PREFIX, "", vr_projector_rows, vr_projector_n_rows, 1, NULL, 0, projector, NULL, NULL};
    return n;
}
