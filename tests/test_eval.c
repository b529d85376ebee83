/* Room eval where the reference cases do not reach: letters of all of Unicode, readers of damaged files,
 * statistics, shapes of answers, and the language model's rows against the library's own scores. */
#include "base/memory.h"
#include "eval/batch.h"
#include "eval/humans.h"
#include "eval/lm.h"
#include "eval/log.h"
#include "eval/model.h"
#include "eval/report.h"
#include "eval/xlsx.h"
#include "text/shape.h"
#include "text/unicode.h"
#include "vl/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA VRWKV_SOURCE_DIR "/tests/data/cases/metrics/"
#define CASE VRWKV_SOURCE_DIR "/tests/data/cases/v6/p5-grid-none/"

static vr_error err; /* of the call under test */

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        if ((expression) != VRWKV_OK) fail_msg("%s", err.message);                                                     \
    } while (0)

static void refused(vr_status status, const char *part) {
    if (status == VRWKV_OK) fail_msg("accepted, expected an error with \"%s\"", part);
    if (!strstr(err.message, part)) fail_msg("\"%s\" is not in: %s", part, err.message);
}

static const char *const endings[] = {".json", ".jsonl", ".tsv"};

/* The name of this process's file; valid until the next call. */
static const char *file_name(const char *ending) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/vrwkv_eval_%d%s", (int)getpid(), ending);
    return path;
}

/* A file with these bytes. */
static const char *file_of(const char *text, size_t n, const char *ending) {
    const char *path = file_name(ending);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
    return path;
}

/* ---- text ---- */

static void letters_are_those_of_unicode(void **unused) {
    (void)unused;
    static const struct { const char *in, *lower, *capital;
    } cases[] = {
        {"ABC xyz", "abc xyz", "Abc xyz"},
        {"ÀÉÎ", "àéî", "Àéî"},
        {"İ", "i̇", "İ"},
        {"ΟΔΟΣ ΣΑΣ", "οδος σας", "Οδος σας"},
        {"ß", "ß", "Ss"},
        {"ŉ", "ŉ", "ʼN"},
        {"猫 Cat", "猫 cat", "猫 cat"},
        {"ǆ", "ǆ", "ǅ"},
        {"", "", ""},
        {"\xff"
         "A",
         "\xff"
         "a",
         "\xff"
         "a"}, /* no UTF-8: kept */
    };
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        char out[128];
        size_t n = vr_lower(cases[i].in, strlen(cases[i].in), out);
        assert_string_equal((out[n] = 0, out), cases[i].lower);
        n = vr_capitalise(cases[i].in, strlen(cases[i].in), out);
        assert_string_equal((out[n] = 0, out), cases[i].capital);
    }
    assert_int_equal(vr_utf8_digit("٣", 2), 2);
    assert_int_equal(vr_utf8_digit("²", 2), 0); /* a digit, but not a decimal one */
    assert_int_equal(vr_utf8_count("aé猫\xff", 7), 4);
}

static void normalised(const char *rule, const char *in, const char *want) {
    vr_str out = {0};
    vr_normalise(vr_rule_find(rule), vr_slice_of(in), &out);
    assert_string_equal(vr_str_text(&out), want);
    vr_str_free(&out);
}

static void answers_are_normalised(void **unused) {
    (void)unused;
    normalised("m4c", "What',s?", "what 's"); /* the comma goes before 's is looked for */
    normalised("vqa", "٣,٤ a-b", "٣٤ ab"); /* Unicode's digits make a number too */
    normalised("vqa", "1.٣ a.", "1.٣");
    normalised("vqa_gt", "The Red.", "The Red");
    normalised("vqa", "........................................", "........"); /* 32 points go, the rest stays */
    normalised("m4c", "somebody'd none", "somebodyd 0");
    normalised("vqa", "\t Two\nDogs ", "2 dogs");
    assert_null(vr_rule_find("nothing"));
}

