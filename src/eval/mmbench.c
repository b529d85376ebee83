/* MMBench and MMBench-CN: multiple choice asked in every rotation of the options; a question counts when
 * it is right in all of them (CircularEval).
 * src: VLMEvalKit's matching_util.py (which letter an answer names) and mmbench_eval; the older rules of
 * 2023. Answers that name no letter go to a judge model on the server; without one they are wrong. */
#include "base/memory.h"
#include "eval/bench.h"
#include "eval/xlsx.h"
#include "text/unicode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROTATION 1000000 /* index = rotation * this + question */
#define WRONG 'Z'

/* A row of the table: its cells, p NULL where missing. */
typedef struct row {
    long long index;
    vr_slice cells[VR_TABLE_COLUMNS];
} row;

static const row *row_of(const vr_set *set, size_t i) { return set->questions[i].own; }

static vr_slice cell(const vr_set *set, const row *r, const char *column) {
    int c = vr_table_column(&set->table, column);
    return c < 0 ? (vr_slice){NULL, 0} : r->cells[c];
}

/* ---- the table ---- */

/* A copy of the row in one piece; the picture stays in the map unless it was quoted. */
static row *copy_row(const vr_table *table, int picture) {
    size_t bytes = 0;
    const char *map = (const char *)table->map.data;
    for (size_t c = 0; c < table->n_columns; c++) bytes += table->fields[c].n;
    bool mapped = table->fields[picture].p >= map && table->fields[picture].p < map + table->map.size;
    if (mapped) bytes -= table->fields[picture].n;
    row *r = vr_alloc(1, sizeof *r + bytes);
    char *to = r ? (char *)(r + 1) : NULL;
    for (size_t c = 0; r && c < table->n_columns; c++) {
        vr_slice field = table->fields[c];
        r->cells[c] = field;
        if ((int)c == picture && mapped) continue;
        if (vr_is_missing(field)) {
            r->cells[c] = (vr_slice){NULL, 0};
            continue;
        }
        memcpy(to, field.p, field.n);
        r->cells[c].p = to;
        to += field.n;
    }
    return r;
}

static const char *cell_word(vr_set *set, const row *r, const char *column) {
    char text[256];
    vr_slice value = cell(set, r, column);
    snprintf(text, sizeof text, "%.*s", (int)(value.p ? value.n : 4), value.p ? value.p : "none");
    return vr_set_word(set, text);
}

static bool parse_index(vr_slice field, long long *out) {
    char text[24], *end;
    if (field.n == 0 || field.n >= sizeof text) return false;
    memcpy(text, field.p, field.n);
    text[field.n] = 0;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return !errno && !*end && *out >= 0;
}

static vr_status add_row(vr_set *set, int index, int picture, size_t line, vr_faults *faults, vr_error *err) {
    vr_where where = {set->file, line};
    long long number;
    char group[24];
    vr_slice text = set->table.fields[index];
    if (!parse_index(text, &number))
        return vr_fault(faults, err, "%s:%zu: the index is '%.*s', expected a number", set->file, line,
                        (int)(text.n < 40 ? text.n : 40), text.p);
    row *r = copy_row(&set->table, picture);
    if (!r) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    r->index = number;
    vr_slice asked = cell(set, r, "question");
    snprintf(group, sizeof group, "%lld", number % ROTATION);
    vr_question question = {.id = json_integer(number),
                            .text = vr_slice_copy(asked.p ? asked : (vr_slice){"", 0}),
                            .own = r,
                            .picture = r->cells[picture],
                            .group = vr_set_word(set, group),
                            .category = cell_word(set, r, "l2-category")};
    return vr_set_add(set, &question, &where, faults, err);
}

