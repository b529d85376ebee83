#include "train/settings.h"
#include "base/io.h"
#include "base/memory.h"
#include "text/vocab.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(vr_train_settings, field)
#define TEXT(name, field, value, help) {name, NULL, VR_SET_TEXT, AT(field), 0, 0, 0, value, help}
#define WORD(name, field, words, help) {name, NULL, VR_SET_WORD, AT(field), 0, 0, 0, words, help}
#define HEADING(text) {NULL, NULL, VR_SET_HEADING, 0, 0, 0, 0, NULL, text}
#define INT(name, alias, field, otherwise, min, max, help)                                                             \
    { name, alias, VR_SET_INT, AT(field), otherwise, min, max, "N", help }
#define NUMBER(name, alias, field, otherwise, min, max, help)                                                          \
    { name, alias, VR_SET_NUMBER, AT(field), otherwise, min, max, "X", help }

static const vr_train_field fields[] = {
    HEADING("What is trained, on what"),
    TEXT("model", model, "FILE",
         "what to begin with: any file that convert reads, or a description (.json) of a fresh model"),
    TEXT("mmproj", mmproj, "FILE", "its vision half, where that is a file of its own"),
    TEXT("config", config, "FILE", "settings by case.json's names, for what shapes cannot tell"),
    TEXT("data", data, "FILE", "conversations in LLaVA's format, JSON or JSONL"),
    TEXT("images", images, "DIR", "the folder of their pictures"),
    TEXT("out", out, "DIR", "folder of checkpoints and logs"),
    INT("stage", NULL, stage, 0, 0, 2,
        "1: the projector alone, 2: projector and language model, with the published rates"),
    TEXT("train", train, "PARTS", "what is trained: some of proj,rwkv,emb,vit,state,lora (default: by stage)"),
    INT("lora-rank", NULL, lora_rank, 16, 1, 4096, "of the adapters that lora trains"),
    INT("freeze-layers", "freeze-rwkv", freeze_layers, VR_UNSAID, 0, 1e6,
        "the first N blocks stay as they are; all of them: the whole language model"),
    HEADING("How long"),
    INT("epochs", "epoch-count", epochs, 1, 0, 1e9, "passes over the data (or over --epoch-steps batches)"),
    INT("steps", NULL, steps, VR_UNSAID, 1, 1e12, "steps of the optimizer, in place of epochs"),
    INT("batch", "micro-bsz", batch, 4, 1, 65536, "samples of a batch"),
    INT("accumulate", NULL, accumulate, 1, 1, 65536, "batches of a step"),
    INT("epoch-steps", NULL, epoch_steps, VR_UNSAID, 1, 1e12,
        "batches of an epoch (default: as many as the data fills)"),
    INT("epoch-begin", NULL, epoch_begin, 0, 0, 1e9, "epochs that were trained before"),
    HEADING("Rates"),
    NUMBER("lr", "lr-init", lr, VR_UNSAID, 0, 10,
           "learning rate at the start (default 6e-4; stage 1: 1e-3, stage 2: 2e-5)"),
    NUMBER("lr-final", NULL, lr_final, VR_UNSAID, 0, 10,
           "and at the end, along a cosine (default 1e-5; stage 2: as at the start)"),
    INT("warmup", "warmup-steps", warmup, 0, -1, 1e12, "batches over which the rate rises from a tenth"),
    NUMBER("weight-decay", NULL, weight_decay, 0, 0, 10, "of matrices"),
    NUMBER("weight-decay-final", NULL, weight_decay_final, -1, -1, 10, "where it ends; not above 0: it stays"),
    NUMBER("beta1", NULL, beta1, 0.9, 0, 0.999999, "of Adam"),
    NUMBER("beta2", NULL, beta2, 0.99, 0, 0.999999, "of Adam"),
    NUMBER("adam-eps", NULL, adam_eps, 1e-8, 0, 1, "of Adam"),
    NUMBER("grad-clip", NULL, grad_clip, 1, 0, 1e9, "largest norm of all gradients; 0: any"),
    HEADING("The recipe"),
    WORD("l2wrap", l2wrap, "all|0",
         "pull on the largest logit of all rows, as in the original, or of none: then the head runs on labelled rows "
         "only"),
    INT("ctx-len", NULL, ctx_len, VR_UNSAID, 1, 1e6, "most rows of a sample (default: the model's; stage 1: 1024)"),
    TEXT("scan", scan, "NAME", "another scan than the model's"),
    TEXT("image-position", image_position, "WHERE", "first, last, middle (default: the model's; stage 1: first)"),
    INT("grid-size", NULL, grid_size, VR_UNSAID, -1, 1024, "pooling of the picture's grid, another than the model's"),
    WORD("vocab", vocab, "model|auto",
         "auto: a vocabulary of the bytes and the tokens that the data uses, renumbered; model: as it is (default)"),
    TEXT("vocab-data", vocab_data, "FILE", "more conversations whose tokens auto keeps: what later rounds will use"),
    INT("seed", NULL, seed, 0, 0, 9e15, "of a fresh model's weights and of the order of samples"),
    NUMBER("init-ln0", NULL, init_ln0, 1, 1e-3, 10,
           "of a fresh model: weight of the norm before the first block. Below 1 the blocks' first answers weigh more "
           "beside the rows that they are added to: a small model finds the picture sooner (default 1, the original's)"),
    INT("group", NULL, group, 32, 0, 1e6,
        "samples of like length share a batch, within so many batches: fewer rows are filled up; 0: any samples"),
    WORD("manner", manner, "friendly|original",
         "original: also the original's order of samples, its filling up of samples, its faults"),
    HEADING("Checkpoints and evaluation"),
    INT("save-every", NULL, save_every, 500, 1, 1e12, "steps between checkpoints"),
    WORD("output", output, "separate|merged",
         "where only the state or adapters are trained: a small file of them, or a whole model with adapters merged"),
    INT("keep", NULL, keep, 2, 1, 1e6, "checkpoints that are kept, beside the best"),
    TEXT("eval-data", eval_data, "FILE", "conversations to evaluate on"),
    INT("eval-every", NULL, eval_every, VR_UNSAID, 1, 1e12, "steps between evaluations (default: as --save-every)"),
    INT("eval-samples", NULL, eval_samples, 64, 1, 1e9, "samples of an evaluation"),
    INT("eval-answers", NULL, eval_answers, 2, 0, 1e6, "samples of it that are answered, to be read: answers.jsonl"),
    INT("patience", NULL, patience, 0, 0, 1e9, "ends after so many evaluations without a better one; 0: never"),
    HEADING("The machine"),
    WORD("recompute", recompute, "auto|on|off",
         "on: each block is run a second time instead of keeping what it computed; less memory, a third more time"),
    INT("feature-cache", NULL, feature_cache, 1024, 0, 1e9,
        "MB of memory for what frozen towers made of pictures seen before"),
    INT("max-memory", NULL, max_memory, 64, 1, 16384,
        "GB that a step's activations may take, and its gradients once more"),
    INT("threads", NULL, threads, 0, 0, 1024, "threads to use (default: one per core)"),
};

