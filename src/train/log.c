#include "train/log.h"
#include "base/io.h"
#include "base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The step that a line is of; -1: the head of the table; -2: no whole line. */
static long long step_of(const char *line) {
    const char *at = strstr(line, "\"step\":");
    if (!strchr(line, '\n')) return -2;
    if (at) return strtoll(at + 7, NULL, 10);
    return line[0] >= '0' && line[0] <= '9' ? strtoll(line, NULL, 10) : -1;
}

/* Rewrites the file without the lines of this step and later ones. */
static vr_status cut_file(const char *path, int64_t step, vr_error *err) {
    FILE *in = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    vr_writer writer;
    if (!in) return VRWKV_OK;
    vr_status status = vr_writer_open(&writer, path, err);
    bool open = status == VRWKV_OK;
    for (ssize_t n; status == VRWKV_OK && (n = getline(&line, &room, in)) >= 0;)
        if (step_of(line) >= -1 && step_of(line) < step) status = vr_writer_put(&writer, line, (size_t)n, err);
    free(line);
    fclose(in);
    if (status == VRWKV_OK) return vr_writer_commit(&writer, err);
    if (open) vr_writer_abandon(&writer);
    return status;
}

static vr_status open_file(FILE **file, const char *folder, const char *name, int64_t step, vr_error *err) {
    char path[VR_PATH_ROOM];
    VR_TRY(vr_path_make(path, folder, name, err));
    if (step > 0) VR_TRY(cut_file(path, step, err));
    *file = fopen(path, step > 0 ? "a" : "w");
    return *file ? VRWKV_OK : vr_fail_io(err, "write", path);
}

vr_status vr_train_log_open(vr_train_log *log, const char *folder, int64_t step, vr_error *err) {
    *log = (vr_train_log){0};
    vr_status status = open_file(&log->lines, folder, "log.jsonl", step, err);
    if (status == VRWKV_OK) status = open_file(&log->table, folder, "curves.csv", step, err);
    if (status == VRWKV_OK) status = open_file(&log->answers, folder, "answers.jsonl", step, err);
    if (status == VRWKV_OK && step == 0) fprintf(log->table, "step,loss,grad_norm,lr,samples_per_s,seconds,eval_loss\n");
    if (status != VRWKV_OK) vr_train_log_close(log);
    return status;
}

void vr_train_log_close(vr_train_log *log) {
    if (log->lines) fclose(log->lines);
    if (log->table) fclose(log->table);
    if (log->answers) fclose(log->answers);
    *log = (vr_train_log){0};
}

static vr_status flush(vr_train_log *log, vr_error *err) {
    if (fflush(log->lines) == 0 && fflush(log->table) == 0 && fflush(log->answers) == 0) return VRWKV_OK;
    return vr_fail_io(err, "write", "log.jsonl, curves.csv and answers.jsonl");
}

vr_status vr_train_log_put(vr_train_log *log, const vr_train_log_step *e, vr_error *err) {
    fprintf(log->lines,
            "{\"step\": %lld, \"loss\": %.9g, \"grad_norm\": %.9g, \"lr\": %.17g, \"weight_decay\": %.17g, "
            "\"samples_per_s\": %.4g, \"seconds\": %.3f}\n",
            (long long)e->step, e->loss, e->grad_norm, e->lr, e->weight_decay, e->samples_per_s, e->seconds);
    fprintf(log->table, "%lld,%.9g,%.9g,%.9g,%.4g,%.3f,\n", (long long)e->step, e->loss, e->grad_norm, e->lr,
            e->samples_per_s, e->seconds);
    return flush(log, err);
}

vr_status vr_train_log_eval(vr_train_log *log, int64_t step, double loss, vr_error *err) {
    fprintf(log->lines, "{\"step\": %lld, \"eval_loss\": %.9g}\n", (long long)step, loss);
    fprintf(log->table, "%lld,,,,,,%.9g\n", (long long)step, loss);
    return flush(log, err);
}

vr_status vr_train_log_answer(vr_train_log *log, int64_t step, const char *question, const char *expected,
                              const char *answer, vr_error *err) {
    json_t *root = json_pack("{s:I, s:s, s:s, s:s}", "step", (json_int_t)step, "question", question, "expected",
                             expected, "answer", answer);
    char *line = root ? json_dumps(root, 0) : NULL;
    json_decref(root);
    if (!line) return vr_fail(err, VRWKV_ERR_FORMAT, "an answer is no valid UTF-8");
    fprintf(log->answers, "%s\n", line);
    free(line);
    return flush(log, err);
}

/* ---- the picture ---- */

enum { WIDTH = 900, HEIGHT = 480, LEFT = 70, RIGHT = 70, TOP = 30, BOTTOM = 50, SMOOTH = 50, MOST_POINTS = 2000 };

typedef struct curve {
    double *x, *y;
    size_t n, capacity_x, capacity_y;
} curve;

static vr_status add_point(curve *c, double x, double y, vr_error *err) {
    VR_TRY(vr_grow(&c->x, &c->capacity_x, c->n + 1, sizeof *c->x, err));
    VR_TRY(vr_grow(&c->y, &c->capacity_y, c->n + 1, sizeof *c->y, err));
    c->x[c->n] = x;
    c->y[c->n++] = y;
    return VRWKV_OK;
}

