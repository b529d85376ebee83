#include "eval/humans.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static vr_slice answer_at(const json_t *list, size_t i, bool *found) {
    const json_t *entry = json_array_get(list, i);
    if (json_is_object(entry)) entry = json_object_get(entry, "answer");
    *found = json_is_string(entry);
    return vr_json_slice(entry);
}

vr_status vr_humans_read(vr_humans *humans, const json_t *list, const vr_where *where, vr_error *err) {
    size_t n = json_array_size(list), bytes = 0;
    bool found = true;
    *humans = (vr_humans){0};
    if (n == 0) return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: there is no list of human answers", where->path, where->line);
    for (size_t i = 0; i < n; i++) {
        bytes += answer_at(list, i, &found).n;
        if (!found)
            return vr_fail(err, VRWKV_ERR_FORMAT, "%s:%zu: human answer %zu is no text", where->path, where->line, i + 1);
    }
    humans->answers = vr_alloc(1, n * sizeof *humans->answers + bytes);
    if (!humans->answers) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for human answers");
    char *to = (char *)(humans->answers + n);
    for (size_t i = 0; i < n; i++) {
        vr_slice answer = answer_at(list, i, &found);
        memcpy(to, answer.p, answer.n);
        humans->answers[i] = (vr_slice){to, answer.n};
        to += answer.n;
    }
    humans->n = n;
    return VRWKV_OK;
}

void vr_humans_free(vr_humans *humans) {
    free(humans->answers);
    *humans = (vr_humans){0};
}

static void apply(const vr_rule *rule, vr_slice answer, vr_str *out) {
    vr_str flat = {0};
    vr_normalise_spaces(answer, &flat);
    if (rule)
        vr_normalise(rule, vr_str_slice(&flat), out);
    else
        vr_str_add_slice(out, vr_str_slice(&flat));
    out->failed |= flat.failed;
    vr_str_free(&flat);
}

bool vr_humans_agree(const vr_humans *humans) {
    vr_str first = {0}, other = {0};
    bool same = true;
    apply(NULL, humans->answers[0], &first);
    for (size_t i = 1; i < humans->n && same; i++) {
        vr_str_clear(&other);
        apply(NULL, humans->answers[i], &other);
        same = vr_slice_same(vr_str_slice(&first), vr_str_slice(&other));
    }
    vr_str_free(&first);
    vr_str_free(&other);
    return same;
}

vr_slice vr_humans_usual(const vr_humans *humans) {
    size_t best = 0, most = 0;
    for (size_t i = 0; i < humans->n; i++) {
        size_t count = 0;
        for (size_t k = 0; k < humans->n; k++) count += vr_slice_same(humans->answers[i], humans->answers[k]);
        if (count > most) {
            most = count;
            best = i;
        }
    }
    return humans->answers[best];
}

double vr_humans_score(const vr_humans *humans, vr_slice prediction, const vr_rule *own, const vr_rule *theirs) {
    vr_str said = {0}, other = {0};
    size_t matches = 0;
    unsigned char *same = vr_alloc(humans->n, 1);
    double sum = 0;
    if (!same) return 0;
    apply(own, prediction, &said);
    for (size_t i = 0; i < humans->n; i++) {
        vr_str_clear(&other);
        apply(theirs, humans->answers[i], &other);
        same[i] = vr_slice_same(vr_str_slice(&said), vr_str_slice(&other));
        matches += same[i];
    }
    for (size_t i = 0; i < humans->n; i++) {
        double share = (double)(matches - same[i]) / 3;
        sum += share < 1 ? share : 1;
    }
    free(same);
    vr_str_free(&said);
    vr_str_free(&other);
    return sum / (double)humans->n;
}

vr_status vr_human_golds_new(vr_set *set, vr_error *err) {
    vr_human_golds *golds = set->gold = vr_alloc(1, sizeof *golds);
    if (golds) *golds = (vr_human_golds){.n = set->n, .items = vr_alloc(set->n, sizeof *golds->items)};
    return golds && golds->items ? VRWKV_OK
                                 : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for answers to %zu questions", set->n);
}

void vr_human_golds_free(void *data) {
    vr_human_golds *golds = data;
    for (size_t i = 0; golds->items && i < golds->n; i++) vr_humans_free(&golds->items[i]);
    free(golds->items);
    free(golds);
}

void vr_human_golds_judge(const vr_set *set, size_t question, vr_slice answer, vr_verdict *verdict) {
    const vr_human_golds *golds = set->gold;
    const vr_rule *m4c = vr_rule_find("m4c");
    verdict->score = vr_humans_score(&golds->items[question], answer, m4c, m4c);
}

void vr_human_golds_right(const vr_set *set, size_t question, vr_str *out) {
    const vr_human_golds *golds = set->gold;
    vr_str_add_slice(out, vr_humans_usual(&golds->items[question]));
}
