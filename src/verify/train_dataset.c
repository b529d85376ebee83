/* Kind `train-dataset`: a data file, its pictures and the order of samples, to batches, to some steps of each
 * of the case's runs; every run begins with the case's weights. */
#include "verify/infer.h"

#include "base/memory.h"
#include "train/example.h"
#include "train/plan.h"
#include "train/sampler.h"
#include "train/step.h"
#include "verify/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define L2WRAP 1e-4f
#define BOUND_PIXELS 1e-6 /* of the sum of a picture's absolute values */

typedef struct job {
    vr_verify *verify;
    const vr_case *item;
    const char *run, *last; /* "stage1"; the one that runs last */
    vrwkv_model *model;
    vr_dataset *data;
    vr_trainer trainer;
    vr_example *examples; /* [micro_bsz] */
    vr_sample *samples;
    vr_train_image *images;
    float **features;
    int64_t micro_bsz;
    int n_images;
} job;

static void forget_batch(job *j) {
    for (int64_t i = 0; i < j->micro_bsz; i++) vr_example_free(&j->examples[i]);
    for (int i = 0; i < j->n_images; i++) free(j->features[i]);
    j->n_images = 0;
}

static void check_sum(const job *j, int step, int64_t s, const json_t *expected) {
    char label[96];
    double sum = 0, size = 1;
    const vr_example *e = &j->examples[s];
    int64_t side = vr_model_config(j->model)->towers[0].image_size;
    if (!json_is_number(expected)) return;
    for (int64_t i = 0; e->sample.n_pictures && i < 3 * side * side; i++) {
        sum += (double)e->pictures[0].pixels[0][i];
        size += fabs((double)e->pictures[0].pixels[0][i]);
    }
    snprintf(label, sizeof label, "%s.step.%d.images_sum.%lld", j->run, step, (long long)s);
    vr_check_value(j->verify, label, sum, json_number_value(expected), BOUND_PIXELS * size);
}

static vr_status check_list(const job *j, int step, int64_t s, const char *what, const json_t *lists,
                            const int32_t *found, vr_error *err) {
    char label[96];
    int32_t *expected;
    size_t n;
    if (!lists) return VRWKV_OK;
    VR_TRY(vr_case_ids(json_array_get(lists, (size_t)s), what, &expected, &n, err));
    snprintf(label, sizeof label, "%s.step.%d.%s.%lld", j->run, step, what, (long long)s);
    vr_report_ids(j->verify, label, found, j->examples[s].sample.n, expected, n);
    free(expected);
    return VRWKV_OK;
}

/* One sample beside what the step tells of it. */
static vr_status check_example(const job *j, int step, int64_t s, const json_t *expected, vr_error *err) {
    char label[96];
    const vr_example *e = &j->examples[s];
    const json_t *text = json_array_get(json_object_get(expected, "input_text"), (size_t)s);
    snprintf(label, sizeof label, "%s.step.%d.sample.%lld", j->run, step, (long long)s);
    vr_check_value(j->verify, label, (double)e->index,
                   json_number_value(json_array_get(json_object_get(expected, "sample_indices"), (size_t)s)), 0);
    snprintf(label, sizeof label, "%s.step.%d.text.%lld", j->run, step, (long long)s);
    if (json_is_string(text))
        vr_check_text(j->verify, label, e->prompt.text, e->prompt.text_bytes, json_string_value(text),
                      json_string_length(text));
    VR_TRY(check_list(j, step, s, "ids", json_object_get(expected, "input_ids"), e->prompt.ids, err));
    VR_TRY(check_list(j, step, s, "labels", json_object_get(expected, "labels"), e->prompt.labels, err));
    check_sum(j, step, s, json_array_get(json_object_get(expected, "images_sum"), (size_t)s));
    return VRWKV_OK;
}

static vr_status load_batch(job *j, vr_sampler *sampler, const vr_example_options *options, int step,
                            const json_t *expected, vr_error *err) {
    for (int64_t s = 0; s < j->micro_bsz; s++) {
        int64_t index;
        VR_TRY(vr_sampler_at(sampler, step * j->micro_bsz + s, &index, err));
        VR_TRY(vr_example_load(&j->examples[s], j->data, index, j->model, options, err));
        j->samples[s] = j->examples[s].sample;
        VR_TRY(check_example(j, step, s, expected, err));
        for (int i = 0; i < j->samples[s].n_pictures; i++) {
            vr_train_image *image = &j->images[j->n_images];
            *image = (vr_train_image){.picture = &j->examples[s].pictures[i]};
            VR_TRY(vr_trainer_encode(&j->trainer, image->picture, &j->features[j->n_images], &image->rows, err));
            image->features = j->features[j->n_images++];
        }
    }
    return VRWKV_OK;
}

static vr_status one_step(job *j, vr_adam *adam, const vr_rates *rates, const json_t *expected, vr_error *err) {
    const vr_batch_options options = {.ctx_len = vr_case_int(j->item->json, "ctx_len", 0), .original = true};
    char prefix[64];
    vr_batch batch;
    double loss = 0, norm;
    VR_TRY(vr_batch_make(&batch, j->model, j->samples, j->micro_bsz, &options, err));
    vr_status status = vr_trainer_pass(&j->trainer, &batch, j->images, j->n_images, 1.0f, NULL, NULL, &loss, err);
    vr_batch_free(&batch);
    VR_TRY(status);
    VR_TRY(vr_adam_step(adam, &j->trainer.weights, rates, j->model->pool, &norm, err));
    snprintf(prefix, sizeof prefix, "%s.", j->run);
    vr_case_check_step(j->verify, prefix, &j->trainer.weights, expected, loss, norm, rates, adam->all_decay);
    return VRWKV_OK;
}

