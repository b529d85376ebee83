/* The table of benchmarks, and what their files have in common. */
#include "eval/bench.h"

#include "base/memory.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const vr_bench *const benches[] = {
    &vr_bench_vqav2,   &vr_bench_gqa,     &vr_bench_scienceqa,  &vr_bench_textvqa, &vr_bench_pope,  &vr_bench_mme,
    &vr_bench_mmbench, &vr_bench_mmbench_cn, &vr_bench_vizwiz, &vr_bench_listqa, &vr_bench_mmvet, &vr_bench_easyvqa,
};

const vr_bench *vr_bench_at(size_t index) { return index < VR_COUNT(benches) ? benches[index] : NULL; }

const vr_bench *vr_bench_find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(benches); i++)
        if (strcmp(benches[i]->name, name) == 0) return benches[i];
    return NULL;
}

const char *vr_bench_names(char *buffer, size_t size) {
    size_t n = 0;
    buffer[0] = 0;
    for (size_t i = 0; i < VR_COUNT(benches) && n < size; i++)
        n += (size_t)snprintf(buffer + n, size - n, "%s%s", i ? ", " : "", benches[i]->name);
    return buffer;
}

/* ---- the set ---- */

static const vr_split *find_split(const vr_bench *bench, const char *name, vr_error *err) {
    char known[128] = "";
    for (const vr_split *split = bench->splits; split->name; split++) {
        if (!name || strcmp(split->name, name) == 0) return split;
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", split->name);
    }
    vr_fail(err, VRWKV_ERR_ARGUMENT, "%s has no split '%s' (known: %s)", bench->name, name, known);
    return NULL;
}

static vr_status find_files(vr_set *set, const vr_set_options *options, vr_error *err) {
    if (options->questions) {
        set->file = vr_strdup(options->questions);
        if (!set->file) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    } else {
        VR_TRY(vr_join(&set->file, set->folder, set->split->questions, err));
    }
    if (!options->images) return vr_join(&set->images, set->folder, set->split->images, err);
    set->images = vr_strdup(options->images);
    return set->images ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
}

static void free_question(vr_question *question) {
    json_decref(question->id);
    json_decref(question->metadata);
    json_decref(question->answer);
    free(question->text);
    free(question->image);
    free(question->own);
}

/* Which rows belong to a chunk: as the original cuts, ceil(n / chunks) each, the last ones fewer. */
static void cut(vr_set *set, const vr_set_options *options) {
    size_t from = 0, to = set->n;
    if (options->chunks > 0) {
        size_t size = (set->n + (size_t)options->chunks - 1) / (size_t)options->chunks;
        from = size * (size_t)options->chunk < set->n ? size * (size_t)options->chunk : set->n;
        to = from + size < set->n ? from + size : set->n;
    }
    if (options->limit && to - from > options->limit) to = from + options->limit;
    set->part = to - from < set->n;
    for (size_t i = 0; i < set->n; i++)
        if (i < from || i >= to) free_question(&set->questions[i]);
    memmove(set->questions, set->questions + from, (to - from) * sizeof *set->questions);
    set->n = to - from;
    set->offset = from;
}

/* The index is built last, from behind, so that questions of one id are chained in order. */
static vr_status build_index(vr_set *set, vr_error *err) {
    char digits[24];
    json_decref(set->index);
    set->index = json_object();
    for (size_t i = set->n; i-- > 0;) {
        const char *id = vr_id_text(set->questions[i].id, digits);
        json_t *known = json_object_get(set->index, id);
        set->questions[i].same = known ? (size_t)json_integer_value(known) + 1 : 0;
        if (json_object_set_new(set->index, id, json_integer((json_int_t)i)) != 0)
            return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu questions", set->n);
    }
    return VRWKV_OK;
}

static vr_status load(vr_set *set, const vr_set_options *options, vr_error *err) {
    vr_faults strict = {0}, *faults = options->faults ? options->faults : &strict;
    VR_TRY(find_files(set, options, err));
    VR_TRY(set->bench->load(set, faults, err));
    if (set->n == 0) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: there is no question in it", set->file);
    cut(set, options);
    VR_TRY(build_index(set, err));
    if (!options->no_gold && set->split->local && set->bench->load_gold) VR_TRY(set->bench->load_gold(set, faults, err));
    return vr_set_bundle(set, err);
}

vr_status vr_set_load(vr_set *set, const vr_bench *bench, const char *folder, const vr_set_options *options, vr_error *err) {
    static const vr_set_options none = {0};
    if (!options) options = &none;
    *set = (vr_set){.bench = bench, .folder = vr_strdup(folder), .words = json_object(), .index = json_object()};
    set->split = find_split(bench, options->split, err);
    vr_status status = set->split ? VRWKV_OK : VRWKV_ERR_ARGUMENT;
    if (status == VRWKV_OK && (!set->folder || !set->words || !set->index))
        status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    if (status == VRWKV_OK) status = load(set, options, err);
    if (status != VRWKV_OK) vr_set_free(set);
    return status;
}

