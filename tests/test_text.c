/* Room text: reference cases byte for byte, then what the cases do not reach: the line grammar, small
 * vocabularies, streaming, threads, and encoding against a plain search for the longest token. */
#include "text/prompt.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const vr_vocab *world(void) {
    const vr_vocab *vocab = NULL;
    vr_error err = {0};
    if (vr_vocab_world(&vocab, &err) != VRWKV_OK) fail_msg("%s", err.message);
    return vocab;
}

static int32_t *encode(const vr_vocab *vocab, const char *text, size_t n, size_t *count) {
    int32_t *ids = NULL;
    size_t capacity = 0;
    vr_error err = {0};
    *count = 0;
    if (vr_encode(vocab, text, n, &ids, count, &capacity, &err) != VRWKV_OK) fail_msg("%s", err.message);
    return ids;
}

static uint64_t random_state = 1;
static uint32_t random_below(uint32_t n) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % n);
}

/* ---- reference cases -------------------------------------------------------------------------- */

static json_t *load(const char *folder, const char *name) {
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!json) fail_msg("%s: %s", path, error.text);
    return json;
}

static void check_ids(const json_t *want, const int32_t *ids, size_t n, const char *what, size_t number) {
    if (json_array_size(want) != n)
        fail_msg("%s %zu: %zu ids instead of %zu", what, number, n, json_array_size(want));
    for (size_t i = 0; i < n; i++)
        if (json_integer_value(json_array_get(want, i)) != ids[i])
            fail_msg("%s %zu: entry %zu is %d instead of %d", what, number, i, (int)ids[i],
                     (int)json_integer_value(json_array_get(want, i)));
}

static char *from_hex(const char *hex, size_t *n) {
    *n = strlen(hex) / 2;
    char *bytes = malloc(*n + 1);
    for (size_t i = 0; i < *n; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        bytes[i] = (char)value;
    }
    return bytes;
}

static void check_decode(const json_t *c, size_t number) {
    const json_t *list = json_object_get(c, "ids"), *text = json_object_get(c, "text");
    const char *hex = json_string_value(json_object_get(c, "bytes_hex"));
    size_t n = json_array_size(list), bytes, want_bytes = 0;
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    char *out;
    bool unknown;
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    assert_int_equal(vr_decode_text(world(), ids, n, &out, &bytes, NULL), VRWKV_OK);
    if (bytes != json_string_length(text) || memcmp(out, json_string_value(text), bytes)) fail_msg("decode %zu: '%s'", number, out);
    assert_int_equal(out[bytes], 0);
    free(out);
    assert_int_equal(vr_decode_bytes(world(), ids, n, &out, &bytes, &unknown, NULL), VRWKV_OK);
    assert_int_equal(unknown, hex == NULL);
    if (hex) {
        char *want = from_hex(hex, &want_bytes);
        assert_int_equal(bytes, want_bytes);
        assert_memory_equal(out, want, bytes);
        free(want);
    }
    free(out);
    free(ids);
}

static void check_repeated(const json_t *c, size_t number) {
    const json_t *unit = json_object_get(c, "unit"), *first = json_object_get(c, "first"), *last = json_object_get(c, "last");
    size_t length = json_string_length(unit), times = (size_t)json_integer_value(json_object_get(c, "count")), n;
    char *text = malloc(length * times);
    for (size_t i = 0; i < times; i++) memcpy(text + i * length, json_string_value(unit), length);
    int32_t *ids = encode(world(), text, length * times, &n);
    json_int_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += ids[i];
    assert_int_equal(n, json_integer_value(json_object_get(c, "n_ids")));
    assert_int_equal(sum, json_integer_value(json_object_get(c, "sum")));
    check_ids(first, ids, json_array_size(first), "repeated, first", number);
    check_ids(last, ids + n - json_array_size(last), json_array_size(last), "repeated, last", number);
    free(ids);
    free(text);
}

