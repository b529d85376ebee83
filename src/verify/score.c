/* Kinds `score` and `normalise`: a benchmark's miniature data set. Every answers_<block>.jsonl is scored
 * and compared with its block of expected.json, every prompt with prompts.json, and the tables for the
 * official tools with those that lie beside. */
#include "base/memory.h"
#include "eval/bench.h"
#include "eval/normalise.h"
#include "text/prompt.h"
#include "verify/tree.h"
#include "verify/verify.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers ---- */

/* Each member of the block is one line of the report; a number with its error. */
static void check_block(vr_verify *verify, const char *block, const json_t *found, const json_t *expected) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)expected, key, value) {
        char name[160], why[1100] = "";
        const json_t *own = json_object_get(found, key);
        snprintf(name, sizeof name, "%s.%s", block, key);
        if (json_is_number(value) && json_is_number(own)) {
            double want = json_number_value(value);
            vr_check_value(verify, name, json_number_value(own), want, VR_BOUND_SCORE * (want < 0 ? -want : want));
        } else {
            bool same = vr_same_json(own, value, VR_BOUND_SCORE, why, sizeof why);
            size_t n = json_is_array(value) ? json_array_size(value) : json_is_object(value) ? json_object_size(value) : 1;
            vr_check_tally(verify, name, n, !same, why);
        }
    }
}

static vr_status score_file(const vr_case *item, vr_set *set, const char *block, vr_answers *answers, vr_score *score,
                            vr_error *err) {
    vr_faults lenient = {.keep_going = true}; /* what the originals read over */
    char name[128];
    snprintf(name, sizeof name, "answers_%s.jsonl", block);
    char *path = vr_path_join(item->folder, name);
    if (!path) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    vr_status status = vr_answers_read(answers, set, path, &lenient, err);
    if (status == VRWKV_OK) status = vr_score_make(score, set, answers, err);
    answers->path = NULL; /* it was needed by the score alone */
    free(path);
    return status;
}

/* eval_tool/results_<block>/<task>.txt, made anew in a folder of its own and compared. */
static vr_status check_tables(vr_verify *verify, const vr_case *item, const vr_set *set, const char *block,
                              const vr_answers *answers, const vr_score *score, vr_error *err) {
    char name[128], folder[VR_SCRATCH_ROOM];
    struct dirent **entries = NULL;
    snprintf(name, sizeof name, "eval_tool/results_%s", block);
    char *expected = vr_path_join(item->folder, name);
    int n = expected ? scandir(expected, &entries, NULL, alphasort) : -1;
    vr_status status = VRWKV_OK;
    if (n >= 0) {
        bool made = (status = vr_scratch_make(folder, err)) == VRWKV_OK;
        if (made) status = set->bench->write_submission(set, answers, score, folder, err);
        for (int i = 0; i < n && status == VRWKV_OK; i++) {
            char *a = vr_path_join(folder, entries[i]->d_name), *b = vr_path_join(expected, entries[i]->d_name);
            vr_map found = {0}, want = {0};
            if (a && b && entries[i]->d_name[0] != '.') {
                status = vr_map_open(&want, b, false, err);
                if (status == VRWKV_OK) status = vr_map_open(&found, a, false, err);
                snprintf(name, sizeof name, "%.30s.tables.%.60s", block, entries[i]->d_name);
                if (status == VRWKV_OK)
                    vr_check_text(verify, name, (const char *)found.data, found.size, (const char *)want.data, want.size);
                vr_map_close(&found);
                vr_map_close(&want);
            }
            free(a);
            free(b);
        }
        if (made) vr_scratch_remove(folder);
    }
    for (int i = 0; i < n; i++) free(entries[i]);
    free(entries);
    free(expected);
    return status;
}

static vr_status check_answers(vr_verify *verify, const vr_case *item, vr_set *set, const char *block,
                               const json_t *expected, vr_error *err) {
    vr_answers answers = {0};
    vr_score score = {0};
    vr_status status = score_file(item, set, block, &answers, &score, err);
    if (status == VRWKV_OK) check_block(verify, block, score.values, expected);
    if (status == VRWKV_OK) status = check_tables(verify, item, set, block, &answers, &score, err);
    vr_score_free(&score);
    vr_answers_free(&answers);
    return status;
}

