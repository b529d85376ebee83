/* What is in a checkpoint: version, parts and sizes, from its keys and shapes. */
#include "vl/config_internal.h"

#include <stdio.h>
#include <string.h>

#include "vl/load.h"

#define LM_PREFIX "rwkv."
#define VIT_PREFIX "vit."
#define PROJ_PREFIX "proj."
#define VTC_PREFIX "vtc."

/* By the whole prefix, then by what is left of it after each of its points: "vit.vision_model.",
 * "vision_model.", "". */
static const vr_entry *find_key(vr_weights *const *files, int n, const char *prefix, const char *key, vr_weights **file) {
    char name[2 * VR_NAME_SIZE];
    for (const char *left = prefix;; left = strchr(left, '.') + 1) {
        snprintf(name, sizeof name, "%s%s", left, key);
        for (int i = 0; i < n; i++) {
            const vr_entry *entry = vr_weights_find(files[i], name);
            if (!entry) continue;
            if (file) *file = files[i];
            return entry;
        }
        if (!*left) return NULL;
    }
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
    if (!out->entry && part->else_prefix) out->entry = find_key(files, n, part->else_prefix, name, &out->file);
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

typedef struct checkpoint { /* of one tower, as vr_tower_arch.from_shapes asks for it */
    vr_weights *const *files;
    int n;
    const char *prefix;
} checkpoint;

static int shape_of(const void *from, const char *key, int64_t shape[VR_MAX_DIMS]) {
    const checkpoint *c = from;
    const vr_entry *entry = find_key(c->files, c->n, c->prefix, key, NULL);
    if (entry) memcpy(shape, entry->shape, sizeof entry->shape);
    return entry ? entry->ndim : 0;
}

static vr_status describe_tower(vr_config *config, const vr_tower_arch *arch, vr_weights *const *files, int n, vr_error *err) {
    static const struct { int hidden, heads; } known[] = {{768, 12}, {1024, 16}, {1152, 16}, {1280, 16}};
    vr_tower_dims *dims = &config->towers[config->n_towers];
    vr_tower_defaults(dims, arch);
    VR_TRY(measure(files, n, arch->prefix, NULL, 0, arch->measures, arch->n_measures, dims, err));
    dims->num_hidden_layers = count_layers(files, n, arch->prefix, arch->layer_key);
    for (size_t i = 0; i < VR_COUNT(known); i++)
        if (known[i].hidden == dims->hidden_size) dims->num_attention_heads = known[i].heads;
    if (dims->positions > 0) vr_tower_set_side(dims, vr_square_side(dims->positions - (arch->has_class_row ? 1 : 0)));
    if (arch->from_shapes) arch->from_shapes(dims, shape_of, &(checkpoint){files, n, arch->prefix});
    snprintf(config->tower_type[config->n_towers++], sizeof config->tower_type[0], "%s", arch->type);
    return VRWKV_OK;
}

#define RELEASED_SIDE 32

static void describe_projector(vr_config *config, vr_weights *const *files, int n) {
    int64_t channels = 0;
    for (int i = 0; i < config->n_towers; i++) channels += vr_tower_width(&config->towers[i]);
    const vr_entry *first = find_key(files, n, PROJ_PREFIX, "proj.weight", NULL);
    bool two_views = first && first->ndim == 2 && first->shape[1] == 2 * channels;
    for (int i = 0; vr_projector_at(i); i++) {
        if (!find_key(files, n, PROJ_PREFIX, vr_projector_at(i)->signature, NULL)) continue;
        if (vr_projector_at(i)->views > 1 && !two_views) continue;
        snprintf(config->proj_type, sizeof config->proj_type, "%s", vr_projector_at(i)->type);
        return;
    }
    config->no_projector = true;
}

/* Towers with tables of different grids stand side by side once those whose tables can be resampled take
 * the grid of the one that cannot, or that of all released models. */
static void align_grids(vr_config *config) {
    int side = RELEASED_SIDE;
    for (int i = 0; i < config->n_towers; i++)
        if (!vr_tower_arch_find(config->tower_type[i])->any_grid) side = vr_tower_side(&config->towers[i]);
    for (int i = 0; i < config->n_towers; i++)
        if (vr_tower_arch_find(config->tower_type[i])->any_grid) vr_tower_set_side(&config->towers[i], side);
}

/* Towers, projector, compressor. */
static vr_status describe_vision(vr_config *config, vr_weights *const *files, int n, vr_error *err) {
    for (int i = 0; vr_tower_arch_at(i); i++)
        if (find_key(files, n, VIT_PREFIX, vr_tower_arch_at(i)->signature, NULL) && config->n_towers < VR_MAX_TOWERS)
            VR_TRY(describe_tower(config, vr_tower_arch_at(i), files, n, err));
    for (int i = 1; i < config->n_towers; i++)
        if (vr_tower_side(&config->towers[i]) != vr_tower_side(&config->towers[0])) align_grids(config);
    if (config->n_towers) describe_projector(config, files, n);
    config->n_vtc_layer = count_layers(files, n, "", VTC_PREFIX "blocks.%d.ln1.weight");
    return VRWKV_OK;
}

#define UNSET (-1)

static void set_defaults(vr_config *config) {
    config->head_size_divisor = 8;
    config->lm.norm_eps = 1e-5f;
    config->ctx_len = 2048;
    config->stop_token = 261;
    config->grid_size = -1;
    config->pad_token = UNSET;
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

/* Pooling, projector and compressor fit the towers. */
static vr_status check_picture(const vr_config *config, vr_error *err) {
    int side = vr_tower_side(&config->towers[0]);
    for (int i = 1; i < config->n_towers; i++)
        if (vr_tower_side(&config->towers[i]) != side || vr_tower_arch_find(config->tower_type[i])->has_class_row)
            return vr_fail(err, VRWKV_ERR_SHAPE, "tower %s has a grid of %d x %d, the first tower one of %d x %d: their channels cannot stand side by side",
                           config->tower_type[i], vr_tower_side(&config->towers[i]), vr_tower_side(&config->towers[i]), side, side);
    if (!vr_projector_find(config->proj_type))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "projector '%s' is unknown (linear, mlp, gated, relu)", config->proj_type);
    if (vr_config_image_rows(config) < 1)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "grid_size %d, num_token_per_image %d: no rows of a picture with a grid of %d x %d",
                       config->grid_size, config->num_token_per_image, side, side);
    if ((config->rules->rows == VR_ROWS_OVERLAID) != (vr_projector_find(config->proj_type)->views == 2) ||
        (config->rules->rows == VR_ROWS_OVERLAID && side % 2))
        return vr_fail(err, VRWKV_ERR_SHAPE, "projector '%s' on a grid of %d x %d does not fit version %s", config->proj_type, side, side,
                       config->rules->name);
    if (vr_is_compressed(config->rules->rows) != (config->n_vtc_layer > 0))
        return vr_fail(err, VRWKV_ERR_SHAPE, "version %s %s a compressor, the checkpoint has one of %d layers", config->rules->name,
                       config->n_vtc_layer > 0 ? "has no" : "needs", config->n_vtc_layer);
    return VRWKV_OK;
}

