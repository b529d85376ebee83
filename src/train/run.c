#include "train/run.h"
#include "base/clock.h"
#include "base/memory.h"
#include "train/reply.h"
#include "train/checkpoint.h"
#include "train/init.h"
#include "train/loader.h"
#include "train/log.h"
#include "train/plan.h"
#include "train/schedule.h"
#include "train/step.h"
#include "train/vocabulary.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define L2WRAP 1e-4f
#define MOST_SAMPLES 1e18 /* that can be counted */
#define RECOMPUTE_FROM 4e9 /* bytes of activations from which blocks are run twice */

typedef struct run {
    vr_train_settings set; /* with defaults filled in */
    const vr_train_hooks *hooks;
    const vr_team *team;
    int64_t share; /* of a batch's samples, this process's */
    vr_dataset *data, *eval_data;
    vrwkv_model *model;
    vr_trainer trainer;
    bool trainer_open, original, recompute, saved; /* saved: a checkpoint of mark.step is there */
    vr_sampler sampler;
    vr_schedule schedule;
    vr_adam adam;
    vr_example_options examples;
    vr_loader *loader;
    vr_train_log log;
    vr_progress_mark mark;
    int64_t steps; /* of all */
    float **features; /* [samples of the data]: known ones */
    uint64_t feature_bytes;
    int feature_rows; /* of each known picture */
    vr_sample *samples; /* [batch] */
    vr_train_image *images;
    float **own_features; /* of this batch, not kept */
    size_t images_room, own_room;
    double began;
    int64_t began_step;
    vr_error *err;
} run;

static void note(const run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(const run *r, const char *format, ...) {
    char text[600];
    va_list args;
    if (!r->hooks->log) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->hooks->log(r->hooks->user, text);
}

/* ---- settings: what follows from the rest ---- */

static void say(int64_t *slot, int64_t value) {
    if (*slot == VR_UNSAID_INT) *slot = value;
}

static vr_status say_text(char **slot, const char *value, vr_error *err) {
    if (*slot || !value) return VRWKV_OK;
    *slot = vr_strdup(value);
    return *slot ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}

static bool is_fresh(const char *model) {
    size_t n = strlen(model);
    return n > 5 && strcmp(model + n - 5, ".json") == 0;
}

/* Before the model is open. */
static vr_status fill_settings(run *r) {
    vr_train_settings *s = &r->set;
    if (!s->model || !s->data || !s->out)
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "a training needs --%s", !s->model ? "model" : !s->data ? "data" : "out");
    if (!vr_is_said(s->lr)) s->lr = s->stage == 1 ? 1e-3 : s->stage == 2 ? 2e-5 : 6e-4;
    if (!vr_is_said(s->lr_final)) s->lr_final = s->stage == 2 ? s->lr : fmin(s->lr, 1e-5);
    if (s->stage == 1) say(&s->ctx_len, 1024);
    if (s->stage == 1) VR_TRY(say_text(&s->image_position, "first", r->err));
    if (!s->train && s->stage == 0 && is_fresh(s->model)) VR_TRY(say_text(&s->train, "proj,rwkv,emb,vit", r->err));
    VR_TRY(say_text(&s->manner, "friendly", r->err));
    VR_TRY(say_text(&s->l2wrap, "all", r->err));
    VR_TRY(say_text(&s->recompute, "auto", r->err));
    say(&s->eval_every, s->save_every);
    r->original = strcmp(s->manner, "original") == 0;
    return VRWKV_OK;
}

