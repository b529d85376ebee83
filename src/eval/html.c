/* The report that is read: one file, no scripts, pictures inside. */
#include "base/memory.h"
#include "eval/report.h"
#include "image/image.h"

#include <stdlib.h>
#include <string.h>

#define THUMBNAIL 180 /* pixels of the longer side */
#define QUALITY 80

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
    ":root{color-scheme:light dark;--line:#8886;--bar:#3b7dd8;--good:#2a9d5b;--bad:#c94f3d}\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}\n"
    ".big{font-size:2.4rem;font-weight:600}.dim{opacity:.7}\n"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid var(--line);padding:.25rem .8rem .25rem "
    "0;text-align:left;vertical-align:top}td{overflow-wrap:anywhere}\n"
    ".n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    ".bars{display:grid;grid-template-columns:fit-content(45%) minmax(8rem,1fr) max-content;gap:.3rem .8rem;align-items:center}\n"
    ".bar{background:var(--line)}.bar,.bar i{display:block;height:.9rem;border-radius:2px;print-color-adjust:exact}\n"
    ".bar i{background:var(--bar)}.bars .name{overflow-wrap:anywhere}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:1rem}\n"
    ".card{border:1px solid var(--line);border-radius:.4rem;padding:.6rem;overflow-wrap:anywhere;break-inside:avoid}\n"
    ".card img{max-width:100%;display:block;margin:0 auto .4rem}.said{color:var(--bad)}.right{color:var(--good)}\n"
    ".card p{margin:0 0 .2rem;white-space:pre-line;max-height:15em;overflow-y:auto}\n"
    "@media(max-width:36rem){.bars{grid-template-columns:1fr max-content}.bars .name{grid-column:1/3;margin-top:.3rem}\n"
    "body{margin-top:1rem}}@media print{.card p{max-height:none}}\n</style>\n";

static void put_escaped(vr_str *out, vr_slice text) {
    for (size_t i = 0; i < text.n; i++) {
        const char *entity = text.p[i] == '&'   ? "&amp;"
                             : text.p[i] == '<' ? "&lt;"
                             : text.p[i] == '>' ? "&gt;"
                             : text.p[i] == '"' ? "&quot;"
                                                : NULL;
        if (entity)
            vr_str_add(out, entity);
        else
            vr_str_put(out, text.p + i, 1);
    }
}

static void put_cell(vr_str *out, const char *tag, const char *text) {
    vr_str_format(out, "<%s>", tag);
    put_escaped(out, vr_slice_of(text));
    vr_str_format(out, "</%.2s>", tag);
}

/* ---- figures and settings ---- */

static void put_figures(const vr_run_report *r, vr_str *out) {
    const vr_figure *headline = vr_score_headline(r->score, r->original);
    if (!headline) {
        vr_str_add(out, "<p>Nothing can be scored here");
        if (r->set->bench->submission) vr_str_format(out, ": the answers are handed in (%s)", r->set->bench->submission);
        vr_str_add(out, ".</p>\n");
        return;
    }
    vr_str_format(out, "<p><span class=\"big\">%.*f</span> %s <span class=\"dim\">", headline->decimals, headline->value,
                  r->set->bench->unit);
    put_escaped(out, vr_slice_of(headline->name));
    vr_str_add(out, "</span></p>\n<table><tr><th>figure</th><th class=\"n\">value</th><th>as computed by</th></tr>\n");
    for (size_t i = 0; i < r->score->n_figures; i++) {
        const vr_figure *figure = &r->score->figures[i];
        vr_str_add(out, "<tr>");
        put_cell(out, "td", figure->name);
        vr_str_format(out, "<td class=\"n\">%.*f</td><td>%s</td></tr>\n", figure->decimals, figure->value,
                      figure->original ? "the original program" : "the official scorer");
    }
    vr_str_add(out, "</table>\n");
    if (r->score->notes[0]) {
        vr_str_add(out, "<p>Note: ");
        put_escaped(out, vr_slice_of(r->score->notes));
        vr_str_add(out, ".</p>\n");
    }
}