static void check_tokenizer(const char *folder, const char *name) {
    json_t *all = load(folder, name), *c;
    size_t i, n, length;
    assert_true(json_array_size(json_object_get(all, "encode")) > 0);
    json_array_foreach(json_object_get(all, "encode"), i, c) {
        const json_t *text = json_object_get(c, "text");
        int32_t *ids = encode(world(), json_string_value(text), json_string_length(text), &n);
        check_ids(json_object_get(c, "ids"), ids, n, "encode", i);
        free(ids);
    }
    json_array_foreach(json_object_get(all, "encode_bytes"), i, c) {
        char *bytes = from_hex(json_string_value(json_object_get(c, "bytes_hex")), &length);
        int32_t *ids = encode(world(), bytes, length, &n);
        check_ids(json_object_get(c, "ids"), ids, n, "encode_bytes", i);
        free(ids);
        free(bytes);
    }
    json_array_foreach(json_object_get(all, "encode_repeated"), i, c) check_repeated(c, i);
    json_array_foreach(json_object_get(all, "decode"), i, c) check_decode(c, i);
    json_decref(all);
}

static void check_prompt(const json_t *c, const vr_template *rules, size_t number) {
    const json_t *list = json_object_get(c, "conversations"), *text = json_object_get(c, "text");
    const char *place = json_string_value(json_object_get(c, "image_position"));
    size_t n = json_array_size(list);
    vr_turn *turns = calloc(n + 1, sizeof *turns);
    vr_position position = VR_IMAGE_FIRST;
    vr_prompt prompt = {0};
    vr_error err = {0};
    for (size_t i = 0; i < n; i++)
        turns[i] = (vr_turn){json_string_value(json_object_get(json_array_get(list, i), "from")),
                             json_string_value(json_object_get(json_array_get(list, i), "value"))};
    bool wrong = place && !vr_position_parse(place, &position);
    vr_prompt_options how = {.has_image = json_is_true(json_object_get(c, "has_image")),
                             .position = position,
                             .ctx_len = (size_t)json_integer_value(json_object_get(c, "ctx_len"))};
    vr_status status = wrong ? VRWKV_ERR_ARGUMENT : vr_prompt_build(&prompt, rules, world(), turns, n, &how, &err);
    if (json_object_get(c, "error")) {
        if (status == VRWKV_OK) fail_msg("prompt %zu: no error", number);
        assert_true(wrong || (err.message[0] && !prompt.text && !prompt.ids));
    } else {
        if (status != VRWKV_OK) fail_msg("prompt %zu: %s", number, err.message);
        if (prompt.text_bytes != json_string_length(text) || memcmp(prompt.text, json_string_value(text), prompt.text_bytes))
            fail_msg("prompt %zu: text\n%s\ninstead of\n%s", number, prompt.text, json_string_value(text));
        check_ids(json_object_get(c, "ids"), prompt.ids, prompt.n, "prompt ids", number);
        check_ids(json_object_get(c, "labels"), prompt.labels, prompt.n, "prompt labels", number);
    }
    vr_prompt_free(&prompt);
    free(turns);
}

static void check_prompts(const char *folder, const char *name) {
    json_t *all = load(folder, name), *c;
    size_t i;
    const vr_template *rules = vr_template_find(json_string_value(json_object_get(all, "version")));
    assert_non_null(rules);
    assert_true(json_array_size(json_object_get(all, "cases")) > 0);
    json_array_foreach(json_object_get(all, "cases"), i, c) check_prompt(c, rules, i);
    json_decref(all);
}

static void test_cases(void **state) {
    (void)state;
    const char *here = VRWKV_SOURCE_DIR "/tests/data/text", *oracles = getenv("VRWKV_ORACLES");
    check_tokenizer(here, "v6/tokenizer.json");
    check_prompts(here, "v6/prompts.json");
    check_prompts(here, "v5/prompts.json");
    if (!oracles) return;
    check_tokenizer(oracles, "v6/tokenizer.json");
    check_prompts(oracles, "v6/prompts.json");
    check_prompts(oracles, "v5/prompts.json");
}