void vr_set_free(vr_set *set) {
    if (set->gold) set->bench->free_gold(set->gold);
    for (size_t i = 0; i < set->n; i++) free_question(&set->questions[i]);
    free(set->questions);
    free(set->folder);
    free(set->file);
    free(set->images);
    json_decref(set->index);
    json_decref(set->words);
    free(set->groups.of);
    free(set->groups.names);
    free(set->categories.of);
    free(set->categories.names);
    vr_table_close(&set->table);
    *set = (vr_set){0};
}

static vr_status bundle(vr_bundles *to, const vr_set *set, bool by_group, vr_error *err) {
    json_t *known = json_object();
    *to = (vr_bundles){.of = vr_alloc(set->n, sizeof *to->of), .names = vr_alloc(set->n, sizeof *to->names)};
    bool ok = known && to->of && to->names;
    for (size_t i = 0; ok && i < set->n; i++) {
        const char *name = by_group ? set->questions[i].group : set->questions[i].category;
        const json_t *at = json_object_get(known, name ? name : "");
        to->of[i] = at ? (size_t)json_integer_value(at) : to->n;
        if (at) continue;
        ok = json_object_set_new_nocheck(known, name ? name : "", json_integer((json_int_t)to->n)) == 0;
        to->names[to->n++] = name ? name : "";
    }
    json_decref(known);
    return ok ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu questions", set->n);
}

vr_status vr_set_bundle(vr_set *set, vr_error *err) {
    VR_TRY(bundle(&set->groups, set, true, err));
    return bundle(&set->categories, set, false, err);
}

const char *vr_set_word(vr_set *set, const char *text) {
    if (!json_object_get(set->words, text) && json_object_set_new_nocheck(set->words, text, json_null()) != 0) return NULL;
    return json_object_iter_key(json_object_iter_at(set->words, text));
}

const char *vr_id_text(const json_t *id, char digits[24]) {
    if (json_is_string(id)) return json_string_value(id);
    snprintf(digits, 24, "%lld", (long long)json_integer_value(id));
    return digits;
}

size_t vr_set_find_text(const vr_set *set, const char *id) {
    const json_t *known = json_object_get(set->index, id);
    return known ? (size_t)json_integer_value(known) : set->n;
}

size_t vr_set_find(const vr_set *set, const json_t *id) {
    char digits[24];
    return vr_set_find_text(set, vr_id_text(id, digits));
}

vr_status vr_set_add(vr_set *set, vr_question *question, const vr_where *where, vr_faults *faults, vr_error *err) {
    char digits[24];
    vr_status status = VRWKV_OK;
    bool keep = true;
    question->line = where->line;
    if (!json_is_string(question->id) && !json_is_integer(question->id)) {
        keep = false;
        status = vr_fault(faults, err, "%s:%zu: the question's id is %s", where->path, where->line,
                          question->id ? "neither a number nor a text" : "missing");
    } else if (!question->text) {
        status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a question");
    } else {
        const char *id = vr_id_text(question->id, digits);
        const json_t *known = json_object_get(set->index, id);
        if (known && !set->bench->repeats) {
            keep = false;
            status = vr_fault(faults, err, "%s:%zu: id %s was there before, at line %zu", where->path, where->line, id,
                              set->questions[json_integer_value(known)].line);
        } else if (!known && json_object_set_new(set->index, id, json_integer((json_int_t)set->n)) != 0) {
            status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu questions", set->n);
        }
    }
    if (status == VRWKV_OK && keep) status = vr_grow(&set->questions, &set->room, set->n + 1, sizeof *set->questions, err);
    if (status == VRWKV_OK && keep)
        set->questions[set->n++] = *question;
    else
        free_question(question);
    return status;
}

/* ---- question files ---- */

/* A line has `text`, or the turns of a `conversations`, of which the first is the question. */
static const char *text_of(const json_t *line, bool *turn) {
    const char *text = json_string_value(json_object_get(line, "text"));
    const json_t *turns = json_object_get(line, "conversations");
    *turn = !text && turns;
    return *turn ? json_string_value(json_object_get(json_array_get(turns, 0), "value")) : text;
}

static const json_t *first_of(const json_t *line, const char *const *keys, size_t n) {
    const json_t *value = NULL;
    for (size_t i = 0; i < n && !value; i++) value = json_object_get(line, keys[i]);
    return value;
}

