/* List files of training: sampler.json, lr_schedule.json, init.json. */
#include "base/memory.h"
#include "train/init.h"
#include "train/sampler.h"
#include "verify/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sampler.json: primes; per setting and run idx -> sample ---- */

static void check_primes(vr_verify *verify, const json_t *primes) {
    const char *size;
    json_t *expected;
    char first[100] = "";
    size_t n = 0, different = 0;
    json_object_foreach((json_t *)primes, size, expected) {
        int64_t prime = vr_magic_prime(strtoll(size, NULL, 10));
        n++;
        if (prime == json_integer_value(expected)) continue;
        if (!different++)
            snprintf(first, sizeof first, "%s: %lld, expected %lld", size, (long long)prime,
                     (long long)json_integer_value(expected));
    }
    vr_check_tally(verify, "magic_prime", n, different, first);
}

static vr_status check_runs(vr_verify *verify, const json_t *entry, size_t number, vr_error *err) {
    int64_t size = vr_case_int(entry, "data_size", 0), world = vr_case_int(entry, "world_size", 1);
    int64_t micro_bsz = vr_case_int(entry, "micro_bsz", 1),
            per_epoch = vr_case_int(entry, "epoch_steps", 1) * micro_bsz * world;
    char label[64], first[160] = "";
    size_t n = 0, different = 0, r, i;
    const json_t *run, *idx;
    vr_sampler sampler;
    VR_TRY(vr_sampler_open(&sampler, VR_ORDER_ORIGINAL, size, 0, err));
    vr_status status = VRWKV_OK;
    json_array_foreach(json_object_get(entry, "runs"), r, run) {
        int64_t epoch = vr_case_int(run, "epoch", 0), rank = vr_case_int(run, "rank", 0);
        json_array_foreach(json_object_get(run, "idx"), i, idx) {
            int64_t sample = -1, expected = json_integer_value(json_array_get(json_object_get(run, "sample"), i));
            status = vr_sampler_at(&sampler, epoch * per_epoch + json_integer_value(idx) * world + rank, &sample, err);
            n++;
            if (sample == expected) continue;
            if (!different++)
                snprintf(first, sizeof first, "epoch %lld rank %lld idx %lld: %lld, expected %lld", (long long)epoch,
                         (long long)rank, (long long)json_integer_value(idx), (long long)sample, (long long)expected);
        }
    }
    vr_sampler_close(&sampler);
    snprintf(label, sizeof label, "sampler.%zu", number);
    vr_check_tally(verify, label, n, different, first);
    if (vr_case_int(entry, "samples_per_epoch", per_epoch) != per_epoch)
        vr_check_failed(verify, label, "%lld samples per epoch, expected %lld", (long long)per_epoch,
                        (long long)vr_case_int(entry, "samples_per_epoch", 0));
    return status;
}

vr_status vr_verify_sampler(vr_verify *verify, const vr_case *item, vr_error *err) {
    size_t i;
    const json_t *entry;
    check_primes(verify, json_object_get(item->json, "magic_prime"));
    json_array_foreach(json_object_get(item->json, "sampler"), i, entry) VR_TRY(check_runs(verify, entry, i, err));
    return VRWKV_OK;
}

/* ---- lr_schedule.json ---- */

vr_status vr_verify_schedule(vr_verify *verify, const vr_case *item, vr_error *err) {
    static const char *const keys[] = {"lr", "wd", "group_no_decay_lr", "group_decay_lr", "group_decay_wd"};
    size_t i, k;
    const json_t *entry, *row;
    (void)err;
    json_array_foreach(item->json, i, entry) {
        vr_schedule schedule = vr_case_schedule(json_object_get(entry, "config"));
        char label[64], first[200] = "";
        size_t n = 0, different = 0;
        json_array_foreach(json_object_get(entry, "rows"), k, row) {
            double found[VR_COUNT(keys)];
            vr_rates rates = vr_schedule_at(&schedule, vr_case_int(row, "global_step", 0), &found[0], &found[1]);
            found[2] = rates.lr[0], found[3] = rates.lr[1], found[4] = rates.decay[1];
            for (size_t c = 0; c < VR_COUNT(keys); c++) {
                const json_t *value = json_object_get(row, keys[c]);
                double expected = json_number_value(value);
                if (!json_is_number(value)) continue;
                n++;
                if (fabs(found[c] - expected) <= 1e-9 * fabs(expected)) continue;
                if (!different++)
                    snprintf(first, sizeof first, "step %lld: %s %.12g, expected %.12g",
                             (long long)vr_case_int(row, "global_step", 0), keys[c], found[c], expected);
            }
        }
        snprintf(label, sizeof label, "schedule.%zu", i);
        vr_check_tally(verify, label, n, different, first);
    }
    return VRWKV_OK;
}

/* ---- init.json: constants, shapes, what random values looked like; init.safetensors: the computed ones ---- */

