/* Conversations to text, ids and labels, as the original's data code makes them.
 *
 * v5, v6: a sample with a picture: of each turn that contains "<image>" all of them are removed, white space
 * at both ends too, blank lines are collapsed, then one "<image>" is put before, behind or in the
 * middle. Other turns: stripped and collapsed only. Then the speaker's name in front, a blank line
 * behind; an empty value gives the bare name, the prompt for an answer. Turns are encoded one by one,
 * in a sample with a picture also apart at each "<image>", where VRWKV_IMAGE goes.
 *
 * v7: any number of marks; in a question they go to its front, one per line (v7.00, v7.01), or stay where
 * they are, repeated once per region of the picture (v7.02 and later).
 *
 * Versions have faults of their own, which models were trained with: see the table and its functions. */
#include "text/prompt.h"

#include "base/memory.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define IGNORE (-100)
#define PAD 0
static const char image_word[] = "<image>";
static const char short_answer[] = "Answer the question using a single word or phrase.";

static const char *const position_names[] = {"first", "last", "middle"};

typedef struct buffer {
    char *data;
    size_t n, room;
} buffer;

typedef struct span { size_t from, to; } span;

typedef struct builder builder;

struct vr_template {
    const char *version;
    /* Text before a picture in the middle, from the turns as they came; NULL: the turn's own value. */
    vr_status (*before_middle)(buffer *out, const vr_turn *turns, size_t n, vr_error *err);
    /* Appends the value of a turn that holds marks. */
    vr_status (*put_marked)(builder *b, const vr_turn *turn);
    bool always;    /* "<image>" is a mark whether or not the sample says that it has a picture */
    bool dummy;     /* a sample without a picture is trained with a mark in front of its first turn */
    int most_marks; /* of a conversation; 0: any number */
    /* Sets to IGNORE what is not trained; turn i's ids are spans[i]. Labels hold the ids. */
    void (*mask)(int32_t *labels, const vr_turn *turns, const span *spans, size_t n);
};

bool vr_position_parse(const char *name, vr_position *out) {
    for (size_t i = 0; name && i < VR_COUNT(position_names); i++)
        if (!strcmp(name, position_names[i])) {
            *out = (vr_position)i;
            return true;
        }
    return false;
}

const char *vr_position_name(vr_position position) {
    return (size_t)position < VR_COUNT(position_names) ? position_names[position] : "unknown";
}

/* ---- strings --------------------------------------------------------------------------------- */

static vr_status append(buffer *out, const char *text, size_t n, vr_error *err) {
    VR_TRY(vr_grow(&out->data, &out->room, out->n + n + 1, 1, err));
    if (n) memcpy(out->data + out->n, text, n);
    out->n += n;
    out->data[out->n] = 0;
    return VRWKV_OK;
}

static vr_status append_text(buffer *out, const char *text, vr_error *err) { return append(out, text, strlen(text), err); }

/* The three below work on out->data[from..], the end of the buffer, and only ever shorten it. */

static void remove_all(buffer *out, size_t from, const char *word) {
    size_t length = strlen(word), to = from;
    for (size_t i = from; i < out->n;) {
        if (out->n - i >= length && !memcmp(out->data + i, word, length))
            i += length;
        else
            out->data[to++] = out->data[i++];
    }
    out->n = to;
    out->data[to] = 0;
}

static void strip(buffer *out, size_t from) {
    size_t begin = from, length;
    while ((length = vr_utf8_space_back(out->data + from, out->n - from))) out->n -= length;
    while ((length = vr_utf8_space(out->data + begin, out->n - begin))) begin += length;
    memmove(out->data + from, out->data + begin, out->n - begin);
    out->n -= begin - from;
    out->data[out->n] = 0;
}

/* A line feed, white space and another line feed become one line feed: \n(\s*\n)+ -> \n. */
static void collapse(buffer *out, size_t from) {
    size_t to = from;
    for (size_t i = from; i < out->n;) {
        char c = out->data[i++];
        out->data[to++] = c;
        if (c != '\n') continue;
        size_t last = 0, length;
        for (size_t k = i; (length = vr_utf8_space(out->data + k, out->n - k)); k += length)
            if (out->data[k] == '\n') last = k;
        if (last) i = last + 1;
    }
    out->n = to;
    out->data[to] = 0;
}

static bool has_word(const char *text) { return strstr(text, image_word) != NULL; }

/* ---- speakers -------------------------------------------------------------------------------- */

