/* Documents to requests, task by task. src: the task files of lm-evaluation-harness 0.4. */
#include "base/memory.h"
#include "eval/lm.h"
#include "text/unicode.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- fields of a line ---- */

static vr_slice field(const json_t *line, const char *key) { return vr_json_slice(json_object_get(line, key)); }

/* All of these keys, closed by NULL, are texts. */
static vr_status need(const json_t *line, const vr_where *where, const char *const *keys, vr_error *err) {
    const char *text;
    for (; *keys; keys++) VR_TRY(vr_need_text(line, *keys, where, &text, err));
    return VRWKV_OK;
}

static vr_status bad_gold(const char *key, const vr_where *where, vr_error *err) {
    return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: \"%s\" does not name one of the choices", where->path, where->line, key);
}

/* A whole number, or a text that is one; minus `base`. */
static vr_status gold_number(vr_document *to, const json_t *line, const char *key, long long base, const vr_where *where,
                             vr_error *err) {
    const json_t *value = json_object_get(line, key);
    const char *text = json_string_value(value);
    char *end = NULL;
    long long number = text ? strtoll(text, &end, 10) : json_integer_value(value);
    if ((!json_is_integer(value) && (!text || end == text || *end)) || number < base || (size_t)(number - base) >= to->n)
        return bad_gold(key, where, err);
    to->gold = (size_t)(number - base);
    return VRWKV_OK;
}

/* A further request with this context and " " + choice; NULL where there are too many. */
static vr_request *add(vr_document *to, vr_slice context, vr_slice choice) {
    if (to->n == VR_MOST_CHOICES) return NULL;
    vr_request *request = &to->requests[to->n++];
    vr_str_add_slice(&request->context, context);
    vr_str_add(&request->continuation, " ");
    vr_str_add_slice(&request->continuation, choice);
    request->length = vr_utf8_count(choice.p, choice.n);
    return request;
}

static vr_status add_choices(vr_document *to, vr_slice context, const json_t *choices, const char *key,
                             const vr_where *where, vr_error *err) {
    size_t i;
    const json_t *choice;
    json_array_foreach(choices, i, choice) {
        const json_t *text = json_is_object(choice) ? json_object_get(choice, "atext") : choice;
        if (!json_is_string(text))
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: \"%s\"[%zu] is no text", where->path, where->line, key, i);
        if (!add(to, context, vr_json_slice(text)))
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: more than %d choices", where->path, where->line, VR_MOST_CHOICES);
    }
    return to->n ? VRWKV_OK
                 : vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: \"%s\" is missing or empty", where->path, where->line, key);
}

/* "Question: {question}\nAnswer:" */
static void put_question(vr_str *out, vr_slice before, vr_slice question) {
    vr_str_add_slice(out, before);
    vr_str_add(out, "Question: ");
    vr_str_add_slice(out, question);
    vr_str_add(out, "\nAnswer:");
}

/* ---- tasks ---- */

/* The last word, told by the last single space. */
static vr_status lambada(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"text", NULL}, err));
    vr_slice text = field(line, "text");
    const char *last = memrchr(text.p, ' ', text.n);
    if (!last) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the text has one word only", where->path, where->line);
    size_t before = (size_t)(last - text.p);
    add(to, (vr_slice){text.p, before}, (vr_slice){last + 1, text.n - before - 1});
    return VRWKV_OK;
}

static vr_status piqa(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    vr_str context = {0};
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"goal", "sol1", "sol2", NULL}, err));
    put_question(&context, (vr_slice){"", 0}, field(line, "goal"));
    add(to, vr_str_slice(&context), field(line, "sol1"));
    add(to, vr_str_slice(&context), field(line, "sol2"));
    vr_str_free(&context);
    return gold_number(to, line, "label", 0, where, err);
}

static vr_status storycloze(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    static const char *const parts[] = {"input_sentence_1", "input_sentence_2", "input_sentence_3", "input_sentence_4",
                                        NULL};
    vr_str context = {0};
    (void)name;
    VR_TRY(need(line, where, parts, err));
    VR_TRY(need(line, where, (const char *const[]){"sentence_quiz1", "sentence_quiz2", NULL}, err));
    for (size_t i = 0; parts[i]; i++) {
        if (i) vr_str_add(&context, " ");
        vr_str_add_slice(&context, field(line, parts[i]));
    }
    add(to, vr_str_slice(&context), field(line, "sentence_quiz1"));
    add(to, vr_str_slice(&context), field(line, "sentence_quiz2"));
    vr_str_free(&context);
    return gold_number(to, line, "answer_right_ending", 1, where, err);
}

