/* Kind `infer`: a model, a prompt of ids, perhaps a picture. One pass in the original's way gives the
 * named activations, which are compared with expect.safetensors; then prompt text and generation.
 * A tensor NAME.last is the last row of NAME; logits.uni is the pass without any scan; logits.demo is
 * the order of inputs of the public demo (question, picture, question again; no scan).
 * Everything is read from case.json: sizes, scan, ids, where the weights are. */
#include "verify/infer.h"

#include "base/memory.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- traces ---- */

static void collect(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    vr_trace *trace = user;
    if (trace->status != VRWKV_OK) return;
    if (vr_trace_find(trace, name)) {
        trace->status = vr_fail(trace->err, VRWKV_ERR_SHAPE, "activation %s came in parts, expected all rows at once", name);
        return;
    }
    trace->status = vr_grow(&trace->items, &trace->capacity, trace->n + 1, sizeof *trace->items, trace->err);
    if (trace->status != VRWKV_OK) return;
    vr_traced *item = &trace->items[trace->n];
    snprintf(item->name, sizeof item->name, "%s", name);
    trace->status = vr_array_make(&item->array, ndim, shape, data, trace->err);
    if (trace->status == VRWKV_OK) trace->n++;
}

vr_status vr_infer_trace(const vr_infer *in, const int32_t *ids, size_t n, const char *scan, vr_trace *out,
                         vr_error *err) {
    vr_original_input input = {.ids = ids, .n = n, .pictures = in->pictures, .n_pictures = in->n_pictures, .scan = scan};
    *out = (vr_trace){.err = err};
    VR_TRY(vr_original_trace(in->model, &input, collect, out, err));
    return out->status;
}

/* Keeps only `name` under the name `as`: further passes are wanted for their logits alone. */
static vr_status move_logits(vr_trace *to, vr_trace *from, const char *as, vr_error *err) {
    const vr_array *logits = vr_trace_find(from, "logits");
    if (!logits) return vr_fail(err, VRWKV_ERR_SHAPE, "the pass for %s gave no logits", as);
    VR_TRY(vr_grow(&to->items, &to->capacity, to->n + 1, sizeof *to->items, err));
    vr_traced *item = &to->items[to->n];
    snprintf(item->name, sizeof item->name, "%s", as);
    VR_TRY(vr_array_make(&item->array, logits->ndim, logits->shape, logits->data, err));
    to->n++;
    return VRWKV_OK;
}

static vr_status further_pass(vr_infer *in, const int32_t *ids, size_t n, const char *scan, const char *as,
                              vr_error *err) {
    vr_trace other;
    vr_status status = vr_infer_trace(in, ids, n, scan, &other, err);
    if (status == VRWKV_OK) status = move_logits(&in->trace, &other, as, err);
    vr_trace_free(&other);
    return status;
}

static bool expects(const vr_infer *in, const char *beginning) {
    for (size_t i = 0; in->item->expect && i < vr_weights_count(in->item->expect); i++)
        if (strncmp(vr_weights_at(in->item->expect, i)->name, beginning, strlen(beginning)) == 0) return true;
    return false;
}

/* prefix ids, the picture, suffix ids: v6 README section 10. */
static vr_status demo_pass(vr_infer *in, const json_t *demo, vr_error *err) {
    int32_t *prefix = NULL, *suffix = NULL, *all = NULL;
    size_t n = 0, m = 0;
    vr_status status = vr_case_ids(json_object_get(demo, "prefix_ids"), "demo.prefix_ids", &prefix, &n, err);
    if (status == VRWKV_OK)
        status = vr_case_ids(json_object_get(demo, "suffix_ids"), "demo.suffix_ids", &suffix, &m, err);
    if (status == VRWKV_OK && !(all = vr_alloc(n + 1 + m, sizeof *all)))
        status = vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu ids", n + 1 + m);
    if (status == VRWKV_OK) {
        memcpy(all, prefix, n * sizeof *all);
        all[n] = VRWKV_IMAGE;
        memcpy(all + n + 1, suffix, m * sizeof *all);
        status = further_pass(in, all, n + 1 + m, vr_case_text(demo, "scan", "unidirection"), "logits.demo", err);
    }
    free(prefix);
    free(suffix);
    free(all);
    return status;
}

/* ---- expected tensors ---- */

/* NAME, or the last row of BASE for BASE.last. */
static vr_status produced(const vr_infer *in, const char *name, vr_array *out, vr_error *err) {
    char base[64];
    const vr_array *whole = vr_trace_find(&in->trace, name);
    *out = (vr_array){0};
    if (whole) return vr_array_make(out, whole->ndim, whole->shape, whole->data, err);
    size_t n = strlen(name);
    if (n > 5 && n < sizeof base && strcmp(name + n - 5, ".last") == 0) {
        snprintf(base, sizeof base, "%.*s", (int)(n - 5), name);
        whole = vr_trace_find(&in->trace, base);
        if (whole && whole->ndim == 2 && whole->shape[0] > 0)
            return vr_array_make(out, 1, &whole->shape[1], whole->data + (whole->shape[0] - 1) * whole->shape[1], err);
    }
    return vr_fail(err, VRWKV_ERR_SHAPE, "expected, but the model gives nothing of that name");
}