/* With model and data: the rest. */
static vr_status complete_settings(run *r) {
    vr_train_settings *s = &r->set;
    const vr_config *config = vr_model_config(r->model);
    vr_position position;
    say(&s->freeze_layers, s->stage == 1 ? config->lm.n_layer : 0);
    say(&s->ctx_len, config->ctx_len);
    VR_TRY(say_text(&s->image_position, config->image_position, r->err));
    if (!vr_position_parse(s->image_position, &position))
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "--image-position takes first, last or middle, found \"%s\"",
                       s->image_position);
    int64_t size = vr_dataset_size(r->data), per_pass = (size + s->batch - 1) / s->batch;
    say(&s->epoch_steps, per_pass);
    double batches_in_all = (double)(s->epochs + s->epoch_begin) * (double)s->epoch_steps;
    if (s->steps != VR_UNSAID_INT) batches_in_all += (double)s->steps * (double)s->accumulate;
    if (batches_in_all * (double)s->batch > MOST_SAMPLES)
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "%.3g batches of %lld samples: a training may see %g samples", batches_in_all,
                       (long long)s->batch, MOST_SAMPLES);
    int64_t batches = s->epochs * s->epoch_steps;
    r->steps = s->steps != VR_UNSAID_INT ? s->steps : (batches + s->accumulate - 1) / s->accumulate;
    if (r->steps < 1)
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "%lld epochs of %lld batches make no step", (long long)s->epochs,
                       (long long)s->epoch_steps);
    bool by_steps = s->steps != VR_UNSAID_INT; /* the cosine then ends with the last of them */
    r->schedule = (vr_schedule){.lr_init = s->lr, .lr_final = s->lr_final, .decay_init = s->weight_decay,
                                .decay_final = s->weight_decay_final, .warmup = s->warmup, .epoch_begin = s->epoch_begin,
                                .epoch_count = by_steps ? 1 : s->epochs,
                                .epoch_steps = by_steps ? s->steps * s->accumulate : s->epoch_steps,
                                .accumulate = s->accumulate,
                                .original = r->original};
    if (by_steps) r->schedule.epoch_begin = 0;
    r->adam = (vr_adam){.beta1 = s->beta1, .beta2 = s->beta2, .eps = s->adam_eps, .clip = s->grad_clip,
                        .all_decay = config->rules->all_decay};
    r->examples = (vr_example_options){.image_folder = s->images, .position = position, .ctx_len = (size_t)s->ctx_len,
                                       .fill_up = r->original,
                                       .manner = r->original ? VRWKV_ORIGINAL : VRWKV_FRIENDLY};
    return VRWKV_OK;
}

/* ---- model and data ---- */

static vr_status model_settings(const run *r, vr_settings **out) {
    const struct { const char *key, *value; } texts[] = {{"scan", r->set.scan}, {"image_position", r->set.image_position}};
    char number[32];
    if (r->set.config) VR_TRY(vr_settings_file(out, r->set.config, r->err));
    for (size_t i = 0; i < VR_COUNT(texts); i++)
        if (texts[i].value) VR_TRY(vr_settings_put(out, texts[i].key, texts[i].value, r->err));
    const struct { const char *key; int64_t value; } numbers[] = {{"grid_size", r->set.grid_size},
                                                                  {"ctx_len", r->set.ctx_len}};
    for (size_t i = 0; i < VR_COUNT(numbers); i++) {
        if (numbers[i].value == VR_UNSAID_INT) continue;
        snprintf(number, sizeof number, "%lld", (long long)numbers[i].value);
        VR_TRY(vr_settings_put(out, numbers[i].key, number, r->err));
    }
    return VRWKV_OK;
}

static vr_status open_fresh(run *r, const vrwkv_model_options *options, const vr_settings *settings, vr_small_vocab *small) {
    vr_settings *description = NULL;
    vr_config config;
    VR_TRY(vr_settings_file(&description, r->set.model, r->err));
    vr_status status = VRWKV_OK;
    if (small->vocab) {
        const struct { const char *key; int value; } numbers[] = {{"vocab_size", small->n},
                                                                  {"stop_token", small->stop},
                                                                  {"pad_token", small->pad}};
        for (size_t i = 0; i < VR_COUNT(numbers) && status == VRWKV_OK; i++) {
            char text[32];
            snprintf(text, sizeof text, "%d", numbers[i].value);
            status = vr_settings_put(&description, numbers[i].key, text, r->err);
        }
    }
    if (status == VRWKV_OK) status = vr_config_make(&config, description, settings, r->err);
    char *json = status == VRWKV_OK ? vr_config_json(&config) : NULL;
    if (status == VRWKV_OK && !json) status = vr_fail(r->err, VRWKV_ERR_MEMORY, "out of memory");
    if (status == VRWKV_OK) status = vr_init_model(json, (uint64_t)r->set.seed, (float)r->set.init_ln0, options, &r->model, r->err);
    free(json);
    vr_settings_free(description);
    return status;
}