/* The position table fits the picture, or can be resampled to it. */
static vr_status check_positions(const vr_tower_dims *t, const vr_tower_arch *arch, vr_error *err) {
    int side = t->image_size / t->patch_size, cells = t->positions - (arch->has_class_row ? 1 : 0), table = vr_square_side(cells);
    if (t->positions == 0 && arch->has_neck) return VRWKV_OK; /* relative positions are enough */
    if (cells < 1 || table * table != cells)
        return vr_fail(err, VRWKV_ERR_SHAPE, "tower %s: %d positions make no square grid", arch->type, t->positions);
    if (table != side && !arch->any_grid)
        return vr_fail(err, VRWKV_ERR_SHAPE, "tower %s: image_size %d makes a grid of %d x %d, its position table is %d x %d", arch->type,
                       t->image_size, side, side, table, table);
    return VRWKV_OK;
}

static vr_status check_neck(const vr_tower_dims *t, const vr_tower_arch *arch, vr_error *err) {
    bool some = t->window_size || t->out_chans || t->down_sampler || t->global_attn_indexes;
    if (some && !arch->has_neck)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "tower %s: settings of windows or a neck, which this type does not have", arch->type);
    if (t->window_size < 0 || t->window_size > 4096 || (t->window_size && t->num_hidden_layers > VR_SAM_MAX_LAYERS))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "tower %s: windows of %d in %d layers, expected at most 4096 in at most %d", arch->type,
                       t->window_size, t->num_hidden_layers, VR_SAM_MAX_LAYERS);
    if (t->num_hidden_layers < VR_SAM_MAX_LAYERS && t->global_attn_indexes >> t->num_hidden_layers)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "tower %s: global_attn_indexes names layers beyond the %d", arch->type, t->num_hidden_layers);
    if (t->down_sampler && t->image_size / t->patch_size % 2)
        return vr_fail(err, VRWKV_ERR_SHAPE, "tower %s: a grid of %d x %d, but the down-sampler needs an even one", arch->type,
                       t->image_size / t->patch_size, t->image_size / t->patch_size);
    return VRWKV_OK;
}