static vr_status load(vr_set *set, vr_faults *faults, vr_error *err) {
    static const char *const wanted[] = {"index", "question", "A", "B", "image"};
    vr_table *table = &set->table;
    VR_TRY(vr_table_open(table, set->file, err));
    for (size_t i = 0; i < VR_COUNT(wanted); i++)
        if (vr_table_column(table, wanted[i]) < 0)
            return vr_fail(err, VRWKV_ERR_FORMAT,
                           "%s:1: there is no column \"%s\"; expected index, question, hint, A to D, answer, image, ..",
                           set->file, wanted[i]);
    int index = vr_table_column(table, "index"), picture = vr_table_column(table, "image");
    for (bool more;;) {
        size_t line = table->line;
        VR_TRY(vr_table_next(table, faults, &more, err));
        if (!more) return VRWKV_OK;
        VR_TRY(add_row(set, index, picture, line, faults, err));
    }
}

static vr_status load_gold(vr_set *set, vr_faults *faults, vr_error *err) {
    (void)faults;
    if (vr_table_column(&set->table, "answer") < 0) return VRWKV_OK; /* the test split: uploaded */
    for (size_t i = 0; i < set->n; i++)
        if (!cell(set, row_of(set, i), "answer").p)
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the answer is missing", set->file, set->questions[i].line);
    set->scorable = true;
    return VRWKV_OK;
}

/* ---- the prompt ---- */

/* As the original's is_none: missing for pandas, or these words in any letters. */
static bool is_none(vr_slice value) {
    vr_str small = {0};
    if (!value.p) return true;
    vr_str_lower(&small, value);
    bool none = vr_slice_is(vr_str_slice(&small), "nan") || vr_slice_is(vr_str_slice(&small), "none");
    vr_str_free(&small);
    return none;
}

static void put_prompt(const vr_set *set, const vr_question *question, const char *request, vr_str *out) {
    const row *r = question->own;
    vr_slice hint = cell(set, r, "hint");
    if (!is_none(hint)) {
        vr_str_add_slice(out, hint);
        vr_str_add(out, "\n");
    }
    vr_str_add(out, question->text);
    for (char letter[2] = "A"; letter[0] <= 'D'; letter[0]++) {
        vr_slice option = cell(set, r, letter);
        if (is_none(option)) break;
        vr_str_format(out, "\n%s. ", letter);
        vr_str_add_slice(out, option);
    }
    vr_str_add(out, request);
}

static void make_prompt(const vr_set *set, const vr_question *question, vr_family family, vr_str *out) {
    (void)family;
    put_prompt(set, question, "\nAnswer with the option's letter from the given choices directly.", out);
}

static void make_prompt_cn(const vr_set *set, const vr_question *question, vr_family family, vr_str *out) {
    (void)family;
    put_prompt(set, question, "\n请直接回答选项字母。", out);
}

/* ---- which letter ---- */

typedef struct choices { /* the row's options, by letter; p NULL: none */
    vr_slice option[26];
} choices;

static choices choices_of(const vr_set *set, const row *r) {
    choices out = {0};
    for (int i = 0; i < 26; i++) {
        char letter[2] = {(char)('A' + i), 0};
        out.option[i] = cell(set, r, letter);
    }
    return out;
}

static bool has(const choices *from, char letter) { return letter >= 'A' && letter <= 'Z' && from->option[letter - 'A'].p; }

/* The option whose text stands in the answer, letters small; 0: none or several. */
static char named_option(const choices *from, vr_slice answer, bool limited) {
    vr_str small = {0}, option = {0};
    size_t total = 0, found = 0;
    char letter = 0;
    vr_str_lower(&small, answer);
    for (int i = 0; i < 26; i++) {
        if (!from->option[i].p) continue;
        total += vr_utf8_count(from->option[i].p, from->option[i].n);
        vr_str_clear(&option);
        vr_str_lower(&option, from->option[i]);
        if (!vr_slice_find(vr_str_slice(&small), vr_str_text(&option))) continue;
        letter = (char)('A' + i);
        found++;
    }
    bool too_long = limited && vr_utf8_count(vr_str_text(&small), small.n) > 2 * total;
    vr_str_free(&small);
    vr_str_free(&option);
    return found == 1 && !too_long ? letter : 0;
}

