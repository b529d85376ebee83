/* convert: walks the rows of the description, tensor by tensor and block by block, so that memory
 * stays small whatever the checkpoint's size. With `split` the same walk writes two further files: the
 * language model as llama.cpp keeps it, and what is left. */
#include "vl/convert.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/pool.h"
#include "ops/quant.h"
#include "vl/fresh.h"
#include "vl/load.h"
#include "vl/recode.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SOURCES 16
#define FORMAT_VERSION 1

/* A file that is written. */
typedef struct target {
    char path[4096];
    vr_file_kind kind;
    const vr_layout *layout; /* NULL: checkpoint keys */
    bool language, vision;   /* which parts go into it */
} target;

typedef struct job {
    const vr_convert_options *options;
    vr_weights *files[MAX_SOURCES + VR_MAX_TOWERS + 1]; /* sources, towers, a fresh projector */
    int n_files;
    void *fresh; /* the projector's memory */
    vr_config config;
    vr_part parts[VR_MAX_PARTS];
    int n_parts;
    vr_vocab *own_vocab;
    const vr_vocab *vocab; /* NULL: none */
    vr_pool *pool;
    const target *target;
    vr_save *save;
    uint64_t done, total;
    int next_slice; /* that must be declared next, of a fused tensor; 0: any tensor */
    vr_error *err;
} job;