static const struct { const char *from, *role; } speakers[] = {{"human", "User"}, {"gpt", "Assistant"}};

static const char *role_of(const vr_turn *turn) {
    for (size_t i = 0; i < VR_COUNT(speakers); i++) {
        const char *a = turn->from, *b = speakers[i].from;
        while (*b && (*a | (*a >= 'A' && *a <= 'Z' ? 0x20 : 0)) == *b) a++, b++;
        if (!*a && !*b) return speakers[i].role;
    }
    return NULL;
}

static bool is_user(const vr_turn *turn) { return role_of(turn) == speakers[0].role; }
/* Masks compare exactly: a turn of "Human" is a question, but is trained like an answer. */
static bool is_exactly(const vr_turn *turn, const char *from) { return !strcmp(turn->from, from); }

static vr_status check_turns(const vr_turn *turns, size_t n, vr_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (!turns[i].from || !turns[i].value)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "turn %zu lacks its %s", i + 1, turns[i].from ? "value" : "speaker");
        if (!role_of(&turns[i]))
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "turn %zu is of '%.40s'; speakers are \"human\" and \"gpt\"", i + 1,
                           turns[i].from);
    }
    return VRWKV_OK;
}

/* ---- versions -------------------------------------------------------------------------------- */

/* v6.0: all questions of the conversation, later ones too. The phrase for short answers goes only
 * where the picture was, and only there are blank lines collapsed. */
static vr_status all_questions(buffer *out, const vr_turn *turns, size_t n, vr_error *err) {
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        if (!is_user(&turns[i])) continue;
        if (!first) VR_TRY(append(out, "\n", 1, err));
        first = false;
        size_t from = out->n;
        VR_TRY(append_text(out, turns[i].value, err));
        if (has_word(turns[i].value)) {
            remove_all(out, from, image_word);
            strip(out, from);
            remove_all(out, from, short_answer);
            strip(out, from);
            collapse(out, from);
        } else {
            strip(out, from);
        }
    }
    return VRWKV_OK;
}

static void ignore(int32_t *labels, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) labels[i] = IGNORE;
}

/* v6.0: questions, and the three ids of "Assistant:". */
static void mask_turns(int32_t *labels, const vr_turn *turns, const span *spans, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t head = spans[i].to - spans[i].from < 3 ? spans[i].to : spans[i].from + 3;
        if (is_exactly(&turns[i], "human"))
            ignore(labels, spans[i].from, spans[i].to);
        else if (is_exactly(&turns[i], "gpt"))
            ignore(labels, spans[i].from, head);
    }
}

/* v5.1 takes each turn's end, counted from the beginning of the sample, for its length. Only the first
 * question is masked where it stands. */
static void mask_by_ends(int32_t *labels, const vr_turn *turns, const span *spans, size_t n) {
    size_t all = n ? spans[n - 1].to : 0, at = 0;
    for (size_t i = 0; i < n && at < all; i++) {
        size_t length = spans[i].to, to = length > all - at ? all : at + length;
        if (is_exactly(&turns[i], "human")) ignore(labels, at, to);
        at = to;
    }
}

/* ---- building -------------------------------------------------------------------------------- */

struct builder {
    const vr_template *rules;
    const vr_vocab *vocab;
    const vr_turn *turns;
    size_t n_turns;
    vr_prompt_options options;
    bool marked; /* "<image>" is a mark here, not plain text */
    bool dummy;  /* a mark goes in front of the first turn */
    buffer before; /* in the middle position: what v6.0 puts before each picture */
    buffer text;
    int32_t *ids;
    size_t n, room;
    span *spans; /* [n_turns] in ids */
    vr_error *err;
};

/* v5, v6: one mark, where the picture's position says. */
static vr_status put_one_mark(builder *b, const vr_turn *turn) {
    buffer own = {0};
    size_t from = b->text.n;
    vr_position position = b->options.position;
    vr_status status = append_text(&own, turn->value, b->err);
    if (status == VRWKV_OK) {
        remove_all(&own, 0, image_word);
        strip(&own, 0);
        collapse(&own, 0);
        const buffer *before = b->rules->before_middle ? &b->before : &own;
        if (position == VR_IMAGE_MIDDLE) status = append(&b->text, before->data, before->n, b->err);
        if (status == VRWKV_OK && position == VR_IMAGE_LAST) status = append(&b->text, own.data, own.n, b->err);
        if (status == VRWKV_OK && position != VR_IMAGE_FIRST) status = append(&b->text, "\n", 1, b->err);
        if (status == VRWKV_OK) status = append_text(&b->text, image_word, b->err);
        if (status == VRWKV_OK && position != VR_IMAGE_LAST) status = append(&b->text, "\n", 1, b->err);
        if (status == VRWKV_OK && position != VR_IMAGE_LAST) status = append(&b->text, own.data, own.n, b->err);
    }
    free(own.data);
    VR_TRY(status);
    strip(&b->text, from);
    return VRWKV_OK;
}

