/* List files: tokenizer.json, prompts.json, scan_orders.json. Many small comparisons each; one line of
 * the report per section, with the first difference described. */
#include "base/memory.h"
#include "rwkv/scan.h"
#include "text/prompt.h"
#include "verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally_sum {
    size_t n, different;
    char first[1100];
} tally_sum;

static void tally(tally_sum *sum, bool same, const char *section, size_t index, const char *what) {
    sum->n++;
    if (same) return;
    if (!sum->different++) snprintf(sum->first, sizeof sum->first, "%s[%zu]: %s", section, index, what);
}

/* The ids of a JSON list equal to found ones; what differs goes to `why`. */
static bool same_ids(const json_t *expected, const int32_t *ids, size_t n, char *why, size_t size) {
    size_t m = json_array_size(expected);
    for (size_t i = 0; i < n && i < m; i++) {
        long long id = json_integer_value(json_array_get(expected, i));
        if (id != ids[i]) {
            snprintf(why, size, "%d at %zu, expected %lld", ids[i], i, id);
            return false;
        }
    }
    if (n != m) snprintf(why, size, "%zu values, expected %zu", n, m);
    return n == m;
}

/* ---- tokenizer.json ---- */

static bool hex_bytes(const char *hex, char **out, size_t *n) {
    size_t length = strlen(hex);
    *n = length / 2;
    *out = length % 2 ? NULL : vr_alloc(*n + 1, 1);
    if (!*out) return false;
    for (size_t i = 0; i < *n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0}, *end;
        (*out)[i] = (char)strtoul(pair, &end, 16);
        if (*end) return false;
    }
    return true;
}

typedef struct id_list {
    int32_t *items;
    size_t n, capacity;
} id_list;

static vr_status check_encode(vr_verify *verify, const vr_vocab *vocab, const json_t *list, const char *section,
                              vr_error *err) {
    tally_sum sum = {0};
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry) {
        id_list ids = {0};
        char why[128] = "", *bytes = NULL;
        const json_t *text = json_object_get(entry, "text");
        const char *hex = vr_case_text(entry, "bytes_hex", NULL), *in = json_string_value(text);
        size_t n = json_string_length(text);
        if (hex && hex_bytes(hex, &bytes, &n)) in = bytes;
        vr_status status = in ? vr_encode(vocab, in, n, &ids.items, &ids.n, &ids.capacity, err)
                              : vr_fail(err, VRWKV_ERR_FORMAT, "%s[%zu] has neither text nor bytes_hex", section, i);
        if (status == VRWKV_OK)
            tally(&sum, same_ids(json_object_get(entry, "ids"), ids.items, ids.n, why, sizeof why), section, i, why);
        free(ids.items);
        free(bytes);
        VR_TRY(status);
    }
    vr_check_tally(verify, section, sum.n, sum.different, sum.first);
    return VRWKV_OK;
}

static bool same_repeat(const json_t *entry, const id_list *ids, char *why, size_t size) {
    const json_t *first = json_object_get(entry, "first"), *last = json_object_get(entry, "last");
    size_t n_first = json_array_size(first), n_last = json_array_size(last);
    int64_t sum = 0, n = vr_case_int(entry, "n_ids", -1);
    for (size_t i = 0; i < ids->n; i++) sum += ids->items[i];
    if ((int64_t)ids->n != n || n_first > ids->n || n_last > ids->n) {
        snprintf(why, size, "%zu ids, expected %lld", ids->n, (long long)n);
        return false;
    }
    if (!same_ids(first, ids->items, n_first, why, size)) return false;
    if (!same_ids(last, ids->items + (ids->n - n_last), n_last, why, size)) return false;
    snprintf(why, size, "sum %lld, expected %lld", (long long)sum, (long long)vr_case_int(entry, "sum", -1));
    return sum == vr_case_int(entry, "sum", -1);
}

static vr_status check_repeated(vr_verify *verify, const vr_vocab *vocab, const json_t *list, vr_error *err) {
    tally_sum sum = {0};
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry) {
        id_list ids = {0};
        char why[128] = "";
        const json_t *unit = json_object_get(entry, "unit");
        size_t n = json_string_length(unit);
        int64_t count = vr_case_int(entry, "count", 0);
        if (!json_is_string(unit) || count < 0 || (n && (uint64_t)count > (1u << 30) / n))
            return vr_fail(err, VRWKV_ERR_FORMAT, "encode_repeated[%zu] has no unit, or a count that is no good", i);
        char *text = vr_alloc(n * (size_t)count + 1, 1);
        if (!text) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu bytes of text", n * (size_t)count);
        for (size_t k = 0; k < (size_t)count; k++) memcpy(text + k * n, json_string_value(unit), n);
        vr_status status = vr_encode(vocab, text, n * (size_t)count, &ids.items, &ids.n, &ids.capacity, err);
        if (status == VRWKV_OK) tally(&sum, same_repeat(entry, &ids, why, sizeof why), "encode_repeated", i, why);
        free(ids.items);
        free(text);
        VR_TRY(status);
    }
    vr_check_tally(verify, "encode_repeated", sum.n, sum.different, sum.first);
    return VRWKV_OK;
}