/* Sizes that no shape has told, and what the forward pass relies on. */
static vr_status check_tower(const vr_tower_dims *t, const vr_tower_arch *arch, vr_error *err) {
    VR_TRY(check_measured(arch->measures, arch->n_measures, t, arch->type, err));
    if (t->image_size < 1 || t->patch_size < 1 || t->image_size < t->patch_size || t->image_size > VR_MAX_PIXELS || t->num_hidden_layers < 1)
        return vr_fail(err, VRWKV_ERR_SHAPE, "tower %s: image_size %d, patch_size %d, hidden_size %d, layers %d, intermediate_size %d cannot be",
                       arch->type, t->image_size, t->patch_size, t->hidden_size, t->num_hidden_layers, t->intermediate_size);
    if (t->num_attention_heads < 1 || t->hidden_size % t->num_attention_heads)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "tower %s: %d attention heads for a width of %d; say how many with --vit-heads",
                       arch->type, t->num_attention_heads, t->hidden_size);
    if (t->taken_block < 0 || t->taken_block >= t->num_hidden_layers)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "tower %s: taken_block %d, expected one of the %d layers", arch->type, t->taken_block,
                       t->num_hidden_layers);
    bool registers = arch->prefix_tokens && !arch->has_class_row; /* any number of them behind a class row */
    if (registers ? t->prefix_tokens < 1 || t->prefix_tokens > 1 << 16 : t->prefix_tokens != arch->prefix_tokens)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "tower %s: prefix_tokens %d cannot be", arch->type, t->prefix_tokens);
    if (t->resample != 2 && t->resample != 3)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "tower %s: resample %d, expected 2 (bilinear) or 3 (bicubic)", arch->type, t->resample);
    VR_TRY(check_neck(t, arch, err));
    return check_positions(t, arch, err);
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
    if (!vr_scan_find(config->scan)) return vr_scan_unknown(config->scan, err);
    if (!vr_position_parse(config->image_position, &position))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "image position '%s' is unknown (first, last, middle)", config->image_position);
    if (config->ctx_len < 1) return vr_fail(err, VRWKV_ERR_ARGUMENT, "ctx_len %d is too small", config->ctx_len);
    for (int i = 0; i < config->n_towers; i++) VR_TRY(check_tower(&config->towers[i], vr_tower_arch_find(config->tower_type[i]), err));
    if (config->n_towers) VR_TRY(check_picture(config, err));
    return VRWKV_OK;
}

static vr_status apply_stored(vr_config *config, const char *text, size_t n, vr_error *err) {
    vr_settings *stored = NULL;
    VR_TRY(vr_settings_parse(&stored, text, n, err));
    vr_status status = vr_config_apply(config, vr_settings_root(stored), true, err);
    vr_settings_free(stored);
    return status;
}