static void note(const job *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(const job *j, const char *format, ...) {
    char text[512];
    va_list args;
    if (!j->options->log) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    j->options->log(j->options->user, text);
}

static bool is_language(const vr_part *part) { return strcmp(part->name, "rwkv") == 0; }

/* What a matrix is to be stored as, where its rows fit: by the table of types, then by its part. */
static vr_dtype wanted_type(const job *j, const vr_part *part, const vr_row *row, int layer, vr_dtype came) {
    const vr_convert_options *options = j->options;
    const vr_type_table *types = row->kind == VR_MAT ? options->types : NULL;
    char name[VR_NAME_SIZE] = "";
    if (types) vr_part_gguf_name(part, row, layer, name);
    for (size_t i = 0; types && i < types->n; i++)
        if (strcmp(types->items[i].name, name) == 0) return types->items[i].type;
    if (options->vision_type && !is_language(part)) return *options->vision_type;
    return options->keep_type ? came : options->type;
}

/* The stored type of a row's tensor. */
static vr_dtype target_type(const job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source) {
    vr_dtype came = source->found.entry->dtype, type = wanted_type(j, part, row, layer, came);
    bool gguf = j->target->kind == VR_FILE_GGUF, as_it_lies = gguf && source->found.place.model_order;
    int64_t last = source->shape[source->ndim - 1];
    if (came == VR_F64) came = VR_F32;
    if (row->kind == VR_VEC) return gguf ? VR_F32 : vr_is_quantised(came) ? VR_F32 : came;
    if (row->kind == VR_LORA) return type == VR_F32 ? VR_F32 : vr_is_quantised(came) && !as_it_lies ? VR_F16 : came;
    if (type == VR_F64) type = VR_F32;
    if (!gguf && vr_is_quantised(type)) return VR_F16;
    return vr_quant_fit(type, last);
}

/* Where a row goes, and the shape of the whole tensor there, of which it may be a slice. */
static int target_place(const job *j, const vr_part *part, const vr_row *row, int layer, char *name, vr_place *place,
                        int64_t shape[VR_MAX_DIMS]) {
    char key[VR_NAME_SIZE];
    int64_t checkpoint[VR_MAX_DIMS];
    int ndim = vr_part_shape(part, row, layer, checkpoint), kept = 0;
    *place = (vr_place){0};
    if (!j->target->layout) {
        snprintf(name, 2 * VR_NAME_SIZE, "%s%s", j->config.n_towers ? part->prefix : "", vr_row_name(row->key, layer, key));
        return vr_place_shape(place, row, ndim, checkpoint, shape);
    }
    vr_layout_place(j->target->layout, part, row, layer, j->options->rescale, place);
    snprintf(name, 2 * VR_NAME_SIZE, "%s", place->name);
    ndim = vr_place_shape(place, row, ndim, checkpoint, shape);
    if (place->change == VR_SLICE) return ndim;
    for (int i = 0; i < ndim; i++) /* [1,1,D] is stored as [D] */
        if (shape[i] != 1 || i == ndim - 1) shape[kept++] = shape[i];
    return kept;
}

typedef vr_status (*row_fn)(job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source);

/* The row of the part that stands in for one that layer 0 does not have; NULL: none is expected. */
static const vr_row *stand_in(const job *j, const vr_part *part, const vr_row *row) {
    const vr_layout_row *differs = j->target->layout ? vr_layout_find(j->target->layout, row->key) : NULL;
    for (int r = 0; differs && differs->stand_in && r < part->n_rows; r++)
        if (strcmp(part->rows[r].key, differs->stand_in) == 0) return &part->rows[r];
    return NULL;
}

static vr_status walk_row(job *j, const vr_part *part, const vr_row *row, int layer, row_fn fn) {
    vr_source source;
    vr_row copy;
    if (!vr_row_exists(row, layer)) {
        const vr_row *other = stand_in(j, part, row);
        if (!other) return VRWKV_OK;
        copy = *other; /* its numbers and shape, under this row's name */
        copy.gguf = row->gguf;
        VR_TRY(vr_row_find(j->files, j->n_files, part, other, layer, &source, j->err));
        return fn(j, part, &copy, layer, &source);
    }
    VR_TRY(vr_row_find(j->files, j->n_files, part, row, layer, &source, j->err));
    return source.found.entry ? fn(j, part, row, layer, &source) : VRWKV_OK;
}

static vr_status walk(job *j, row_fn fn) {
    for (int p = 0; p < j->n_parts; p++) {
        if (!(is_language(&j->parts[p]) ? j->target->language : j->target->vision)) continue;
        for (int layer = 0; layer < j->parts[p].repeat; layer++)
            for (int r = 0; r < j->parts[p].n_rows; r++) VR_TRY(walk_row(j, &j->parts[p], &j->parts[p].rows[r], layer, fn));
    }
    return VRWKV_OK;
}

static vr_status declare(job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source) {
    char name[2 * VR_NAME_SIZE];
    vr_place place;
    int64_t shape[VR_MAX_DIMS];
    int ndim = target_place(j, part, row, layer, name, &place, shape);
    vr_dtype type = target_type(j, part, row, layer, source);
    j->total += source->found.entry->bytes;
    /* A fused tensor is declared with its first slice; the others must follow, in order. */
    if (place.slice != j->next_slice && (place.change == VR_SLICE || j->next_slice))
        return vr_fail(j->err, VRWKV_ERR_UNSUPPORTED, "slice %d of '%s' is not in its place", place.slice, name);
    if (place.change == VR_SLICE) j->next_slice = (place.slice + 1) % place.slices;
    if (place.slice > 0) return VRWKV_OK;
    bool first_file = j->target->language && j->target->vision;
    vr_dtype wanted = wanted_type(j, part, row, layer, type);
    if (first_file && row->kind == VR_MAT && type != wanted && layer == 0)
        note(j, "%s: rows of %lld do not fit %s, stored as %s", name, (long long)shape[ndim - 1], vr_dtype_of(wanted)->name,
             vr_dtype_of(type)->name);
    return vr_save_declare(j->save, name, type, ndim, shape, j->err);
}

static vr_status put_numbers(job *j, const vr_numbers *numbers, vr_dtype to, const int64_t *shape, int ndim) {
    int64_t count, last = shape[ndim - 1], offset = 0;
    vr_shape_count(ndim, shape, &count);
    if (numbers->type == to) return vr_save_put(j->save, numbers->data, vr_stored_bytes(to, count), j->err);
    int64_t step = last >= VR_RECODE_ELEMENTS ? last : VR_RECODE_ELEMENTS / last * last;
    if (step > count) step = count;
    void *out = vr_alloc((size_t)step, sizeof(float));
    vr_status status = out ? VRWKV_OK : vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory");
    for (; status == VRWKV_OK && offset < count; offset += step) {
        int64_t n = count - offset < step ? count - offset : step;
        const char *in = (const char *)numbers->data + vr_stored_bytes(numbers->type, offset);
        status = vr_recode(j->pool, to, out, numbers->type, in, n, last, j->err);
        if (status == VRWKV_OK) status = vr_save_put(j->save, out, vr_stored_bytes(to, n), j->err);
    }
    free(out);
    return status;
}

static vr_status tell(const job *j) {
    if (!j->options->progress || !j->options->progress(j->options->user, "convert", j->done, j->total)) return VRWKV_OK;
    return vr_fail(j->err, VRWKV_ERR_CANCELLED, "cancelled");
}

static vr_status put(job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source) {
    char name[2 * VR_NAME_SIZE];
    vr_place place;
    vr_numbers numbers;
    int64_t shape[VR_MAX_DIMS];
    target_place(j, part, row, layer, name, &place, shape);
    vr_dtype type = target_type(j, part, row, layer, source);
    const vr_want want = {.model_order = place.model_order, .halvings = place.halvings};
    VR_TRY(vr_source_read(source, row, &want, &numbers, j->err));
    memcpy(shape, source->shape, sizeof shape);
    if (place.model_order && row->transform == VR_TRANSPOSED) vr_swap_axes(source->ndim, shape);
    vr_status status = put_numbers(j, &numbers, type, shape, source->ndim);
    free(numbers.owned);
    vr_weights_forget(source->found.file, source->found.entry); /* a checkpoint of any size passes through, and stays nowhere */
    j->done += source->found.entry->bytes;
    return status == VRWKV_OK ? tell(j) : status;
}

static vr_status read_vocab(job *j, const char *path) {
    vr_map map;
    vr_error inner = {0};
    VR_TRY(vr_map_open(&map, path, false, j->err));
    vr_status status = vr_vocab_parse(&j->own_vocab, (const char *)map.data, map.size, &inner);
    vr_map_close(&map);
    if (status != VRWKV_OK) return vr_fail(j->err, status, "'%s': %s", path, inner.message);
    j->vocab = j->own_vocab;
    if (vr_vocab_size(j->vocab) <= (size_t)j->config.lm.n_vocab) return VRWKV_OK;
    return vr_fail(j->err, VRWKV_ERR_SHAPE, "'%s' has ids up to %zu, the model has %d", path, vr_vocab_size(j->vocab) - 1,
                   j->config.lm.n_vocab);
}

/* Which vocabulary goes into the file: the one given, the source's own, the world's, or none. */
static vr_status choose_vocab(job *j) {
    if (j->options->vocab_file) return read_vocab(j, j->options->vocab_file);
    for (int i = 0; !j->vocab && i < j->options->n_sources; i++) {
        VR_TRY(vr_stored_vocab(&j->own_vocab, j->files[i], j->err));
        j->vocab = j->own_vocab;
    }
    if (!j->vocab && j->config.lm.n_vocab == 65536) return vr_vocab_world(&j->vocab, j->err);
    if (!j->vocab)
        note(j, "no vocabulary for %d ids: the model takes token ids only (--vocab FILE gives it one)",
             j->config.lm.n_vocab);
    return VRWKV_OK;
}

static vr_status put_vocab(job *j) {
    size_t rows = (size_t)j->config.lm.n_vocab, n = vr_vocab_size(j->vocab) > rows ? vr_vocab_size(j->vocab) : rows;
    const char **tokens = vr_alloc(n, sizeof *tokens);
    size_t *bytes = vr_alloc(n, sizeof *bytes);
    vr_status status = tokens && bytes ? VRWKV_OK : vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; status == VRWKV_OK && i < n; i++) {
        tokens[i] = vr_vocab_token(j->vocab, (int64_t)i, &bytes[i]);
        if (!tokens[i]) tokens[i] = "", bytes[i] = 0;
    }
    if (status == VRWKV_OK) status = vr_save_meta_string(j->save, "tokenizer.ggml.model", "rwkv", j->err);
    if (status == VRWKV_OK) status = vr_save_meta_strings(j->save, "tokenizer.ggml.tokens", tokens, bytes, n, j->err);
    free(tokens);
    free(bytes);
    return status;
}