const vr_train_field *vr_train_field_at(int index) { return (size_t)index < VR_COUNT(fields) ? &fields[index] : NULL; }

static void *slot(const vr_train_settings *s, const vr_train_field *f) { return (char *)(uintptr_t)s + f->offset; }

static void set_number(vr_train_settings *s, const vr_train_field *f, double number) {
    if (f->kind == VR_SET_INT)
        *(int64_t *)slot(s, f) = vr_is_said(number) ? (int64_t)number : VR_UNSAID_INT;
    else
        *(double *)slot(s, f) = number;
}

void vr_train_settings_default(vr_train_settings *s) {
    *s = (vr_train_settings){0};
    for (size_t i = 0; i < VR_COUNT(fields); i++)
        if (fields[i].kind == VR_SET_INT || fields[i].kind == VR_SET_NUMBER) set_number(s, &fields[i], fields[i].otherwise);
}

static bool is_text(const vr_train_field *f) { return f->kind == VR_SET_TEXT || f->kind == VR_SET_WORD; }

void vr_train_settings_free(vr_train_settings *s) {
    for (size_t i = 0; i < VR_COUNT(fields); i++)
        if (is_text(&fields[i])) free(*(char **)slot(s, &fields[i]));
    *s = (vr_train_settings){0};
}

static const vr_train_field *find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(fields); i++)
        if (fields[i].name &&
            (strcmp(fields[i].name, name) == 0 || (fields[i].alias && strcmp(fields[i].alias, name) == 0)))
            return &fields[i];
    return NULL;
}

