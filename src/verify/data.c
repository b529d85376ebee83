/* Kind `data`: conversations to prompts in every version of v7, the order of samples, the choice of
 * regions. One line of the report per section and version, with the first difference described. */
#include "base/memory.h"
#include "image/image.h"
#include "text/prompt.h"
#include "train/sampler.h"
#include "verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_ID 65535

/* The first difference between a list of the case and numbers found; false: none. */
static bool differ(const json_t *expected, const int32_t *found, size_t n, const char *what, char *why, size_t size) {
    size_t m = json_array_size(expected);
    for (size_t i = 0; i < n && i < m; i++) {
        long long want = json_integer_value(json_array_get(expected, i));
        if (want == found[i]) continue;
        snprintf(why, size, "%s: %d at %zu, expected %lld", what, found[i], i, want);
        return true;
    }
    if (n != m) snprintf(why, size, "%s: %zu values, expected %zu", what, n, m);
    return n != m;
}

/* ---- conversations ---- */

static vr_status read_turns(const json_t *list, vr_turn **turns, size_t *n, bool *marked, vr_error *err) {
    *n = json_array_size(list);
    *marked = false;
    *turns = vr_alloc(*n ? *n : 1, sizeof **turns);
    if (!*turns) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu turns", *n);
    for (size_t i = 0; i < *n; i++) {
        (*turns)[i].from = vr_case_text(json_array_get(list, i), "from", "");
        (*turns)[i].value = vr_case_text(json_array_get(list, i), "value", "");
        *marked |= strstr((*turns)[i].value, "<image>") != NULL;
    }
    return VRWKV_OK;
}

static vr_status one_conversation(vr_verify *verify, const json_t *entry, const vr_vocab *vocab, vr_error *err) {
    const char *version = vr_case_text(entry, "version", ""), *name = vr_case_text(entry, "name", "");
    const char *text = vr_case_text(entry, "input_text", "");
    const vr_template *rules = vr_template_find(version);
    char label[96], why[1200] = "";
    vr_turn *turns;
    size_t n;
    bool marked;
    vr_prompt prompt = {0};
    vr_error refusal = {0};
    if (!rules) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "version '%s' is none of %s", version, vr_template_names());
    VR_TRY(read_turns(json_object_get(entry, "conversations"), &turns, &n, &marked, err));
    vr_prompt_options how = {.has_image = marked,
                             .dummy = true,
                             .ctx_len = (size_t)vr_case_int(entry, "ctx_len", 0),
                             .regions = (int)vr_case_int(entry, "num_regions", 1),
                             .rows = (int)vr_case_int(entry, "num_token_per_image", 1),
                             .image_id = ROW_ID};
    vr_status status = vr_prompt_build(&prompt, rules, vocab, turns, n, &how, &refusal);
    free(turns);
    bool refused = json_object_get(entry, "rejected") != NULL;
    if (refused && status == VRWKV_OK)
        snprintf(why, sizeof why, "accepted, expected to be refused");
    else if (!refused && status != VRWKV_OK)
        snprintf(why, sizeof why, "%s", refusal.message);
    else if (!refused && strcmp(prompt.text, text) != 0)
        snprintf(why, sizeof why, "the text is \"%s\", expected \"%s\"", prompt.text, text);
    else if (!refused && !differ(json_object_get(entry, "input_ids"), prompt.ids, prompt.n, "ids", why, sizeof why))
        differ(json_object_get(entry, "labels"), prompt.labels, prompt.n, "labels", why, sizeof why);
    snprintf(label, sizeof label, "%s.%s", version, name);
    vr_check_tally(verify, label, 1, why[0] != 0, why);
    vr_prompt_free(&prompt);
    return VRWKV_OK;
}

/* ---- the order of samples ---- */