static bool same_bytes(const char *hex, const char *found, size_t n, bool unknown) {
    char *bytes = NULL;
    size_t n_bytes;
    if (!hex || unknown) return !hex && unknown; /* null: an id is unknown */
    bool same = hex_bytes(hex, &bytes, &n_bytes) && n_bytes == n && memcmp(bytes, found, n) == 0;
    free(bytes);
    return same;
}

static vr_status check_decode(vr_verify *verify, const vr_vocab *vocab, const json_t *list, vr_error *err) {
    tally_sum bytes_sum = {0}, text_sum = {0};
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry) {
        int32_t *ids;
        size_t n, n_bytes = 0, n_text = 0;
        char *bytes = NULL, *text = NULL, why[128] = "";
        bool unknown = false;
        const json_t *expected = json_object_get(entry, "text");
        VR_TRY(vr_case_ids(json_object_get(entry, "ids"), "decode ids", &ids, &n, err));
        vr_status status = vr_decode_bytes(vocab, ids, n, &bytes, &n_bytes, &unknown, err);
        if (status == VRWKV_OK) status = vr_decode_text(vocab, ids, n, &text, &n_text, err);
        if (status == VRWKV_OK) {
            snprintf(why, sizeof why, "%zu other bytes%s", n_bytes, unknown ? ", an id is unknown" : "");
            tally(&bytes_sum, same_bytes(vr_case_text(entry, "bytes_hex", NULL), bytes, n_bytes, unknown), "decode", i,
                  why);
            bool same = json_is_string(expected) && json_string_length(expected) == n_text &&
                        memcmp(json_string_value(expected), text, n_text) == 0;
            tally(&text_sum, same, "decode", i, "another text");
        }
        free(ids);
        free(bytes);
        free(text);
        VR_TRY(status);
    }
    vr_check_tally(verify, "decode.bytes", bytes_sum.n, bytes_sum.different, bytes_sum.first);
    vr_check_tally(verify, "decode.text", text_sum.n, text_sum.different, text_sum.first);
    return VRWKV_OK;
}

vr_status vr_verify_tokenizer(vr_verify *verify, const vr_case *item, vr_error *err) {
    static const char *const encode[] = {"encode", "encode_bytes"};
    const vr_vocab *vocab;
    VR_TRY(vr_vocab_world(&vocab, err));
    for (size_t i = 0; i < VR_COUNT(encode); i++) {
        const json_t *list = json_object_get(item->json, encode[i]);
        if (list) VR_TRY(check_encode(verify, vocab, list, encode[i], err));
    }
    const json_t *repeated = json_object_get(item->json, "encode_repeated");
    if (repeated) VR_TRY(check_repeated(verify, vocab, repeated, err));
    const json_t *decode = json_object_get(item->json, "decode");
    return decode ? check_decode(verify, vocab, decode, err) : VRWKV_OK;
}

/* ---- prompts.json ---- */

typedef struct prompt_sums { tally_sum text, ids, labels, refused; } prompt_sums;

static vr_status turns_of(const json_t *entry, vr_turn **turns, size_t *n, vr_error *err) {
    const json_t *list = json_object_get(entry, "conversations");
    *n = json_array_size(list);
    *turns = vr_alloc(*n ? *n : 1, sizeof **turns);
    if (!*turns) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu turns", *n);
    for (size_t i = 0; i < *n; i++) {
        const json_t *turn = json_array_get(list, i);
        (*turns)[i].from = vr_case_text(turn, "from", "");
        (*turns)[i].value = vr_case_text(turn, "value", "");
    }
    return VRWKV_OK;
}

static void compare_prompt(const json_t *entry, size_t i, const vr_prompt *prompt, prompt_sums *sum) {
    char why[128] = "";
    const json_t *text = json_object_get(entry, "text"), *ids = json_object_get(entry, "ids"),
                 *labels = json_object_get(entry, "labels");
    if (text) {
        bool same = json_string_length(text) == prompt->text_bytes &&
                    memcmp(json_string_value(text), prompt->text, prompt->text_bytes) == 0;
        snprintf(why, sizeof why, "%zu bytes, expected %zu, or other ones", prompt->text_bytes, json_string_length(text));
        tally(&sum->text, same, "cases", i, why);
    }
    if (ids) tally(&sum->ids, same_ids(ids, prompt->ids, prompt->n, why, sizeof why), "cases", i, why);
    if (labels) tally(&sum->labels, same_ids(labels, prompt->labels, prompt->n, why, sizeof why), "cases", i, why);
}