/* ---- the world vocabulary ---------------------------------------------------------------------- */

static void check_text_ids(const char *text, const int32_t *want, size_t n_want) {
    size_t n;
    int32_t *ids = encode(world(), text, strlen(text), &n);
    assert_int_equal(n, n_want);
    assert_memory_equal(ids, want, n * sizeof *ids);
    free(ids);
}

static void test_world(void **state) {
    (void)state;
    const vr_vocab *vocab = world();
    size_t longest = 0, bytes, known = 0;
    assert_int_equal(vr_vocab_size(vocab), 65530);
    for (int64_t id = -2; id < 65540; id++) {
        const char *token = vr_vocab_token(vocab, id, &bytes);
        assert_int_equal(token != NULL, id >= 1 && id <= 65529);
        assert_int_equal(token != NULL, bytes != 0);
        if (!token) continue;
        known++;
        if (bytes > longest) longest = bytes;
        if (id <= 256) {
            assert_int_equal(bytes, 1);
            assert_int_equal((unsigned char)token[0], id - 1);
        }
        size_t n; /* every token is itself the longest match */
        int32_t *ids = encode(vocab, token, bytes, &n);
        assert_int_equal(n, 1);
        assert_int_equal(ids[0], id);
        free(ids);
    }
    assert_int_equal(known, 65529);
    assert_int_equal(longest, 128);
    assert_null(vr_vocab_token(vocab, INT64_MAX, &bytes));
    assert_null(vr_vocab_token(vocab, INT64_MIN, &bytes));
    check_text_ids("\n\n", (int32_t[]){261}, 1);
    check_text_ids("Assistant:", (int32_t[]){5585, 41693, 59}, 3);
    check_text_ids("User:", (int32_t[]){24281, 59}, 2);
    check_text_ids("", NULL, 0);
}

static void *ask_world(void *out) {
    vr_vocab_world((const vr_vocab **)out, NULL);
    return NULL;
}

/* First in the list of tests, so that the threads really meet at the first use. */
static void test_threads(void **state) {
    (void)state;
    enum { N = 16 };
    pthread_t threads[N];
    const vr_vocab *seen[N] = {0};
    for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_world, &seen[i]), 0);
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < N; i++) assert_ptr_equal(seen[i], seen[0]);
    assert_non_null(seen[0]);
}

/* ---- encoding against a plain search ------------------------------------------------------------ */

typedef struct plain {
    size_t n, longest;
    char *const *tokens;
    const size_t *bytes;
} plain;

/* The lowest id of the longest token that text begins with; -1: none. */
static int32_t plain_match(const plain *p, const char *text, size_t n) {
    int32_t best = -1;
    for (size_t id = 0; id < p->n; id++)
        if (p->bytes[id] && p->bytes[id] <= n && !memcmp(p->tokens[id], text, p->bytes[id]) &&
            (best < 0 || p->bytes[id] > p->bytes[best]))
            best = (int32_t)id;
    return best;
}

static void check_plain(const plain *p, const vr_vocab *vocab, const char *text, size_t n) {
    int32_t *ids = NULL, *want = malloc((n + 1) * sizeof *want);
    size_t count = 0, capacity = 0, n_want = 0;
    vr_error err = {0};
    bool missing = false;
    for (size_t i = 0; i < n && !missing;) {
        int32_t id = plain_match(p, text + i, n - i);
        missing = id < 0;
        if (!missing) want[n_want++] = id, i += p->bytes[id];
    }
    vr_status status = vr_encode(vocab, text, n, &ids, &count, &capacity, &err);
    assert_int_equal(status, missing ? VRWKV_ERR_UNSUPPORTED : VRWKV_OK);
    assert_int_equal(count, missing ? 0 : n_want);
    if (!missing) assert_memory_equal(ids, want, n_want * sizeof *ids);
    free(ids);
    free(want);
}