/* The description; of the language model alone where nothing else is in the file. */
static vr_status put_description(job *j) {
    vr_config config = j->config;
    if (!j->target->vision) {
        config.n_towers = 0;
        config.version[0] = 0;
    }
    char *json = vr_config_json(&config);
    if (!json) return vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = vr_save_meta_string(j->save, "vrwkv.config", json, j->err);
    free(json);
    return status;
}

static vr_status put_metadata(job *j) {
    const target *t = j->target;
    if (t->kind == VR_FILE_PTH) return VRWKV_OK;
    if (t->layout && t->layout != &vr_layout_ours) {
        VR_TRY(vr_llama_put_metadata(j->save, t->layout, &j->config, j->options->rescale, j->err));
        VR_TRY(vr_llama_put_vocab(j->save, j->vocab, &j->config, j->err));
        return put_description(j);
    }
    if (t->kind == VR_FILE_GGUF) {
        VR_TRY(vr_save_meta_string(j->save, "general.architecture", vr_layout_ours.architecture, j->err));
        VR_TRY(vr_save_meta_string(j->save, "general.name", j->config.n_towers ? "VisualRWKV" : "RWKV", j->err));
        VR_TRY(vr_save_meta_int(j->save, "vrwkv.format", FORMAT_VERSION, j->err));
    }
    VR_TRY(put_description(j));
    if (t->kind == VR_FILE_GGUF && t->language && j->options->types)
        VR_TRY(vr_save_meta_string(j->save, VR_QUANTISATION_KEY, j->options->types->report, j->err));
    return t->kind == VR_FILE_GGUF && t->language && j->vocab ? put_vocab(j) : VRWKV_OK;
}

