/* The model's life: open, describe, workspaces, close. */
#include "base/hash.h"
#include "ops/pack.h"
#include "vl/internal.h"
#include "vl/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *vrwkv_version(void) { return "0.1.0"; }

const char *vrwkv_cpu(vrwkv_error *err) {
    const vr_kernels *kernels = vr_kernels_get(err);
    return kernels ? kernels->name : NULL;
}

static uint64_t hash_file(uint64_t h, const vr_weights *file) {
    for (size_t i = 0; i < vr_weights_count(file); i++) {
        const vr_entry *entry = vr_weights_at(file, i);
        const void *data = vr_weights_data(file, entry);
        h = vr_hash(h, entry->name, strlen(entry->name) + 1);
        h = vr_hash(h, &entry->dtype, sizeof entry->dtype);
        if (data) h = vr_hash(h, data, entry->bytes < 64 ? entry->bytes : 64);
    }
    return h;
}

/* Description and, of every tensor, name, type and first bytes: two trainings of one shape differ. */
static void fingerprint(vrwkv_model *model) {
    uint64_t h[4];
    for (int k = 0; k < 4; k++) {
        h[k] = VR_HASH_START + (uint64_t)k;
        h[k] = vr_hash(h[k], model->config_json, strlen(model->config_json));
        for (int f = 0; f < model->n_files; f++) h[k] = hash_file(h[k], model->files[f]);
        if (model->adapter_file) h[k] = hash_file(h[k], model->adapter_file);
        snprintf(model->info.fingerprint + 16 * k, 17, "%016llx", (unsigned long long)h[k]);
    }
}

static void fill_info(vrwkv_model *model) {
    const vr_config *c = &model->config;
    vrwkv_info *info = &model->info;
    info->version = c->version;
    info->rwkv = c->rwkv;
    info->scan = c->scan;
    info->config_json = model->config_json;
    info->n_layer = c->lm.n_layer;
    info->n_embd = c->lm.n_embd;
    info->n_vocab = c->lm.n_vocab;
    info->head_size = c->lm.head_size;
    info->image_tokens = vr_config_image_rows(c);
    info->most_images = c->rules->most_pictures;
    info->ctx_len = c->ctx_len;
    info->stop_token = c->stop_token;
    info->pad_token = c->pad_token;
    info->state_bytes = (uint64_t)model->state_floats * sizeof(float);
    fingerprint(model);
}

static vr_status open_files(vrwkv_model *model, const char *path, vr_error *err) {
    vr_weights_options options = {.no_mmap = model->options.no_mmap != 0};
    VR_TRY(vr_weights_open(&model->files[0], path, &options, err));
    const char *base = vr_adapter_base(model->files[0]);
    if (base) {
        model->adapter_file = model->files[0];
        model->files[0] = NULL;
        VR_TRY(vr_weights_open(&model->files[0], base, &options, err));
    }
    model->n_files = 1;
    if (model->options.mmproj) {
        VR_TRY(vr_weights_open(&model->files[1], model->options.mmproj, &options, err));
        model->n_files = 2;
    }
    for (int i = 0; model->options.lock_memory && i < model->n_files; i++) VR_TRY(vr_weights_lock(model->files[i], err));
    return VRWKV_OK;
}

/* The caller's options over the description. */
static vr_status apply_options(vrwkv_model *model, vr_error *err) {
    vr_config *config = &model->config;
    vr_position position;
    const char *scan = model->options.scan, *place = model->options.image_position;
    if (scan) {
        if (!vr_scan_find(scan)) return vr_scan_unknown(scan, err);
        snprintf(config->scan, sizeof config->scan, "%s", scan);
    }
    if (place) {
        if (!vr_position_parse(place, &position))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "image position '%s' is unknown (first, last, middle)", place);
        snprintf(config->image_position, sizeof config->image_position, "%s", place);
    }
    model->scan = vr_scan_find(config->scan);
    int64_t scanned = vr_scanned_rows(model, vr_config_image_rows(config));
    if (model->scan->square && config->n_towers && scanned > 0 && vr_scan_side(scanned) == 0)
        return vr_fail(err, VRWKV_ERR_SHAPE, "scan '%s' needs a square grid, the picture has %lld rows", model->scan->name, (long long)scanned);
    model->config_json = vr_config_json(config);
    return model->config_json ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}