/* Vocabularies over few letters, so that tokens share beginnings, repeat and leave gaps. */
static void test_random_vocabularies(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        size_t n = 1 + random_below(300), bytes[300];
        uint32_t letters = 1 + random_below(6), longest = 1 + random_below(20);
        char *tokens[300], text[400];
        vr_vocab *vocab = NULL;
        for (size_t id = 0; id < n; id++) {
            bytes[id] = random_below(8) ? 1 + random_below(longest) : 0;
            tokens[id] = malloc(bytes[id] + 1);
            for (size_t k = 0; k < bytes[id]; k++) tokens[id][k] = (char)(random_below(letters) * 51);
        }
        plain p = {n, longest, tokens, bytes};
        assert_int_equal(vr_vocab_make(&vocab, (const char *const *)tokens, bytes, n, NULL), VRWKV_OK);
        for (int k = 0; k < 40; k++) {
            size_t length = random_below(sizeof text);
            for (size_t i = 0; i < length; i++) text[i] = (char)(random_below(letters) * 51);
            check_plain(&p, vocab, text, length);
        }
        vr_vocab_free(vocab);
        for (size_t id = 0; id < n; id++) free(tokens[id]);
    }
}

static void test_world_against_plain(void **state) {
    (void)state;
    const vr_vocab *vocab = world();
    size_t n = vr_vocab_size(vocab), *bytes = calloc(n, sizeof *bytes);
    char **tokens = calloc(n, sizeof *tokens), text[600];
    for (size_t id = 0; id < n; id++) tokens[id] = (char *)(uintptr_t)vr_vocab_token(vocab, (int64_t)id, &bytes[id]);
    plain p = {n, 128, tokens, bytes};
    for (int round = 0; round < 12; round++) {
        size_t length = 0;
        while (length < 300) { /* pieces of tokens, and bytes */
            size_t id = 1 + random_below(65529), take = 1 + random_below((uint32_t)bytes[id]);
            memcpy(text + length, tokens[id], take);
            length += take;
            if (!random_below(3)) text[length++] = (char)random_below(256);
        }
        check_plain(&p, vocab, text, length);
    }
    free(tokens);
    free(bytes);
}

static void test_round_trip(void **state) {
    (void)state;
    enum { N = 200000 };
    char *text = malloc(N), *back;
    size_t n, bytes;
    bool unknown;
    for (int round = 0; round < 4; round++) {
        size_t length = round ? random_below(N) : N;
        for (size_t i = 0; i < length; i++) text[i] = (char)(round & 1 ? 32 + random_below(95) : random_below(256));
        int32_t *ids = encode(world(), text, length, &n);
        assert_int_equal(vr_decode_bytes(world(), ids, n, &back, &bytes, &unknown, NULL), VRWKV_OK);
        assert_false(unknown);
        assert_int_equal(bytes, length);
        assert_memory_equal(back, text, length);
        free(back);
        free(ids);
    }
    free(text);
}