/* case.json `thinned`: first part of the name -> step per axis; never of a last row. */
static vr_status thin(const vr_infer *in, const char *name, vr_array *array, vr_error *err) {
    char part[64];
    int64_t step[VR_MAX_DIMS] = {1, 1, 1, 1, 1};
    size_t n = strlen(name);
    snprintf(part, sizeof part, "%.*s", (int)strcspn(name, "."), name);
    const json_t *steps = json_object_get(json_object_get(in->item->json, "thinned"), part);
    if (!steps || (n > 5 && strcmp(name + n - 5, ".last") == 0)) return VRWKV_OK;
    for (size_t i = 0; i < json_array_size(steps) && i < VR_MAX_DIMS; i++)
        step[i] = json_integer_value(json_array_get(steps, i));
    return vr_array_thin(array, step, err);
}

/* What a case holds for comparison with something that no version uses. */
static bool is_unused(const char *name) { return strcmp(name, "image.step") == 0; }

static vr_status check_tensor(vr_infer *in, const vr_entry *entry, vr_error *err) {
    vr_array found, expected = {0};
    vr_error own = {0};
    if (is_unused(entry->name)) return VRWKV_OK;
    if (strcmp(entry->name, "tokens") == 0) { /* the case's own ids once more */
        VR_TRY(vr_array_load(&expected, in->item->expect, entry, err));
        vr_array ids = {.ndim = 1, .shape = {(int64_t)in->n}, .data = vr_alloc(in->n + 1, sizeof(float))};
        for (size_t i = 0; ids.data && i < in->n; i++) ids.data[i] = (float)in->ids[i];
        if (ids.data) vr_check_array(in->verify, entry->name, &ids, &expected, 0);
        vr_array_free(&expected);
        bool made = ids.data != NULL;
        vr_array_free(&ids);
        return made ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu ids", in->n);
    }
    vr_status status = produced(in, entry->name, &found, &own);
    if (status == VRWKV_ERR_SHAPE) {
        vr_check_failed(in->verify, entry->name, "%s", own.message);
        return VRWKV_OK;
    }
    if (status != VRWKV_OK) return vr_fail(err, status, "%s: %s", entry->name, own.message);
    status = thin(in, entry->name, &found, err);
    if (status == VRWKV_OK) status = vr_array_load(&expected, in->item->expect, entry, err);
    if (status == VRWKV_OK)
        vr_check_array(in->verify, entry->name, &found, &expected, vr_case_bound_of(in->item, entry, &expected));
    vr_array_free(&found);
    vr_array_free(&expected);
    return status;
}

static vr_status check_tensors(vr_infer *in, vr_error *err) {
    const json_t *demo = json_object_get(in->item->json, "demo");
    VR_TRY(vr_infer_trace(in, in->ids, in->n, NULL, &in->trace, err));
    if (expects(in, "logits.uni"))
        VR_TRY(further_pass(in, in->ids, in->n, "unidirection", "logits.uni", err));
    if (demo && expects(in, "logits.demo")) VR_TRY(demo_pass(in, demo, err));
    for (size_t i = 0; in->item->expect && i < vr_weights_count(in->item->expect); i++)
        VR_TRY(check_tensor(in, vr_weights_at(in->item->expect, i), err));
    return VRWKV_OK;
}

/* ---- prompt ---- */

static vr_status build_prompt(vr_infer *in, const json_t *turns_json, vr_prompt *prompt, vr_error *err) {
    size_t n = json_array_size(turns_json);
    bool has_image = false;
    vr_position position = VR_IMAGE_FIRST;
    const char *version = vr_case_text(in->item->json, "version", "");
    const char *where = vr_case_text(in->item->json, "image_position", NULL);
    const vr_template *rules = vr_template_find(version);
    if (!rules)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "no prompt rules for version \"%s\", expected one of %s", version,
                       vr_template_names());
    if (where && !vr_position_parse(where, &position))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "image position \"%s\", expected first, last or middle", where);
    vr_turn *turns = vr_alloc(n ? n : 1, sizeof *turns);
    if (!turns) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu turns", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *turn = json_array_get(turns_json, i);
        turns[i].from = vr_case_text(turn, "from", "");
        turns[i].value = vr_case_text(turn, "value", "");
        if (strstr(turns[i].value, "<image>")) has_image = true;
    }
    vr_prompt_options how = {.has_image = has_image, .position = position};
    int32_t row_id = vr_model_config(in->model)->rules->row_id;
    if (row_id) how.image_id = row_id, how.rows = (int)vrwkv_model_info(in->model)->image_tokens;
    vr_status status = vr_prompt_build(prompt, rules, in->vocab, turns, n, &how, err);
    free(turns);
    return status;
}

