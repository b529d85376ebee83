/* Kind `train`: a batch of samples whose loss, gradients and weights after some steps of the optimizer are
 * known. Which weights are trained follows from how many blocks are frozen (`freeze_rwkv`, or the first
 * block among `trainable`), and must be those that the case names. */
#include "verify/infer.h"

#include "base/memory.h"
#include "train/plan.h"
#include "train/schedule.h"
#include "train/step.h"
#include "verify/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define L2WRAP 1e-4f
#define BOUND_LOSS 1e-6      /* of the loss */
#define BOUND_GRADIENT 1e-4  /* norm of the difference over the norm */
#define BOUND_NORM 1e-4      /* of the gradients' norm */
#define BOUND_RATE 1e-9      /* of a rate */
#define BOUND_WEIGHT 1e-5    /* of all weights after some steps but .. */
#define FAR_SHARE 1e-3       /* .. this share of them, which Adam's division moves: */
#define FAR_RATES 3.0        /* times the learning rate */
#define BOUND_MEAN 1e-6      /* of the weights' mean difference */

typedef struct job {
    vr_verify *verify;
    const vr_case *item;
    vrwkv_model *model;
    vr_trainer trainer;
    bool open; /* the trainer */
    vr_sample *samples;
    vr_picture *pictures;
    vr_train_image *images;
    float **features;
    int *rows; /* of each picture, in place of its features */
    size_t n, n_pictures;
    vr_batch batch;
    vr_trace trace;
    float *before; /* the gradients of the first step */
    double lr;     /* the largest of all steps */
} job;

/* ---- the samples ---- */

static vr_status load_samples(job *j, vr_error *err) {
    const json_t *ids = json_object_get(j->item->json, "input_ids"),
                 *labels = json_object_get(j->item->json, "input_labels");
    size_t n = json_array_size(ids);
    if (!n || json_array_size(labels) != n)
        return vr_fail(err, VRWKV_ERR_FORMAT, "input_ids and input_labels are no lists of samples");
    j->samples = vr_alloc(n, sizeof *j->samples);
    if (!j->samples) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu samples", n);
    for (; j->n < n; j->n++) {
        vr_sample *sample = &j->samples[j->n];
        int32_t *list;
        size_t m;
        VR_TRY(vr_case_ids(json_array_get(ids, j->n), "input_ids of a sample", &list, &sample->n, err));
        sample->ids = list;
        vr_status status = vr_case_ids(json_array_get(labels, j->n), "input_labels of a sample", &list, &m, err);
        if (status == VRWKV_OK && m != sample->n) {
            status = vr_fail(err, VRWKV_ERR_FORMAT, "sample %zu has %zu labels for %zu ids", j->n, m, sample->n);
            free(list);
        }
        if (status != VRWKV_OK) {
            free((void *)(uintptr_t)sample->ids);
            return status;
        }
        sample->labels = list;
    }
    return VRWKV_OK;
}

/* Sample s's pixels of `pixels` [B,3,S,S]. */
static vr_status slice_pixels(job *j, const vr_array *all, size_t s, vr_picture *out, vr_error *err) {
    int64_t size = vr_model_config(j->model)->towers[0].image_size, one = 3 * size * size;
    if (vr_model_config(j->model)->n_towers != 1 || all->ndim != 4 || all->shape[0] != (int64_t)j->n || all->shape[1] != 3 ||
        all->shape[2] != size || all->shape[3] != size)
        return vr_fail(err, VRWKV_ERR_SHAPE, "pixels: expected [%zu, 3, %lld, %lld]", j->n, (long long)size,
                       (long long)size);
    VR_TRY(vr_model_zero_picture(j->model, out, err));
    memcpy(out->pixels[0], all->data + (int64_t)s * one, (size_t)one * sizeof(float));
    return VRWKV_OK;
}

static vr_status add_picture(job *j, size_t sample, vr_error *err) {
    vr_train_image *image = &j->images[j->n_pictures];
    image->picture = &j->pictures[j->n_pictures];
    VR_TRY(vr_trainer_encode(&j->trainer, image->picture, &j->features[j->n_pictures], &image->rows, err));
    image->features = j->features[j->n_pictures];
    j->rows[j->n_pictures++] = vr_config_image_rows(vr_model_config(j->model)) * image->picture->regions;
    j->samples[sample].n_pictures++;
    return VRWKV_OK;
}

