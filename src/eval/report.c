/* The JSON of a run. Questions are lists, not objects: a benchmark may have half a million of them. */
#include "eval/report.h"

static json_t *figures_json(const vr_run_report *report) {
    json_t *list = json_array();
    const vr_figure *headline = vr_score_headline(report->score, report->original);
    for (size_t i = 0; i < report->score->n_figures; i++) {
        const vr_figure *figure = &report->score->figures[i];
        json_t *entry = json_object();
        vr_put(entry, "name", json_string(figure->name));
        vr_put(entry, "value", json_real(figure->value));
        vr_put(entry, "unit", json_string(report->set->bench->unit));
        vr_put(entry, "decimals", json_integer(figure->decimals));
        vr_put(entry, "headline", json_boolean(figure == headline));
        vr_put(entry, "of", json_string(figure->original ? "original program" : "official scorer"));
        json_array_append_new(list, entry);
    }
    return list;
}

/* The values without what is uploaded: that is a file of its own. */
static json_t *scores_json(const vr_score *score) {
    const char *key;
    json_t *value, *out = json_object();
    json_object_foreach(score->values, key, value) {
        if (value != score->submission && score->submission != score->values) json_object_set_nocheck(out, key, value);
    }
    return out;
}

static json_t *timing_json(const vr_run_result *result) {
    json_t *out = json_object();
    double minutes = result->seconds / 60;
    vr_put(out, "seconds", json_real(result->seconds));
    vr_put(out, "vision_seconds", json_real(result->vision_seconds));
    vr_put(out, "answered_now", json_integer((json_int_t)result->answered));
    vr_put(out, "answered_before", json_integer((json_int_t)result->resumed));
    vr_put(out, "questions_per_minute", json_real(minutes > 0 ? (double)result->answered / minutes : 0));
    vr_put(out, "pictures", json_integer((json_int_t)result->pictures));
    vr_put(out, "pictures_per_minute", json_real(minutes > 0 ? (double)result->pictures / minutes : 0));
    vr_put(out, "kept_of_a_picture", json_string(result->reuse));
    vr_put(out, "why", json_string(result->reuse_reason));
    return out;
}

static json_t *questions_json(const vr_run_report *report) {
    static const char *const words[] = {"", "yes", "no", "other"};
    const vr_set *set = report->set;
    json_t *list = json_array();
    for (size_t i = 0; i < set->n; i++) {
        const vr_verdict *v = &report->score->verdicts[i];
        json_t *entry = json_array();
        json_array_append(entry, set->questions[i].id);
        json_array_append_new(entry, json_string(set->groups.names[set->groups.of[i]]));
        json_array_append_new(entry, json_string(set->categories.names[set->categories.of[i]]));
        json_array_append_new(entry, json_real(v->score));
        json_array_append_new(entry, json_boolean(v->counted));
        json_array_append_new(entry, json_string(words[v->truth]));
        json_array_append_new(entry, json_string(words[v->said]));
        json_array_append_new(list, entry);
    }
    return list;
}

json_t *vr_report_json(const vr_run_report *report) {
    json_t *out = json_object();
    vr_put(out, "kind", json_string("benchmark"));
    vr_put(out, "benchmark", json_string(report->set->bench->name));
    vr_put(out, "title", json_string(report->set->bench->title));
    vr_put(out, "split", json_string(report->set->split->name));
    vr_put(out, "program", json_pack("{s:s, s:i}", "version", vrwkv_version(), "scorer", VR_SCORER_VERSION));
    vr_put(out, "figures", figures_json(report));
    vr_put(out, "notes", json_string(report->score->notes));
    vr_put(out, "questions_asked", json_integer((json_int_t)report->set->n));
    vr_put(out, "questions_answered", json_integer((json_int_t)report->answers->n));
    vr_put(out, "faults", json_integer((json_int_t)report->faults));
    vr_put(out, "record", json_incref(report->result->record));
    vr_put(out, "timing", timing_json(report->result));
    vr_put(out, "scores", scores_json(report->score));
    vr_put(out, "question_columns",
           json_pack("[s, s, s, s, s, s, s]", "id", "group", "category", "score", "counted", "truth", "said"));
    vr_put(out, "questions", report->score->verdicts ? questions_json(report) : json_array());
    return out;
}