vr_status vr_load_question(vr_set *set, const json_t *line, const vr_where *where, vr_faults *faults, vr_error *err) {
    static const char *const id_keys[] = {"question_id", "id", "index"}, *const answer_keys[] = {"answers", "answer"};
    vr_question question = {0};
    const char *text = text_of(line, &question.turn), *image = json_string_value(json_object_get(line, "image"));
    const json_t *answer = question.turn
                               ? json_object_get(json_array_get(json_object_get(line, "conversations"), 1), "value")
                               : first_of(line, answer_keys, VR_COUNT(answer_keys));
    if (!text) return vr_fault(faults, err, "%s:%zu: neither a text nor a conversation", where->path, where->line);
    question.id = json_incref((json_t *)first_of(line, id_keys, VR_COUNT(id_keys)));
    question.metadata = json_incref(json_object_get(line, "metadata"));
    question.answer = json_incref((json_t *)answer);
    question.text = vr_strdup(text);
    question.image = vr_strdup(image);
    question.group = vr_set_word(set, image ? image : "");
    question.category = vr_set_word(set, vr_text_or(line, "category", "all"));
    return vr_set_add(set, &question, where, faults, err);
}

typedef struct loading {
    vr_set *set;
    vr_faults *faults;
} loading;

static vr_status load_line(void *user, const char *key, json_t *line, const vr_where *where, vr_error *err) {
    loading *to = user;
    (void)key;
    return vr_load_question(to->set, line, where, to->faults, err);
}

vr_status vr_load_questions(vr_set *set, vr_faults *faults, vr_error *err) {
    return vr_read_rows(set->file, faults, load_line, &(loading){set, faults}, err);
}

vr_status vr_bench_prompt(const vr_set *set, const vr_question *question, vr_family family, vr_str *out, vr_error *err) {
    vr_str own = {0}, plain = {0};
    if (set->bench->make_prompt)
        set->bench->make_prompt(set, question, family, &own);
    else
        vr_str_add(&own, question->text);
    vr_str_replace(&plain, vr_str_slice(&own), "<image>", "");
    vr_str_add_slice(out, vr_trim(vr_str_slice(&plain)));
    out->failed |= own.failed | plain.failed;
    vr_str_free(&own);
    vr_str_free(&plain);
    return vr_str_check(out, err);
}

/* ---- helpers ---- */

static int write_part(const char *data, size_t n, void *user) {
    return vr_writer_put(user, data, n, NULL) == VRWKV_OK ? 0 : -1;
}

vr_status vr_json_save(const json_t *value, const char *path, size_t flags, vr_error *err) {
    vr_writer writer;
    VR_TRY(vr_writer_open(&writer, path, err));
    vr_status status = json_dump_callback(value, write_part, &writer, flags | JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY) == 0
                           ? vr_writer_put(&writer, "\n", 1, err)
                           : vr_fail_io(err, "write", path);
    if (status == VRWKV_OK) return vr_writer_commit(&writer, err);
    vr_writer_abandon(&writer);
    return status;
}

void vr_put(json_t *object, const char *key, json_t *value) { json_object_set_new_nocheck(object, key, value); }

json_t *vr_json_of(vr_slice text) {
    if (vr_utf8_valid(text.p, text.n)) return json_stringn_nocheck(text.p, text.n);
    vr_stream stream = {0};
    char *clean = vr_alloc(3 * text.n + 16, 1);
    if (!clean) return NULL;
    size_t n = vr_stream_push(&stream, text.p, text.n, clean);
    n += vr_stream_end(&stream, clean + n);
    json_t *value = json_stringn_nocheck(clean, n);
    free(clean);
    return value;
}

/* The decimal form is rounded correctly, half to even on the exact binary value. */
double vr_round(double value, int decimals) {
    char digits[400];
    if (!isfinite(value)) return value;
    snprintf(digits, sizeof digits, "%.*f", decimals, value);
    return strtod(digits, NULL);
}

json_t *vr_json_id(const vr_question *question) { return json_incref(question->id); }

vr_status vr_means_add(vr_means *means, const char *key, double value, vr_error *err) {
    size_t i = 0;
    while (i < means->n && means->items[i].key != key) i++;
    if (i == means->n) {
        VR_TRY(vr_grow(&means->items, &means->room, means->n + 1, sizeof *means->items, err));
        means->items[means->n++] = (vr_mean){.key = key};
    }
    means->items[i].sum += value;
    means->items[i].n++;
    return VRWKV_OK;
}

void vr_confusion_add(vr_confusion *to, const vr_verdict *verdict, double weight) {
    bool yes = verdict->said == VR_SAID_YES, right = verdict->said == verdict->truth;
    if (!verdict->counted || verdict->truth == VR_SAID_NOTHING || verdict->said == VR_SAID_NOTHING) return;
    *(verdict->said == VR_SAID_OTHER ? &to->other : yes ? right ? &to->tp : &to->fp : right ? &to->tn : &to->fn) += weight;
}

double vr_ratio(double a, double b) { return b > 0 ? a / b : 0; }

double vr_confusion_f1(const vr_confusion *c) {
    double precision = vr_ratio(c->tp, c->tp + c->fp), recall = vr_ratio(c->tp, c->tp + c->fn);
    return vr_ratio(2 * precision * recall, precision + recall);
}