typedef struct curves { curve loss, mean, eval, lr; } curves;

static vr_status read_curves(curves *all, FILE *in, vr_error *err) {
    char line[4096]; /* of numbers alone */
    double mean = 0, weight = 0;
    while (fgets(line, sizeof line, in)) {
        json_t *root = json_loads(line, 0, NULL);
        const json_t *loss = json_object_get(root, "loss"), *eval = json_object_get(root, "eval_loss");
        double step = json_number_value(json_object_get(root, "step")), y = json_number_value(loss);
        vr_status status = VRWKV_OK;
        if (json_is_number(loss)) {
            mean = mean * (1 - 1.0 / SMOOTH) + y / SMOOTH;
            weight = weight * (1 - 1.0 / SMOOTH) + 1.0 / SMOOTH;
            status = add_point(&all->loss, step, y, err);
            if (status == VRWKV_OK) status = add_point(&all->mean, step, mean / weight, err);
            if (status == VRWKV_OK) status = add_point(&all->lr, step, json_number_value(json_object_get(root, "lr")), err);
        } else if (json_is_number(eval)) {
            status = add_point(&all->eval, step, json_number_value(eval), err);
        }
        json_decref(root);
        VR_TRY(status);
    }
    return all->loss.n ? VRWKV_OK : vr_fail(err, VRWKV_ERR_FORMAT, "log.jsonl holds no steps");
}

static void widen(const curve *c, double *low, double *high) {
    for (size_t i = 0; i < c->n; i++) {
        *low = fmin(*low, c->y[i]);
        *high = fmax(*high, c->y[i]);
    }
}

static void draw(FILE *out, const curve *c, double last, double low, double high, const char *style) {
    size_t every = c->n / MOST_POINTS + 1;
    fprintf(out, "<polyline fill=\"none\" %s points=\"", style);
    for (size_t i = 0; i < c->n; i += every)
        fprintf(out, "%.1f,%.1f ", LEFT + c->x[i] / last * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (c->y[i] - low) / (high - low) * (HEIGHT - TOP - BOTTOM));
    fprintf(out, "\"/>\n");
}

static void draw_axes(FILE *out, double last, double low, double high, double lr) {
    enum { TICKS = 5 };
    fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n", LEFT, TOP,
            WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    for (int i = 0; i <= TICKS; i++) {
        double share = (double)i / TICKS, y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM),
               x = LEFT + share * (WIDTH - LEFT - RIGHT);
        fprintf(out, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.3g</text>\n", LEFT - 6, y + 4,
                low + share * (high - low));
        fprintf(out, "<text x=\"%d\" y=\"%.0f\" fill=\"#2a7\">%.2g</text>\n", WIDTH - RIGHT + 6, y + 4, share * lr);
        fprintf(out, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n", x, HEIGHT - BOTTOM + 18,
                share * last);
    }
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", WIDTH / 2, HEIGHT - 10);
    fprintf(out, "<text x=\"%d\" y=\"20\">loss (thin), its running mean over %d steps (blue), evaluation (red), "
                 "<tspan fill=\"#2a7\">learning rate</tspan></text>\n", LEFT, SMOOTH);
}

static vr_status write_svg(const char *path, const curves *all, vr_error *err) {
    double low = INFINITY, high = -INFINITY, lr = 0, none = 0, last = all->loss.x[all->loss.n - 1];
    vr_writer writer;
    widen(&all->mean, &low, &high);
    widen(&all->loss, &low, &high);
    widen(&all->eval, &low, &high);
    widen(&all->lr, &none, &lr);
    if (!(high > low)) high = low + 1;
    if (!(lr > 0)) lr = 1;
    if (!(last > 0)) last = 1;
    VR_TRY(vr_writer_open(&writer, path, err));
    FILE *out = writer.file;
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
                 "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", WIDTH, HEIGHT);
    draw_axes(out, last, low, high, lr);
    draw(out, &all->lr, last, 0, lr, "stroke=\"#2a7\" stroke-width=\"1\"");
    draw(out, &all->loss, last, low, high, "stroke=\"#bbb\" stroke-width=\"0.7\"");
    draw(out, &all->mean, last, low, high, "stroke=\"#14c\" stroke-width=\"1.8\"");
    draw(out, &all->eval, last, low, high, "stroke=\"#c22\" stroke-width=\"1.8\"");
    fprintf(out, "</svg>\n");
    return vr_writer_commit(&writer, err);
}

vr_status vr_train_log_plot(const char *folder, vr_error *err) {
    char path[VR_PATH_ROOM];
    curves all = {0};
    VR_TRY(vr_path_make(path, folder, "log.jsonl", err));
    FILE *in = fopen(path, "r");
    if (!in) return vr_fail_io(err, "read", path);
    vr_status status = read_curves(&all, in, err);
    fclose(in);
    if (status == VRWKV_OK) status = vr_path_make(path, folder, "curves.svg", err);
    if (status == VRWKV_OK) status = write_svg(path, &all, err);
    curve *list[] = {&all.loss, &all.mean, &all.eval, &all.lr};
    for (size_t i = 0; i < VR_COUNT(list); i++) {
        free(list[i]->x);
        free(list[i]->y);
    }
    return status;
}