static vrwkv_model *new_model(const vrwkv_model_options *options, vr_error *err) {
    vrwkv_model *model = vr_alloc(1, sizeof *model);
    if (!model) {
        vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
        return NULL;
    }
    if (options) model->options = *options;
    const char *exact = getenv("VRWKV_EXACT");
    if (exact && strcmp(exact, "1") == 0) model->options.exact = 1;
    if (!model->options.max_workspace_bytes) model->options.max_workspace_bytes = (uint64_t)16 << 30;
    pthread_mutex_init(&model->lock, NULL);
    return model;
}

/* What works on the weights, while they are loaded already. */
static vr_status start(vrwkv_model *model, vr_error *err) {
    model->kernels = vr_kernels_get(err);
    return model->kernels ? vr_pool_open(&model->pool, model->options.threads, err) : VRWKV_ERR_UNSUPPORTED;
}

/* What comes after the weights; gives the model out, or closes it. */
static vr_status finish(vrwkv_model *model, vr_status status, vrwkv_model **out) {
    if (status != VRWKV_OK) {
        vrwkv_model_close(model);
        return status;
    }
    model->state_floats = model->lm.dims.n_layer * vr_rwkv_state_floats(model->lm.arch, &model->lm.dims);
    fill_info(model);
    *out = model;
    return VRWKV_OK;
}

static vr_status load(vrwkv_model *model, const char *path, const vr_settings *settings, vr_error *err) {
    VR_TRY(start(model, err));
    VR_TRY(open_files(model, path, err));
    VR_TRY(vr_config_describe(&model->config, model->files, model->n_files, settings, err));
    VR_TRY(apply_options(model, err));
    VR_TRY(vr_model_load_weights(model, err));
    VR_TRY(vr_model_load_adapters(model, err));
    return vr_model_load_vocab(model, err);
}

vr_status vr_model_open(const char *path, const vrwkv_model_options *options, const vr_settings *settings, vrwkv_model **out,
                        vr_error *err) {
    if (!path || !out) return vr_fail(err, VRWKV_ERR_ARGUMENT, "vrwkv_model_open: path and out must be given");
    *out = NULL;
    vrwkv_model *model = new_model(options, err);
    return model ? finish(model, load(model, path, settings, err), out) : VRWKV_ERR_MEMORY;
}

static vr_status make_random(vrwkv_model *model, const char *json, vr_dtype type, vr_dtype vision_type, vr_error *err) {
    VR_TRY(start(model, err));
    VR_TRY(vr_config_parse(&model->config, json, strlen(json), err));
    VR_TRY(apply_options(model, err));
    return vr_model_random_weights(model, type, vision_type, err);
}

vr_status vr_model_random(const char *json, vr_dtype type, vr_dtype vision_type, const vrwkv_model_options *options,
                          vrwkv_model **out, vr_error *err) {
    *out = NULL;
    vrwkv_model *model = new_model(options, err);
    return model ? finish(model, make_random(model, json, type, vision_type, err), out) : VRWKV_ERR_MEMORY;
}

vrwkv_status vrwkv_model_open(const char *path, const vrwkv_model_options *options, vrwkv_model **out, vrwkv_error *err) {
    return vr_model_open(path, options, NULL, out, err);
}