/* The version's row: as named, else the one with these parts. */
static vr_status choose_rules(vr_config *config, vr_error *err) {
    char towers[VR_MAX_TOWERS * 17] = "";
    for (int i = 0; i < config->n_towers; i++) {
        size_t at = strlen(towers);
        snprintf(towers + at, sizeof towers - at, "%s%s", i ? "," : "", config->tower_type[i]);
    }
    config->rules = config->version[0] ? vr_version_find(config->version) : NULL;
    bool in_words = strchr(config->version, ' ') != NULL; /* "v7 language model" names no version */
    if (config->version[0] && !config->rules && config->n_towers && !in_words)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "version '%s' is unknown", config->version);
    if (config->rules && strcmp(config->rules->rwkv, config->rwkv) != 0)
        return vr_fail(err, VRWKV_ERR_SHAPE, "version %s is a model of RWKV %s, the checkpoint is one of %s", config->version,
                       config->rules->rwkv, config->rwkv);
    if (!config->rules) config->rules = vr_version_detect(config->rwkv, towers, config->n_vtc_layer > 0, config->proj_type);
    if (!config->rules) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "RWKV version '%s' is not supported", config->rwkv);
    snprintf(config->version, sizeof config->version, "%s", config->n_towers ? config->rules->name : "");
    return VRWKV_OK;
}

/* What follows from the rest, and the last look at all of it. */
static vr_status complete(vr_config *config, vr_error *err) {
    if (config->head_size_divisor < 1 || config->head_size_divisor > 256) /* its square times 1e-5 stays below 1 */
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "head_size_divisor is %d, expected 1 to 256", config->head_size_divisor);
    if (config->lm.group_norm_eps == 0)
        config->lm.group_norm_eps = 1e-5f * (float)(config->head_size_divisor * config->head_size_divisor);
    for (int i = 0; i < config->n_towers; i++) vr_tower_complete(&config->towers[i], vr_tower_arch_find(config->tower_type[i]));
    bool stored = config->n_towers && !config->proj_type[0] && !config->no_projector; /* in a file before there were others */
    if (stored) snprintf(config->proj_type, sizeof config->proj_type, "linear");
    VR_TRY(choose_rules(config, err));
    const vr_version *rules = config->rules;
    if (config->no_projector && !config->proj_type[0])
        snprintf(config->proj_type, sizeof config->proj_type, "%s", rules->new_projector ? rules->new_projector : "linear");
    if (!config->scan[0]) snprintf(config->scan, sizeof config->scan, "%s", rules->scan);
    if (!config->image_position[0]) snprintf(config->image_position, sizeof config->image_position, "%s", rules->image_position);
    if (config->pad_token == UNSET) config->pad_token = rules->pad_token;
    if (config->num_token_per_image < 1) config->num_token_per_image = rules->num_token_per_image;
    return check(config, err);
}

vr_status vr_config_parse(vr_config *out, const char *json, size_t n, vr_error *err) {
    vr_config config = {0};
    set_defaults(&config);
    VR_TRY(apply_stored(&config, json, n, err));
    VR_TRY(complete(&config, err));
    *out = config;
    return VRWKV_OK;
}

vr_status vr_config_make(vr_config *out, const vr_settings *description, const vr_settings *settings, vr_error *err) {
    vr_config config = {0};
    set_defaults(&config);
    VR_TRY(vr_config_apply(&config, vr_settings_root(description), true, err));
    VR_TRY(vr_config_apply(&config, vr_settings_root(settings), false, err));
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
        VR_TRY(describe_language(&config, files, n, err));
    if (!config.n_towers) VR_TRY(describe_vision(&config, files, n, err)); /* a language model's GGUF may have a tower's file beside it */
    VR_TRY(vr_config_apply(&config, vr_settings_root(settings), false, err));
    VR_TRY(complete(&config, err));
    if (config.no_projector && config.n_towers && !json_object_get(vr_settings_root(settings), "fresh_projector"))
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has a vision tower but neither '" PROJ_PREFIX "weight' nor '" PROJ_PREFIX
                                             "o_proj.weight', so no projector", vr_weights_path(files[0]));
    *out = config;
    return VRWKV_OK;
}

