/* src: the official VQA evaluator (vqaEval.py: processPunctuation, processDigitArticle) and M4C's
 * EvalAIAnswerProcessor, whose tables and slips are kept: they are part of every published score. */
#include "eval/normalise.h"

#include "text/unicode.h"

#include <string.h>

static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
static const char *const articles[] = {"a", "an", "the"};

typedef struct pair { const char *from, *to; } pair;

static const pair numbers[] = {{"none", "0"},  {"zero", "0"}, {"one", "1"},   {"two", "2"},   {"three", "3"}, {"four", "4"},
                               {"five", "5"}, {"six", "6"},  {"seven", "7"}, {"eight", "8"}, {"nine", "9"},  {"ten", "10"}};

/* Keys with capital letters are left out: words are in small letters when they are looked up. */
static const pair contractions[] = {
    {"aint", "ain't"}, {"arent", "aren't"}, {"cant", "can't"}, {"couldve", "could've"}, {"couldnt", "couldn't"},
    {"couldn'tve", "couldn't've"}, {"couldnt've", "couldn't've"}, {"didnt", "didn't"}, {"doesnt", "doesn't"},
    {"dont", "don't"}, {"hadnt", "hadn't"}, {"hadnt've", "hadn't've"}, {"hadn'tve", "hadn't've"}, {"hasnt", "hasn't"},
    {"havent", "haven't"}, {"hed", "he'd"}, {"hed've", "he'd've"}, {"he'dve", "he'd've"}, {"hes", "he's"},
    {"howd", "how'd"}, {"howll", "how'll"}, {"hows", "how's"}, {"isnt", "isn't"}, {"itd", "it'd"},
    {"itd've", "it'd've"}, {"it'dve", "it'd've"}, {"itll", "it'll"}, {"let's", "let's"}, {"maam", "ma'am"},
    {"mightnt", "mightn't"}, {"mightnt've", "mightn't've"}, {"mightn'tve", "mightn't've"}, {"mightve", "might've"},
    {"mustnt", "mustn't"}, {"mustve", "must've"}, {"neednt", "needn't"}, {"notve", "not've"}, {"oclock", "o'clock"},
    {"oughtnt", "oughtn't"}, {"ow's'at", "'ow's'at"}, {"'ows'at", "'ow's'at"}, {"'ow'sat", "'ow's'at"},
    {"shant", "shan't"}, {"shed've", "she'd've"}, {"she'dve", "she'd've"}, {"she's", "she's"},
    {"shouldve", "should've"}, {"shouldnt", "shouldn't"}, {"shouldnt've", "shouldn't've"},
    {"shouldn'tve", "shouldn't've"}, {"somebody'd", "somebodyd"}, {"somebodyd've", "somebody'd've"},
    {"somebody'dve", "somebody'd've"}, {"somebodyll", "somebody'll"}, {"somebodys", "somebody's"},
    {"someoned", "someone'd"}, {"someoned've", "someone'd've"}, {"someone'dve", "someone'd've"},
    {"someonell", "someone'll"}, {"someones", "someone's"}, {"somethingd", "something'd"},
    {"somethingd've", "something'd've"}, {"something'dve", "something'd've"}, {"somethingll", "something'll"},
    {"thats", "that's"}, {"thered", "there'd"}, {"thered've", "there'd've"}, {"there'dve", "there'd've"},
    {"therere", "there're"}, {"theres", "there's"}, {"theyd", "they'd"}, {"theyd've", "they'd've"},
    {"they'dve", "they'd've"}, {"theyll", "they'll"}, {"theyre", "they're"}, {"theyve", "they've"},
    {"twas", "'twas"}, {"wasnt", "wasn't"}, {"wed've", "we'd've"}, {"we'dve", "we'd've"}, {"weve", "we've"},
    {"werent", "weren't"}, {"whatll", "what'll"}, {"whatre", "what're"}, {"whats", "what's"}, {"whatve", "what've"},
    {"whens", "when's"}, {"whered", "where'd"}, {"wheres", "where's"}, {"whereve", "where've"}, {"whod", "who'd"},
    {"whod've", "who'd've"}, {"who'dve", "who'd've"}, {"wholl", "who'll"}, {"whos", "who's"}, {"whove", "who've"},
    {"whyll", "why'll"}, {"whyre", "why're"}, {"whys", "why's"}, {"wont", "won't"}, {"wouldve", "would've"},
    {"wouldnt", "wouldn't"}, {"wouldnt've", "wouldn't've"}, {"wouldn'tve", "wouldn't've"}, {"yall", "y'all"},
    {"yall'll", "y'all'll"}, {"y'allll", "y'all'll"}, {"yall'd've", "y'all'd've"}, {"y'alld've", "y'all'd've"},
    {"y'all'dve", "y'all'd've"}, {"youd", "you'd"}, {"youd've", "you'd've"}, {"you'dve", "you'd've"},
    {"youll", "you'll"}, {"youre", "you're"}, {"youve", "you've"},
};

static const char *look_up(const pair *pairs, size_t n, vr_slice word) {
    for (size_t i = 0; i < n; i++)
        if (pairs[i].from[0] == word.p[0] && vr_slice_is(word, pairs[i].from)) return pairs[i].to;
    return NULL;
}