static vr_status collect_vocab(run *r, const vr_vocab *from, int stop, int pad, vr_small_vocab *small) {
    vr_dataset *sets[3] = {r->data}, *more = NULL;
    int n = 1;
    if (r->set.vocab_data)
        VR_TRY(vr_dataset_open(&more, r->set.vocab_data, r->hooks->progress, r->hooks->user, r->err));
    if (r->eval_data) sets[n++] = r->eval_data;
    if (more) sets[n++] = more;
    vr_status status = vr_small_vocab_make(small, from, sets, n, stop, pad, r->err);
    vr_dataset_close(more);
    return status;
}

static vr_status open_model(run *r, const vr_settings *settings) {
    vrwkv_model_options options = {.threads = (int)r->set.threads, .mmproj = r->set.mmproj, .exact = 1, .log = r->hooks->log,
                                   .progress = r->hooks->progress, .user = r->hooks->user};
    vr_small_vocab small = {0};
    const vr_vocab *world;
    bool fresh = is_fresh(r->set.model), small_vocab = r->set.vocab && strcmp(r->set.vocab, "auto") == 0;
    if (r->set.vocab_data && !small_vocab)
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "--vocab-data is for --vocab auto, which is not asked for");
    if (r->set.init_ln0 != 1 && !fresh)
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "--init-ln0 is for a fresh model, '%s' has its weights", r->set.model);
    VR_TRY(vr_vocab_world(&world, r->err));
    if (!fresh) VR_TRY(vr_model_open(r->set.model, &options, settings, &r->model, r->err));
    vr_status status = VRWKV_OK;
    if (small_vocab) {
        const vr_vocab *from = fresh ? world : vr_model_vocab(r->model);
        int stop = fresh ? 261 : r->model->config.stop_token, pad = fresh ? 261 : r->model->config.pad_token;
        if (!from) return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "'%s' has no vocabulary to take tokens from", r->set.model);
        status = collect_vocab(r, from, stop, pad, &small);
    }
    if (status == VRWKV_OK && fresh) status = open_fresh(r, &options, settings, &small);
    if (status == VRWKV_OK && small_vocab) {
        note(r, "vocabulary: %d tokens of the data", small.n);
        status = vr_small_vocab_apply(&small, r->model, r->err);
    } else if (status == VRWKV_OK && !r->model->vocab && r->model->config.lm.n_vocab == 65536) {
        r->model->vocab = world;
    }
    vr_small_vocab_free(&small);
    return status;
}

static vr_status open_data(run *r) {
    VR_TRY(vr_dataset_open(&r->data, r->set.data, r->hooks->progress, r->hooks->user, r->err));
    vr_dataset_facts facts = vr_dataset_tell(r->data);
    note(r, "%lld samples, %lld with a picture", (long long)vr_dataset_size(r->data), (long long)facts.with_image);
    if (facts.without_answer)
        note(r, "samples without an answer, which train nothing: %lld", (long long)facts.without_answer);
    if (r->set.eval_data)
        VR_TRY(vr_dataset_open(&r->eval_data, r->set.eval_data, r->hooks->progress, r->hooks->user, r->err));
    return VRWKV_OK;
}

static vr_status group_by_length(run *r) {
    int64_t n = vr_dataset_size(r->data);
    uint8_t *buckets = vr_alloc((size_t)n, sizeof *buckets);
    if (!buckets) return vr_fail(r->err, VRWKV_ERR_MEMORY, "out of memory for the lengths of %lld samples", (long long)n);
    for (int64_t i = 0; i < n; i++) buckets[i] = vr_length_bucket(vr_dataset_bytes(r->data, i));
    return vr_sampler_group(&r->sampler, buckets, r->set.batch, r->set.group, r->err);
}