static vr_status from_pixels(job *j, vr_error *err) {
    const vr_entry *entry = j->item->expect ? vr_weights_find(j->item->expect, "pixels") : NULL;
    vr_array all;
    if (!entry) return vr_fail(err, VRWKV_ERR_FORMAT, "the case has neither `images` nor pixels");
    VR_TRY(vr_array_load(&all, j->item->expect, entry, err));
    vr_status status = VRWKV_OK;
    for (size_t s = 0; s < j->n && status == VRWKV_OK; s++) {
        bool place = false;
        for (size_t i = 0; i < j->samples[s].n; i++) place |= j->samples[s].ids[i] == VRWKV_IMAGE;
        j->samples[s].picture_rows = &j->rows[j->n_pictures];
        if (!place) continue;
        status = slice_pixels(j, &all, s, &j->pictures[j->n_pictures], err);
        if (status == VRWKV_OK) status = add_picture(j, s, err);
    }
    vr_array_free(&all);
    return status;
}

static vr_status from_files(job *j, const json_t *files, const json_t *counts, vr_error *err) {
    for (size_t s = 0; s < j->n; s++) {
        json_int_t count = json_integer_value(json_array_get(counts, s));
        j->samples[s].picture_rows = &j->rows[j->n_pictures];
        for (json_int_t i = 0; i < count; i++) {
            const char *file = json_string_value(json_array_get(files, j->n_pictures));
            vr_image image = {0};
            char *path = file ? vr_path_join(j->item->folder, file) : NULL;
            if (!path) return vr_fail(err, VRWKV_ERR_FORMAT, "images_per_sample counts more pictures than there are");
            vr_status status = vr_image_decode_file(&image, path, j->verify->manner, 0, err);
            if (status == VRWKV_OK) status = vr_model_picture(j->model, &image, &j->pictures[j->n_pictures], err);
            vr_image_free(&image);
            free(path);
            VR_TRY(status);
            VR_TRY(add_picture(j, s, err));
        }
    }
    return VRWKV_OK;
}

static vr_status load_pictures(job *j, vr_error *err) {
    const json_t *files = json_object_get(j->item->json, "images"),
                 *counts = json_object_get(j->item->json, "images_per_sample");
    size_t most = j->n + json_array_size(files) + 1;
    j->pictures = vr_alloc(most, sizeof *j->pictures);
    j->images = vr_alloc(most, sizeof *j->images);
    j->features = vr_alloc(most, sizeof *j->features);
    j->rows = vr_alloc(most, sizeof *j->rows);
    if (!j->pictures || !j->images || !j->features || !j->rows)
        return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu pictures", most);
    return counts ? from_files(j, files, counts, err) : from_pixels(j, err);
}

/* ---- which weights ---- */

static int frozen_blocks(const job *j) {
    int n_layer = vr_model_config(j->model)->lm.n_layer, first = n_layer;
    size_t i;
    const json_t *name;
    json_array_foreach(json_object_get(j->item->json, "trainable"), i, name) {
        int block;
        if (json_is_string(name) && sscanf(json_string_value(name), "rwkv.blocks.%d.", &block) == 1 && block < first)
            first = block;
    }
    return (int)vr_case_int(j->item->json, "freeze_rwkv", first);
}

static bool has_name(const json_t *list, const char *name) {
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry)
        if (json_is_string(entry) && strcmp(json_string_value(entry), name) == 0) return true;
    return false;
}

static void check_names(const job *j, const char *label, const json_t *list, int group) {
    char first[400] = "";
    size_t n = 0, different = 0;
    const vr_weight_set *set = &j->trainer.weights;
    for (size_t i = 0; i < set->n; i++) {
        if (group >= 0 && vr_group_of(&set->items[i], false) != group) continue;
        n++;
        if (has_name(list, set->items[i].name)) continue;
        if (!different++) snprintf(first, sizeof first, "'%s' is not expected", set->items[i].name);
    }
    if (n != json_array_size(list) && !different++)
        snprintf(first, sizeof first, "%zu names, expected %zu", n, json_array_size(list));
    vr_check_tally(j->verify, label, n, different, first);
}

/* ---- the first step ---- */