static void people_are_left_out_in_turn(void **unused) {
    (void)unused;
    for (int matches = 0; matches <= 10; matches++) {
        json_t *list = json_array();
        vr_humans humans;
        static const double want[] = {0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
        for (int i = 0; i < 10; i++) json_array_append_new(list, json_string(i < matches ? "red" : "blue"));
        OK(vr_humans_read(&humans, list, &(vr_where){"test", 1}, &err));
        double score = vr_humans_score(&humans, vr_slice_of("Red."), vr_rule_find("m4c"), vr_rule_find("m4c"));
        assert_true(fabs(score - want[matches]) < 1e-12);
        vr_humans_free(&humans);
        json_decref(list);
    }
}

/* ---- readers ---- */

typedef struct counted { size_t n, last_line; } counted;

static vr_status count(void *user, const char *key, json_t *value, const vr_where *where, vr_error *e) {
    counted *to = user;
    (void)key;
    (void)e;
    to->n += (size_t)json_integer_value(value);
    to->last_line = where->line;
    return VRWKV_OK;
}

static void lists_are_read_member_by_member(void **unused) {
    (void)unused;
    static const char text[] = "\xEF\xBB\xBF{\"a\": {\"list\": [9]}, \"list\":\n [1,\n 2,\n 3], \"after\": not even JSON";
    counted to = {0};
    OK(vr_read_list(file_of(text, sizeof text - 1, ".json"), "list", count, &to, &err));
    assert_int_equal(to.n, 6);
    assert_int_equal(to.last_line, 4);
    to = (counted){0};
    OK(vr_read_list(file_of("{\"x\": 1, \"y\": 2}", 16, ".json"), NULL, count, &to, &err));
    assert_int_equal(to.n, 3);
    refused(vr_read_list(file_of("{\"x\": 1}", 8, ".json"), "list", count, &to, &err), "there is no list \"list\"");
    refused(vr_read_list(file_of("[1,\n2,\n}", 8, ".json"), NULL, count, &to, &err), ".json:3");
    refused(vr_read_list(file_of("[1 2]", 5, ".json"), NULL, count, &to, &err), "expected ','");
    refused(vr_read_list(file_of("", 0, ".json"), NULL, count, &to, &err), "found the end");
    refused(vr_read_list("/nonexistent", NULL, count, &to, &err), "/nonexistent");
}

static void faults_stop_or_are_counted(void **unused) {
    (void)unused;
    static const char text[] = "{\"a\": 1}\n\n[2]\n{\"a\": \n{\"a\": 3}";
    vr_faults going = {.keep_going = true};
    counted to = {0};
    const char *path = file_of(text, sizeof text - 1, ".jsonl");
    refused(vr_read_lines(path, NULL, count, &to, &err), ".jsonl:3: an array, expected an object");
    OK(vr_read_lines(path, &going, count, &to, &err));
    assert_int_equal(going.count, 2);
    assert_int_equal(to.last_line, 5);
}

static void tables_are_read_as_pandas_does(void **unused) {
    (void)unused;
    static const char text[] = "a\tb\tc\r\n1\t\"x\ty \"\"q\"\"\nz\"\tNA\r\n\n2\tp\"q\t\"\"\n3\t4\n5\t6\t7";
    vr_table table;
    vr_faults going = {.keep_going = true};
    bool more;
    OK(vr_table_open(&table, file_of(text, sizeof text - 1, ".tsv"), &err));
    assert_int_equal(table.n_columns, 3);
    assert_int_equal(vr_table_column(&table, "c"), 2);
    OK(vr_table_next(&table, NULL, &more, &err));
    assert_true(more && vr_slice_is(table.fields[1], "x\ty \"q\"\nz") && vr_is_missing(table.fields[2]));
    OK(vr_table_next(&table, NULL, &more, &err));
    assert_true(more && vr_slice_is(table.fields[1], "p\"q") && table.fields[2].n == 0);
    refused(vr_table_next(&table, NULL, &more, &err), ":6: 2 fields, expected 3");
    OK(vr_table_next(&table, &going, &more, &err));
    assert_true(more && vr_slice_is(table.fields[2], "7"));
    OK(vr_table_next(&table, &going, &more, &err));
    assert_false(more);
    vr_table_close(&table);
    refused(vr_table_open(&table, file_of("a\xff\n", 3, ".tsv"), &err), "no valid UTF-8");
}

static void base64_goes_both_ways(void **unused) {
    (void)unused;
    for (size_t n = 0; n < 70; n++) {
        char bytes[70];
        vr_str text = {0}, back = {0};
        for (size_t i = 0; i < n; i++) bytes[i] = (char)(i * 37 + n);
        vr_base64_encode((vr_slice){bytes, n}, &text);
        OK(vr_base64_decode(vr_str_slice(&text), &back, &err));
        assert_true(vr_slice_same(vr_str_slice(&back), (vr_slice){bytes, n}));
        assert_int_equal(text.n % 4, 0);
        vr_str_free(&text);
        vr_str_free(&back);
    }
    vr_str back = {0};
    refused(vr_base64_decode(vr_slice_of("ab*d"), &back, &err), "no base64");
    vr_str_free(&back);
}

/* ---- chunks ---- */

static void chunks_are_the_originals(void **unused) {
    (void)unused;
    size_t total = 0;
    for (int k = 0; k < 4; k++) {
        const vr_set_options options = {.chunk = k, .chunks = 4, .no_gold = true};
        vr_set set;
        OK(vr_set_load(&set, vr_bench_find("pope"), DATA "pope", &options, &err));
        assert_int_equal(set.n, k < 3 ? 9 : 8); /* ceil(35 / 4), the last one fewer */
        assert_int_equal(set.offset, 9 * k);
        total += set.n;
        vr_set_free(&set);
    }
    assert_int_equal(total, 35);
}

/* ---- statistics ---- */

static void mcnemar_is_exact(void **unused) {
    (void)unused;
    assert_true(fabs(vr_mcnemar(0, 0) - 1) < 1e-12);
    assert_true(fabs(vr_mcnemar(5, 5) - 1) < 1e-12);
    assert_true(fabs(vr_mcnemar(0, 5) - 2.0 / 32) < 1e-12);
    assert_true(fabs(vr_mcnemar(1, 9) - 2 * 11.0 / 1024) < 1e-12);
    assert_true(fabs(vr_mcnemar(9, 1) - vr_mcnemar(1, 9)) < 1e-12);
    assert_true(vr_mcnemar(40000, 41000) < 1e-3 && vr_mcnemar(40000, 41000) > 1e-4); /* no overflow */
}

/* Figures with every group once are the scores' own headlines. */
static void weights_of_one_give_the_headline(void **unused) {
    (void)unused;
    static const char *const benches[] = {"vqav2", "gqa", "textvqa", "pope", "mme", "mmbench", "listqa"};
    for (size_t b = 0; b < VR_COUNT(benches); b++) {
        char folder[256], path[320];
        vr_set set;
        vr_answers answers;
        vr_score score;
        snprintf(folder, sizeof folder, "%s%s", DATA, benches[b]);
        snprintf(path, sizeof path, "%s/answers_noisy.jsonl", folder);
        OK(vr_set_load(&set, vr_bench_find(benches[b]), folder, NULL, &err));
        OK(vr_answers_read(&answers, &set, path, NULL, &err));
        OK(vr_score_make(&score, &set, &answers, &err));
        unsigned *once = calloc(set.groups.n, sizeof *once);
        for (size_t g = 0; g < set.groups.n; g++) once[g] = 1;
        double figure = vr_score_weighted(&set, score.verdicts, once), headline = vr_score_headline(&score, false)->value;
        if (fabs(figure - headline) > 0.006) fail_msg("%s: %.6f, the headline is %.6f", benches[b], figure, headline);
        free(once);
        vr_score_free(&score);
        vr_answers_free(&answers);
        vr_set_free(&set);
    }
}

/* values of one answer to the first question of a benchmark */
static json_t *values_of(const char *bench, const char *answer) {
    char folder[256];
    vr_set set;
    vr_answers answers;
    vr_score score;
    snprintf(folder, sizeof folder, "%s%s", DATA, bench);
    OK(vr_set_load(&set, vr_bench_find(bench), folder, &(vr_set_options){.limit = 1}, &err));
    OK(vr_answers_start(&answers, &set, "test", &err));
    OK(vr_answers_keep(&answers, &set, 0, vr_slice_of(answer), "User: <image>", 1, &err));
    OK(vr_score_make(&score, &set, &answers, &err));
    json_t *values = json_incref(score.values);
    vr_score_free(&score);
    vr_answers_free(&answers);
    vr_set_free(&set);
    return values;
}

/* The first row asks for 5 triangles (A, right), 4 (B), 2 (C) or 3 (D). */
static void letters_are_read_as_mmbench_does(void **unused) {
    (void)unused;
    static const struct { const char *answer, *letter; int right_in_2023;
    } cases[] = {
        {"A", "A", 1},
        {"(A)", "A", 1},
        {"A.", "A", 1},
        {"*A*", "A", 0},
        {"Z", "Z", 0},
        {"", "Z", 0},
        {"I think that A is the one word", "Z", 0}, /* not among the last four words */
        {"we think A is the word", "A", 0},
        {"A is it", "A", 1},
        {"A is it now", "A", 0}, /* an article in 2023 */
        {"A B", "Z", 0},
        {"A or B? the correct ANSWER is **b**", "B", 0},
        {"E", "Z", 0},
        {"5 TRIANGLES", "A", 1},
        {"5 triangles or 4 triangles", "Z", 0},
        {"Cannot determine the answer, B", "Z", 0},
        {"there are, if I count them as carefully as I can and look at each corner of the picture, 5 triangles in it, and "
         "not "
         "one less than that",
         "Z", 1}, /* too long for its options */
    };
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        json_t *values = values_of("mmbench", cases[i].answer);
        const char *letter = vr_text_or(json_object_get(values, "letters"), "67", "none");
        double older = json_number_value(json_object_get(json_object_get(values, "circular_2023_rules"), "overall"));
        if (strcmp(letter, cases[i].letter) != 0 || older != cases[i].right_in_2023)
            fail_msg("\"%s\": %s and %g, expected %s and %d", cases[i].answer, letter, older, cases[i].letter,
                     cases[i].right_in_2023);
        json_decref(values);
    }
}

