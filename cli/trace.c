/* trace: the named activations of one forward pass over a prompt, as the original computes it, to a
 * safetensors file: pixels, vision, image, x.in, x.0.., logits, and the ids (`tokens`). */
#include "common.h"
#include "verbs.h"

#include "base/io.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct trace_args {
    vr_model_args model;
    const char *tokens, *prompt, *pixels, *out;
    vr_strings images;
    int manner, pad; /* 0: original */
} trace_args;

/* Rows of one name, collected over the calls of the trace function. */
typedef struct activation {
    char name[64];
    int ndim;
    int64_t shape[VR_MAX_DIMS];
    float *data;
    size_t n, capacity; /* floats */
} activation;

typedef struct activations {
    activation *items;
    size_t n, capacity;
    vr_status status;
    vr_error *err;
} activations;

static vr_status collect_into(activations *all, const char *name, int ndim, const int64_t *shape, const float *data,
                              vr_error *err) {
    activation *found = NULL;
    int64_t count;
    if (ndim < 1 || ndim > VR_MAX_DIMS || !vr_shape_count(ndim, shape, &count))
        return vr_fail(err, VRWKV_ERR_SHAPE, "activation %s has %d axes", name, ndim);
    for (size_t i = 0; i < all->n && !found; i++)
        if (strcmp(all->items[i].name, name) == 0) found = &all->items[i];
    if (!found) {
        VR_TRY(vr_grow(&all->items, &all->capacity, all->n + 1, sizeof *all->items, err));
        found = &all->items[all->n++];
        *found = (activation){.ndim = ndim};
        snprintf(found->name, sizeof found->name, "%s", name);
        memcpy(found->shape, shape, (size_t)ndim * sizeof *shape);
    } else {
        found->shape[0] += shape[0]; /* further rows */
    }
    VR_TRY(vr_grow(&found->data, &found->capacity, found->n + (size_t)count, sizeof *found->data, err));
    memcpy(found->data + found->n, data, (size_t)count * sizeof *data);
    found->n += (size_t)count;
    return VRWKV_OK;
}

static void collect(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    activations *all = user;
    if (all->status == VRWKV_OK) all->status = collect_into(all, name, ndim, shape, data, all->err);
}

/* The last row of the logits, under a name of its own: cases of large vocabularies have it alone. */
static vr_status add_last_row(activations *all, vr_error *err) {
    for (size_t i = 0; i < all->n; i++) {
        const activation *item = &all->items[i];
        if (strcmp(item->name, "logits") != 0 || item->ndim != 2 || item->shape[0] < 1) continue;
        return collect_into(all, "logits.last", 1, &item->shape[1], item->data + item->n - (size_t)item->shape[1], err);
    }
    return VRWKV_OK;
}

static vr_status save(const char *path, const activations *all, const vr_ids *list, vr_error *err) {
    vr_save *file = NULL;
    VR_TRY(vr_save_open(&file, path, err));
    vr_status status = vr_save_declare(file, "tokens", VR_I32, 1, &(int64_t){(int64_t)list->n}, err);
    for (size_t i = 0; i < all->n && status == VRWKV_OK; i++)
        status = vr_save_declare(file, all->items[i].name, VR_F32, all->items[i].ndim, all->items[i].shape, err);
    if (status == VRWKV_OK) status = vr_save_put(file, list->ids, list->n * sizeof *list->ids, err);
    for (size_t i = 0; i < all->n && status == VRWKV_OK; i++)
        status = vr_save_put(file, all->items[i].data, all->items[i].n * sizeof(float), err);
    if (status == VRWKV_OK) return vr_save_commit(file, err);
    vr_save_abandon(file);
    return status;
}

static vr_status read_pixels(const char *path, const vrwkv_model *model, vr_decoded *pictures, vr_error *err) {
    vr_weights *file = NULL;
    pictures->items = vr_alloc(1, sizeof *pictures->items);
    if (!pictures->items) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    VR_TRY(vr_weights_open(&file, path, NULL, err));
    vr_status status = vr_model_given_picture(model, file, &pictures->items[0], err);
    if (status == VRWKV_OK) pictures->n = 1;
    vr_weights_close(file);
    return status;
}

static vr_status read_pictures(const trace_args *args, vrwkv_model *model, vr_decoded *pictures, vr_error *err) {
    if ((args->images.n || args->pixels) && !vr_model_config(model)->n_towers)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%s has no vision tower, but a picture is given", args->model.path);
    if (args->pixels) return read_pixels(args->pixels, model, pictures, err);
    return vr_decoded_read(pictures, model, &args->images, args->manner ? VRWKV_FRIENDLY : VRWKV_ORIGINAL, err);
}