/* The one letter of a choice among the words; it must be one of the last four. No such letter, but a Z: Z. */
static char word_letter(const choices *from, vr_slice answer) {
    static const char marks[] = ".()[],:;!*#{}";
    size_t words = 0, first[26] = {0}, different = 0;
    vr_str plain = {0};
    vr_slice word;
    for (size_t i = 0; i < answer.n; i++)
        vr_str_put(&plain, answer.p[i] && strchr(marks, answer.p[i]) ? " " : answer.p + i, 1);
    vr_slice rest = vr_str_slice(&plain);
    while (vr_next_word(&rest, &word)) {
        words++;
        if (word.n == 1 && *word.p >= 'A' && *word.p <= 'Z' && !first[*word.p - 'A']) first[*word.p - 'A'] = words;
    }
    vr_str_free(&plain);
    char letter = 0;
    for (int i = 0; i < 26; i++) {
        if (!first[i] || !from->option[i].p) continue;
        letter = (char)('A' + i);
        different++;
    }
    if (different == 1) return first[letter - 'A'] + 4 > words ? letter : 0;
    return different == 0 && first[WRONG - 'A'] ? WRONG : 0;
}

/* The first "answer is X", X of A to D with any number of * before it, letters of any size. */
static char stated_letter(vr_slice answer) {
    static const char phrase[] = "answer is ";
    for (size_t i = 0; i + sizeof phrase - 1 < answer.n; i++) {
        size_t k = i + sizeof phrase - 1;
        if (strncasecmp(answer.p + i, phrase, sizeof phrase - 1) != 0) continue;
        while (k < answer.n && answer.p[k] == '*') k++;
        char letter = k < answer.n ? (char)(answer.p[k] & ~0x20) : 0;
        if (letter >= 'A' && letter <= 'D') return letter;
    }
    return 0;
}

static char letter_of(const choices *from, vr_slice answer) {
    static const char *const refusals[] = {"Sorry, I can't help with images of people yet.", "I can't process this file.",
                                           "I'm sorry, but without the image provided", "Cannot determine the answer"};
    char letter = 0;
    if (!vr_slice_find(answer, "Failed to obtain answer via API")) {
        for (size_t i = 0; i < VR_COUNT(refusals); i++)
            if (vr_slice_find(answer, refusals[i])) return WRONG;
        letter = word_letter(from, answer);
    }
    if (!letter) {
        letter = stated_letter(answer);
        if (!has(from, letter)) letter = 0;
    }
    if (!letter) letter = named_option(from, answer, true);
    return letter ? letter : WRONG;
}

/* ---- the rules of 2023 ---- */

/* Which of A to D stand among the words between prefix and suffix: the letter where it is exactly one. */
static char bracketed_letter(vr_slice answer, const char *prefix, const char *suffix, size_t *words, bool *has_bare_a) {
    size_t before = strlen(prefix), behind = strlen(suffix), n = 0;
    bool seen[4] = {false};
    vr_slice word;
    *words = 0;
    *has_bare_a = false;
    while (vr_next_word(&answer, &word)) {
        ++*words;
        *has_bare_a |= vr_slice_is(word, "A");
        if (word.n != before + 1 + behind || memcmp(word.p, prefix, before) != 0 ||
            memcmp(word.p + before + 1, suffix, behind) != 0)
            continue;
        if (word.p[before] >= 'A' && word.p[before] <= 'D') seen[word.p[before] - 'A'] = true;
    }
    char letter = 0;
    for (int i = 0; i < 4; i++) {
        n += seen[i];
        if (seen[i]) letter = (char)('A' + i);
    }
    return n == 1 ? letter : 0;
}