static void letters_are_read_as_scienceqa_does(void **unused) {
    (void)unused;
    static const char *const cases[][2] = {{"A", "A"},
                                           {" A", "FAILED"},
                                           {"A.", "FAILED"},
                                           {"A. yes", "A"},
                                           {"The answer is C!", "C"},
                                           {"The answer is C\n", "FAILED"},
                                           {"The answer is C", "FAILED"},
                                           {"The answer is C. The answer is D.", "FAILED"},
                                           {"the answer is C.", "FAILED"}};
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        json_t *values = values_of("scienceqa", cases[i][0]);
        const char *parsed = vr_text_or(json_object_get(values, "parsed"), "30", "none");
        if (strcmp(parsed, cases[i][1]) != 0) fail_msg("\"%s\": %s, expected %s", cases[i][0], parsed, cases[i][1]);
        json_decref(values);
    }
}

/* An encoder of one id a byte. */
static vr_status encode_bytes(void *user, vr_slice text, vr_id_list *ids, vr_error *e) {
    (void)user;
    for (size_t i = 0; i < text.n; i++) {
        if (vr_grow(&ids->items, &ids->room, ids->n + 1, sizeof *ids->items, e) != VRWKV_OK) return VRWKV_ERR_MEMORY;
        ids->items[ids->n++] = (unsigned char)text.p[i];
    }
    return VRWKV_OK;
}