/* v7.00, v7.01, v7.10: a question's marks in front of it, a line each; an answer's are lost. */
static vr_status put_marks_first(builder *b, const vr_turn *turn) {
    buffer own = {0};
    size_t from = b->text.n;
    vr_status status = append_text(&own, turn->value, b->err);
    for (const char *at = turn->value; status == VRWKV_OK && is_user(turn) && (at = strstr(at, image_word)); at++) {
        status = append_text(&b->text, image_word, b->err);
        if (status == VRWKV_OK) status = append(&b->text, "\n", 1, b->err);
    }
    if (status == VRWKV_OK) {
        remove_all(&own, 0, image_word);
        strip(&own, 0);
        collapse(&own, 0);
        status = append(&b->text, own.data, own.n, b->err);
    }
    free(own.data);
    VR_TRY(status);
    strip(&b->text, from);
    return VRWKV_OK;
}

/* v7.02 and later: each mark becomes one per region, without anything between. */
static vr_status put_marks_there(builder *b, const vr_turn *turn) {
    size_t from = b->text.n;
    const char *at = turn->value, *word;
    for (; (word = strstr(at, image_word)); at = word + strlen(image_word)) {
        VR_TRY(append(&b->text, at, (size_t)(word - at), b->err));
        for (int i = 0; i < (b->options.regions > 0 ? b->options.regions : 1); i++)
            VR_TRY(append_text(&b->text, image_word, b->err));
    }
    VR_TRY(append_text(&b->text, at, b->err));
    strip(&b->text, from);
    collapse(&b->text, from);
    return VRWKV_OK;
}

static const vr_template templates[] = {
    {.version = "v5.1", .mask = mask_by_ends, .put_marked = put_one_mark},
    {.version = "v6.0", .before_middle = all_questions, .mask = mask_turns, .put_marked = put_one_mark},
    {.version = "v7.00", .mask = mask_turns, .put_marked = put_marks_first, .always = true},
    {.version = "v7.01", .mask = mask_turns, .put_marked = put_marks_first, .always = true, .dummy = true, .most_marks = 1},
    {.version = "v7.02", .mask = mask_turns, .put_marked = put_marks_there, .always = true, .most_marks = 1},
    {.version = "v7.03", .mask = mask_turns, .put_marked = put_marks_there, .always = true, .most_marks = 1},
    {.version = "v7.04", .mask = mask_turns, .put_marked = put_marks_there, .always = true, .most_marks = 1},
    {.version = "v7.10", .mask = mask_turns, .put_marked = put_marks_first, .always = true},
};

const vr_template *vr_template_find(const char *version) {
    for (size_t i = 0; version && i < VR_COUNT(templates); i++)
        if (!strcmp(version, templates[i].version)) return &templates[i];
    return NULL;
}

const char *vr_template_names(void) { return "v5.1, v6.0, v7.00, v7.01, v7.02, v7.03, v7.04, v7.10"; }

static vr_status put_turn_text(builder *b, const vr_turn *turn) {
    VR_TRY(append_text(&b->text, role_of(turn), b->err));
    VR_TRY(append(&b->text, ": ", 2, b->err));
    size_t from = b->text.n;
    if (b->dummy && turn == b->turns) {
        VR_TRY(append_text(&b->text, image_word, b->err));
        VR_TRY(append(&b->text, "\n", 1, b->err));
    }
    size_t value = b->text.n;
    if (b->marked && has_word(turn->value)) {
        VR_TRY(b->rules->put_marked(b, turn));
    } else {
        VR_TRY(append_text(&b->text, turn->value, b->err));
        strip(&b->text, value);
        collapse(&b->text, value);
    }
    if (b->text.n > from) return append(&b->text, "\n\n", 2, b->err);
    b->text.data[--b->text.n] = 0; /* an answer is to come: no space, no end */
    return VRWKV_OK;
}