/* Rows as the case has them: [B,T,C]; an image of every sample, zeros where it has none. */
static void collect(void *user, const char *name, const vr_tensor *x) {
    job *j = user;
    int64_t B = j->batch.n, T = j->batch.T, columns = x->shape[1], rows = x->shape[0];
    if (strcmp(name, "embeds") == 0 || strcmp(name, "logits") == 0 || strcmp(name, "dlogits") == 0) {
        if (rows != B * T) return; /* padding stands between */
        vr_trace_collect(&j->trace, name, 3, (int64_t[]){B, T, columns}, x->data);
        return;
    }
    bool pooled = strcmp(name, "pooled") == 0;
    for (size_t i = 0, at = 0; pooled && i < j->n_pictures; at += (size_t)j->images[i++].rows) {
        char own[32];
        snprintf(own, sizeof own, "pooled.%zu", i);
        vr_trace_collect(&j->trace, own, 2, (int64_t[]){j->images[i].rows, columns},
                         (const float *)x->data + (int64_t)at * columns);
    }
    float *zeros = pooled ? NULL : vr_alloc((size_t)(rows * columns) + 1, sizeof *zeros);
    for (size_t s = 0, picture = 0; zeros && j->n_pictures && s < j->n; s++) {
        int n = j->samples[s].n_pictures;
        const float *from = n ? (const float *)x->data + (int64_t)picture * j->rows[0] * columns : zeros;
        if (n < 2) vr_trace_collect(&j->trace, "image", 3, (int64_t[]){1, j->rows[0], columns}, from);
        picture += (size_t)n;
    }
    free(zeros);
}

static void check_labels(const job *j) {
    char why[100] = "";
    const vr_entry *entry = j->item->expect ? vr_weights_find(j->item->expect, "labels") : NULL;
    vr_array expected;
    vr_error err;
    if (!entry || vr_array_load(&expected, j->item->expect, entry, &err) != VRWKV_OK) return;
    size_t n = (size_t)(j->batch.n * j->batch.T), different = 0;
    int64_t count = 0;
    vr_shape_count(expected.ndim, expected.shape, &count);
    if ((int64_t)n != count) snprintf(why, sizeof why, "%zu labels, expected %lld", n, (long long)count), different++;
    for (size_t i = 0; i < n && !different; i++)
        if ((float)j->batch.labels[i] != expected.data[i]) {
            snprintf(why, sizeof why, "%d at %zu, expected %.0f", j->batch.labels[i], i, (double)expected.data[i]);
            different++;
        }
    vr_check_tally(j->verify, "labels", n, different, why);
    vr_array_free(&expected);
}

/* Activations and dlogits; `suffix` is taken off their names. */
static vr_status check_trace(job *j, const char *suffix, vr_error *err) {
    for (size_t i = 0; j->item->expect && i < vr_weights_count(j->item->expect); i++) {
        const vr_entry *entry = vr_weights_at(j->item->expect, i);
        char name[64];
        size_t n = strlen(entry->name), tail = strlen(suffix);
        if (n >= sizeof name || n < tail || strcmp(entry->name + n - tail, suffix) != 0) continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - tail), entry->name);
        const vr_array *found = vr_trace_find(&j->trace, name);
        vr_array expected;
        if (!found) continue;
        VR_TRY(vr_array_load(&expected, j->item->expect, entry, err));
        vr_check_array(j->verify, entry->name, found, &expected, vr_case_bound_of(j->item, entry, &expected));
        vr_array_free(&expected);
    }
    return VRWKV_OK;
}

/* Gradients that the case holds under this prefix. */
static vr_status check_gradients(job *j, const char *prefix, vr_error *err) {
    const vr_weight_set *set = &j->trainer.weights;
    for (size_t i = 0; i < set->n; i++) {
        const vr_trained_weight *w = &set->items[i];
        char name[3 * VR_NAME_SIZE];
        vr_array expected;
        snprintf(name, sizeof name, "%s%s", prefix, w->name);
        const vr_entry *entry = j->item->expect ? vr_weights_find(j->item->expect, name) : NULL;
        if (!entry) continue;
        VR_TRY(vr_array_load(&expected, j->item->expect, entry, err));
        float *found = vr_alloc((size_t)w->count, sizeof *found);
        int64_t count = 0;
        vr_shape_count(expected.ndim, expected.shape, &count);
        if (found) vr_weight_export(w, w->grad, found);
        if (found) vr_check_norm(j->verify, name, found, (size_t)w->count, expected.data, (size_t)count, BOUND_GRADIENT);
        free(found);
        vr_array_free(&expected);
    }
    return VRWKV_OK;
}