vr_status vr_config_describe_tower(vr_config *out, vr_weights *const *files, int n, const vr_settings *settings, vr_error *err) {
    vr_config config = {0};
    const json_t *root = vr_settings_root(settings), *towers = json_object_get(root, "towers");
    const char *type = json_string_value(json_object_get(json_array_get(towers, 0), "type"));
    const vr_tower_arch *arch = type ? vr_tower_arch_find(type) : NULL;
    if (json_array_size(towers) != 1 || !arch)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "a tower alone: found %zu towers, the first of type '%s', expected one of a known type",
                       json_array_size(towers), type ? type : "?");
    if (n) VR_TRY(describe_tower(&config, arch, files, n, err));
    VR_TRY(vr_config_apply(&config, root, n == 0, err));
    vr_tower_complete(&config.towers[0], arch);
    VR_TRY(check_tower(&config.towers[0], arch, err));
    *out = config;
    return VRWKV_OK;
}

int vr_config_tower_parts(const vr_config *config, int tower, vr_part parts[VR_TOWER_PARTS]) {
    const vr_tower_dims *dims = &config->towers[tower];
    const vr_tower_arch *arch = vr_tower_arch_find(config->tower_type[tower]);
    vr_part part = {.name = "vision", .prefix = arch->prefix, .gguf_prefix = arch->gguf_prefix};
    vr_tower_letters(&part.dims, dims);
    for (int i = 0; i < VR_TOWER_PARTS; i++) parts[i] = part;
    parts[0].rows = arch->outer_rows, parts[0].n_rows = arch->n_outer_rows, parts[0].repeat = 1;
    parts[1].rows = arch->layer_rows, parts[1].n_rows = arch->n_layer_rows, parts[1].repeat = dims->num_hidden_layers;
    parts[1].stride = arch->layer_size, parts[1].at_layer = arch->at_layer, parts[1].from = dims;
    return VR_TOWER_PARTS;
}

/* Parts in the order of a model file. */
int vr_config_parts(const vr_config *config, vr_part parts[VR_MAX_PARTS]) {
    const vr_rwkv_arch *arch = vr_rwkv_arch_find(config->rwkv);
    vr_dims lm = {{0}}, projector = {{0}};
    int n = 0;
    vr_rwkv_letters(&lm, arch, &config->lm);
    parts[n++] = (vr_part){.name = "rwkv", .prefix = LM_PREFIX, .gguf_prefix = "", .rows = vr_rwkv_outer_rows,
                           .n_rows = vr_rwkv_n_outer_rows, .repeat = 1, .dims = lm};
    parts[n++] = (vr_part){.name = "rwkv", .prefix = LM_PREFIX, .gguf_prefix = "", .rows = arch->rows, .n_rows = arch->n_rows,
                           .repeat = config->lm.n_layer, .stride = arch->layer_size, .dims = lm};
    projector.size['D' - 'A'] = config->lm.n_embd;
    for (int i = 0; i < config->n_towers; i++) {
        n += vr_config_tower_parts(config, i, parts + n);
        projector.size['C' - 'A'] += vr_tower_width(&config->towers[i]);
    }
    if (config->n_towers) {
        const vr_projector_arch *type = vr_projector_find(config->proj_type);
        projector.size['C' - 'A'] *= type->views;
        parts[n++] = (vr_part){.name = "projector", .prefix = PROJ_PREFIX, .gguf_prefix = "", .rows = type->rows,
                               .n_rows = type->n_rows, .repeat = 1, .dims = projector};
    }
    if (config->n_vtc_layer) {
        vr_part part = {.name = "compressor", .prefix = VTC_PREFIX, .else_prefix = LM_PREFIX, .gguf_prefix = "vtc.", .repeat = 1, .dims = lm};
        part.rows = vr_rwkv_norm_rows, part.n_rows = vr_rwkv_n_norm_rows;
        parts[n++] = part;
        part.rows = arch->rows, part.n_rows = arch->n_rows, part.repeat = config->n_vtc_layer, part.stride = arch->layer_size;
        parts[n++] = part;
    }
    return n;
}
