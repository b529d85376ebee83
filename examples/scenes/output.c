#include "output.h"

#include "draw.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static vr_status no_memory(vr_error *err) { return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory"); }

/* ---- opening and closing ---- */

/* Makes the folder and those above it. */
static vr_status make_folders(char *path, vr_error *err) {
    char *slash = path;
    do {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = 0;
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        vr_status status = made ? VRWKV_OK : vr_fail_io(err, "make the folder", path);
        if (slash) *slash = '/';
        VR_TRY(status);
    } while (slash && slash[1]);
    return VRWKV_OK;
}

static vr_status open_list(const sc_output *out, vr_writer *writer, const char *ending, vr_error *err) {
    char *path;
    if (asprintf(&path, "%s/%s.%s", out->folder, out->split, ending) < 0) return no_memory(err);
    vr_status status = vr_writer_open(writer, path, err);
    free(path);
    return status;
}

static vr_status open_lists(sc_output *out, vr_error *err) {
    char *images;
    if (asprintf(&images, "%s/images", out->folder) < 0) return no_memory(err);
    vr_status status = make_folders(images, err);
    free(images);
    VR_TRY(status);
    VR_TRY(open_list(out, &out->samples, "json", err));
    VR_TRY(open_list(out, &out->questions, "questions.jsonl", err));
    return out->with_scenes ? open_list(out, &out->scenes, "scenes.jsonl", err) : VRWKV_OK;
}

vr_status sc_output_open(sc_output *out, const char *folder, const char *split, int pixels, bool with_scenes,
                         vr_error *err) {
    *out = (sc_output){.folder = strdup(folder), .split = split, .pixels = pixels, .with_scenes = with_scenes};
    if (!out->folder) return no_memory(err);
    vr_status status = open_lists(out, err);
    if (status != VRWKV_OK) sc_output_abandon(out);
    return status;
}

void sc_output_abandon(sc_output *out) {
    vr_writer_abandon(&out->samples);
    vr_writer_abandon(&out->questions);
    vr_writer_abandon(&out->scenes);
    free(out->folder);
    *out = (sc_output){0};
}

static vr_status commit_lists(sc_output *out, vr_error *err) {
    VR_TRY(vr_writer_put(&out->samples, out->n_samples ? "\n]\n" : "[]\n", 3, err));
    if (out->with_scenes) VR_TRY(vr_writer_commit(&out->scenes, err));
    VR_TRY(vr_writer_commit(&out->questions, err));
    return vr_writer_commit(&out->samples, err); /* last: whoever sees it sees the others too */
}

vr_status sc_output_close(sc_output *out, vr_error *err) {
    vr_status status = commit_lists(out, err);
    sc_output_abandon(out);
    return status;
}

/* ---- one picture ---- */

typedef struct png_target {
    vr_writer writer;
    vr_status status;
    vr_error *err;
} png_target;

