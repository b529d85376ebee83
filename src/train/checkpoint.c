#include "train/checkpoint.h"
#include "base/io.h"
#include "base/memory.h"
#include "ops/quant.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vr_status step_path(char path[VR_PATH_ROOM], const char *folder, int64_t step, const char *ending, vr_error *err) {
    char name[64];
    snprintf(name, sizeof name, "step-%06lld%s", (long long)step, ending);
    return vr_path_make(path, folder, name, err);
}

/* ---- the model ---- */

typedef struct file_writer {
    vr_save *save;
    const vr_weight_set *set;
    vr_error *err;
    bool declares; /* first all names and shapes, then all numbers */
} file_writer;

static const vr_adapter *adapter_of(const vr_weight_set *set, const vr_tensor *tensor) {
    for (int i = 0; i < set->n_adapters; i++)
        if (set->adapters[i].w == tensor->data) return &set->adapters[i];
    return NULL;
}

/* count numbers of one type in another. */
static bool convert(void *to, vr_dtype type, const vr_tensor *tensor, const vr_adapter *adapter,
                    const vr_kernels *kernels, int64_t count) {
    float *wide = vr_alloc((size_t)count, sizeof *wide);
    if (!wide) return false;
    vr_quant_of(tensor->dtype)->decode(wide, tensor->data, count);
    if (adapter) {
        const vr_tensor *a = &adapter->a, *b = &adapter->b;
        kernels->outer(wide, a->shape[1], b->data, b->shape[1], 1, a->data, a->shape[1], b->shape[0], a->shape[1],
                       a->shape[0]);
    }
    vr_quant_of(type)->encode(to, wide, count);
    free(wide);
    return true;
}

/* A tensor's numbers in the checkpoint's order, of the type that is written; heap. */
static void *export_tensor(const file_writer *w, const vr_tensor *tensor, const vr_row *row, vr_dtype type,
                           int64_t count, uint64_t bytes) {
    void *numbers = vr_alloc((size_t)bytes, 1), *turned = numbers;
    const vr_adapter *adapter = adapter_of(w->set, tensor);
    if (!numbers) return NULL;
    if (type == tensor->dtype && !adapter) {
        memcpy(numbers, tensor->data, (size_t)bytes);
    } else if (!convert(numbers, type, tensor, adapter, w->set->model->kernels, count)) {
        free(numbers);
        return NULL;
    }
    if (row->transform == VR_TRANSPOSED) {
        turned = vr_alloc((size_t)bytes, 1);
        if (turned) vr_transpose(turned, numbers, tensor->ndim, tensor->shape, (size_t)vr_dtype_of(type)->bytes);
        free(numbers);
    }
    return turned;
}

static vr_status put_row(file_writer *w, const vr_part *part, const vr_row *row, int layer) {
    char key[VR_NAME_SIZE], name[2 * VR_NAME_SIZE];
    int64_t shape[VR_MAX_DIMS], count;
    uint64_t bytes;
    const vr_tensor *tensor = vr_row_tensor(part, row, layer);
    if (!vr_row_exists(row, layer) || !tensor->data) return VRWKV_OK;
    int ndim = vr_part_shape(part, row, layer, shape);
    vr_dtype type = vr_dtype_of(tensor->dtype)->block > 1 ? VR_F16 : tensor->dtype;
    snprintf(name, sizeof name, "%s%s", w->set->model->config.n_towers ? part->prefix : "",
             vr_row_name(row->key, layer, key));
    if (w->declares) return vr_save_declare(w->save, name, type, ndim, shape, w->err);
    vr_shape_count(ndim, shape, &count);
    vr_shape_bytes(type, ndim, shape, &bytes);
    void *numbers = export_tensor(w, tensor, row, type, count, bytes);
    if (!numbers) return vr_fail(w->err, VRWKV_ERR_MEMORY, "out of memory for '%s'", name);
    vr_status status = vr_save_put(w->save, numbers, (size_t)bytes, w->err);
    free(numbers);
    return status;
}

static vr_status put_rows(file_writer *w) {
    vr_part parts[VR_MAX_PARTS];
    int n = vr_config_parts(&w->set->model->config, parts);
    vr_model_parts(w->set->model, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++) VR_TRY(put_row(w, &parts[p], &parts[p].rows[r], layer));
    return VRWKV_OK;
}