static void test_small_vocabulary(void **state) {
    (void)state;
    const char *tokens[260];
    char bytes_of[256];
    size_t sizes[260], count = 0, capacity = 0, n;
    int32_t *ids = NULL;
    vr_vocab *vocab = NULL;
    vr_error err = {0};
    for (int i = 0; i < 256; i++) bytes_of[i] = (char)i, tokens[i] = &bytes_of[i], sizes[i] = 1;
    tokens[256] = "ab", tokens[257] = "abcd", tokens[258] = NULL, tokens[259] = "ab";
    sizes[256] = 2, sizes[257] = 4, sizes[258] = 7, sizes[259] = 2;
    assert_int_equal(vr_vocab_make(&vocab, tokens, sizes, 260, &err), VRWKV_OK);
    assert_int_equal(vr_vocab_size(vocab), 260);
    assert_int_equal(vr_encode(vocab, "abcabcdab", 9, &ids, &count, &capacity, &err), VRWKV_OK);
    assert_int_equal(count, 4);
    assert_memory_equal(ids, ((int32_t[]){256, 'c', 257, 256}), 4 * sizeof *ids);
    assert_int_equal(vr_encode(vocab, "ab", 2, &ids, &count, &capacity, &err), VRWKV_OK); /* appends */
    assert_int_equal(count, 5);
    assert_int_equal(ids[4], 256);
    free(ids);
    vr_vocab_free(vocab);

    /* A byte without a token; a longer token that begins with it does not help. */
    assert_int_equal(vr_vocab_make(&vocab, (const char *[]){NULL, "a", "bc"}, (size_t[]){0, 1, 2}, 3, &err), VRWKV_OK);
    ids = NULL, count = capacity = 0;
    assert_int_equal(vr_encode(vocab, "abc", 3, &ids, &count, &capacity, &err), VRWKV_OK);
    assert_int_equal(count, 2);
    assert_int_equal(vr_encode(vocab, "aab", 3, &ids, &count, &capacity, &err), VRWKV_ERR_UNSUPPORTED);
    assert_int_equal(count, 2);
    assert_non_null(strstr(err.message, "0x62"));
    assert_non_null(strstr(err.message, "byte 2 "));
    free(ids);
    vr_vocab_free(vocab);

    assert_int_equal(vr_vocab_make(&vocab, NULL, NULL, 0, &err), VRWKV_OK);
    assert_int_equal(vr_vocab_size(vocab), 0);
    assert_null(vr_vocab_token(vocab, 0, &n));
    vr_vocab_free(vocab);

    /* One very long token beside its beginnings. */
    enum { LONG = 100000 };
    char *text = malloc(LONG);
    memset(text, 'x', LONG);
    assert_int_equal(vr_vocab_make(&vocab, (const char *[]){"x", text}, (size_t[]){1, LONG}, 2, &err), VRWKV_OK);
    ids = NULL, count = capacity = 0;
    assert_int_equal(vr_encode(vocab, text, LONG, &ids, &count, &capacity, &err), VRWKV_OK);
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], 1);
    free(ids);
    free(text);
    vr_vocab_free(vocab);
}

/* ---- line grammar --------------------------------------------------------------------------------- */

static void check_token(const vr_vocab *vocab, int64_t id, const char *want, size_t n) {
    size_t bytes;
    const char *token = vr_vocab_token(vocab, id, &bytes);
    assert_non_null(token);
    assert_int_equal(bytes, n);
    assert_memory_equal(token, want, n);
}

static void test_parse(void **state) {
    (void)state;
    static const char text[] = "1 'a' 1\n3 ' ' 1\r\n4 'a b ' 4\n5 \"it's\" 4\n6 b'\\x80\\'\\xff' 3\n7 '\\x80' 2\n"
                               "8 '\\u2028\\\\\\n\\t\\r\\'' 8\n9 '\xe4\xb8\xad' 3\n10 '\\U0001F600' 4\n2 \"\\\"\" 1";
    vr_vocab *vocab = NULL;
    vr_error err = {0};
    size_t bytes;
    if (vr_vocab_parse(&vocab, text, sizeof text - 1, &err) != VRWKV_OK) fail_msg("%s", err.message);
    assert_int_equal(vr_vocab_size(vocab), 11);
    assert_null(vr_vocab_token(vocab, 0, &bytes));
    check_token(vocab, 1, "a", 1);
    check_token(vocab, 2, "\"", 1);
    check_token(vocab, 3, " ", 1);
    check_token(vocab, 4, "a b ", 4);
    check_token(vocab, 5, "it's", 4);
    check_token(vocab, 6, "\x80'\xff", 3);
    check_token(vocab, 7, "\xc2\x80", 2);
    check_token(vocab, 8, "\xe2\x80\xa8\\\n\t\r'", 8);
    check_token(vocab, 9, "\xe4\xb8\xad", 3);
    check_token(vocab, 10, "\xf0\x9f\x98\x80", 4);
    vr_vocab_free(vocab);
}