static cairo_status_t put_png(void *user, const unsigned char *data, unsigned n) {
    png_target *target = user;
    target->status = vr_writer_put(&target->writer, data, n, target->err);
    return target->status == VRWKV_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static vr_status write_png(cairo_surface_t *surface, const char *path, vr_error *err) {
    png_target target = {.err = err};
    VR_TRY(vr_writer_open(&target.writer, path, err));
    cairo_status_t status = cairo_surface_write_to_png_stream(surface, put_png, &target);
    if (status == CAIRO_STATUS_SUCCESS) return vr_writer_close(&target.writer, err);
    vr_writer_abandon(&target.writer);
    if (target.status != VRWKV_OK) return target.status;
    return vr_fail(err, VRWKV_ERR_MEMORY, "cannot draw '%s': %s", path, cairo_status_to_string(status));
}

static vr_status write_picture(const sc_output *out, const char *image, const sc_scene *scene, vr_error *err) {
    char *path;
    if (asprintf(&path, "%s/%s", out->folder, image) < 0) return no_memory(err);
    cairo_surface_t *surface = sc_draw(scene, out->pixels);
    vr_status status = write_png(surface, path, err);
    cairo_surface_destroy(surface);
    free(path);
    return status;
}

/* ---- the lists ---- */

/* Writes the value as one line and drops it; NULL: it could not be made. */
static vr_status put_json(vr_writer *writer, const char *before, json_t *value, const char *after, vr_error *err) {
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    if (!text) return no_memory(err);
    vr_status status = vr_writer_put(writer, before, strlen(before), err);
    if (status == VRWKV_OK) status = vr_writer_put(writer, text, strlen(text), err);
    if (status == VRWKV_OK) status = vr_writer_put(writer, after, strlen(after), err);
    free(text);
    return status;
}

static const char *language_code(sc_language language) { return language == SC_ENGLISH ? "en" : "zh"; }

static json_t *sample_json(const char *id, const char *image, const sc_talk *talk) {
    json_t *turns = json_array(), *kinds = json_array();
    for (int i = 0; i < talk->n; i++) {
        const sc_question *q = &talk->questions[i];
        json_t *text = json_sprintf("%s%s", i ? "" : "<image>\n", q->text);
        json_array_append_new(turns, json_pack("{s:s, s:o}", "from", "human", "value", text));
        json_array_append_new(turns, json_pack("{s:s, s:s}", "from", "gpt", "value", q->answer));
        json_array_append_new(kinds, json_string(sc_kind_name(q->kind)));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o}", "id", id, "image", image, "language", language_code(talk->language),
                     "kinds", kinds, "conversations", turns);
}

/* Question number i; a follow-up with the turns from the one that names its object. */
static json_t *question_json(const char *id, const char *image, const sc_talk *talk, int i) {
    const sc_question *q = &talk->questions[i];
    int first = i;
    while (talk->questions[first].form == SC_FOLLOW) first--;
    json_t *history = json_array();
    for (int j = first; j < i; j++) {
        json_array_append_new(history, json_string(talk->questions[j].text));
        json_array_append_new(history, json_string(talk->questions[j].answer));
    }
    json_t *question_id = json_sprintf("%s-%d", id, i);
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:o}", "question_id", question_id, "image", image, "text",
                     q->text, "answer", q->answer, "kind", sc_kind_name(q->kind), "form", sc_form_name(q->form), "novel",
                     q->novel, "language", language_code(talk->language), "history", history);
}

static json_t *scene_json(const char *image, const sc_scene *scene) {
    json_t *objects = json_array();
    for (int i = 0; i < scene->n_objects; i++) {
        const sc_object *object = &scene->objects[i];
        json_t *json =
            json_pack("{s:i, s:i, s:i, s:i}", "x", object->x, "y", object->y, "wide", object->wide, "high", object->high);
        for (int a = 0; a < SC_ATTRIBUTES; a++)
            if (object->value[a] >= 0)
                json_object_set_new(json, sc_attributes[a].in[SC_ENGLISH],
                                    json_string(sc_value_name(a, object->value[a], SC_ENGLISH)));
        json_array_append_new(objects, json);
    }
    return json_pack("{s:s, s:i, s:i, s:o}", "image", image, "span", SC_SPAN, "ground", scene->ground[0], "objects",
                     objects);
}

vr_status sc_output_add(sc_output *out, const sc_scene *scene, const sc_talk *talk, vr_error *err) {
    char id[48], image[64];
    snprintf(id, sizeof id, "%s-%06" PRId64, out->split, out->n_samples);
    snprintf(image, sizeof image, "images/%s.png", id);
    VR_TRY(write_picture(out, image, scene, err));
    VR_TRY(put_json(&out->samples, out->n_samples ? ",\n" : "[\n", sample_json(id, image, talk), "", err));
    for (int i = 0; i < talk->n; i++) VR_TRY(put_json(&out->questions, "", question_json(id, image, talk, i), "\n", err));
    if (out->with_scenes) VR_TRY(put_json(&out->scenes, "", scene_json(image, scene), "\n", err));
    out->n_samples++;
    out->n_questions += talk->n;
    return VRWKV_OK;
}