/* ---- trained weights, and what the optimizer keeps ---- */

typedef enum { VALUE, MEAN, SQUARES } which_numbers;

static float *numbers_of(const vr_trained_weight *weight, which_numbers which) {
    float *const places[] = {[VALUE] = weight->value, [MEAN] = weight->m, [SQUARES] = weight->v};
    return places[which];
}

static vr_status put_weight(file_writer *w, const vr_trained_weight *weight, const char *prefix, which_numbers which) {
    char name[3 * VR_NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", prefix, weight->name);
    if (w->declares) return vr_save_declare(w->save, name, VR_F32, weight->ndim, weight->shape, w->err);
    float *numbers = vr_alloc((size_t)weight->count, sizeof *numbers);
    if (!numbers) return vr_fail(w->err, VRWKV_ERR_MEMORY, "out of memory for '%s'", weight->name);
    vr_weight_export(weight, numbers_of(weight, which), numbers);
    vr_status status = vr_save_put(w->save, numbers, (size_t)weight->count * sizeof *numbers, w->err);
    free(numbers);
    return status;
}

/* All weights of these kinds, a bit each. */
static vr_status put_weights(file_writer *w, const char *prefix, which_numbers which, unsigned kinds) {
    for (size_t i = 0; i < w->set->n; i++)
        if (kinds >> w->set->items[i].kind & 1) VR_TRY(put_weight(w, &w->set->items[i], prefix, which));
    return VRWKV_OK;
}

enum { MODEL = 1u << VR_OF_MODEL, STATE = 1u << VR_OF_STATE, ADAPTERS = 1u << VR_OF_ADAPTER };

static vr_status put_means(file_writer *w) {
    VR_TRY(put_weights(w, "m.", MEAN, MODEL | STATE | ADAPTERS));
    VR_TRY(put_weights(w, "v.", SQUARES, MODEL | STATE | ADAPTERS));
    return put_weights(w, "w.", VALUE, STATE | ADAPTERS);
}

static vr_status put_model(file_writer *w) {
    VR_TRY(put_rows(w));
    return put_weights(w, "", VALUE, STATE);
}

static vr_status put_small(file_writer *w) { return put_weights(w, "", VALUE, STATE | ADAPTERS); }

/* ---- files ---- */

static vr_status put_description(file_writer *w) {
    const vrwkv_model *model = w->set->model;
    char *json = vr_config_json(&model->config), *vocab = NULL;
    vr_status status = json ? vr_save_meta_string(w->save, "vrwkv.config", json, w->err)
                            : vr_fail(w->err, VRWKV_ERR_MEMORY, "out of memory");
    if (status == VRWKV_OK && model->own_vocab) {
        status = vr_vocab_write(model->own_vocab, &vocab, w->err);
        if (status == VRWKV_OK) status = vr_save_meta_string(w->save, "vrwkv.vocab", vocab, w->err);
    }
    free(json);
    free(vocab);
    return status;
}

static vr_status finish(file_writer *w, vr_status status, vr_status (*put)(file_writer *w)) {
    w->declares = true;
    if (status == VRWKV_OK) status = put(w);
    w->declares = false;
    if (status == VRWKV_OK) status = put(w);
    if (status == VRWKV_OK) return vr_save_commit(w->save, w->err);
    vr_save_abandon(w->save);
    return status;
}

static vr_status save_model(const char *path, const vr_checkpoint_place *place, const vr_weight_set *set, vr_error *err) {
    file_writer w = {.set = set, .err = err};
    bool small = !vr_weight_set_has(set, VR_OF_MODEL) && !place->merged;
    VR_TRY(vr_save_open_as(&w.save, path, VR_FILE_SAFETENSORS, err));
    vr_status status = VRWKV_OK;
    if (!small)
        status = put_description(&w);
    else if (set->n_adapters)
        status = vr_save_meta_string(w.save, "vrwkv.adapters_of", place->base, err);
    return finish(&w, status, small ? put_small : put_model);
}

static vr_status save_means(const char *path, const vr_weight_set *set, const vr_adam *adam, vr_error *err) {
    file_writer w = {.set = set, .err = err};
    char steps[32];
    snprintf(steps, sizeof steps, "%lld", (long long)adam->steps);
    VR_TRY(vr_save_open_as(&w.save, path, VR_FILE_SAFETENSORS, err));
    return finish(&w, vr_save_meta_string(w.save, "vrwkv.adam_steps", steps, err), put_means);
}

/* ---- the folder ---- */

/* The step of "step-000500.safetensors" and its like; -1: another name. */
static int64_t step_of(const char *name) {
    char *end;
    if (strncmp(name, "step-", 5) != 0) return -1;
    long long step = strtoll(name + 5, &end, 10);
    return strcmp(end, ".safetensors") == 0 || strcmp(end, ".optim.safetensors") == 0 ? step : -1;
}

static bool is_leftover(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".tmp") == 0;
}