static void put_record(const vr_run_report *r, vr_str *out) {
    const char *key;
    json_t *value;
    vr_str_add(out, "<h2>How it was made</h2>\n<table>\n");
    json_object_foreach(r->result->record, key, value) {
        char *text = json_is_string(value) ? vr_strdup(json_string_value(value))
                                           : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        if (text && !json_is_null(value)) {
            vr_str_add(out, "<tr>");
            put_cell(out, "th", key);
            put_cell(out, "td", text);
            vr_str_add(out, "</tr>\n");
        }
        free(text);
    }
    vr_str_format(out, "<tr><th>program</th><td>vrwkv %s, scorer %d</td></tr>\n", vrwkv_version(), VR_SCORER_VERSION);
    vr_str_format(out, "<tr><th>answered</th><td>%zu of %zu questions; %zu left out, %zu faults read over</td></tr>\n",
                  r->answers->n, r->set->n, r->result->unanswered, r->faults);
    if (r->result->answered && r->result->seconds > 0)
        vr_str_format(
            out, "<tr><th>speed</th><td>%.1f questions and %.1f pictures a minute; kept of a picture: %s (%s)</td></tr>\n",
            60 * (double)r->result->answered / r->result->seconds, 60 * (double)r->result->pictures / r->result->seconds,
            r->result->reuse, r->result->reuse_reason);
    vr_str_add(out, "</table>\n");
}

/* ---- categories ---- */

static void put_bar(vr_str *out, const char *name, double share, size_t n) {
    vr_str_add(out, "<span class=\"name\">");
    put_escaped(out, vr_slice_of(name));
    vr_str_format(out, "</span><span class=\"bar\"><i style=\"width:%.1f%%\"></i></span><span class=\"n\">%.1f%% of %zu</span>\n",
                  100 * share, 100 * share, n);
}

static void put_categories(const vr_run_report *r, vr_str *out) {
    const vr_set *set = r->set;
    size_t rows = 0;
    vr_str bars = {0};
    for (size_t c = 0; c < set->categories.n; c++) {
        double sum = 0;
        size_t n = 0;
        for (size_t i = 0; i < set->n; i++) {
            if (set->categories.of[i] != c || !r->score->verdicts[i].counted) continue;
            sum += r->score->verdicts[i].score;
            n++;
        }
        if (!n) continue;
        put_bar(&bars, set->categories.names[c], sum / (double)n, n);
        rows++;
    }
    if (rows > 1) {
        vr_str_add(out, "<h2>By category</h2>\n<p class=\"dim\">Mean score of the questions, official rule.</p>\n"
                        "<div class=\"bars\">\n");
        vr_str_add_slice(out, vr_str_slice(&bars));
        vr_str_add(out, "</div>\n");
    }
    out->failed |= bars.failed;
    vr_str_free(&bars);
}

static void put_confusion(const vr_run_report *r, vr_str *out) {
    vr_confusion c = {0};
    size_t other_yes = 0, other_no = 0;
    for (size_t i = 0; i < r->set->n; i++) {
        const vr_verdict *v = &r->score->verdicts[i];
        vr_confusion_add(&c, v, 1);
        other_yes += v->counted && v->said == VR_SAID_OTHER && v->truth == VR_SAID_YES;
        other_no += v->counted && v->said == VR_SAID_OTHER && v->truth == VR_SAID_NO;
    }
    if (c.tp + c.fp + c.tn + c.fn + c.other == 0) return;
    vr_str_add(out, "<h2>Yes and no</h2>\n<table><tr><th></th><th class=\"n\">said yes</th><th class=\"n\">said no</th><th "
                    "class=\"n\">neither</th></tr>\n");
    vr_str_format(out,
                  "<tr><th>is yes</th><td class=\"n\">%.0f</td><td class=\"n\">%.0f</td><td class=\"n\">%zu</td></tr>\n",
                  c.tp, c.fn, other_yes);
    vr_str_format(
        out, "<tr><th>is no</th><td class=\"n\">%.0f</td><td class=\"n\">%.0f</td><td class=\"n\">%zu</td></tr></table>\n",
        c.fp, c.tn, other_no);
}

/* ---- wrong answers ---- */

static vr_status load_picture(const vr_set *set, const vr_question *question, vr_image *image) {
    vr_str bytes = {0};
    char *path = NULL;
    vr_status status = VRWKV_ERR_IO;
    if (question->picture.n) {
        status = vr_base64_decode(question->picture, &bytes, NULL);
        if (status == VRWKV_OK) status = vr_image_decode(image, vr_str_text(&bytes), bytes.n, VRWKV_FRIENDLY, 0, NULL);
    } else if (question->image && vr_join(&path, set->images, question->image, NULL) == VRWKV_OK) {
        status = vr_image_decode_file(image, path, VRWKV_FRIENDLY, 0, NULL);
    }
    free(path);
    vr_str_free(&bytes);
    return status;
}