static bool has_comma_in_number(vr_slice s) {
    for (size_t i = 1; i + 1 < s.n; i++) {
        if (s.p[i] != ',' || !vr_utf8_digit(s.p + i + 1, s.n - i - 1)) continue;
        for (size_t back = 1; back <= 4 && back <= i; back++)
            if (vr_utf8_digit(s.p + i - back, back) == back) return true;
    }
    return false;
}

static bool beside_space(vr_slice s, char mark) {
    for (size_t i = 0; i + 1 < s.n; i++)
        if ((s.p[i] == mark && s.p[i + 1] == ' ') || (s.p[i] == ' ' && s.p[i + 1] == mark)) return true;
    return false;
}

/* The original gives a flag of its regular expressions where the count belongs: so many points are
 * removed and no more. */
#define MOST_POINTS 32

/* Marks go, or become spaces; then points that no digit follows go. Which of the two depends on the
 * whole text before: with "1,000" in it or a space beside that mark somewhere, all of them go. */
static void put_punctuated(vr_slice s, vr_str *out) {
    vr_str plain = {0};
    bool number = has_comma_in_number(s), gone[sizeof marks];
    for (size_t m = 0; marks[m]; m++) gone[m] = number || beside_space(s, marks[m]);
    for (size_t i = 0; i < s.n; i++) {
        const char *mark = s.p[i] ? strchr(marks, s.p[i]) : NULL;
        if (!mark)
            vr_str_put(&plain, s.p + i, 1);
        else if (!gone[mark - marks])
            vr_str_put(&plain, " ", 1);
    }
    int points = 0;
    for (size_t i = 0; i < plain.n; i++) {
        bool point = plain.data[i] == '.' && points < MOST_POINTS && !vr_utf8_digit(plain.data + i + 1, plain.n - i - 1);
        points += point;
        if (!point) vr_str_put(out, plain.data + i, 1);
    }
    out->failed |= plain.failed;
    vr_str_free(&plain);
}

/* Small letters, numbers as digits, no articles, contractions with their apostrophe. */
static void put_words(vr_slice s, vr_str *out) {
    vr_str small = {0};
    vr_slice word;
    bool first = true;
    vr_str_lower(&small, s);
    vr_slice rest = vr_str_slice(&small);
    while (vr_next_word(&rest, &word)) {
        const char *digits = look_up(numbers, VR_COUNT(numbers), word);
        bool article = false;
        for (size_t i = 0; i < VR_COUNT(articles); i++) article |= vr_slice_is(word, articles[i]);
        if (article) continue;
        const char *full = digits ? digits : look_up(contractions, VR_COUNT(contractions), word);
        if (!first) vr_str_put(out, " ", 1);
        first = false;
        vr_str_add_slice(out, full ? vr_slice_of(full) : word);
    }
    out->failed |= small.failed;
    vr_str_free(&small);
}

void vr_normalise_spaces(vr_slice answer, vr_str *out) {
    vr_str flat = {0};
    for (size_t i = 0; i < answer.n; i++)
        vr_str_put(&flat, answer.p[i] == '\n' || answer.p[i] == '\t' ? " " : answer.p + i, 1);
    vr_str_add_slice(out, vr_trim(vr_str_slice(&flat)));
    out->failed |= flat.failed;
    vr_str_free(&flat);
}

static void vqa(vr_slice answer, vr_str *out) {
    vr_str flat = {0}, plain = {0};
    vr_normalise_spaces(answer, &flat);
    put_punctuated(vr_str_slice(&flat), &plain);
    put_words(vr_str_slice(&plain), out);
    out->failed |= flat.failed | plain.failed;
    vr_str_free(&flat);
    vr_str_free(&plain);
}

/* Commas and question marks go first, so that "1,000" is a number without any rule for it. */
static void m4c(vr_slice answer, vr_str *out) {
    vr_str small = {0}, bare = {0}, parted = {0};
    vr_str_lower(&small, answer);
    for (size_t i = 0; i < small.n; i++)
        if (small.data[i] != ',' && small.data[i] != '?') vr_str_put(&bare, small.data + i, 1);
    vr_str_replace(&parted, vr_str_slice(&bare), "'s", " 's");
    vqa(vr_trim(vr_str_slice(&parted)), out);
    out->failed |= small.failed | bare.failed | parted.failed;
    vr_str_free(&small);
    vr_str_free(&bare);
    vr_str_free(&parted);
}

struct vr_rule {
    const char *name;
    void (*put)(vr_slice answer, vr_str *out);
};

static const vr_rule rules[] = {{"vqa", vqa}, {"vqa_gt", put_punctuated}, {"m4c", m4c}};

const vr_rule *vr_rule_find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(rules); i++)
        if (strcmp(rules[i].name, name) == 0) return &rules[i];
    return NULL;
}

const char *vr_rule_name(int index) { return index >= 0 && (size_t)index < VR_COUNT(rules) ? rules[index].name : NULL; }
void vr_normalise(const vr_rule *rule, vr_slice answer, vr_str *out) { rule->put(answer, out); }