/* The description that fits the list: a tower as wide as the projector's rows. */
static vr_status describe(vr_config *config, const json_t *list, vr_error *err) {
    const json_t *seen = json_object_get(list, "random_seen");
    const json_t *proj = json_object_get(json_object_get(seen, "proj.weight"), "shape");
    const json_t *emb = json_object_get(json_object_get(seen, "rwkv.emb.weight"), "shape");
    const json_t *mix = json_object_get(json_object_get(seen, "rwkv.blocks.0.att.time_maa_w2"), "shape");
    const json_t *decay = json_object_get(json_object_get(seen, "rwkv.blocks.0.att.time_decay_w2"), "shape");
    char text[700];
    if (!proj || !emb || !mix || !decay)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                       "the list names no proj.weight, rwkv.emb.weight, time_maa_w2, time_decay_w2");
    int n = snprintf(text, sizeof text,
        "{\"version\":\"v6.0\",\"rwkv\":\"x060\",\"n_layer\":%lld,\"n_embd\":%lld,\"dim_att\":%lld,\"dim_ffn\":%lld,"
        "\"head_size\":%lld,\"vocab_size\":%lld,\"rank_mix\":%lld,\"rank_decay\":%lld,\"scan\":\"bidirection\","
        "\"towers\":[{\"type\":\"clip\",\"image_size\":28,\"patch_size\":14,\"hidden_size\":%lld,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":1,\"intermediate_size\":16}]}",
        (long long)vr_case_int(list, "n_layer", 0), (long long)vr_case_int(list, "n_embd", 0),
        (long long)vr_case_int(list, "dim_att", 0), (long long)vr_case_int(list, "dim_ffn", 0),
        (long long)vr_case_int(list, "head_size", 0), (long long)json_integer_value(json_array_get(emb, 0)),
        (long long)json_integer_value(json_array_get(mix, 1)), (long long)json_integer_value(json_array_get(decay, 0)),
        (long long)json_integer_value(json_array_get(proj, 1)));
    return vr_config_parse(config, text, (size_t)n, err);
}

/* Random values: about as wide and as scattered as those seen once. */
static void check_random(vr_verify *verify, const char *name, const float *values, int64_t n, const json_t *seen) {
    double least = INFINITY, most = -INFINITY, sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        least = fmin(least, (double)values[i]), most = fmax(most, (double)values[i]);
        sum += (double)values[i], squares += (double)values[i] * (double)values[i];
    }
    double std = sqrt(squares / (double)n - sum / (double)n * sum / (double)n),
           expected = json_number_value(json_object_get(seen, "std"));
    double low = json_number_value(json_object_get(seen, "min")), high = json_number_value(json_object_get(seen, "max"));
    vr_check_value(verify, name, std, expected, 5 * expected / sqrt(2 * (double)n));
    if (least < low - 0.2 * (high - low) || most > high + 0.2 * (high - low))
        vr_check_failed(verify, name, "values from %g to %g, seen from %g to %g", least, most, low, high);
}

typedef struct init_job {
    vr_verify *verify;
    const vr_case *item;
    const vr_weights *computed;
    vr_config config;
    size_t found;
} init_job;

static vr_status check_row(init_job *j, const vr_part *part, const vr_row *row, int layer, vr_rng *rng, vr_error *err) {
    char key[VR_NAME_SIZE], name[2 * VR_NAME_SIZE];
    int64_t shape[VR_MAX_DIMS], count;
    const json_t *list = j->item->json;
    vr_shape_count(vr_part_shape(part, row, layer, shape), shape, &count);
    snprintf(name, sizeof name, "%s%s", part->prefix, vr_row_name(row->key, layer, key));
    float *values = vr_alloc((size_t)count, sizeof *values);
    if (!values) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for '%s'", name);
    vr_init_row(values, &j->config, part, row, layer, rng);
    const json_t *constant = json_object_get(json_object_get(list, "constant"), name);
    const json_t *seen = json_object_get(json_object_get(list, "random_seen"), name), *zero;
    const vr_entry *entry = vr_weights_find(j->computed, name);
    double expected = json_number_value(constant);
    bool fixed = constant != NULL;
    size_t i, different = 0;
    json_array_foreach(json_object_get(list, "all_zero"), i, zero)
        if (strcmp(json_string_value(zero), name) == 0) fixed = true;
    for (int64_t k = 0; fixed && k < count; k++) different += (double)values[k] != expected;
    if (fixed) vr_check_tally(j->verify, name, (size_t)count, different, "another value");
    if (seen) check_random(j->verify, name, values, count, seen);
    vr_status status = VRWKV_OK;
    if (entry) {
        vr_array array;
        status = vr_array_load(&array, j->computed, entry, err);
        int64_t n = 0;
        if (status == VRWKV_OK) vr_shape_count(array.ndim, array.shape, &n);
        if (status == VRWKV_OK) vr_check_floats(j->verify, name, values, (size_t)count, array.data, (size_t)n, 1e-6);
        vr_array_free(&array);
    }
    j->found += fixed || seen || entry;
    free(values);
    return status;
}

static vr_status check_rows(init_job *j, vr_error *err) {
    vr_part parts[VR_MAX_PARTS];
    vr_rng rng = {1};
    const json_t *list = j->item->json;
    int n = vr_config_parts(&j->config, parts);
    for (int p = 0; p < n; p++)
        for (int layer = 0; layer < parts[p].repeat; layer++)
            for (int r = 0; r < parts[p].n_rows; r++)
                if (strcmp(parts[p].name, "vision") != 0)
                    VR_TRY(check_row(j, &parts[p], &parts[p].rows[r], layer, &rng, err));
    size_t expected = json_array_size(json_object_get(list, "all_zero")) +
                      json_object_size(json_object_get(list, "constant")) +
                      json_object_size(json_object_get(list, "random_seen")) + vr_weights_count(j->computed);
    vr_check_tally(j->verify, "names", expected, j->found != expected, "the list names a weight that the model has not");
    return VRWKV_OK;
}

vr_status vr_verify_init(vr_verify *verify, const vr_case *item, vr_error *err) {
    init_job j = {.verify = verify, .item = item};
    vr_weights *computed = NULL;
    char *path = vr_path_join(item->folder, "init.safetensors");
    if (!path) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    vr_status status = describe(&j.config, item->json, err);
    if (status == VRWKV_OK) status = vr_weights_open(&computed, path, NULL, err);
    j.computed = computed;
    if (status == VRWKV_OK) status = check_rows(&j, err);
    vr_weights_close(computed);
    free(path);
    return status;
}