/* Removes what `unwanted` says; failures do not matter. */
static void remove_files(const char *folder, bool (*unwanted)(const char *name, int64_t limit), int64_t limit) {
    DIR *dir = opendir(folder);
    char path[VR_PATH_ROOM];
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (unwanted(entry->d_name, limit) && vr_path_make(path, folder, entry->d_name, NULL) == VRWKV_OK) unlink(path);
    if (dir) closedir(dir);
}

static bool is_older(const char *name, int64_t limit) { return step_of(name) >= 0 && step_of(name) < limit; }
static bool is_newer_or_left(const char *name, int64_t limit) { return is_leftover(name) || step_of(name) > limit; }

static int descending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static void remove_old(const char *folder, int64_t keep) {
    int64_t *steps = NULL;
    size_t n = 0, capacity = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        bool model = step_of(entry->d_name) >= 0 && !strstr(entry->d_name, ".optim.");
        if (model && vr_grow(&steps, &capacity, n + 1, sizeof *steps, NULL) == VRWKV_OK) steps[n++] = step_of(entry->d_name);
    }
    if (dir) closedir(dir);
    if (n > (size_t)keep) {
        qsort(steps, n, sizeof *steps, descending);
        remove_files(folder, is_older, steps[keep - 1]);
    }
    free(steps);
}

static vr_status save_mark(const char *folder, const vr_progress_mark *mark, vr_error *err) {
    char path[VR_PATH_ROOM], text[300];
    VR_TRY(vr_path_make(path, folder, "latest.json", err));
    int n = snprintf(text, sizeof text, "{\"step\": %lld, \"best_loss\": ", (long long)mark->step);
    n += isfinite(mark->best_loss) ? snprintf(text + n, sizeof text - (size_t)n, "%.17g", mark->best_loss)
                                   : snprintf(text + n, sizeof text - (size_t)n, "null");
    n += snprintf(text + n, sizeof text - (size_t)n, ", \"best_step\": %lld, \"without_better\": %lld}\n",
                  (long long)mark->best_step, (long long)mark->without_better);
    return vr_file_write(path, text, (size_t)n, err);
}

/* A second name of a checkpoint's model. */
static vr_status name_best(const char *folder, const char *path, vr_error *err) {
    char best[VR_PATH_ROOM], beside[VR_PATH_ROOM];
    VR_TRY(vr_path_make(best, folder, "best.safetensors", err));
    VR_TRY(vr_path_make(beside, folder, "best.safetensors.link.tmp", err));
    unlink(beside);
    if (link(path, beside) != 0 || rename(beside, best) != 0) return vr_fail_io(err, "name as the best checkpoint", path);
    return VRWKV_OK;
}

vr_status vr_checkpoint_save(const vr_checkpoint_place *place, const vr_weight_set *set, const vr_adam *adam,
                             const vr_progress_mark *mark, bool is_best, vr_error *err) {
    char path[VR_PATH_ROOM], means[VR_PATH_ROOM];
    VR_TRY(step_path(path, place->folder, mark->step, ".safetensors", err));
    VR_TRY(step_path(means, place->folder, mark->step, ".optim.safetensors", err));
    VR_TRY(save_model(path, place, set, err));
    VR_TRY(save_means(means, set, adam, err));
    VR_TRY(save_mark(place->folder, mark, err));
    if (is_best) VR_TRY(name_best(place->folder, path, err));
    remove_old(place->folder, place->keep);
    return VRWKV_OK;
}

/* ---- loading ---- */

bool vr_checkpoint_exists(const char *folder) {
    char path[VR_PATH_ROOM];
    return vr_path_make(path, folder, "latest.json", NULL) == VRWKV_OK && access(path, R_OK) == 0;
}