/* What computes across the samples of a batch is not shared out. */
static vr_status check_team(const run *r) {
    int size = r->team ? r->team->size : 1;
    if (size == 1) return VRWKV_OK;
    if (size > r->set.batch)
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT, "a batch of %lld samples for %d processes: each takes one at least",
                       (long long)r->set.batch, size);
    if (r->model->scan->roll)
        return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "scan '%s' exchanges rows between the samples of a batch: it is trained "
                       "by one process", r->model->scan->name);
    if (r->original && r->model->config.rules->row_id)
        return vr_fail(r->err, VRWKV_ERR_UNSUPPORTED, "--manner original gives rows of a cut picture to the next sample, "
                       "in %s: it is trained by one process", r->model->config.rules->name);
    return VRWKV_OK;
}

static vr_status open_trainer(run *r) {
    vr_plan plan = vr_plan_default(vr_model_config(r->model), (int)r->set.freeze_layers);
    if (r->set.train) VR_TRY(vr_plan_parse(&plan, r->set.train, r->err));
    const vr_weight_choice choice = {.wanted = vr_plan_wants, .user = &plan, .state = plan.state,
                                     .lora_rank = plan.lora ? (int)r->set.lora_rank : 0,
                                     .first_layer = (int)r->set.freeze_layers, .seed = (uint64_t)r->set.seed};
    VR_TRY(vr_trainer_open(&r->trainer, r->model, &choice, (uint64_t)r->set.max_memory << 30, r->err));
    r->trainer_open = true;
    r->trainer.cancel = r->hooks->cancel;
    r->trainer.labelled_only = strcmp(r->set.l2wrap, "0") == 0;
    r->trainer.l2wrap = r->trainer.labelled_only ? 0 : L2WRAP;
    r->recompute = strcmp(r->set.recompute, "on") == 0;
    note(r, "%lld numbers are trained, of %llu", (long long)r->trainer.weights.count,
         (unsigned long long)r->model->info.parameters);
    int64_t size = vr_dataset_size(r->data), batch = r->set.batch;
    bool shuffled = r->model->config.rules->row_id && strcmp(r->model->config.rules->name, "v7.00") != 0;
    vr_order order = !r->original ? VR_ORDER_FAIR : shuffled ? VR_ORDER_SHUFFLED : VR_ORDER_ORIGINAL;
    VR_TRY(vr_sampler_open(&r->sampler, order, size, (uint64_t)r->set.seed, r->err));
    if (order == VR_ORDER_FAIR && r->set.group) VR_TRY(group_by_length(r));
    r->share = vr_team_share_of(r->team, batch);
    r->samples = vr_alloc((size_t)batch, sizeof *r->samples);
    r->features = vr_alloc((size_t)size, sizeof *r->features);
    if (!r->samples || !r->features)
        return vr_fail(r->err, VRWKV_ERR_MEMORY, "out of memory for %lld samples", (long long)size);
    bool whole = r->model->config.rules->cut == VR_CUT_NONE;
    if (whole && !r->trainer.trains_towers && r->set.feature_cache) r->examples.known = r->features;
    return VRWKV_OK;
}

/* ---- one batch ---- */

/* keeps: the example is of the data that is trained on, and comes again. */
static vr_status add_image(run *r, size_t *n, size_t *own, vr_example *e, int i, bool keeps) {
    bool known = keeps && !e->pictures[i].pixels[0];
    float *features = known ? r->features[e->index] : NULL;
    int rows = known ? r->feature_rows : 0;
    VR_TRY(vr_grow(&r->images, &r->images_room, *n + 1, sizeof *r->images, r->err));
    VR_TRY(vr_grow(&r->own_features, &r->own_room, *own + 1, sizeof *r->own_features, r->err));
    if (!known && !r->trainer.trains_towers) {
        VR_TRY(vr_trainer_encode(&r->trainer, &e->pictures[i], &features, &rows, r->err));
        uint64_t bytes = (uint64_t)rows * (uint64_t)vr_trainer_channels(&r->trainer) * sizeof *features;
        keeps = keeps && e->sample.n_pictures == 1 && !r->features[e->index];
        if (keeps && r->feature_bytes + bytes <= (uint64_t)r->set.feature_cache << 20) {
            r->feature_bytes += bytes;
            r->feature_rows = rows;
            __atomic_store_n(&r->features[e->index], features, __ATOMIC_RELEASE);
        } else {
            r->own_features[(*own)++] = features;
        }
    }
    r->images[(*n)++] = (vr_train_image){&e->pictures[i], features, rows};
    return VRWKV_OK;
}