static vr_status run_steps(job *j, const json_t *run, vr_sampler *sampler, vr_error *err) {
    const json_t *settings = json_object_get(run, "optimizer"), *step;
    vr_schedule schedule = vr_case_schedule(settings);
    vr_adam adam = vr_case_adam(settings, vr_model_config(j->model)->rules->all_decay);
    char *folder = vr_path_join(j->item->folder, vr_case_text(j->item->json, "image_folder", "images")), prefix[64],
         later[64];
    vr_example_options options = {.image_folder = folder, .ctx_len = (size_t)vr_case_int(j->item->json, "ctx_len", 0),
                                  .fill_up = true,
                                  .manner = j->verify->manner};
    const char *position = vr_case_text(j->item->json, "image_position", "first");
    double lr = 0;
    size_t i;
    vr_status status =
        folder && vr_position_parse(position, &options.position)
            ? VRWKV_OK
            : vr_fail(err, VRWKV_ERR_ARGUMENT, "image position \"%s\", expected first, last or middle", position);
    json_array_foreach(json_object_get(run, "steps"), i, step) {
        vr_rates rates = vr_schedule_at(&schedule, (int64_t)i, NULL, NULL);
        if (status == VRWKV_OK) status = load_batch(j, sampler, &options, (int)i, step, err);
        if (status == VRWKV_OK) status = one_step(j, &adam, &rates, step, err);
        lr = fmax(lr, fmax(rates.lr[0], rates.lr[1]));
        forget_batch(j);
    }
    free(folder);
    snprintf(prefix, sizeof prefix, "%s.after.", j->run);
    snprintf(later, sizeof later, "%s.after.", j->last);
    return status == VRWKV_OK ? vr_case_check_after(j->verify, j->item, prefix, j->last == j->run ? NULL : later,
                                                    &j->trainer.weights, lr, err)
                              : status;
}

/* Stage 1 trains the projector alone; a run may say how many blocks are frozen. */
static vr_status run_one(job *j, const json_t *run, vr_error *err) {
    vr_sampler sampler;
    int n_layer = vr_model_config(j->model)->lm.n_layer, frozen = strcmp(j->run, "stage1") == 0 ? n_layer : 0;
    vr_plan plan = vr_plan_default(vr_model_config(j->model), (int)vr_case_int(run, "freeze_rwkv", frozen));
    VR_TRY(vr_trainer_open(&j->trainer, j->model, &(vr_weight_choice){.wanted = vr_plan_wants, .user = &plan},
                           (uint64_t)4 << 30, err));
    j->trainer.l2wrap = L2WRAP;
    vr_status status = vr_sampler_open(&sampler, VR_ORDER_ORIGINAL, vr_dataset_size(j->data), 0, err);
    if (status == VRWKV_OK) {
        int64_t prime = vr_case_int(run, "magic_prime", sampler.prime);
        char label[64];
        snprintf(label, sizeof label, "%s.magic_prime", j->run);
        vr_check_value(j->verify, label, (double)sampler.prime, (double)prime, 0);
        status = run_steps(j, run, &sampler, err);
    }
    vr_sampler_close(&sampler);
    vr_trainer_close(&j->trainer);
    return status;
}

static vr_status run_all(job *j, vr_error *err) {
    char *path = vr_path_join(j->item->folder, vr_case_text(j->item->json, "data_file", "data.json"));
    json_t *run;
    if (!path) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    vr_status status = vr_dataset_open(&j->data, path, NULL, NULL, err);
    free(path);
    VR_TRY(status);
    VR_TRY(vr_case_model(j->verify, j->item, false, &j->model, err));
    size_t n = (size_t)j->micro_bsz;
    j->examples = vr_alloc(n, sizeof *j->examples);
    j->samples = vr_alloc(n, sizeof *j->samples);
    j->images = vr_alloc(16 * n, sizeof *j->images);
    j->features = vr_alloc(16 * n, sizeof *j->features);
    if (!j->examples || !j->samples || !j->images || !j->features)
        return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu samples", n);
    json_object_foreach(json_object_get(j->item->json, "runs"), j->last, run) j->run = j->last;
    const char *last = j->run;
    json_object_foreach(json_object_get(j->item->json, "runs"), j->run, run) {
        j->last = last;
        VR_TRY(run_one(j, run, err));
    }
    return VRWKV_OK;
}

vr_status vr_verify_train_dataset(vr_verify *verify, const vr_case *item, vr_error *err) {
    job j = {.verify = verify, .item = item, .micro_bsz = vr_case_int(item->json, "micro_bsz", 1)};
    if (j.micro_bsz < 1 || j.micro_bsz > 4096)
        return vr_fail(err, VRWKV_ERR_FORMAT, "micro_bsz is %lld, expected 1 to 4096", (long long)j.micro_bsz);
    vr_status status = run_all(&j, err);
    if (j.examples && j.features) forget_batch(&j);
    free(j.examples);
    free(j.samples);
    free(j.images);
    free(j.features);
    vr_dataset_close(j.data);
    vrwkv_model_close(j.model);
    return status;
}