static char letter_of_2023(const choices *from, vr_slice answer) {
    static const char *const pairs[][2] = {{"", ""},   {"", "."},  {"", ","},   {"", ":"}, {"", ")"},
                                           {"", ")."}, {"(", ")"}, {"(", ")."}, {":", ""}, {":", ","},
                                           {":", "."}, {":", ")"}, {":", ")."}};
    for (size_t i = 0; i < VR_COUNT(pairs); i++) {
        size_t words;
        bool article;
        char letter = bracketed_letter(answer, pairs[i][0], pairs[i][1], &words, &article);
        if (letter && !(i == 0 && article && words > 3)) return letter; /* a bare "A" in a sentence is an article */
    }
    char letter = named_option(from, answer, false);
    return letter ? letter : WRONG;
}

/* ---- scores ---- */

static bool is_right(const vr_set *set, size_t i, char letter) {
    vr_slice answer = cell(set, row_of(set, i), "answer");
    return answer.n == 1 && *answer.p == letter;
}

static void judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    choices from = choices_of(set, row_of(set, question));
    verdict->score = is_right(set, question, letter_of(&from, answer));
}

/* right[i] of question i -> hit[g] of its group: all of them. */
static void all_right(const vr_set *set, const bool *right, bool *hit) {
    for (size_t g = 0; g < set->groups.n; g++) hit[g] = true;
    for (size_t i = 0; i < set->n; i++) hit[set->groups.of[i]] &= right[i];
}

/* The question whose row names the group's categories: the one that is not rotated, else the first. */
static size_t base_of(const vr_set *set, size_t g) {
    size_t first = set->n;
    for (size_t i = 0; i < set->n; i++) {
        if (set->groups.of[i] != g) continue;
        if (row_of(set, i)->index < ROTATION) return i;
        if (first == set->n) first = i;
    }
    return first;
}

static const char *short_name(const char *name) {
    static const char *const names[][2] = {{"coarse_perception", "CP"}, {"finegrained_perception (instance-level)", "FP-S"},
                                           {"finegrained_perception (cross-instance)", "FP-C"}, {"logic_reasoning", "LR"},
                                           {"relation_reasoning", "RR"}, {"attribute_reasoning", "AR"}};
    for (size_t i = 0; i < VR_COUNT(names); i++)
        if (strcmp(names[i][0], name) == 0) return names[i][1];
    return name;
}

/* Which values of a column the groups have: the means of their hits. */
static vr_status put_groups(const vr_set *set, const bool *hit, const char *column, bool abbreviate, json_t *to,
                            vr_error *err) {
    vr_means means = {0};
    vr_status status = VRWKV_OK;
    for (size_t g = 0; g < set->groups.n && status == VRWKV_OK; g++) {
        size_t base = base_of(set, g);
        const char *name = cell_word((vr_set *)set, row_of(set, base), column); /* words only grow */
        status = name ? vr_means_add(&means, name, hit[g], err) : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < means.n; i++)
        vr_put(to, abbreviate ? short_name(means.items[i].key) : means.items[i].key,
               json_real(means.items[i].sum / (double)means.items[i].n));
    free(means.items);
    return status;
}

static double mean_hit(const vr_set *set, const bool *hit) {
    size_t hits = 0;
    for (size_t g = 0; g < set->groups.n; g++) hits += hit[g];
    return vr_ratio((double)hits, (double)set->groups.n);
}