static void spaces_at_the_end_belong_to_what_follows(void **unused) {
    (void)unused;
    vr_document *document = calloc(1, sizeof *document);
    json_t *line = json_pack("{s:s, s:s, s:{s:[s,s], s:[s,s]}}", "question_stem", "ride a \n", "answerKey", " B", "choices",
                             "text", "cat", "dog", "label", "A", "B");
    const vr_predictor with = {.encode = encode_bytes};
    OK(vr_document_make(document, vr_lm_task_find("openbookqa"), "openbookqa", line, &(vr_where){"test", 1},
                        VRWKV_ORIGINAL, &with, &err));
    assert_int_equal(document->n, 2);
    assert_int_equal(document->gold, 1);
    assert_int_equal(document->requests[0].n_context, 1 + 6); /* the line end in front, "ride a" */
    assert_int_equal(document->requests[0].ids.n, 1 + 6 + 2 + 4);
    assert_int_equal(document->requests[0].length, 3);
    vr_document_clear(document);
    free(document);
    json_decref(line);
}

static void averages_are_the_papers(void **unused) {
    (void)unused;
    json_t *tasks =
        json_pack("{s:{s:{s:f},s:i},s:{s:{s:f},s:i},s:{s:{s:f},s:i}}", "xwinograd_en", "metrics", "acc", 0.9, "documents",
                  30, "xwinograd_fr", "metrics", "acc", 0.6, "documents", 10, "piqa", "metrics", "acc", 0.5, "documents", 7);
    json_t *averages = vr_lm_averages(tasks);
    double mean = json_number_value(json_object_get(json_object_get(averages, "groups"), "xwinograd"));
    assert_true(fabs(mean - 82.5) < 1e-9); /* by documents */
    assert_null(json_object_get(averages, "english")); /* one task of ten */
    assert_null(json_object_get(averages, "multilingual"));
    json_decref(averages);
    json_decref(tasks);
}