/* Activations that a batch would keep, about: some 40 tensors of its rows per block, and their gradients. */
static double activation_bytes(const run *r, const vr_batch *b) {
    const vr_rwkv_dims *lm = &r->model->config.lm;
    return 320.0 * (double)(b->n * (b->padding + b->T)) * lm->n_embd * lm->n_layer;
}

static vr_status pass_batch(run *r, const vr_batch *batch, size_t n_images, float seed, double *loss) {
    bool large = strcmp(r->set.recompute, "auto") == 0 && activation_bytes(r, batch) > RECOMPUTE_FROM;
    r->trainer.tape.checkpoints = r->recompute || large;
    if (batch->n == 0) return VRWKV_OK; /* fewer samples than processes */
    return seed != 0.0f ? vr_trainer_pass(&r->trainer, batch, r->images, (int)n_images, seed, NULL, NULL, loss, r->err)
                        : vr_trainer_loss(&r->trainer, batch, r->images, (int)n_images, loss, r->err);
}

/* Forward, and backward where seed is not 0; the mean loss of the whole batch, of which the n examples are this
 * process's share. status: of loading them; every process of the team comes here with its own. */
static vr_status run_batch(run *r, vr_status status, vr_example *examples, int64_t n, float seed, bool keeps, double *loss) {
    const vr_batch_options options = {.ctx_len = r->set.ctx_len, .original = r->original, .team = r->team};
    size_t n_images = 0, n_own = 0;
    vr_batch batch;
    *loss = 0;
    for (int64_t s = 0; s < n && status == VRWKV_OK; s++) {
        r->samples[s] = examples[s].sample;
        for (int i = 0; i < examples[s].sample.n_pictures && status == VRWKV_OK; i++)
            status = add_image(r, &n_images, &n_own, &examples[s], i, keeps);
    }
    status = vr_team_agree(r->team, status, r->err);
    if (status == VRWKV_OK) status = vr_batch_make(&batch, r->model, r->samples, n, &options, r->err);
    if (status == VRWKV_OK) {
        status = pass_batch(r, &batch, n_images, seed, loss);
        vr_batch_free(&batch);
    }
    for (size_t i = 0; i < n_own; i++) free(r->own_features[i]);
    VR_TRY(vr_team_agree(r->team, status, r->err));
    return vr_team_sum(r->team, loss, 1, r->err);
}

/* ---- evaluation ---- */

static vr_status evaluate(run *r, double *mean) {
    int64_t n = vr_dataset_size(r->eval_data), batch = r->set.batch;
    if (n > r->set.eval_samples) n = r->set.eval_samples;
    vr_example_options options = r->examples;
    vr_example *examples = vr_alloc((size_t)batch, sizeof *examples);
    vr_status status = examples ? VRWKV_OK : vr_fail(r->err, VRWKV_ERR_MEMORY, "out of memory");
    double sum = 0, loss;
    options.known = NULL; /* those of the other data */
    status = vr_team_agree(r->team, status, r->err);
    for (int64_t i = 0; i < n && status == VRWKV_OK; i += batch) {
        int64_t count = n - i < batch ? n - i : batch, k = 0;
        int64_t begin = vr_team_begin(r->team, count), own = vr_team_share_of(r->team, count);
        for (; k < own && status == VRWKV_OK; k++)
            status = vr_example_load(&examples[k], r->eval_data, i + begin + k, r->model, &options, r->err);
        status = run_batch(r, status, examples, k, 0, false, &loss);
        if (status == VRWKV_OK) sum += loss * (double)count;
        while (k-- > 0) vr_example_free(&examples[k]);
    }
    free(examples);
    *mean = n ? sum / (double)n : 0;
    return status;
}