/* Trimmed; " [title]" is ". "; other notes in brackets go; pairs of spaces become one, from left to right. */
static void clean(vr_str *out, vr_slice text) {
    vr_str titled = {0}, bare = {0};
    vr_str_replace(&titled, vr_trim(text), " [title]", ". ");
    for (size_t i = 0; i < titled.n;) {
        size_t end = i;
        while (titled.data[i] == '[' && end < titled.n && titled.data[end] != ']' && titled.data[end] != '\n') end++;
        if (titled.data[i] == '[' && end < titled.n && titled.data[end] == ']')
            i = end + 1;
        else
            vr_str_put(&bare, titled.data + i++, 1);
    }
    vr_str_replace(out, vr_str_slice(&bare), "  ", " ");
    out->failed |= titled.failed | bare.failed;
    vr_str_free(&titled);
    vr_str_free(&bare);
}

static void put_capitalised(vr_str *out, vr_slice text) {
    char *copy = vr_alloc(text.n * VR_CASE_GROWTH + 1, 1);
    out->failed |= !copy;
    if (copy) vr_str_put(out, copy, vr_capitalise(text.p, text.n, copy));
    free(copy);
}

static vr_status hellaswag(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    vr_str raw = {0}, context = {0};
    json_t *endings;
    size_t i;
    const json_t *ending;
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"activity_label", "ctx_a", "ctx_b", NULL}, err));
    VR_TRY(vr_need_list(line, "endings", where, &endings, err));
    vr_str_add_slice(&raw, field(line, "activity_label"));
    vr_str_add(&raw, ": ");
    vr_str_add_slice(&raw, field(line, "ctx_a"));
    vr_str_add(&raw, " ");
    put_capitalised(&raw, field(line, "ctx_b"));
    clean(&context, vr_str_slice(&raw));
    json_array_foreach(endings, i, ending) {
        vr_str choice = {0};
        clean(&choice, vr_json_slice(ending));
        add(to, vr_str_slice(&context), vr_str_slice(&choice));
        vr_str_free(&choice);
    }
    vr_str_free(&raw);
    vr_str_free(&context);
    return gold_number(to, line, "label", 0, where, err);
}

/* Two contexts, the sentence up to "_" with either option; the rest is what both must go on with. */
static vr_status winogrande(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    static const char *const options[] = {"option1", "option2"};
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"sentence", "option1", "option2", NULL}, err));
    vr_slice sentence = field(line, "sentence");
    const char *gap = vr_slice_find(sentence, "_");
    if (!gap) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: the sentence has no \"_\"", where->path, where->line);
    size_t before = (size_t)(gap - sentence.p);
    for (size_t i = 0; i < VR_COUNT(options); i++) {
        vr_str context = {0};
        vr_str_put(&context, sentence.p, before);
        vr_str_add_slice(&context, field(line, options[i]));
        add(to, vr_str_slice(&context), vr_trim((vr_slice){gap + 1, sentence.n - before - 1}));
        vr_str_free(&context);
    }
    return gold_number(to, line, "answer", 1, where, err);
}

/* The index of the label that the key names. */
static vr_status gold_label(vr_document *to, const json_t *labels, vr_slice key, const vr_where *where, vr_error *err) {
    for (size_t i = 0; i < to->n; i++)
        if (vr_slice_same(vr_json_slice(json_array_get(labels, i)), key)) {
            to->gold = i;
            return VRWKV_OK;
        }
    return bad_gold("answerKey", where, err);
}

static vr_status arc(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    const json_t *choices = json_object_get(line, "choices");
    vr_str context = {0};
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"question", "answerKey", NULL}, err));
    put_question(&context, (vr_slice){"", 0}, field(line, "question"));
    vr_status status = add_choices(to, vr_str_slice(&context), json_object_get(choices, "text"), "choices.text", where, err);
    vr_str_free(&context);
    return status == VRWKV_OK ? gold_label(to, json_object_get(choices, "label"), field(line, "answerKey"), where, err)
                              : status;
}

static vr_status headqa(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    vr_str context = {0};
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"qtext", NULL}, err));
    put_question(&context, (vr_slice){"", 0}, field(line, "qtext"));
    vr_status status = add_choices(to, vr_str_slice(&context), json_object_get(line, "answers"), "answers", where, err);
    vr_str_free(&context);
    return status == VRWKV_OK ? gold_number(to, line, "ra", 1, where, err) : status;
}

static vr_status openbookqa(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    const json_t *choices = json_object_get(line, "choices");
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"question_stem", "answerKey", NULL}, err));
    VR_TRY(add_choices(to, field(line, "question_stem"), json_object_get(choices, "text"), "choices.text", where, err));
    return gold_label(to, json_object_get(choices, "label"), vr_trim(field(line, "answerKey")), where, err);
}

static vr_status sciq(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    static const char *const choices[] = {"distractor1", "distractor2", "distractor3", "correct_answer", NULL};
    vr_str context = {0};
    size_t length;
    (void)name;
    VR_TRY(need(line, where, choices, err));
    VR_TRY(need(line, where, (const char *const[]){"question", "support", NULL}, err));
    vr_slice support = field(line, "support");
    while ((length = vr_utf8_space(support.p, support.n))) support = (vr_slice){support.p + length, support.n - length};
    vr_str_add_slice(&context, support);
    put_question(&context, (vr_slice){"\n", 1}, field(line, "question"));
    for (size_t i = 0; choices[i]; i++) add(to, vr_str_slice(&context), field(line, choices[i]));
    vr_str_free(&context);
    to->gold = to->n - 1;
    return VRWKV_OK;
}