/* ---- shapes ---- */

static vr_shape *shape_of(const char *schema) {
    json_t *json = json_loads(schema, 0, NULL);
    vr_shape *shape = NULL;
    if (vr_shape_make(&shape, json, &err) != VRWKV_OK) fail_msg("%s", err.message);
    json_decref(json);
    return shape;
}

/* How many bytes of the text the shape takes; *end: whether it may stop there. */
static size_t taken(const char *schema, const char *text, bool *end) {
    vr_shape *shape = shape_of(schema);
    vr_shape_state state;
    size_t n = 0;
    vr_shape_start(&state, shape);
    while (text[n] && vr_shape_push(&state, (unsigned char)text[n])) n++;
    *end = vr_shape_may_end(&state);
    vr_shape_free(shape);
    return n;
}

static void shapes_take_their_json_and_no_other(void **unused) {
    (void)unused;
    static const char object[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"array\",\"items\":"
        "{\"type\":\"string\",\"maxLength\":3},\"minItems\":1,\"maxItems\":2}}}";
    static const struct { const char *schema, *text; size_t n; bool end;
    } cases[] = {
        {object, "{\"a\":12,\"b\":[\"x\",\"\\u00e9yz\"]}", 29, true},
        {object, "{\"a\":1.5", 6, false},
        {object, "{\"b\"", 2, false},
        {object, "{\"a\":1,\"b\":[]}", 12, false},
        {object, "{\"a\":1,\"b\":[\"abcd\"]}", 16, false},
        {object, "{\"a\":1,\"b\":[\"\",\"\",\"\"]}", 17, false},
        {"{\"type\":\"number\"}", "-0.25", 5, true},
        {"{\"type\":\"number\"}", "012", 1, true},
        {"{\"type\":\"number\"}", "1.", 2, false},
        {"{\"type\":\"integer\"}", "1234567890123456", 15, true},
        {"{\"enum\":[1,12,\"x\"]}", "12", 2, true},
        {"{\"enum\":[1,12]}", "13", 1, true},
        {"{\"type\":\"boolean\"}", "true", 4, true},
        {"{\"type\":\"boolean\"}", "trap", 2, false},
        {"{\"type\":\"null\"}", "null ", 4, true},
        {"{\"const\":\"é\"}", "\"é\"", 4, true},
        {"{\"type\":\"object\"}", "{}", 2, true},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}", "[1,2,33]", 8, true},
        {"{\"type\":\"string\",\"minLength\":2}", "\"a\"", 2, false},
        {"{\"type\":\"string\"}", "\"a\nb", 2, false},
    };
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        bool end;
        size_t n = taken(cases[i].schema, cases[i].text, &end);
        if (n != cases[i].n || end != cases[i].end)
            fail_msg("%zu: %zu bytes of %s, expected %zu; may end: %d, expected %d", i, n, cases[i].text, cases[i].n, end,
                     cases[i].end);
    }
    static const struct { const char *schema, *says; } bad[] = {
        {"{\"type\":\"string\",\"pattern\":\"a+\"}", "\"pattern\" is not understood"},
        {"{\"type\":\"string\",\"minLength\":\"2\"}", "minLength must be a whole number"},
        {"{\"type\":\"string\",\"minLength\":2000000}", "minLength must be a whole number from 0 to 1000000"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"maxItems\":-1}", "maxItems must be"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":3,\"maxItems\":2}", "minItems is 3, more than maxItems, 2"},
        {"{\"type\":\"object\",\"properties\":[]}", "\"properties\" is no object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *json = json_loads(bad[i].schema, 0, NULL);
        vr_shape *shape;
        refused(vr_shape_make(&shape, json, &err), bad[i].says);
        json_decref(json);
    }
}

/* ---- a model ---- */

static vrwkv_model *open_model(void) {
    vr_settings *settings = NULL;
    vrwkv_model *model = NULL;
    OK(vr_settings_file(&settings, CASE "case.json", &err));
    OK(vr_model_open(CASE "model.pth", &(vrwkv_model_options){.threads = 1}, settings, &model, &err));
    vr_settings_free(settings);
    return model;
}

typedef struct row_log { double logprobs[64]; int32_t likeliest[64]; size_t n; const int32_t *ids; int n_vocab; } row_log;