static vr_status put_ids(builder *b, const char *text, size_t n) {
    int rows = b->options.rows > 0 ? b->options.rows : 1;
    while (b->marked) {
        const char *word = memmem(text, n, image_word, strlen(image_word));
        if (!word) break;
        VR_TRY(vr_encode(b->vocab, text, (size_t)(word - text), &b->ids, &b->n, &b->room, b->err));
        VR_TRY(vr_grow(&b->ids, &b->room, b->n + (size_t)rows, sizeof *b->ids, b->err));
        for (int i = 0; i < rows; i++) b->ids[b->n++] = b->options.rows > 0 ? b->options.image_id : VRWKV_IMAGE;
        n -= (size_t)(word - text) + strlen(image_word);
        text = word + strlen(image_word);
    }
    return vr_encode(b->vocab, text, n, &b->ids, &b->n, &b->room, b->err);
}

static vr_status check_marks(builder *b) {
    int marks = 0;
    for (size_t i = 0; i < b->n_turns; i++)
        for (const char *at = b->turns[i].value; (at = strstr(at, image_word)); at++) marks++;
    b->marked = b->rules->always || b->options.has_image;
    b->dummy = b->rules->dummy && b->options.dummy && !marks;
    if (b->rules->most_marks && marks > b->rules->most_marks)
        return vr_fail(b->err, VRWKV_ERR_ARGUMENT, "%d times \"<image>\" in the conversation, %s takes at most %d", marks,
                       b->rules->version, b->rules->most_marks);
    return VRWKV_OK;
}

static vr_status build(builder *b) {
    VR_TRY(check_turns(b->turns, b->n_turns, b->err));
    VR_TRY(check_marks(b));
    if (b->marked && b->options.position == VR_IMAGE_MIDDLE && b->rules->before_middle)
        VR_TRY(b->rules->before_middle(&b->before, b->turns, b->n_turns, b->err));
    VR_TRY(append(&b->text, "", 0, b->err));
    for (size_t i = 0; i < b->n_turns; i++) {
        size_t from = b->text.n;
        VR_TRY(put_turn_text(b, &b->turns[i]));
        b->spans[i].from = b->n;
        if (b->vocab) VR_TRY(put_ids(b, b->text.data + from, b->text.n - from));
        b->spans[i].to = b->n;
    }
    return VRWKV_OK;
}

/* Labels from the ids; both cut or padded to ctx_len. */
static vr_status finish(vr_prompt *out, builder *b, size_t ctx_len) {
    size_t n = ctx_len ? ctx_len : b->n;
    VR_TRY(vr_grow(&b->ids, &b->room, n ? n : 1, sizeof *b->ids, b->err));
    out->labels = vr_alloc(n > b->n ? n : b->n, sizeof *out->labels);
    if (!out->labels) return vr_fail(b->err, VRWKV_ERR_MEMORY, "out of memory for %zu labels", n);
    if (b->n) memcpy(out->labels, b->ids, b->n * sizeof *b->ids);
    b->rules->mask(out->labels, b->turns, b->spans, b->n_turns);
    for (size_t i = b->n; i < n; i++) {
        b->ids[i] = PAD;
        out->labels[i] = IGNORE;
    }
    out->n = n;
    return VRWKV_OK;
}

vr_status vr_prompt_build(vr_prompt *out, const vr_template *rules, const vr_vocab *vocab, const vr_turn *turns,
                          size_t n_turns, const vr_prompt_options *options, vr_error *err) {
    *out = (vr_prompt){0};
    if (options->has_image && (size_t)options->position >= VR_COUNT(position_names))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "unknown image position %d (known: first, last, middle)", (int)options->position);
    builder b = {.rules = rules, .vocab = vocab, .turns = turns, .n_turns = n_turns, .options = *options, .err = err};
    b.spans = vr_alloc(n_turns, sizeof *b.spans);
    vr_status status = b.spans ? build(&b) : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu turns", n_turns);
    if (status == VRWKV_OK && vocab) status = finish(out, &b, options->ctx_len);
    out->text = b.text.data;
    out->text_bytes = b.text.n;
    out->ids = b.ids;
    free(b.before.data);
    free(b.spans);
    if (status != VRWKV_OK) vr_prompt_free(out);
    return status;
}

void vr_prompt_free(vr_prompt *prompt) {
    free(prompt->text);
    free(prompt->ids);
    free(prompt->labels);
    *prompt = (vr_prompt){0};
}