/* Writing over a source would pull the mapping from under its reader. */
static vr_status check_target(const job *j, const target *t) {
    struct stat out, in;
    for (int i = 0; i < j->options->n_sources; i++)
        if (stat(t->path, &out) == 0 && stat(j->options->sources[i], &in) == 0 && out.st_ino == in.st_ino &&
            out.st_dev == in.st_dev)
            return vr_fail(j->err, VRWKV_ERR_ARGUMENT, "'%s' is both source and target", t->path);
    return VRWKV_OK;
}

/* NAME.gguf, and with `split` NAME-rwkv.gguf and NAME-mmproj.gguf; returns how many. */
static vr_status list_targets(job *j, target targets[3], int *n) {
    const char *out = j->options->out;
    size_t stem = strlen(out);
    *n = 1;
    memset(targets, 0, 3 * sizeof *targets);
    VR_TRY(vr_file_kind_of(out, &targets[0].kind, j->err));
    if (stem + 16 > sizeof targets[0].path) return vr_fail(j->err, VRWKV_ERR_ARGUMENT, "the name of the target is too long");
    memcpy(targets[0].path, out, stem + 1);
    targets[0].language = targets[0].vision = true;
    targets[0].layout = targets[0].kind == VR_FILE_GGUF ? &vr_layout_ours : NULL;
    if (!j->options->split) return VRWKV_OK;
    if (targets[0].kind != VR_FILE_GGUF) return vr_fail(j->err, VRWKV_ERR_ARGUMENT, "'%s': only a .gguf can be split", out);
    VR_TRY(vr_llama_check(&j->config, j->err));
    stem -= strlen(".gguf");
    targets[1] = (target){.kind = VR_FILE_GGUF, .layout = vr_llama_layout_for(j->config.rwkv), .language = true};
    snprintf(targets[1].path, sizeof targets[1].path, "%.*s-rwkv.gguf", (int)stem, out);
    targets[2] = (target){.kind = VR_FILE_GGUF, .layout = &vr_layout_ours, .vision = true};
    snprintf(targets[2].path, sizeof targets[2].path, "%.*s-mmproj.gguf", (int)stem, out);
    *n = j->config.n_towers ? 3 : 2;
    return VRWKV_OK;
}