static vr_status one_prompt(const json_t *entry, size_t i, const vr_template *rules, const vr_vocab *vocab,
                            prompt_sums *sum, vr_error *err) {
    vr_turn *turns;
    size_t n;
    vr_prompt prompt = {0};
    vr_error refusal = {0};
    vr_position position = VR_IMAGE_FIRST;
    const char *name = vr_case_text(entry, "image_position", NULL);
    bool refused = json_object_get(entry, "error") != NULL;
    VR_TRY(turns_of(entry, &turns, &n, err));
    vr_status status = VRWKV_OK;
    if (name && !vr_position_parse(name, &position))
        status = vr_fail(&refusal, VRWKV_ERR_ARGUMENT, "image position %s is unknown", name);
    if (status == VRWKV_OK)
        status = vr_prompt_build(&prompt, rules, vocab, turns, n,
                                 &(vr_prompt_options){.has_image = json_is_true(json_object_get(entry, "has_image")),
                                                      .position = position,
                                                      .ctx_len = (size_t)vr_case_int(entry, "ctx_len", 0)},
                                 &refusal);
    if (refused)
        tally(&sum->refused, status != VRWKV_OK, "cases", i, "accepted, expected to be refused");
    else if (status != VRWKV_OK)
        tally(&sum->text, false, "cases", i, refusal.message);
    else
        compare_prompt(entry, i, &prompt, sum);
    vr_prompt_free(&prompt);
    free(turns);
    return VRWKV_OK;
}

vr_status vr_verify_prompts(vr_verify *verify, const vr_case *item, vr_error *err) {
    const char *version = vr_case_text(item->json, "version", "");
    const vr_template *rules = vr_template_find(version);
    const vr_vocab *vocab;
    prompt_sums sum = {0};
    size_t i;
    const json_t *entry;
    if (!rules)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s is of version \"%s\", expected one of %s", item->path, version,
                       vr_template_names());
    VR_TRY(vr_vocab_world(&vocab, err));
    json_array_foreach(json_object_get(item->json, "cases"), i, entry)
        VR_TRY(one_prompt(entry, i, rules, vocab, &sum, err));
    vr_check_tally(verify, "text", sum.text.n, sum.text.different, sum.text.first);
    vr_check_tally(verify, "ids", sum.ids.n, sum.ids.different, sum.ids.first);
    vr_check_tally(verify, "labels", sum.labels.n, sum.labels.different, sum.labels.first);
    if (sum.refused.n) vr_check_tally(verify, "refused", sum.refused.n, sum.refused.different, sum.refused.first);
    return VRWKV_OK;
}

/* ---- scan_orders.json: {side: {scan: order, "scan_by_layer_mod_N": [order of layer 0, 1, ..]}} ---- */

static bool same_order(const vr_scan *scan, const json_t *expected, int side, int layer, char *why, size_t size) {
    int n = side * side;
    int32_t *order = vr_alloc(n ? (size_t)n : 1, sizeof *order);
    if (!order) {
        snprintf(why, size, "no memory");
        return false;
    }
    if (!scan->order(order, n, side, layer))
        for (int i = 0; i < n; i++) order[i] = i;
    bool same = same_ids(expected, order, (size_t)n, why, size);
    free(order);
    return same;
}

static vr_status one_scan(vr_verify *verify, const char *key, const json_t *value, int side, vr_error *err) {
    static const char by_layer[] = "_by_layer_mod_";
    char name[64], label[96], why[128] = "";
    const char *tail = strstr(key, by_layer);
    snprintf(name, sizeof name, "%.*s", (int)(tail ? tail - key : (ptrdiff_t)strlen(key)), key);
    snprintf(label, sizeof label, "%d.%s", side, name);
    const vr_scan *scan = vr_scan_find(name);
    if (!scan) return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "scan \"%s\" is unknown", name);
    tally_sum sum = {0};
    if (!tail) {
        tally(&sum, same_order(scan, value, side, 0, why, sizeof why), label, 0, why);
    } else {
        size_t period = json_array_size(value);
        for (size_t layer = 0; layer < 2 * period; layer++)
            tally(&sum, same_order(scan, json_array_get(value, layer % period), side, (int)layer, why, sizeof why),
                  label, layer, why);
    }
    vr_check_tally(verify, label, sum.n, sum.different, sum.first);
    return VRWKV_OK;
}

vr_status vr_verify_scans(vr_verify *verify, const vr_case *item, vr_error *err) {
    const char *side, *key;
    json_t *scans, *value;
    json_object_foreach(item->json, side, scans) {
        char *end;
        long size = strtol(side, &end, 10);
        if (*end || size < 1 || size > 4096)
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s: side \"%s\", expected a number from 1 to 4096", item->path, side);
        json_object_foreach(scans, key, value) VR_TRY(one_scan(verify, key, value, (int)size, err));
    }
    return VRWKV_OK;
}