static vr_status pass(job *j, bool watched, double *loss, vr_error *err) {
    vr_trainer *t = &j->trainer;
    vr_trace_free(&j->trace);
    j->trace = (vr_trace){.err = err};
    memset(t->weights.items[0].grad, 0, (size_t)t->weights.count * sizeof(float));
    VR_TRY(vr_trainer_pass(t, &j->batch, j->images, (int)j->n_pictures, 1.0f, watched ? collect : NULL, j, loss, err));
    return j->trace.status;
}

static vr_status first_step(job *j, vr_error *err) {
    double loss;
    size_t bytes = (size_t)j->trainer.weights.count * sizeof(float);
    const json_t *expected = json_object_get(j->item->json, "loss");
    j->trainer.l2wrap = 0;
    VR_TRY(pass(j, true, &loss, err));
    VR_TRY(check_trace(j, ".nol2", err));
    VR_TRY(check_gradients(j, "grad_nol2.", err));
    j->trainer.l2wrap = L2WRAP;
    VR_TRY(pass(j, true, &loss, err));
    check_labels(j);
    VR_TRY(check_trace(j, "", err));
    if (json_is_number(expected))
        vr_check_value(j->verify, "loss", loss, json_number_value(expected),
                       BOUND_LOSS * fmax(1, json_number_value(expected)));
    VR_TRY(check_gradients(j, "grad.", err));
    j->before = vr_alloc(bytes, 1);
    if (!j->before) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for gradients");
    memcpy(j->before, j->trainer.weights.items[0].grad, bytes);
    return VRWKV_OK;
}

/* The same gradients without checkpoints and with them, to the bit. */
static vr_status check_checkpoints(job *j, vr_error *err) {
    double loss;
    const vr_weight_set *set = &j->trainer.weights;
    j->trainer.tape.checkpoints = true;
    VR_TRY(pass(j, false, &loss, err));
    j->trainer.tape.checkpoints = false;
    bool same = memcmp(j->before, set->items[0].grad, (size_t)set->count * sizeof(float)) == 0;
    vr_check_tally(j->verify, "checkpoints", (size_t)set->count, !same, "layers that are run again give other gradients");
    return VRWKV_OK;
}

/* ---- further steps ---- */

vr_schedule vr_case_schedule(const json_t *settings) {
    const json_t *final = json_object_get(settings, "weight_decay_final");
    return (vr_schedule){.lr_init = json_number_value(json_object_get(settings, "lr_init")),
                         .lr_final = json_number_value(json_object_get(settings, "lr_final")),
                         .decay_init = json_number_value(json_object_get(settings, "weight_decay")),
                         .decay_final = json_is_number(final) ? json_number_value(final) : -1,
                         .warmup = vr_case_int(settings, "warmup_steps", 0),
                         .epoch_begin = vr_case_int(settings, "epoch_begin", 0),
                         .epoch_count = vr_case_int(settings, "epoch_count", 0),
                         .epoch_steps = vr_case_int(settings, "epoch_steps", 0),
                         .accumulate = vr_case_int(settings, "accumulate_grad_batches", 1),
                         .original = true};
}

vr_adam vr_case_adam(const json_t *settings, bool all_decay) {
    const json_t *betas = json_object_get(settings, "betas"), *clip = json_object_get(settings, "gradient_clip_val");
    if (!clip) clip = json_object_get(settings, "clip_norm");
    return (vr_adam){.beta1 = json_number_value(json_array_get(betas, 0)),
                     .beta2 = json_number_value(json_array_get(betas, 1)),
                     .eps = json_number_value(json_object_get(settings, "eps")), .clip = json_number_value(clip),
                     .all_decay = all_decay};
}

/* Whether the trained weights have one in the group: then the original has the group too. */
static bool has_group(const vr_weight_set *set, int group, bool all_decay) {
    for (size_t i = 0; i < set->n; i++)
        if (vr_group_of(&set->items[i], all_decay) == group) return true;
    return false;
}