void vrwkv_model_close(vrwkv_model *model) {
    if (!model) return;
    vr_pool_close(model->pool);
    while (model->spare) {
        vr_workspace *next = model->spare->next;
        vr_arena_close(&model->spare->arena);
        free(model->spare);
        model->spare = next;
    }
    vr_owned_free(&model->owned);
    free(model->lm.layers);
    free(model->vtc.layers);
    for (int i = 0; i < VR_MAX_TOWERS; i++) {
        free(model->towers[i].outer);
        free(model->towers[i].layers);
    }
    vr_vocab_free(model->own_vocab);
    free(model->blank_state);
    vrwkv_features_free(model->zero_picture);
    free(model->config_json);
    free(model->adapters);
    vr_weights_close(model->adapter_file);
    for (int i = 0; i < model->n_files; i++) vr_weights_close(model->files[i]);
    pthread_mutex_destroy(&model->lock);
    free(model);
}

const vrwkv_info *vrwkv_model_info(const vrwkv_model *model) { return &model->info; }
const vr_config *vr_model_config(const vrwkv_model *model) { return &model->config; }
const vr_vocab *vr_model_vocab(const vrwkv_model *model) { return model->vocab; }

vr_weights_summary vr_model_summary(const vrwkv_model *model) {
    vr_weights_summary out = {0};
    vr_part parts[VR_MAX_PARTS];
    uint64_t bytes[2][VR_DTYPE_COUNT] = {{0}}; /* language, vision */
    int n = vr_config_parts(&model->config, parts);
    vr_model_parts(model, parts);
    for (int p = 0; p < n; p++) {
        bool language = strcmp(parts[p].name, "rwkv") == 0;
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) {
                const vr_tensor *tensor = vr_row_tensor(&parts[p], &parts[p].rows[r], layer);
                uint64_t size;
                if (!tensor->data || !vr_shape_bytes(tensor->dtype, tensor->ndim, tensor->shape, &size)) continue;
                out.packed |= vr_is_packed(tensor->dtype);
                if (parts[p].rows[r].kind == VR_MAT) bytes[!language][vr_plain_type(tensor->dtype)] += size;
                if (language && tensor != &model->lm.emb) out.token_bytes += size; /* of the table it reads one row */
            }
    }
    for (int t = 0; t < VR_DTYPE_COUNT; t++) {
        if (bytes[0][t] > bytes[0][out.language]) out.language = (vr_dtype)t;
        if (bytes[1][t] > bytes[1][out.vision]) out.vision = (vr_dtype)t;
    }
    return out;
}

void vr_model_forget(vrwkv_model *model) {
    pthread_mutex_lock(&model->lock);
    free(model->blank_state);
    vrwkv_features_free(model->zero_picture);
    model->blank_state = NULL;
    model->zero_picture = NULL;
    pthread_mutex_unlock(&model->lock);
}

vr_status vr_workspace_get(vrwkv_model *model, vr_workspace **out, vr_error *err) {
    pthread_mutex_lock(&model->lock);
    vr_workspace *workspace = model->spare;
    if (workspace) model->spare = workspace->next;
    pthread_mutex_unlock(&model->lock);
    if (!workspace) {
        workspace = vr_alloc(1, sizeof *workspace);
        if (!workspace) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
        vr_status status = vr_arena_open(&workspace->arena, (size_t)model->options.max_workspace_bytes, err);
        if (status != VRWKV_OK) {
            free(workspace);
            return status;
        }
    }
    *out = workspace;
    return VRWKV_OK;
}

void vr_workspace_put(vrwkv_model *model, vr_workspace *workspace) {
    vr_arena_release(&workspace->arena, 0);
    vr_arena_trim(&workspace->arena, (size_t)64 << 20); /* a picture's scratch must not stay for ever */
    pthread_mutex_lock(&model->lock);
    workspace->next = model->spare;
    model->spare = workspace;
    pthread_mutex_unlock(&model->lock);
}

vr_run vr_run_make(vrwkv_model *model, vr_workspace *workspace, const int *cancel, vr_error *err) {
    return (vr_run){.arena = &workspace->arena, .pool = model->pool, .kernels = model->kernels, .err = err, .cancel = cancel,
                    .exact = model->options.exact != 0, .adapters = model->adapters, .n_adapters = model->n_adapters};
}