/* The value is one of the words that the field takes, "friendly|original". */
static vr_status check_word(const vr_train_field *f, const char *name, const char *value, vr_error *err) {
    char list[80] = "";
    size_t n = 0;
    for (const char *word = f->value; *word; word += strspn(word, "|")) {
        size_t length = strcspn(word, "|");
        if (strlen(value) == length && strncmp(word, value, length) == 0) return VRWKV_OK;
        const char *link = n == 0 ? "" : word[length] ? ", " : " or ";
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s", link, (int)length, word);
        word += length;
    }
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "--%s takes %s, found \"%s\"", name, list, value);
}

vr_status vr_train_settings_put(vr_train_settings *s, const char *name, const char *value, vr_error *err) {
    const vr_train_field *f = find(name);
    char *end;
    if (!f) return vr_fail(err, VRWKV_ERR_ARGUMENT, "there is no setting '%s'", name);
    if (f->kind == VR_SET_WORD) VR_TRY(check_word(f, name, value, err));
    if (is_text(f) && !vr_utf8_valid(value, strlen(value)))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "--%s is no UTF-8, which run.json is kept in", name);
    if (is_text(f)) {
        char *copy = vr_strdup(value), **text = slot(s, f);
        if (!copy) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
        free(*text);
        *text = copy;
        return VRWKV_OK;
    }
    errno = 0;
    double number = strtod(value, &end);
    bool whole = f->kind == VR_SET_INT;
    if (errno || end == value || *end || !(number >= f->min && number <= f->max) || (whole && number != floor(number)))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "--%s takes a %snumber from %.10g to %.10g, found \"%s\"", name,
                       whole ? "whole " : "", f->min, f->max, value);
    set_number(s, f, number);
    return VRWKV_OK;
}

char *vr_train_settings_json(const vr_train_settings *s) {
    json_t *root = json_object();
    for (size_t i = 0; i < VR_COUNT(fields); i++) {
        const vr_train_field *f = &fields[i];
        json_t *value = NULL;
        if (is_text(f)) {
            const char *text = *(char **)slot(s, f);
            if (text) value = json_string(text);
        } else if (f->kind == VR_SET_INT) {
            int64_t number = *(int64_t *)slot(s, f);
            if (number != VR_UNSAID_INT) value = json_integer(number);
        } else if (f->kind == VR_SET_NUMBER) {
            double number = *(double *)slot(s, f);
            if (vr_is_said(number)) value = json_real(number);
        }
        if (value) json_object_set_new(root, f->name, value);
    }
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(root);
    return text;
}

vr_status vr_train_settings_parse(vr_train_settings *s, const char *json, size_t n, vr_error *err) {
    json_error_t fault;
    const char *name;
    json_t *value, *root = json_loadb(json, n, 0, &fault);
    if (!json_is_object(root)) {
        json_decref(root);
        return vr_fail(err, VRWKV_ERR_FORMAT, "line %d: %s", fault.line, root ? "no JSON object" : fault.text);
    }
    vr_status status = VRWKV_OK;
    json_object_foreach(root, name, value) {
        char number[40];
        snprintf(number, sizeof number, json_is_integer(value) ? "%.0f" : "%.17g", json_number_value(value));
        if (status == VRWKV_OK && !json_is_string(value) && !json_is_number(value))
            status = vr_fail(err, VRWKV_ERR_FORMAT, "setting '%s' is neither a text nor a number", name);
        if (status == VRWKV_OK)
            status = vr_train_settings_put(s, name, json_is_string(value) ? json_string_value(value) : number, err);
    }
    json_decref(root);
    return status;
}

/* ---- run.json ---- */

vr_status vr_train_settings_write(const vr_train_settings *s, vr_error *err) {
    char path[VR_PATH_ROOM];
    VR_TRY(vr_path_make(path, s->out, "run.json", err));
    char *json = vr_train_settings_json(s);
    if (!json) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_file_write(path, json, strlen(json), err);
    free(json);
    return status;
}

vr_status vr_train_settings_read(vr_train_settings *s, const char *folder, vr_error *err) {
    char path[VR_PATH_ROOM];
    vr_map map;
    vr_error inner = {0};
    VR_TRY(vr_path_make(path, folder, "run.json", err));
    VR_TRY(vr_map_open(&map, path, false, err));
    vr_status status = vr_train_settings_parse(s, (const char *)map.data, map.size, &inner);
    vr_map_close(&map);
    if (status != VRWKV_OK) return vr_fail(err, status, "'%s': %s", path, inner.message);
    return vr_train_settings_put(s, "out", folder, err);
}