static vr_status check_first_passes(vr_verify *verify, const json_t *sizes, vr_error *err) {
    const char *size;
    json_t *entry;
    json_object_foreach((json_t *)sizes, size, entry) {
        char label[64], why[200] = "";
        int64_t n = strtoll(size, NULL, 10), prime = vr_magic_prime(n);
        const json_t *expected = json_object_get(entry, "first_24");
        size_t m = json_array_size(expected);
        int32_t *order = vr_alloc(m + 1, sizeof *order);
        if (!order) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu samples", m);
        snprintf(label, sizeof label, "sample_order.%s", size);
        if (prime != vr_case_int(entry, "magic_prime", -1)) {
            snprintf(why, sizeof why, "prime %lld, expected %lld", (long long)prime, (long long)vr_case_int(entry, "magic_prime", -1));
        } else {
            for (size_t i = 0; i < m; i++) order[i] = (int32_t)vr_cube_mod((int64_t)i, prime);
            differ(expected, order, m, "samples", why, sizeof why);
        }
        vr_check_tally(verify, label, 1, why[0] != 0, why);
        free(order);
    }
    return VRWKV_OK;
}

static vr_status check_later_passes(vr_verify *verify, const json_t *passes, vr_error *err) {
    for (size_t pass = 0; pass < json_array_size(passes); pass++) {
        const json_t *expected = json_array_get(passes, pass);
        char label[64], why[200] = "";
        size_t n = json_array_size(expected);
        int32_t *order = vr_alloc(n + 1, sizeof *order);
        if (!order) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu samples", n);
        vr_status status = vr_shuffled_pass(order, (int64_t)n, (int64_t)pass, err);
        if (status == VRWKV_OK) differ(expected, order, n, "samples", why, sizeof why);
        snprintf(label, sizeof label, "sample_order.pass.%zu", pass);
        if (status == VRWKV_OK) vr_check_tally(verify, label, 1, why[0] != 0, why);
        free(order);
        VR_TRY(status);
    }
    return VRWKV_OK;
}

/* The key names the seed and the number of samples: "later_epochs_seed_222_size_10". */
static vr_status check_order(vr_verify *verify, const json_t *object, vr_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        if (strcmp(key, "by_size") == 0)
            VR_TRY(check_first_passes(verify, value, err));
        else if (strncmp(key, "later_epochs_seed_222_", 22) == 0)
            VR_TRY(check_later_passes(verify, value, err));
        else
            return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "sample_order: \"%s\" is unknown", key);
    }
    return VRWKV_OK;
}

/* ---- regions ---- */

static int pair(const json_t *object, const char *key, int index) {
    return (int)json_integer_value(json_array_get(json_object_get(object, key), (size_t)index));
}

static vr_status check_regions(vr_verify *verify, const json_t *versions, vr_error *err) {
    const char *version;
    json_t *list;
    json_object_foreach((json_t *)versions, version, list) {
        char label[64], why[200] = "";
        size_t i, different = 0;
        const json_t *entry;
        json_array_foreach(list, i, entry) {
            int w = pair(entry, "image", 0), h = pair(entry, "image", 1), columns, rows;
            int across = pair(entry, "region", 0), down = pair(entry, "region", 1);
            if (w < 1 || h < 1 || across < 1 || down < 1)
                return vr_fail(err, VRWKV_ERR_FORMAT, "regions.%s[%zu]: a picture of %d x %d in regions of %d x %d", version, i, w, h, across, down);
            vr_image_region_grid(w, h, across, down, strcmp(version, "v7.02") != 0, &columns, &rows);
            int want_w = pair(entry, "best_resolution", 0), want_h = pair(entry, "best_resolution", 1);
            if (columns * across == want_w && rows * down == want_h) continue;
            if (!different++)
                snprintf(why, sizeof why, "%d x %d in regions of %d x %d: %d x %d, expected %d x %d", w, h, across, down, columns * across,
                         rows * down, want_w, want_h);
        }
        snprintf(label, sizeof label, "regions.%s", version);
        vr_check_tally(verify, label, json_array_size(list), different, why);
    }
    return VRWKV_OK;
}

vr_status vr_verify_data(vr_verify *verify, const vr_case *item, vr_error *err) {
    const vr_vocab *vocab;
    size_t i;
    const json_t *entry;
    VR_TRY(vr_vocab_world(&vocab, err));
    json_array_foreach(json_object_get(item->json, "conversations"), i, entry) VR_TRY(one_conversation(verify, entry, vocab, err));
    VR_TRY(check_order(verify, json_object_get(item->json, "sample_order"), err));
    return check_regions(verify, json_object_get(item->json, "regions"), err);
}