static double rate_of(const json_t *step, int index, const char *list, const char *key) {
    const json_t *rates = json_object_get(step, list);
    if (rates) return json_number_value(json_array_get(rates, (size_t)index));
    return json_number_value(json_object_get(json_array_get(json_object_get(step, "groups"), (size_t)index), key));
}

void vr_case_check_step(vr_verify *verify, const char *prefix, const vr_weight_set *set, const json_t *step,
                        double loss, double norm, const vr_rates *rates, bool all_decay) {
    char label[96];
    double expected = json_number_value(json_object_get(step, "loss"));
    int number = (int)vr_case_int(step, "step", 0), index = 0;
    snprintf(label, sizeof label, "%sstep.%d.loss", prefix, number);
    vr_check_value(verify, label, loss, expected, (number ? 10 : 1) * BOUND_LOSS * fmax(1, expected));
    expected = json_number_value(json_object_get(step, "grad_norm"));
    snprintf(label, sizeof label, "%sstep.%d.grad_norm", prefix, number);
    vr_check_value(verify, label, norm, expected, BOUND_NORM * fmax(1e-3, expected));
    for (int group = 0; group < VR_GROUPS; group++) {
        if (!has_group(set, group, all_decay)) continue;
        double lr = rate_of(step, index, "group_lr", "lr");
        snprintf(label, sizeof label, "%sstep.%d.lr.%d", prefix, number, group);
        vr_check_value(verify, label, rates->lr[group], lr, BOUND_RATE * lr);
        if (json_object_get(step, "group_weight_decay") || json_object_get(step, "groups")) {
            double decay = rate_of(step, index, "group_weight_decay", "weight_decay");
            snprintf(label, sizeof label, "%sstep.%d.decay.%d", prefix, number, group);
            vr_check_value(verify, label, rates->decay[group], decay, BOUND_RATE * decay);
        }
        index++;
    }
}

/* Numbers [from, from + count) of a weight, in the checkpoint's order, beside those of an entry. */
static vr_status check_after(vr_verify *verify, const vr_trained_weight *w, const vr_weights *expect,
                             const vr_entry *entry, double lr, vr_error *err) {
    vr_array expected;
    VR_TRY(vr_array_load(&expected, expect, entry, err));
    float *found = vr_alloc((size_t)w->count, sizeof *found);
    int64_t count = 0, far = 0, worst = 0;
    double mean = 0, largest = 0;
    vr_shape_count(expected.ndim, expected.shape, &count);
    if (!found || count > w->count) {
        vr_check_failed(verify, entry->name, "%lld numbers, expected %lld", (long long)w->count, (long long)count);
    } else {
        vr_weight_export(w, w->value, found);
        for (int64_t i = 0; i < count; i++) {
            double error = fabs((double)found[i] - (double)expected.data[i]);
            far += !(error <= BOUND_WEIGHT);
            mean += error / (double)count;
            if (!(error <= largest)) largest = error, worst = i;
        }
        bool few = (double)far <= FAR_SHARE * (double)count || far <= 1;
        vr_check_value(verify, entry->name, (double)found[worst], (double)expected.data[worst],
                       few ? FAR_RATES * lr : BOUND_WEIGHT);
        if (!(mean <= BOUND_MEAN))
            vr_check_failed(verify, entry->name, "mean difference %.3g, bound %.3g", mean, BOUND_MEAN);
    }
    free(found);
    vr_array_free(&expected);
    return VRWKV_OK;
}

/* The entry's numbers are, to the bit, those that the later run left under the same name: written after it. */
static bool is_of_later(const vr_weights *expect, const vr_entry *entry, const char *name, const char *later) {
    char other[3 * VR_NAME_SIZE];
    if (!later) return false;
    snprintf(other, sizeof other, "%s%s", later, name);
    const vr_entry *twin = vr_weights_find(expect, other);
    const void *a = vr_weights_data(expect, entry), *b = twin ? vr_weights_data(expect, twin) : NULL;
    return a && b && twin != entry && twin->bytes == entry->bytes && memcmp(a, b, (size_t)entry->bytes) == 0;
}