static vr_status trace(const trace_args *args, const vr_ids *given, vr_error *err) {
    vrwkv_model *model = NULL;
    vr_progress progress = {0};
    vr_ids list = {0};
    vr_decoded pictures = {0};
    activations all = {.err = err};
    vr_status status = vr_writer_check(args->out, err);
    if (status == VRWKV_OK) status = vr_model_args_open(&args->model, &progress, &model, err);
    if (status == VRWKV_OK) status = read_pictures(args, model, &pictures, err);
    if (status == VRWKV_OK && args->prompt)
        status = vr_ids_prompt(&list, model, args->prompt, pictures.n, err);
    const vr_ids *ids = args->prompt ? &list : given;
    if (status == VRWKV_OK) {
        const vr_original_input input = {.ids = ids->ids, .n = ids->n, .pictures = pictures.items, .n_pictures = pictures.n,
                                         .scan = args->model.scan, .padding = (vrwkv_padding)args->pad};
        status = vr_original_trace(model, &input, collect, &all, err);
    }
    if (status == VRWKV_OK) status = all.status;
    if (status == VRWKV_OK) status = add_last_row(&all, err);
    if (status == VRWKV_OK) status = save(args->out, &all, ids, err);
    if (status == VRWKV_OK) {
        vr_note("%s: %zu tensors", args->out, all.n + 1);
        for (size_t i = 0; i < all.n; i++) {
            char shape[128];
            vr_note("  %-12s %s", all.items[i].name,
                    vr_shape_text(all.items[i].ndim, all.items[i].shape, shape, sizeof shape));
        }
    }
    for (size_t i = 0; i < all.n; i++) free(all.items[i].data);
    free(all.items);
    free(list.ids);
    vr_decoded_free(&pictures);
    vrwkv_model_close(model);
    return status;
}

static int check(const trace_args *args, vr_ids *given) {
    vr_error err = {0};
    if (!args->model.path) return vr_usage_error("trace", "-m MODEL is missing");
    if (!args->out) return vr_usage_error("trace", "-o OUT.safetensors is missing");
    if (!args->tokens == !args->prompt) return vr_usage_error("trace", "give --tokens or -p, one of them");
    if (args->images.n && args->pixels) return vr_usage_error("trace", "-i and --pixels exclude each other");
    if (args->tokens && vr_ids_parse(given, args->tokens, false, &err) != VRWKV_OK)
        return vr_usage_error("trace", "--tokens: %s", err.message);
    if (args->tokens && !given->n) return vr_usage_error("trace", "--tokens: there is no id in \"%s\"", args->tokens);
    size_t length = strlen(args->out), ending = strlen(".safetensors");
    if (length < ending || strcmp(args->out + length - ending, ".safetensors") != 0)
        return vr_usage_error("trace", "-o takes a name that ends in .safetensors, found \"%s\"", args->out);
    return VR_GO_ON;
}

int vr_cmd_trace(int argc, char **argv) {
    trace_args args = {0};
    vr_ids given = {0};
    vr_error err = {0};
    const vr_option options[] = {
        VR_GROUP("Model"),
        VR_OPTIONS_MODEL(&args.model),
        VR_OPTION_POSITION(&args.model),
        VR_GROUP("What it reads"),
        {"tokens", 0, VR_OPT_STRING, &args.tokens, "IDS", "token ids, 1,2,-200,5; -200 is a picture", 0, 0},
        {"prompt", 'p', VR_OPT_STRING, &args.prompt, "TEXT", "a question, put into the model's prompt", 0, 0},
        {"image", 'i', VR_OPT_LIST, &args.images, "FILE", "a picture; may be given several times (default: zero pictures)", 0, 0},
        {"pixels", 0, VR_OPT_STRING, &args.pixels, "FILE", "instead of it: its normalised pixels, tensor `pixels` or `pixels.NAME` of a .safetensors file", 0, 0},
        {"manner", 0, VR_OPT_CHOICE, &args.manner, "original|friendly", "how the picture is decoded (default original)", 0, 0},
        {"pad", 0, VR_OPT_CHOICE, &args.pad, "manner|original|none", "rows of padding in front (v7): none, or as the original (default)", 0, 0},
        VR_GROUP("Result and machine"),
        {"out", 'o', VR_OPT_STRING, &args.out, "OUT", "the .safetensors file to write", 0, 0},
        VR_OPTIONS_MEMORY(&args.model),
    };
    const vr_usage usage = {
        .verb = "trace",
        .line = "-m MODEL (--tokens IDS | -p TEXT) [-i IMAGE | --pixels FILE] -o OUT.safetensors",
        .about = "Runs the whole sequence once, as the original does, and writes what every step gives: pixels, vision, "
                 "image, x.in, x.0, x.1 ..., logits, logits.last (the last row), tokens.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  vrwkv trace -m model.gguf -i photo.jpg --tokens 24281,59,-200,11 -o trace.safetensors",
    };
    vr_strings words = {0};
    int code = vr_options_parse(&usage, argc, argv, &words);
    if (code == VR_GO_ON) code = check(&args, &given);
    if (code == VR_GO_ON) {
        vr_interrupt_install(false);
        code = trace(&args, &given, &err) == VRWKV_OK ? 0 : vr_report(argv[0], &err);
    }
    free(given.ids);
    vr_strings_free(&args.images);
    vr_strings_free(&words);
    return code;
}