static vr_status check_prompt(vr_infer *in, vr_error *err) {
    vr_prompt prompt = {0};
    const json_t *turns = json_object_get(in->item->json, "conversations");
    const json_t *text = json_object_get(in->item->json, "prompt");
    if (!json_is_array(turns)) return VRWKV_OK;
    VR_TRY(build_prompt(in, turns, &prompt, err));
    if (json_is_string(text))
        vr_check_text(in->verify, "prompt", prompt.text, prompt.text_bytes, json_string_value(text),
                      json_string_length(text));
    if (in->vocab) vr_report_ids(in->verify, "prompt.ids", prompt.ids, prompt.n, in->ids, in->n);
    vr_prompt_free(&prompt);
    return VRWKV_OK;
}

/* ---- loading ---- */

static vr_status open_model(vr_infer *in, vr_error *err) {
    vr_settings *settings = NULL;
    vrwkv_model_options options = {.threads = in->verify->threads, .exact = 1};
    char *path = vr_path_join(in->item->folder, vr_case_text(in->item->json, "model", "model.pth"));
    if (!path) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for a path");
    vr_status status = vr_settings_file(&settings, in->item->path, err);
    if (status == VRWKV_OK) status = vr_model_open(path, &options, settings, &in->model, err);
    vr_settings_free(settings);
    free(path);
    VR_TRY(status);
    in->vocab = vr_model_vocab(in->model);
    if (!in->vocab && vrwkv_model_info(in->model)->n_vocab == 65536) return vr_vocab_world(&in->vocab, err);
    return VRWKV_OK;
}

/* `pixels` of expect.safetensors stand in for a picture where the case names no list of pictures. */
static vr_status given_pixels(vr_infer *in, vr_error *err) {
    if (!in->item->expect || !in->has_place || !vr_model_config(in->model)->n_towers) return VRWKV_OK;
    VR_TRY(vr_model_given_picture(in->model, in->item->expect, &in->pictures[0], err));
    in->n_pictures = 1;
    return VRWKV_OK;
}

static vr_status read_picture(vr_infer *in, const json_t *name, vr_picture *picture, vr_error *err) {
    vr_image image = {0};
    char *path = json_is_string(name) ? vr_path_join(in->item->folder, json_string_value(name)) : NULL;
    if (!path) return vr_fail(err, VRWKV_ERR_FORMAT, "%s: a picture is no path", in->item->path);
    vr_status status = vr_image_decode_file(&image, path, in->verify->manner, 0, err);
    if (status == VRWKV_OK) status = vr_model_picture(in->model, &image, picture, err);
    vr_image_free(&image);
    free(path);
    return status;
}

/* Pictures as pixels, and encoded through the public interface. */
static vr_status load_pictures(vr_infer *in, vr_error *err) {
    const json_t *names = json_object_get(in->item->json, "images");
    size_t n = json_array_size(names);
    in->pictures = vr_alloc(n + 1, sizeof *in->pictures);
    in->images = vr_alloc(n + 1, sizeof *in->images);
    if (!in->pictures || !in->images) return vr_fail(err, VRWKV_ERR_MEMORY, "no memory for %zu pictures", n);
    if (!json_is_array(names)) VR_TRY(given_pixels(in, err));
    for (size_t i = 0; i < n; i++, in->n_pictures++) VR_TRY(read_picture(in, json_array_get(names, i), &in->pictures[i], err));
    if (!in->has_place || !vr_model_config(in->model)->n_towers) return VRWKV_OK;
    if (in->n_pictures == 0) { /* the zero picture */
        in->n_images = 1;
        return vrwkv_encode_pixels(in->model, NULL, 1, &in->images[0], err);
    }
    for (size_t i = 0; i < in->n_pictures; i++, in->n_images++) {
        const vr_picture *picture = &in->pictures[i];
        VR_TRY(vrwkv_encode_pixels(in->model, (const float *const *)picture->pixels, picture->regions, &in->images[i], err));
    }
    return VRWKV_OK;
}

static vr_status run_all(vr_infer *in, vr_error *err) {
    VR_TRY(vr_case_ids(json_object_get(in->item->json, "input_ids"), "input_ids", &in->ids, &in->n, err));
    VR_TRY(open_model(in, err));
    int32_t row_id = vr_model_config(in->model)->rules->row_id;
    for (size_t i = 0; i < in->n; i++) in->has_place |= in->ids[i] == VRWKV_IMAGE || (row_id && in->ids[i] == row_id);
    VR_TRY(load_pictures(in, err));
    VR_TRY(check_prompt(in, err));
    VR_TRY(check_tensors(in, err));
    VR_TRY(vr_infer_generate(in, err));
    return vr_infer_states(in, err);
}

vr_status vr_verify_infer(vr_verify *verify, const vr_case *item, vr_error *err) {
    vr_infer in = {.verify = verify, .item = item};
    vr_status status = run_all(&in, err);
    vr_trace_free(&in.trace);
    for (size_t i = 0; i < in.n_images; i++) vrwkv_features_free(in.images[i]);
    for (size_t i = 0; i < in.n_pictures; i++) vr_picture_free(&in.pictures[i]);
    free(in.images);
    free(in.pictures);
    vrwkv_model_close(in.model);
    free(in.ids);
    return status;
}