/* "stage1.after.rwkv.head.weight[0:300]": a name may end in a range of rows, which begins at 0. */
vr_status vr_case_check_after(vr_verify *verify, const vr_case *item, const char *prefix, const char *later,
                              const vr_weight_set *set, double lr, vr_error *err) {
    for (size_t i = 0; item->expect && i < vr_weights_count(item->expect); i++) {
        const vr_entry *entry = vr_weights_at(item->expect, i);
        if (strncmp(entry->name, prefix, strlen(prefix)) != 0) continue;
        const char *name = entry->name + strlen(prefix);
        size_t n = strcspn(name, "["), k = 0;
        while (k < set->n && (strlen(set->items[k].name) != n || strncmp(set->items[k].name, name, n) != 0)) k++;
        if (is_of_later(item->expect, entry, name, later))
            vr_check_tally(verify, entry->name, 0, 0, ""); /* compared there */
        else if (k == set->n)
            vr_check_failed(verify, entry->name, "expected, but no such weight is trained");
        else
            VR_TRY(check_after(verify, &set->items[k], item->expect, entry, lr, err));
    }
    return VRWKV_OK;
}

static vr_status further_steps(job *j, vr_error *err) {
    const json_t *steps = json_object_get(j->item->json, "steps"),
                 *settings = json_object_get(j->item->json, "optimizer"), *step;
    bool all_decay = vr_model_config(j->model)->rules->all_decay;
    vr_schedule schedule = vr_case_schedule(settings);
    vr_adam adam = vr_case_adam(settings, all_decay);
    size_t i;
    json_array_foreach(steps, i, step) {
        double loss, norm;
        vr_rates rates = vr_schedule_at(&schedule, (int64_t)i, NULL, NULL);
        VR_TRY(pass(j, false, &loss, err));
        VR_TRY(vr_adam_step(&adam, &j->trainer.weights, &rates, j->model->pool, &norm, err));
        vr_case_check_step(j->verify, "", &j->trainer.weights, step, loss, norm, &rates, all_decay);
        j->lr = fmax(j->lr, fmax(rates.lr[0], rates.lr[1]));
    }
    return vr_case_check_after(j->verify, j->item, "after.", NULL, &j->trainer.weights, j->lr, err);
}

static vr_status run_all(job *j, vr_error *err) {
    const json_t *groups = json_object_get(j->item->json, "param_groups");
    VR_TRY(vr_case_model(j->verify, j->item, false, &j->model, err));
    vr_plan plan = vr_plan_default(vr_model_config(j->model), frozen_blocks(j));
    VR_TRY(vr_trainer_open(&j->trainer, j->model, &(vr_weight_choice){.wanted = vr_plan_wants, .user = &plan},
                           (uint64_t)4 << 30, err));
    j->open = true;
    VR_TRY(load_samples(j, err));
    VR_TRY(load_pictures(j, err));
    vr_batch_options options = {.ctx_len = vr_case_int(j->item->json, "ctx_len", 0), .original = true};
    VR_TRY(vr_batch_make(&j->batch, j->model, j->samples, (int64_t)j->n, &options, err));
    check_names(j, "trainable", json_object_get(j->item->json, "trainable"), -1);
    if (json_array_size(groups) == VR_GROUPS)
        for (int g = 0; g < VR_GROUPS; g++) {
            char label[32];
            snprintf(label, sizeof label, "param_groups.%d", g);
            check_names(j, label, json_object_get(json_array_get(groups, (size_t)g), "params"), g);
        }
    VR_TRY(first_step(j, err));
    VR_TRY(check_checkpoints(j, err));
    return json_object_get(j->item->json, "steps") ? further_steps(j, err) : VRWKV_OK;
}

vr_status vr_verify_train(vr_verify *verify, const vr_case *item, vr_error *err) {
    job j = {.verify = verify, .item = item};
    vr_status status = run_all(&j, err);
    vr_trace_free(&j.trace);
    vr_batch_free(&j.batch);
    for (size_t i = 0; i < j.n_pictures; i++) {
        vr_picture_free(&j.pictures[i]);
        free(j.features[i]);
    }
    for (size_t s = 0; s < j.n; s++) {
        free((void *)(uintptr_t)j.samples[s].ids);
        free((void *)(uintptr_t)j.samples[s].labels);
    }
    free(j.samples);
    free(j.pictures);
    free(j.images);
    free(j.features);
    free(j.rows);
    free(j.before);
    if (j.open) vr_trainer_close(&j.trainer);
    vrwkv_model_close(j.model);
    return status;
}