/* A picture that cannot be shown is left out: the report is about the answers. */
static void put_thumbnail(const vr_set *set, const vr_question *question, vr_str *out) {
    vr_image image = {0}, small = {0};
    unsigned char *jpeg = NULL;
    size_t size = 0;
    if (load_picture(set, question, &image) != VRWKV_OK) return;
    int longer = image.width > image.height ? image.width : image.height, to = longer < THUMBNAIL ? longer : THUMBNAIL;
    int width = image.width * to / longer, height = image.height * to / longer;
    if (vr_image_resize(&small, &image, width ? width : 1, height ? height : 1, VR_BICUBIC, NULL) == VRWKV_OK &&
        vr_image_encode_jpeg(&small, QUALITY, &jpeg, &size, NULL) == VRWKV_OK) {
        vr_str_add(out, "<img alt=\"\" src=\"data:image/jpeg;base64,");
        vr_base64_encode((vr_slice){(const char *)jpeg, size}, out);
        vr_str_add(out, "\">");
    }
    free(jpeg);
    vr_image_free(&small);
    vr_image_free(&image);
}

/* A paragraph of a card, "said: yes"; line ends are kept. */
static void put_line(vr_str *out, const char *class, const char *label, vr_slice text) {
    vr_str_format(out, "<p class=\"%s\">%s", class, label);
    put_escaped(out, text);
    vr_str_add(out, "</p>");
}

static void put_card(const vr_run_report *r, size_t i, vr_str *out) {
    const vr_set *set = r->set;
    vr_str asked = {0}, right = {0}, tail = {0};
    char digits[24];
    vr_str_add(out, "<div class=\"card\">");
    put_thumbnail(set, &set->questions[i], out);
    vr_bench_prompt(set, &set->questions[i], VR_FAMILY_V6, &asked, NULL);
    const char *suffix = vr_slice_find(vr_str_slice(&asked), VR_SHORT_ANSWER);
    put_line(out, "asked", "", suffix ? (vr_slice){asked.data, (size_t)(suffix - asked.data)} : vr_str_slice(&asked));
    vr_slice said = vr_answer_of(r->answers, i);
    if (!said.n) said = vr_slice_of(r->answers->of_question[i] ? "(nothing)" : "(no answer)");
    put_line(out, "said", "said: ", said);
    if (set->bench->right) {
        set->bench->right(set, i, &right);
        put_line(out, "right", "right: ", vr_str_slice(&right));
    }
    vr_str_format(&tail, "%s, score %.2f", vr_id_text(set->questions[i].id, digits), r->score->verdicts[i].score);
    put_line(out, "dim", "", vr_str_slice(&tail));
    vr_str_add(out, "</div>\n");
    out->failed |= asked.failed | right.failed | tail.failed;
    vr_str_free(&asked);
    vr_str_free(&right);
    vr_str_free(&tail);
}

static bool is_wrong(const vr_run_report *r, size_t i) {
    return r->score->verdicts[i].counted && r->score->verdicts[i].score < 0.5;
}

/* Spread evenly over all wrong ones. */
static void put_gallery(const vr_run_report *r, vr_str *out) {
    size_t wrong = 0, seen = 0, shown = 0;
    for (size_t i = 0; i < r->set->n; i++) wrong += is_wrong(r, i);
    if (!wrong || !r->gallery) return;
    size_t want = wrong < r->gallery ? wrong : r->gallery;
    vr_str_add(out, "<h2>Wrong answers</h2>\n<p class=\"dim\">");
    if (want < wrong)
        vr_str_format(out, "%zu of %zu, evenly drawn", want, wrong);
    else
        vr_str_format(out, "All %zu", wrong);
    vr_str_add(out, ".</p>\n<div class=\"cards\">\n");
    for (size_t i = 0; i < r->set->n && shown < want; i++) {
        if (!is_wrong(r, i)) continue;
        if (seen++ * want / wrong < shown) continue;
        put_card(r, i, out);
        shown++;
    }
    vr_str_add(out, "</div>\n");
}

vr_status vr_report_html(const vr_run_report *report, const char *path, vr_error *err) {
    vr_str page = {0};
    vr_str_add(&page, head);
    vr_str_format(&page, "<title>%s</title></head><body>\n<h1>%s, %s</h1>\n<p class=\"dim\">", report->set->bench->title,
                  report->set->bench->title, report->set->split->name);
    const char *model = vr_text_or(report->result->record, "model", NULL);
    if (model) vr_str_add(&page, "model ");
    put_escaped(&page, vr_slice_of(model ? model : "answers that were there"));
    vr_str_add(&page, "</p>\n");
    put_figures(report, &page);
    if (report->score->verdicts) {
        put_categories(report, &page);
        if (report->set->bench->yes_no) put_confusion(report, &page);
    }
    put_record(report, &page);
    if (report->score->verdicts) put_gallery(report, &page);
    vr_str_add(&page, "</body></html>\n");
    vr_status status = vr_str_check(&page, err);
    if (status == VRWKV_OK) status = vr_file_write(path, page.data, page.n, err);
    vr_str_free(&page);
    return status;
}