typedef struct connective { const char *language, *cause, *effect; } connective;

static const connective connectives[] = {
    {"et", "sest", "seetõttu"}, {"ht", "poukisa", "donk sa"},     {"it", "perché", "quindi"}, {"id", "karena", "maka"},
    {"qu", "imataq", "chaymi"}, {"sw", "kwa sababu", "kwa hiyo"}, {"zh", "因为", "所以"},     {"ta", "காரணமாக", "எனவே"},
    {"th", "เพราะ", "ดังนั้น"},    {"tr", "çünkü", "bu yüzden"},     {"vi", "bởi vì", "vì vậy"},
};

/* The first letter small: as Python's choice[0].lower() + choice[1:]. */
static void put_small_first(vr_str *out, vr_slice text) {
    size_t length = 0;
    if (text.n) vr_utf8_code(text.p, text.n, &length);
    vr_str_lower(out, (vr_slice){text.p, length});
    vr_str_put(out, text.p + length, text.n - length);
}

static vr_status xcopa(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    static const char *const choices[] = {"choice1", "choice2"};
    const char *language = strrchr(name, '_');
    const connective *words = NULL;
    vr_str context = {0};
    VR_TRY(need(line, where, (const char *const[]){"premise", "choice1", "choice2", "question", NULL}, err));
    for (size_t i = 0; language && i < VR_COUNT(connectives); i++)
        if (strcmp(connectives[i].language, language + 1) == 0) words = &connectives[i];
    if (!words)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "%s: no connectives are known for '%s' (xcopa_zh, xcopa_it, ..)",
                       where->path, name);
    vr_slice premise = vr_trim(field(line, "premise"));
    size_t last = 0, length;
    for (size_t i = 0; i < premise.n; i += length) { /* the last character is the full stop */
        vr_utf8_code(premise.p + i, premise.n - i, &length);
        last = i;
    }
    vr_str_put(&context, premise.p, last);
    vr_str_format(&context, " %s", vr_slice_is(field(line, "question"), "cause") ? words->cause : words->effect);
    for (size_t i = 0; i < VR_COUNT(choices); i++) {
        vr_str choice = {0};
        put_small_first(&choice, field(line, choices[i]));
        add(to, vr_str_slice(&context), vr_str_slice(&choice));
        vr_str_free(&choice);
    }
    vr_str_free(&context);
    return gold_number(to, line, "label", 0, where, err);
}

static vr_status mmlu(vr_document *to, const char *name, const json_t *line, const vr_where *where, vr_error *err) {
    vr_str context = {0};
    json_t *choices;
    (void)name;
    VR_TRY(need(line, where, (const char *const[]){"question", "subject", NULL}, err));
    VR_TRY(vr_need_list(line, "choices", where, &choices, err));
    vr_str subject = {0};
    vr_str_replace(&subject, field(line, "subject"), "_", " ");
    vr_str_format(&context, "The following are multiple choice questions (with answers) about %s.\n\n",
                  vr_str_text(&subject));
    vr_str_free(&subject);
    vr_str_add_slice(&context, vr_trim(field(line, "question")));
    for (size_t i = 0; i < json_array_size(choices) && i < 26; i++) {
        vr_str_format(&context, "\n%c. ", (char)('A' + i));
        vr_str_add_slice(&context, vr_json_slice(json_array_get(choices, i)));
    }
    vr_str_add(&context, "\nAnswer:");
    for (size_t i = 0; i < json_array_size(choices); i++) {
        char letter = (char)('A' + i);
        if (!add(to, vr_str_slice(&context), (vr_slice){&letter, 1})) break;
    }
    vr_str_free(&context);
    return gold_number(to, line, "answer", 0, where, err);
}

/* The first row whose name begins the file's name. */
static const vr_lm_task tasks[] = {
    {"lambada", true, false, lambada},
    {"piqa", false, true, piqa},
    {"storycloze", false, false, storycloze},
    {"xstorycloze", false, false, storycloze},
    {"hellaswag", false, true, hellaswag},
    {"winogrande", false, false, winogrande},
    {"xwinograd", false, false, winogrande},
    {"arc_", false, true, arc},
    {"headqa", false, true, headqa},
    {"openbookqa", false, true, openbookqa},
    {"sciq", false, true, sciq},
    {"xcopa", false, false, xcopa},
    {"mmlu", false, false, mmlu},
};

const vr_lm_task *vr_lm_task_find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(tasks); i++)
        if (strncmp(name, tasks[i].name, strlen(tasks[i].name)) == 0) return &tasks[i];
    return NULL;
}

const char *vr_lm_task_names(void) {
    return "lambada*, piqa, storycloze*, xstorycloze_*, hellaswag, winogrande, xwinograd_*, arc_*, headqa*, openbookqa, "
           "sciq, xcopa_*, mmlu_*";
}