static void test_parse_refuses(void **state) {
    (void)state;
    static const char *const lines[] = {
        "", "2", "2 'b'", "2 1", "'b' 1", "2 'b' 2", "2 'b' 0", "2 'b' x", "2 'b' ", "2 'b' -1", "-2 'b' 1", "x 'b' 1",
        "2x 'b' 1", " 'b' 1", "2 b 1", "2 'b 1", "2 b' 1", "2 ' 1", "2 'b\" 1", "2 'b'c' 3", "2 '' 0", "2 b'' 0",
        "2 'b\\' 2", "2 '\\x4' 1", "2 '\\xg0' 1", "2 '\\u12' 1", "2 '\\ud800' 3", "2 '\\U00110000' 4", "2 '\\q' 2",
        "2 b'\\u0041' 1", "2 b'\xe4' 1", "2 '\xff' 1", "2 '\xed\xa0\x80' 3", "1 'b' 1", "2097152 'b' 1",
        "99999999999999999999999 'b' 1", "2 'b' 99999999999999999999999", "2  'b' 1", "2 'b'  1", "2 u'b' 1",
        "2 '\\x80' 1", "2 b'\\x80' 2",
    };
    for (size_t i = 0; i < VR_COUNT(lines); i++) {
        char text[200];
        vr_vocab *vocab = NULL;
        vr_error err = {0};
        int n = snprintf(text, sizeof text, "1 'a' 1\n%s\n3 'c' 1\n", lines[i]);
        if (vr_vocab_parse(&vocab, text, (size_t)n, &err) != VRWKV_ERR_FORMAT) fail_msg("accepted: %s", lines[i]);
        assert_null(vocab);
        if (!strstr(err.message, "line 2:")) fail_msg("line not named: %s", err.message);
    }
    vr_vocab *vocab = NULL;
    assert_int_equal(vr_vocab_parse(&vocab, "", 0, NULL), VRWKV_ERR_FORMAT);
}

/* ---- UTF-8 ----------------------------------------------------------------------------------------- */