/* ---- the steps ---- */

static uint64_t memory_of_process(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long long all = 0, resident = 0;
    if (file && fscanf(file, "%llu %llu", &all, &resident) != 2) resident = 0;
    if (file) fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static vr_status save(run *r, bool is_best) {
    if (!vr_team_is_first(r->team)) return VRWKV_OK;
    const vr_checkpoint_place place = {.folder = r->set.out, .keep = r->set.keep, .base = r->set.model,
                                       .merged = r->set.output && strcmp(r->set.output, "merged") == 0};
    VR_TRY(vr_checkpoint_save(&place, &r->trainer.weights, &r->adam, &r->mark, is_best, r->err));
    r->saved = true;
    return VRWKV_OK;
}

static vr_status tell_step(run *r, double loss, double norm, const vr_rates *rates, double seconds) {
    double rate = (double)(r->set.batch * r->set.accumulate) / seconds, all = vr_seconds() - r->began;
    vr_train_log_step entry = {.step = r->mark.step - 1, .loss = loss, .grad_norm = norm, .lr = rates->lr[0],
                               .weight_decay = rates->decay[1], .samples_per_s = rate, .seconds = all};
    if (!vr_team_is_first(r->team)) return VRWKV_OK;
    VR_TRY(vr_train_log_put(&r->log, &entry, r->err));
    int64_t done = r->mark.step, here = done - r->began_step;
    vr_train_report report = {.step = done, .steps = r->steps, .loss = loss, .lr = rates->lr[0], .grad_norm = norm,
                              .samples_per_s = rate, .seconds_left = all / (double)here * (double)(r->steps - done),
                              .memory_bytes = memory_of_process()};
    if (r->hooks->report) r->hooks->report(r->hooks->user, &report);
    return VRWKV_OK;
}

static bool is_cancelled(const run *r) { return r->hooks->cancel && __atomic_load_n(r->hooks->cancel, __ATOMIC_RELAXED); }

static vr_status one_step(run *r) {
    vr_rates rates = vr_schedule_at(&r->schedule, r->mark.step, NULL, NULL);
    const vr_weight_set *set = &r->trainer.weights;
    double began = vr_seconds(), sum = 0, loss, norm;
    for (int64_t a = 0; a < r->set.accumulate; a++) {
        vr_example *examples = NULL;
        vr_status status = is_cancelled(r) ? vr_fail(r->err, VRWKV_ERR_CANCELLED, "cancelled")
                                           : vr_loader_next(r->loader, &examples, r->err);
        VR_TRY(run_batch(r, status, examples, r->share, 1.0f / (float)r->set.accumulate, r->examples.known != NULL, &loss));
        sum += loss;
    }
    VR_TRY(vr_team_sum_floats(r->team, set->items[0].grad, set->count, r->err));
    VR_TRY(vr_adam_step(&r->adam, set, &rates, r->model->pool, &norm, r->err));
    vr_model_forget(r->model);
    r->mark.step++;
    r->saved = false;
    return tell_step(r, sum / (double)r->set.accumulate, norm, &rates, vr_seconds() - began);
}

static vr_status answer_some(run *r) {
    int64_t n = vr_dataset_size(r->eval_data);
    for (int64_t i = 0; i < n && i < r->set.eval_answers; i++) {
        vr_reply answer;
        VR_TRY(vr_reply_make(&answer, r->eval_data, i, r->model, &r->examples, r->err));
        vr_status status = VRWKV_OK;
        if (answer.answer) {
            note(r, "  answered \"%.200s\", expected \"%.200s\"", answer.answer, answer.expected);
            status = vr_train_log_answer(&r->log, r->mark.step - 1, answer.question, answer.expected, answer.answer, r->err);
        }
        vr_reply_free(&answer);
        VR_TRY(status);
    }
    return VRWKV_OK;
}

/* Evaluates where it is time; *better: than ever before. */
static vr_status maybe_evaluate(run *r, bool *better) {
    double loss;
    *better = false;
    if (!r->eval_data || (r->mark.step % r->set.eval_every && r->mark.step < r->steps)) return VRWKV_OK;
    VR_TRY(evaluate(r, &loss));
    if (vr_team_is_first(r->team)) VR_TRY(vr_train_log_eval(&r->log, r->mark.step - 1, loss, r->err));
    *better = loss < r->mark.best_loss;
    note(r, "step %lld: evaluation loss %.4f%s", (long long)r->mark.step, loss, *better ? ", the best" : "");
    r->mark.without_better = *better ? 0 : r->mark.without_better + 1;
    if (*better) r->mark.best_loss = loss, r->mark.best_step = r->mark.step;
    return vr_team_is_first(r->team) ? answer_some(r) : VRWKV_OK;
}

static vr_status walk(run *r) {
    while (r->mark.step < r->steps) {
        bool better;
        VR_TRY(vr_team_agree(r->team, one_step(r), r->err));
        VR_TRY(vr_team_agree(r->team, maybe_evaluate(r, &better), r->err));
        bool ends = r->set.patience && r->mark.without_better >= r->set.patience;
        if (better || ends || r->mark.step % r->set.save_every == 0 || r->mark.step == r->steps)
            VR_TRY(vr_team_agree(r->team, save(r, better), r->err));
        if (!ends) continue;
        note(r, "no better evaluation for %lld of them: ended early", (long long)r->mark.without_better);
        break;
    }
    return VRWKV_OK;
}

/* A last checkpoint of the last whole step, where there is none yet; the message says where it is. */
static vr_status stop(run *r, vr_status status) {
    vr_error first = *r->err, second = {0}, *err = r->err;
    if (r->mark.step == 0 || !vr_team_is_first(r->team)) return status;
    r->err = &second;
    bool saved = r->saved || save(r, false) == VRWKV_OK;
    r->err = err;
    if (saved)
        return vr_fail(err, status, "%.800s; step %lld is saved in '%.160s'", first.message, (long long)r->mark.step,
                       r->set.out);
    return vr_fail(err, status, "%.500s; and step %lld could not be saved: %.400s", first.message,
                   (long long)r->mark.step, second.message);
}

/* ---- beginning and end ---- */

/* Paths that hold wherever the program is started next time. */
static vr_status make_absolute(char **path, vr_error *err) {
    char *whole = *path && **path != '/' ? realpath(*path, NULL) : NULL;
    if (*path && **path != '/' && !whole) return vr_fail_io(err, "find", *path);
    if (!whole) return VRWKV_OK;
    free(*path);
    *path = whole;
    return VRWKV_OK;
}

static vr_status prepare_folder(run *r) {
    vr_train_settings *s = &r->set;
    char **paths[] = {&s->model, &s->mmproj, &s->config, &s->data, &s->images, &s->eval_data, &s->vocab_data};
    if (vr_team_is_first(r->team) && mkdir(s->out, 0777) != 0 && errno != EEXIST) return vr_fail_io(r->err, "make the folder", s->out);
    if (vr_checkpoint_exists(s->out))
        return vr_fail(r->err, VRWKV_ERR_ARGUMENT,
                       "'%s' holds a training already: go on with it (--resume), or name another folder", s->out);
    for (size_t i = 0; i < VR_COUNT(paths); i++) VR_TRY(make_absolute(paths[i], r->err));
    return VRWKV_OK;
}

static vr_status copy_settings(run *r, const vr_train_settings *from) {
    char *json = vr_train_settings_json(from);
    if (!json) return vr_fail(r->err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_train_settings_parse(&r->set, json, strlen(json), r->err);
    free(json);
    return status;
}

static vr_status open_folder(run *r, bool resume) {
    if (!resume) VR_TRY(vr_train_settings_write(&r->set, r->err));
    if (resume && vr_checkpoint_exists(r->set.out)) {
        VR_TRY(vr_checkpoint_load(r->set.out, &r->trainer.weights, &r->adam, &r->mark, r->err));
        note(r, "goes on after step %lld of %lld", (long long)r->mark.step, (long long)r->steps);
    }
    return vr_train_log_open(&r->log, r->set.out, r->mark.step, r->err);
}

/* Without the others of the team. */
static vr_status start(run *r, bool resume) {
    vr_settings *settings = NULL;
    VR_TRY(fill_settings(r));
    if (!resume) VR_TRY(prepare_folder(r));
    VR_TRY(open_data(r));
    vr_status status = model_settings(r, &settings);
    if (status == VRWKV_OK) status = open_model(r, settings);
    vr_settings_free(settings);
    VR_TRY(status);
    VR_TRY(complete_settings(r));
    VR_TRY(check_team(r));
    VR_TRY(open_trainer(r));
    r->mark.best_loss = INFINITY;
    r->saved = resume;
    return vr_team_is_first(r->team) ? open_folder(r, resume) : VRWKV_OK;
}

/* What process 0 begins with, all begin with: machines that differ may have made a fresh model's numbers differently. */
static vr_status share_beginning(run *r) {
    const vr_weight_set *set = &r->trainer.weights;
    struct { vr_progress_mark mark; int64_t adam_steps; } place = {r->mark, r->adam.steps};
    VR_TRY(vr_team_share(r->team, &place, sizeof place, r->err));
    r->mark = place.mark;
    r->adam.steps = place.adam_steps;
    for (size_t i = 0; i < set->n; i++) {
        float *const numbers[] = {set->items[i].value, set->items[i].m, set->items[i].v};
        for (size_t k = 0; k < VR_COUNT(numbers); k++)
            VR_TRY(vr_team_share(r->team, numbers[k], (size_t)set->items[i].count * sizeof(float), r->err));
    }
    return VRWKV_OK;
}

static vr_status open_loader(run *r, int64_t batches) {
    const vr_train_settings *s = &r->set;
    int64_t before = r->mark.step * s->accumulate + s->epoch_begin * s->epoch_steps;
    vr_loader_steps steps = {before * s->batch + vr_team_begin(r->team, s->batch), r->share, s->batch, batches};
    return vr_loader_open(&r->loader, r->data, r->model, &r->sampler, &r->examples, steps, r->err);
}

static vr_status go(run *r, vr_status status, bool resume) {
    if (status == VRWKV_OK) status = start(r, resume);
    VR_TRY(vr_team_agree(r->team, status, r->err));
    VR_TRY(share_beginning(r));
    r->began = vr_seconds();
    r->began_step = r->mark.step;
    int64_t batches = (r->steps - r->mark.step) * r->set.accumulate;
    if (batches <= 0) return VRWKV_OK;
    VR_TRY(vr_team_agree(r->team, open_loader(r, batches), r->err));
    status = walk(r);
    return status == VRWKV_OK ? status : stop(r, status);
}

static void close_run(run *r) {
    vr_loader_close(r->loader);
    vr_train_log_close(&r->log);
    vr_sampler_close(&r->sampler);
    for (int64_t i = 0; r->features && i < vr_dataset_size(r->data); i++) free(r->features[i]);
    free(r->features);
    free(r->samples);
    free(r->images);
    free(r->own_features);
    if (r->trainer_open) vr_trainer_close(&r->trainer);
    vrwkv_model_close(r->model);
    vr_dataset_close(r->data);
    vr_dataset_close(r->eval_data);
    vr_train_settings_free(&r->set);
}

vr_status vr_train_run(const vr_train_settings *settings, bool resume, const vr_team *team, const vr_train_hooks *hooks,
                       vr_error *err) {
    run r = {.hooks = hooks, .team = team, .err = err};
    vr_train_settings_default(&r.set);
    vr_status status = resume ? vr_train_settings_read(&r.set, settings->out, err) : copy_settings(&r, settings);
    status = go(&r, status, resume);
    close_run(&r);
    return status;
}