/* expected.json has a block per answer file; MM-Vet's file to hand in is the whole of its expectation. */
static vr_status check_scores(vr_verify *verify, const vr_case *item, vr_set *set, vr_error *err) {
    static const char upload[] = "expected_results_";
    char *path = vr_path_join(item->folder, "expected.json");
    json_t *blocks = path ? json_load_file(path, JSON_ALLOW_NUL, NULL) : NULL, *block;
    const char *name;
    vr_status status = VRWKV_OK;
    free(path);
    json_object_foreach(blocks, name, block) {
        if (status == VRWKV_OK) status = check_answers(verify, item, set, name, block, err);
    }
    json_decref(blocks);
    struct dirent **entries = NULL;
    int n = scandir(item->folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char own[64];
        const char *entry = entries[i]->d_name, *ending = strrchr(entry, '.');
        if (status == VRWKV_OK && strncmp(entry, upload, sizeof upload - 1) == 0 && ending &&
            ending > entry + sizeof upload) {
            snprintf(own, sizeof own, "%.*s", (int)(ending - entry - (ptrdiff_t)(sizeof upload - 1)),
                     entry + sizeof upload - 1);
            path = vr_path_join(item->folder, entry);
            block = path ? json_load_file(path, JSON_ALLOW_NUL, NULL) : NULL;
            status = check_answers(verify, item, set, own, block, err);
            json_decref(block);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* ---- prompts ---- */

typedef struct prompt_rule {
    const char *key, *ids, *version;
    vr_position position;
    vr_family family;
} prompt_rule;

static const prompt_rule prompt_rules[] = {
    {"v6_first", NULL, "v6.0", VR_IMAGE_FIRST, VR_FAMILY_V6},
    {"v6_middle", "v6_middle_ids", "v6.0", VR_IMAGE_MIDDLE, VR_FAMILY_V6},
    {"v6_last", NULL, "v6.0", VR_IMAGE_LAST, VR_FAMILY_V6},
    {"v7", NULL, "v7.00", VR_IMAGE_FIRST, VR_FAMILY_V7},
};

static bool same_ids(const json_t *expected, const vr_prompt *prompt) {
    bool same = json_array_size(expected) == prompt->n;
    for (size_t i = 0; same && i < prompt->n; i++) same = json_integer_value(json_array_get(expected, i)) == prompt->ids[i];
    return same;
}

static vr_status check_prompt(const vr_set *set, size_t i, const prompt_rule *rule, const json_t *expected,
                              const vr_vocab *vocab, char *why, size_t size, vr_error *err) {
    const vr_question *question = &set->questions[i];
    bool picture = question->image || question->picture.n;
    const json_t *want = json_object_get(expected, rule->key);
    vr_str value = {0};
    vr_prompt prompt = {0};
    if (!json_is_string(want)) return VRWKV_OK; /* the original refuses it */
    if (picture) vr_str_add(&value, "<image>\n");
    vr_status status = vr_bench_prompt(set, question, rule->family, &value, err);
    const vr_turn turns[] = {{"human", vr_str_text(&value)}, {"gpt", ""}};
    if (status == VRWKV_OK)
        status = vr_prompt_build(&prompt, vr_template_find(rule->version), vocab, turns, 2,
                                 &(vr_prompt_options){.has_image = picture, .position = rule->position}, err);
    if (status == VRWKV_OK && strcmp(prompt.text, json_string_value(want)) != 0)
        snprintf(why, size, "[%zu]: \"%s\", expected \"%s\"", i, prompt.text, json_string_value(want));
    if (status == VRWKV_OK && rule->ids && !same_ids(json_object_get(expected, rule->ids), &prompt))
        snprintf(why, size, "[%zu]: other ids", i);
    vr_prompt_free(&prompt);
    vr_str_free(&value);
    return status;
}

static vr_status check_prompts(vr_verify *verify, const vr_case *item, const vr_set *set, vr_error *err) {
    char *path = vr_path_join(item->folder, "prompts.json");
    json_t *expected = path ? json_load_file(path, JSON_ALLOW_NUL, NULL) : NULL;
    const vr_vocab *vocab;
    free(path);
    if (!expected) return VRWKV_OK;
    vr_status status = vr_vocab_world(&vocab, err);
    for (size_t r = 0; r < VR_COUNT(prompt_rules) && status == VRWKV_OK; r++) {
        char name[64], first[1100] = "";
        size_t different = 0;
        for (size_t i = 0; i < set->n && status == VRWKV_OK; i++) {
            char why[1100] = "";
            status = check_prompt(set, i, &prompt_rules[r], json_array_get(expected, i), vocab, why, sizeof why, err);
            if (why[0] && !different++) memcpy(first, why, sizeof first);
        }
        snprintf(name, sizeof name, "prompts.%s", prompt_rules[r].key);
        if (json_array_size(expected) != set->n && !different++)
            snprintf(first, sizeof first, "%zu questions, expected %zu", set->n, json_array_size(expected));
        vr_check_tally(verify, name, set->n, different, first);
    }
    json_decref(expected);
    return status;
}

vr_status vr_verify_score(vr_verify *verify, const vr_case *item, vr_error *err) {
    const char *name = vr_case_text(item->json, "benchmark", "");
    const vr_bench *bench = vr_bench_find(name);
    char known[256];
    vr_set set;
    if (!bench)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "benchmark \"%s\" is none of %s", name,
                       vr_bench_names(known, sizeof known));
    VR_TRY(vr_set_load(&set, bench, item->folder, NULL, err));
    vr_status status = check_scores(verify, item, &set, err);
    if (status == VRWKV_OK) status = check_prompts(verify, item, &set, err);
    vr_set_free(&set);
    return status;
}

/* ---- normalisation pairs ---- */

vr_status vr_verify_normalise(vr_verify *verify, const vr_case *item, vr_error *err) {
    char *path = vr_path_join(item->folder, "pairs.json");
    json_t *pairs = path ? json_load_file(path, JSON_ALLOW_NUL, NULL) : NULL;
    vr_status status = json_is_array(pairs)
                           ? VRWKV_OK
                           : vr_fail(err, VRWKV_ERR_FORMAT, "%s holds no list of pairs", path ? path : "the case");
    free(path);
    for (int r = 0; vr_rule_name(r) && status == VRWKV_OK; r++) {
        const vr_rule *rule = vr_rule_find(vr_rule_name(r));
        char first[1100] = "";
        size_t i, different = 0;
        const json_t *pair;
        json_array_foreach(pairs, i, pair) {
            vr_str found = {0};
            const json_t *want = json_object_get(pair, vr_rule_name(r));
            vr_normalise(rule, vr_json_slice(json_object_get(pair, "raw")), &found);
            if (!vr_slice_same(vr_str_slice(&found), vr_json_slice(want)) && !different++)
                snprintf(first, sizeof first, "[%zu] \"%s\": \"%s\", expected \"%s\"", i,
                         vr_json_slice(json_object_get(pair, "raw")).p, vr_str_text(&found), vr_json_slice(want).p);
            vr_str_free(&found);
        }
        vr_check_tally(verify, vr_rule_name(r), json_array_size(pairs), different, first);
    }
    json_decref(pairs);
    return status;
}