#define BAD "\xEF\xBF\xBD"
static const struct { const char *bytes, *text; bool valid; } utf8_cases[] = {
    {"", "", true},
    {"abc", "abc", true},
    {"\xe4\xb8\xad\xf0\x9f\x98\x80\xc3\xa9", "\xe4\xb8\xad\xf0\x9f\x98\x80\xc3\xa9", true},
    {"\xef\xbf\xbf\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80", "\xef\xbf\xbf\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80", true},
    {"\x80", BAD, false},
    {"\xff" "a", BAD "a", false},
    {"\xe4\xb8", BAD, false},
    {"\xe4\xb8z", BAD "z", false},
    {"\xe4\xe4\xb8\xad", BAD "\xe4\xb8\xad", false},
    {"\xf0\x9f\x98", BAD, false},
    {"\xc0\x80", BAD BAD, false},
    {"\xed\xa0\x80", BAD BAD BAD, false},
    {"\xf4\x90\x80\x80", BAD BAD BAD BAD, false},
    {"\xe0\x9f\xbf", BAD BAD BAD, false},
    {"\xf0\x8f\xbf\xbf", BAD BAD BAD BAD, false},
    /* Unicode standard, table 3-11 */
    {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", "a" BAD BAD BAD "b" BAD "c" BAD BAD "d", false},
    {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", BAD BAD BAD BAD BAD BAD BAD BAD "A", false},
};

static void test_utf8(void **state) {
    (void)state;
    for (size_t i = 0; i < VR_COUNT(utf8_cases); i++) {
        const char *bytes = utf8_cases[i].bytes, *text = utf8_cases[i].text;
        size_t n = strlen(bytes);
        assert_int_equal(vr_utf8_valid(bytes, n), utf8_cases[i].valid);
        for (size_t step = 1; step <= 5; step++) { /* in pieces of one size: the same text */
            vr_stream stream = {0};
            char out[200];
            size_t written = 0;
            for (size_t at = 0; at < n; at += step) {
                size_t more = vr_stream_push(&stream, bytes + at, n - at < step ? n - at : step, out + written);
                assert_true(vr_utf8_valid(out + written, more));
                written += more;
            }
            written += vr_stream_end(&stream, out + written);
            if (written != strlen(text) || memcmp(out, text, written)) fail_msg("case %zu in pieces of %zu", i, step);
            assert_int_equal(vr_stream_end(&stream, out), 0);
        }
    }
}

/* Random bytes: pieces of any sizes give the text of one piece, always whole characters. */
static void test_stream(void **state) {
    (void)state;
    static const unsigned char likely[] = {0x41, 0x80, 0xBF, 0x9F, 0xA0, 0xC2, 0xE0, 0xE4, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0x90};
    for (int round = 0; round < 3000; round++) {
        char bytes[64], one[64 * 3 + 16], many[64 * 3 + 16];
        size_t n = random_below(sizeof bytes), n_one, n_many = 0;
        vr_stream stream = {0};
        for (size_t i = 0; i < n; i++) bytes[i] = (char)likely[random_below(sizeof likely)];
        n_one = vr_stream_push(&stream, bytes, n, one);
        n_one += vr_stream_end(&stream, one + n_one);
        for (size_t at = 0, take; at < n; at += take) {
            take = 1 + random_below((uint32_t)(n - at < 5 ? n - at : 5));
            size_t more = vr_stream_push(&stream, bytes + at, take, many + n_many);
            assert_true(vr_utf8_valid(many + n_many, more));
            n_many += more;
        }
        n_many += vr_stream_end(&stream, many + n_many);
        assert_int_equal(n_one, n_many);
        assert_memory_equal(one, many, n_one);
        if (vr_utf8_valid(bytes, n)) {
            assert_int_equal(n_one, n);
            assert_memory_equal(one, bytes, n);
        }
    }
}

static void test_space(void **state) {
    (void)state;
    static const uint32_t spaces[] = {9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 0x85, 0xA0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003,
                                      0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
    size_t found = 0;
    for (uint32_t code = 0; code < 0x11000; code++) {
        char bytes[4];
        size_t n = vr_utf8_put(code, bytes), space = n ? vr_utf8_space(bytes, n) : 0;
        assert_int_equal(n ? vr_utf8_space_back(bytes, n) : 0, space);
        if (!space) continue;
        assert_true(found < VR_COUNT(spaces));
        assert_int_equal(code, spaces[found++]);
        assert_int_equal(space, n);
        for (size_t cut = 0; cut < n; cut++) assert_int_equal(vr_utf8_space(bytes, cut), 0);
    }
    assert_int_equal(found, VR_COUNT(spaces));
}

/* ---- prompts ----------------------------------------------------------------------------------------- */

static void check_build(const char *version, const vr_turn *turns, size_t n, bool image, vr_position position, const char *want) {
    vr_prompt prompt;
    vr_error err = {0};
    if (vr_prompt_build(&prompt, vr_template_find(version), NULL, turns, n, &(vr_prompt_options){.has_image = image, .position = position}, &err) != VRWKV_OK)
        fail_msg("%s", err.message);
    assert_string_equal(prompt.text, want);
    assert_int_equal(prompt.text_bytes, strlen(want));
    assert_null(prompt.ids);
    assert_null(prompt.labels);
    vr_prompt_free(&prompt);
}

static void test_prompt(void **state) {
    (void)state;
    const vr_turn ask[] = {{"human", " \xe3\x80\x80<image>What?\n \n\nNow\xc2\xa0"}, {"gpt", ""}};
    check_build("v6.0", ask, 2, true, VR_IMAGE_FIRST, "User: <image>\nWhat?\nNow\n\nAssistant:");
    check_build("v6.0", ask, 2, true, VR_IMAGE_LAST, "User: What?\nNow\n<image>\n\nAssistant:");
    check_build("v6.0", ask, 2, true, VR_IMAGE_MIDDLE, "User: What?\nNow\n<image>\nWhat?\nNow\n\nAssistant:");
    check_build("v6.0", ask, 2, false, VR_IMAGE_MIDDLE, "User: <image>What?\nNow\n\nAssistant:");
    const vr_turn two[] = {{"HUMAN", "<image>A? Answer the question using a single word or phrase."}, {"gpt", "B"},
                           {"human", " C?\n\n\nD? "}, {"gPt", "<image>"}};
    check_build("v6.0", two, 4, true, VR_IMAGE_MIDDLE,
                "User: A?\nC?\n\n\nD?\n<image>\nA? Answer the question using a single word or phrase.\n\nAssistant: B\n\n"
                "User: C?\nD?\n\nAssistant: A?\nC?\n\n\nD?\n<image>\n\n");
    check_build("v5.1", two, 4, true, VR_IMAGE_MIDDLE,
                "User: A? Answer the question using a single word or phrase.\n<image>\nA? Answer the question using a single word or phrase."
                "\n\nAssistant: B\n\nUser: C?\nD?\n\nAssistant: <image>\n\n");
    const vr_turn nested[] = {{"human", "<ima<image>ge>"}}; /* removing one makes another, as in the original */
    check_build("v6.0", nested, 1, true, VR_IMAGE_FIRST, "User: <image>\n<image>\n\n");
    check_build("v6.0", NULL, 0, true, VR_IMAGE_FIRST, "");
    vr_prompt prompt;
    vr_error err = {0};
    const vr_template *v6 = vr_template_find("v6.0");
    assert_int_equal(vr_prompt_build(&prompt, v6, world(), NULL, 0, &(vr_prompt_options){.ctx_len = 3}, &err), VRWKV_OK);
    assert_int_equal(prompt.n, 3);
    assert_memory_equal(prompt.ids, ((int32_t[]){0, 0, 0}), 12);
    assert_memory_equal(prompt.labels, ((int32_t[]){-100, -100, -100}), 12);
    vr_prompt_free(&prompt);
    const vr_turn wrong[] = {{"human", "x"}, {"humans", "y"}};
    assert_int_equal(vr_prompt_build(&prompt, v6, world(), wrong, 2, &(vr_prompt_options){0}, &err), VRWKV_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "turn 2"));
    assert_non_null(strstr(err.message, "humans"));
    assert_int_equal(vr_prompt_build(&prompt, v6, world(), wrong, 1, &(vr_prompt_options){.has_image = true, .position = (vr_position)7}, &err), VRWKV_ERR_ARGUMENT);
    assert_int_equal(vr_prompt_build(&prompt, v6, world(), (vr_turn[]){{"gpt", NULL}}, 1, &(vr_prompt_options){.has_image = true}, &err), VRWKV_ERR_ARGUMENT);
}

static void test_names(void **state) {
    (void)state;
    vr_position position;
    for (int i = VR_IMAGE_FIRST; i <= VR_IMAGE_MIDDLE; i++) {
        assert_true(vr_position_parse(vr_position_name((vr_position)i), &position));
        assert_int_equal(position, i);
    }
    assert_false(vr_position_parse("left", &position));
    assert_false(vr_position_parse(NULL, &position));
    assert_null(vr_template_find("v9"));
    assert_null(vr_template_find(NULL));
    char names[100];
    snprintf(names, sizeof names, "%s", vr_template_names());
    for (char *rest, *name = strtok_r(names, ", ", &rest); name; name = strtok_r(NULL, ", ", &rest))
        assert_non_null(vr_template_find(name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_cases),
        cmocka_unit_test(test_world),         cmocka_unit_test(test_random_vocabularies),
        cmocka_unit_test(test_world_against_plain), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_small_vocabulary), cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_stream),        cmocka_unit_test(test_space),
        cmocka_unit_test(test_prompt),        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