static vr_status score_now(const vr_set *set, const bool *right, bool *hit, vr_score *out, vr_error *err) {
    json_t *circular = json_object(), *groups = json_object(), *hits = json_object();
    size_t all = 0, first = 0, first_right = 0;
    all_right(set, right, hit);
    vr_put(out->values, "circular", circular);
    vr_put(circular, "overall", json_real(mean_hit(set, hit)));
    vr_put(circular, "groups", groups);
    vr_put(circular, "hit", hits);
    VR_TRY(put_groups(set, hit, "l2-category", true, groups, err));
    VR_TRY(put_groups(set, hit, "category", false, groups, err));
    for (size_t g = 0; g < set->groups.n; g++) vr_put(hits, set->groups.names[g], json_integer(hit[g]));
    for (size_t i = 0; i < set->n; i++) {
        bool base = row_of(set, i)->index < ROTATION;
        all += right[i];
        first += base;
        first_right += base && right[i];
    }
    double vanilla = vr_ratio((double)all, (double)set->n);
    vr_put(out->values, "vanilla_all_rows", json_real(vanilla));
    vr_put(out->values, "vanilla_first_pass", json_real(vr_ratio((double)first_right, (double)first)));
    vr_score_figure(out, "CircularEval, exact matching", 100 * mean_hit(set, hit), 1, false);
    vr_score_figure(out, "accuracy over all rows", 100 * vanilla, 1, false);
    return VRWKV_OK;
}

static vr_status score_2023(const vr_set *set, const bool *right, bool *hit, vr_score *out, vr_error *err) {
    json_t *block = json_object(), *category = json_object(), *l2 = json_object();
    all_right(set, right, hit);
    vr_put(out->values, "circular_2023_rules", block);
    vr_put(block, "overall", json_real(mean_hit(set, hit)));
    vr_put(block, "category", category);
    vr_put(block, "l2", l2);
    vr_score_figure(out, "CircularEval, matching rules of 2023", 100 * mean_hit(set, hit), 1, false);
    VR_TRY(put_groups(set, hit, "category", false, category, err));
    return put_groups(set, hit, "l2-category", false, l2, err);
}

/* ---- the table to upload ---- */

static json_t *cell_json(vr_slice value) { return value.p ? vr_json_of(value) : json_string(""); }

static json_t *upload(const vr_set *set, const vr_answers *answers) {
    static const char *const dropped[] = {"hint", "category", "source", "image", "comment", "l2-category"};
    const size_t prediction_at = 6;
    json_t *columns = json_array(), *rows = json_array();
    size_t kept[VR_TABLE_COLUMNS], n = 0;
    for (size_t c = 0; c < set->table.n_columns; c++) {
        bool drop = false;
        for (size_t k = 0; k < VR_COUNT(dropped); k++) drop |= strcmp(set->table.columns[c], dropped[k]) == 0;
        if (!drop) kept[n++] = c;
    }
    for (size_t k = 0; k < n; k++) json_array_append_new(columns, json_string_nocheck(set->table.columns[kept[k]]));
    json_array_insert_new(columns, prediction_at < n ? prediction_at : n, json_string("prediction"));
    for (size_t i = 0; i < set->n; i++) {
        json_t *line = json_array();
        for (size_t k = 0; k < n; k++)
            json_array_append_new(line, strcmp(set->table.columns[kept[k]], "index") == 0
                                            ? vr_json_id(&set->questions[i])
                                            : cell_json(row_of(set, i)->cells[kept[k]]));
        json_array_insert_new(line, prediction_at < n ? prediction_at : n, vr_json_of(vr_answer_of(answers, i)));
        json_array_append_new(rows, line);
    }
    json_t *out = json_object();
    vr_put(out, "columns", columns);
    vr_put(out, "rows", rows);
    return out;
}

static vr_status write_submission(const vr_set *set, const vr_answers *answers, const vr_score *scored, const char *path,
                                  vr_error *err) {
    (void)set;
    (void)answers;
    return vr_xlsx_save(path, json_object_get(scored->submission, "columns"), json_object_get(scored->submission, "rows"),
                        err);
}