static vr_status write_target(job *j, const target *t) {
    j->target = t;
    j->done = j->total = 0;
    VR_TRY(vr_save_open_as(&j->save, t->path, t->kind, j->err));
    VR_TRY(put_metadata(j));
    VR_TRY(walk(j, declare));
    VR_TRY(tell(j));
    VR_TRY(walk(j, put));
    vr_save *save = j->save;
    j->save = NULL;
    return vr_save_commit(save, j->err);
}

static vr_status open_files(job *j) {
    const vr_convert_options *options = j->options;
    for (int i = 0; i < options->n_sources; i++, j->n_files++)
        VR_TRY(vr_weights_open(&j->files[j->n_files], options->sources[i], NULL, j->err));
    for (int i = 0; i < options->n_towers; i++, j->n_files++)
        VR_TRY(vr_tower_file_open(&j->files[j->n_files], options->towers[i].type, options->towers[i].path, j->err));
    VR_TRY(vr_config_describe(&j->config, j->files, j->n_files, options->settings, j->err));
    if (!j->config.no_projector || !j->config.n_towers) return VRWKV_OK;
    VR_TRY(vr_fresh_projector(&j->config, options->seed, &j->fresh, &j->files[j->n_files++], j->err));
    j->config.no_projector = false;
    note(j, "a fresh %s projector, of seed %llu: it is to be trained", j->config.proj_type, (unsigned long long)options->seed);
    return VRWKV_OK;
}

static vr_status check_written(const job *j, vr_dtype type) {
    if (vr_quant_of(type) && vr_quant_of(type)->encode) return VRWKV_OK;
    return vr_fail(j->err, VRWKV_ERR_UNSUPPORTED, "type %s cannot be written, only %s", vr_dtype_of(type)->name,
                   vr_quant_writable());
}

static vr_status check_plain(const job *j, vr_dtype type) {
    if (!vr_is_quantised(type)) return VRWKV_OK;
    return vr_fail(j->err, VRWKV_ERR_UNSUPPORTED, "type %s exists only in .gguf files", vr_dtype_of(type)->name);
}

static vr_status run_job(job *j) {
    const vr_convert_options *options = j->options;
    target targets[3];
    int n;
    if (options->n_sources < 1 || options->n_sources > MAX_SOURCES)
        return vr_fail(j->err, VRWKV_ERR_ARGUMENT, "%d sources, expected 1 to %d", options->n_sources, MAX_SOURCES);
    if (options->n_towers < 0 || options->n_towers > VR_MAX_TOWERS)
        return vr_fail(j->err, VRWKV_ERR_ARGUMENT, "%d towers, expected at most %d", options->n_towers, VR_MAX_TOWERS);
    if (!options->keep_type) VR_TRY(check_written(j, options->type));
    if (options->vision_type) VR_TRY(check_written(j, *options->vision_type));
    VR_TRY(open_files(j));
    VR_TRY(list_targets(j, targets, &n));
    if (targets[0].kind != VR_FILE_GGUF) {
        if (options->types) return vr_fail(j->err, VRWKV_ERR_UNSUPPORTED, "measured types exist only in .gguf files");
        if (!options->keep_type) VR_TRY(check_plain(j, options->type));
        if (options->vision_type) VR_TRY(check_plain(j, *options->vision_type));
    }
    for (int t = 0; t < n; t++) VR_TRY(check_target(j, &targets[t]));
    j->n_parts = vr_config_parts(&j->config, j->parts);
    if (targets[0].kind == VR_FILE_GGUF) VR_TRY(choose_vocab(j));
    VR_TRY(vr_pool_open(&j->pool, options->threads, j->err));
    for (int t = 0; t < n; t++) VR_TRY(write_target(j, &targets[t]));
    return VRWKV_OK;
}

vr_status vr_convert(const vr_convert_options *options, vr_error *err) {
    job j = {.options = options, .err = err};
    vr_status status = run_job(&j);
    vr_save_abandon(j.save);
    vr_pool_close(j.pool);
    vr_vocab_free(j.own_vocab);
    for (size_t i = 0; i < VR_COUNT(j.files); i++) vr_weights_close(j.files[i]);
    free(j.fresh);
    return status;
}