static vr_status load_mark(const char *folder, vr_progress_mark *mark, vr_error *err) {
    char path[VR_PATH_ROOM];
    json_error_t fault;
    VR_TRY(vr_path_make(path, folder, "latest.json", err));
    json_t *root = json_load_file(path, 0, &fault);
    const json_t *step = json_object_get(root, "step"), *best = json_object_get(root, "best_loss");
    bool good = json_is_integer(step) && json_integer_value(step) >= 0;
    *mark = (vr_progress_mark){.step = json_integer_value(step),
                               .best_loss = json_is_number(best) ? json_number_value(best) : INFINITY,
                               .best_step = json_integer_value(json_object_get(root, "best_step")),
                               .without_better = json_integer_value(json_object_get(root, "without_better"))};
    json_decref(root);
    return good ? VRWKV_OK
                : vr_fail(err, VRWKV_ERR_FORMAT, "'%s' names no step: %s", path,
                          root ? "found another JSON value" : fault.text);
}

/* Tensors PREFIX.NAME of the trained weights of these kinds. */
static vr_status load_numbers(const char *path, const vr_weight_set *set, const char *prefix, which_numbers which,
                              unsigned kinds, const vr_weights *file, vr_error *err) {
    for (size_t i = 0; i < set->n; i++) {
        const vr_trained_weight *weight = &set->items[i];
        char name[3 * VR_NAME_SIZE], found[96], expected[96];
        if (!(kinds >> weight->kind & 1)) continue;
        snprintf(name, sizeof name, "%s%s", prefix, weight->name);
        const vr_entry *entry = vr_weights_find(file, name);
        if (!entry || entry->dtype != VR_F32 || !vr_shape_same(entry->ndim, entry->shape, weight->ndim, weight->shape))
            return vr_fail(err, VRWKV_ERR_SHAPE, "'%s': '%s' is %s %s, expected f32 %s", path, name,
                           entry ? vr_dtype_of(entry->dtype)->name : "missing",
                           entry ? vr_shape_text(entry->ndim, entry->shape, found, sizeof found) : "",
                           vr_shape_text(weight->ndim, weight->shape, expected, sizeof expected));
        float *numbers = vr_alloc((size_t)weight->count, sizeof *numbers);
        if (!numbers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for '%s'", name);
        vr_status status = vr_weights_read(file, entry, numbers, err);
        if (status == VRWKV_OK) vr_weight_import(weight, numbers, numbers_of(weight, which));
        free(numbers);
        VR_TRY(status);
    }
    return VRWKV_OK;
}

static vr_status load_means(const char *path, const vr_weight_set *set, vr_adam *adam, const vr_weights *file,
                            vr_error *err) {
    const vr_meta *steps = vr_weights_meta(file, "vrwkv.adam_steps");
    VR_TRY(load_numbers(path, set, "m.", MEAN, MODEL | STATE | ADAPTERS, file, err));
    VR_TRY(load_numbers(path, set, "v.", SQUARES, MODEL | STATE | ADAPTERS, file, err));
    VR_TRY(load_numbers(path, set, "w.", VALUE, STATE | ADAPTERS, file, err));
    if (!steps || steps->type != VR_META_STRING)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s' does not say after how many steps it was written", path);
    adam->steps = strtoll(steps->string, NULL, 10);
    return VRWKV_OK;
}

vr_status vr_checkpoint_load(const char *folder, const vr_weight_set *set, vr_adam *adam, vr_progress_mark *mark,
                             vr_error *err) {
    char path[VR_PATH_ROOM];
    vr_weights *file;
    VR_TRY(load_mark(folder, mark, err));
    VR_TRY(step_path(path, folder, mark->step, ".safetensors", err));
    VR_TRY(vr_weights_open(&file, path, NULL, err));
    vr_status status = load_numbers(path, set, "", VALUE, MODEL, file, err);
    vr_weights_close(file);
    VR_TRY(status);
    VR_TRY(step_path(path, folder, mark->step, ".optim.safetensors", err));
    VR_TRY(vr_weights_open(&file, path, NULL, err));
    status = load_means(path, set, adam, file, err);
    vr_weights_close(file);
    if (status == VRWKV_OK) remove_files(folder, is_newer_or_left, mark->step);
    return status;
}