static vr_status score_letters(const vr_set *set, const vr_answers *answers, vr_score *out, bool *right, bool *older,
                               vr_error *err) {
    json_t *letters = json_object();
    char digits[24];
    bool *hit = vr_alloc(set->groups.n, sizeof *hit);
    vr_put(out->values, "letters", letters);
    if (!hit) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < set->n; i++) {
        choices from = choices_of(set, row_of(set, i));
        char letter[2] = {letter_of(&from, vr_answer_of(answers, i)), 0};
        bool answered = answers->of_question[i];
        vr_put(letters, vr_id_text(set->questions[i].id, digits), json_string(letter));
        right[i] = answered && is_right(set, i, letter[0]);
        older[i] = answered && is_right(set, i, letter_of_2023(&from, vr_answer_of(answers, i)));
    }
    vr_status status = score_now(set, right, hit, out, err);
    if (status == VRWKV_OK) status = score_2023(set, older, hit, out, err);
    free(hit);
    return status;
}

static vr_status score(const vr_set *set, const vr_answers *answers, vr_score *out, vr_error *err) {
    out->submission = upload(set, answers);
    vr_put(out->values, "submission", out->submission);
    if (!set->scorable) return VRWKV_OK;
    bool *right = vr_alloc(2 * set->n, sizeof *right);
    if (!right) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = score_letters(set, answers, out, right, right + set->n, err);
    free(right);
    return status;
}

static double figure(const vr_set *set, const vr_verdict *verdicts, const unsigned *weight) {
    double sum = 0, n = 0;
    bool *hit = vr_alloc(set->groups.n, sizeof *hit);
    if (!hit) return 0;
    for (size_t g = 0; g < set->groups.n; g++) hit[g] = true;
    for (size_t i = 0; i < set->n; i++) hit[set->groups.of[i]] &= verdicts[i].score > 0;
    for (size_t g = 0; g < set->groups.n; g++) {
        sum += hit[g] ? weight[g] : 0;
        n += weight[g];
    }
    free(hit);
    return 100 * vr_ratio(sum, n);
}

static void right_answer(const vr_set *set, size_t question, vr_str *out) {
    vr_slice answer = cell(set, row_of(set, question), "answer");
    choices from = choices_of(set, row_of(set, question));
    vr_str_add_slice(out, answer);
    if (answer.n == 1 && has(&from, *answer.p)) {
        vr_str_add(out, ". ");
        vr_str_add_slice(out, from.option[*answer.p - 'A']);
    }
}

static const vr_split splits[] = {
    {.name = "dev",
     .questions = "mmbench_dev_20230712.tsv",
     .images = "",
     .local = true,
     .needs = {{"mmbench_dev_20230712.tsv", "\t", 4377}}},
    {.name = "test",
     .questions = "mmbench_test_20230712.tsv",
     .images = "",
     .local = true,
     .needs = {{"mmbench_test_20230712.tsv", "\t", 0}}},
    {0},
};

const vr_bench vr_bench_mmbench = {
    .name = "mmbench", .title = "MMBench", .unit = "%", .splits = splits, .load = load, .load_gold = load_gold,
    .make_prompt = make_prompt, .judge = judge, .score = score, .figure = figure, .right = right_answer,
    .write_submission = write_submission, .upload = ".upload.xlsx", .submission = "Excel table for the MMBench server",
};

static const vr_split splits_cn[] = {
    {.name = "dev", .questions = "mmbench_dev_cn_20231003.tsv", .images = "", .local = true,
     .needs = {{"mmbench_dev_cn_20231003.tsv", "\t", 0}}},
    {.name = "test", .questions = "mmbench_test_cn_20231003.tsv", .images = "", .local = true,
     .needs = {{"mmbench_test_cn_20231003.tsv", "\t", 0}}},
    {0},
};

const vr_bench vr_bench_mmbench_cn = {
    .name = "mmbench_cn", .title = "MMBench-CN", .unit = "%", .splits = splits_cn, .load = load, .load_gold = load_gold,
    .make_prompt = make_prompt_cn, .judge = judge, .score = score, .figure = figure, .right = right_answer,
    .write_submission = write_submission, .upload = ".upload.xlsx", .submission = "Excel table for the MMBench server",
};