static void keep_row(void *user, size_t i, const float *logits) {
    row_log *to = user;
    assert_int_equal(i, to->n);
    to->logprobs[to->n] = vr_log_softmax(logits, to->n_vocab, to->ids[i]);
    to->likeliest[to->n++] = vr_likeliest(logits, to->n_vocab);
}

/* The rows of a sequence are those that one token at a time gives, whatever beginning was kept. */
static void sequences_are_read_exactly(void **unused) {
    (void)unused;
    static const int32_t ids[] = {11, 5, 200, 37, 41, 9, 260, 77, 3, 120};
    const size_t n = VR_COUNT(ids);
    vrwkv_model *model = open_model();
    vr_lm *lm;
    vrwkv_context *context;
    OK(vr_lm_open(&lm, model, 2, &err));
    OK(vrwkv_context_new(model, &(vrwkv_context_options){.padding = VRWKV_PAD_NONE, .no_blank_image = 1}, &context, &err));
    vr_predictor with = vr_lm_predictor(lm);
    double want[16];
    for (size_t i = 0; i + 1 < n; i++) {
        vrwkv_context *one = context;
        OK(vrwkv_decode(&one, 1, &ids[i], &err));
        want[i + 1] = vr_log_softmax(vrwkv_logits(context), with.n_vocab, ids[i + 1]);
    }
    static const size_t starts[][2] = {{3, 0}, {5, 3}, {3, 3}, {1, 1}, {9, 0}, {6, 2}};
    for (size_t k = 0; k < VR_COUNT(starts); k++) {
        row_log rows = {.n = starts[k][0], .ids = ids, .n_vocab = with.n_vocab};
        OK(with.sequence(with.user, ids, n, starts[k][0], starts[k][1], keep_row, &rows, &err));
        assert_int_equal(rows.n, n);
        for (size_t i = starts[k][0]; i < n; i++) assert_true(rows.logprobs[i] == want[i]);
    }
    vrwkv_context_free(context);
    vr_lm_close(lm);
    vrwkv_model_close(model);
}

/* Branches of one prompt do not touch each other, nor the prompt. */
static void branches_are_independent(void **unused) {
    (void)unused;
    static const int32_t prompt[] = {11, 5, 200}, tokens[] = {7, 8};
    static const size_t both[] = {0, 1};
    vrwkv_model *model = open_model();
    vr_lm *lm;
    vrwkv_context *context, *alone;
    const float *logits[2];
    OK(vr_lm_open(&lm, model, 2, &err));
    OK(vrwkv_context_new(model, &(vrwkv_context_options){.no_blank_image = 1}, &context, &err));
    OK(vrwkv_feed(context, prompt, VR_COUNT(prompt), NULL, 0, &err));
    vr_predictor with = vr_lm_predictor(lm);
    vr_lm_prompt(lm, context);
    OK(with.branch(with.user, both, tokens, 2, logits, &err));
    OK(with.branch(with.user, both + 1, tokens, 1, logits, &err)); /* branch 1 goes on with 7 */
    OK(vrwkv_fork(context, &alone, &err));
    OK(vrwkv_decode(&alone, 1, &tokens[1], &err));
    OK(vrwkv_decode(&alone, 1, &tokens[0], &err));
    assert_memory_equal(logits[0], vrwkv_logits(alone), (size_t)with.n_vocab * sizeof(float));
    assert_int_equal(vrwkv_context_length(context), VR_COUNT(prompt));
    vrwkv_context_free(alone);
    vrwkv_context_free(context);
    vr_lm_close(lm);
    vrwkv_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_are_those_of_unicode),
        cmocka_unit_test(answers_are_normalised),
        cmocka_unit_test(people_are_left_out_in_turn),
        cmocka_unit_test(lists_are_read_member_by_member),
        cmocka_unit_test(faults_stop_or_are_counted),
        cmocka_unit_test(tables_are_read_as_pandas_does),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(chunks_are_the_originals),
        cmocka_unit_test(mcnemar_is_exact),
        cmocka_unit_test(weights_of_one_give_the_headline),
        cmocka_unit_test(letters_are_read_as_mmbench_does),
        cmocka_unit_test(letters_are_read_as_scienceqa_does),
        cmocka_unit_test(spaces_at_the_end_belong_to_what_follows),
        cmocka_unit_test(averages_are_the_papers),
        cmocka_unit_test(shapes_take_their_json_and_no_other),
        cmocka_unit_test(sequences_are_read_exactly),
        cmocka_unit_test(branches_are_independent),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) unlink(file_name(endings[i]));
    return failed;
}
