/* convert: walks the rows of the description, tensor by tensor and block by block, so that memory
 * stays small whatever the checkpoint's size. */
#include "vl/convert.h"
#include "base/io.h"
#include "base/memory.h"
#include "ops/quant.h"
#include "vl/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SOURCES 16
#define BLOCK_ELEMENTS ((int64_t)1 << 20) /* converted at once: 4 MB of f32 */
#define FORMAT_VERSION 1

typedef struct job {
    const vr_convert_options *options;
    vr_weights *files[MAX_SOURCES];
    vr_config config;
    vr_part parts[VR_MAX_PARTS];
    int n_parts;
    vr_file_kind kind;
    vr_save *save;
    uint64_t done, total;
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

/* The stored type of a row's tensor. */
static vr_dtype target_type(const job *j, const vr_row *row, const vr_source *source) {
    vr_dtype came = source->entry->dtype, type = j->options->keep_type ? came : j->options->type;
    bool gguf = j->kind == VR_FILE_GGUF;
    int64_t last = source->shape[source->ndim - 1];
    if (came == VR_F64) came = VR_F32;
    if (row->kind == VR_VEC) return gguf ? VR_F32 : vr_is_quantised(came) ? VR_F32 : came;
    if (row->kind == VR_LORA) return type == VR_F32 ? VR_F32 : vr_is_quantised(came) ? VR_F16 : came;
    if (type == VR_F64) type = VR_F32;
    if (!gguf && vr_is_quantised(type)) return VR_F16;
    return vr_quant_fit(type, last);
}

/* Name and shape in the target file. */
static int target_shape(const job *j, const vr_part *part, const vr_row *row, int layer, char *name, int64_t shape[VR_MAX_DIMS]) {
    char key[VR_NAME_SIZE];
    int ndim = vr_part_shape(part, row, layer, shape), kept = 0;
    if (j->kind != VR_FILE_GGUF) {
        snprintf(name, 2 * VR_NAME_SIZE, "%s%s", j->config.n_towers ? part->prefix : "", vr_row_name(row->key, layer, key));
        return ndim;
    }
    vr_part_gguf_name(part, row, layer, name);
    if (row->transform == VR_TRANSPOSED) vr_swap_axes(ndim, shape);
    for (int i = 0; i < ndim; i++) /* [1,1,D] is stored as [D] */
        if (shape[i] != 1 || i == ndim - 1) shape[kept++] = shape[i];
    return kept;
}

typedef vr_status (*row_fn)(job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source);

static vr_status walk(job *j, row_fn fn) {
    for (int p = 0; p < j->n_parts; p++)
        for (int layer = 0; layer < j->parts[p].repeat; layer++)
            for (int r = 0; r < j->parts[p].n_rows; r++) {
                vr_source source;
                const vr_row *row = &j->parts[p].rows[r];
                VR_TRY(vr_row_find(j->files, j->options->n_sources, &j->parts[p], row, layer, &source, j->err));
                if (source.entry) VR_TRY(fn(j, &j->parts[p], row, layer, &source));
            }
    return VRWKV_OK;
}

static vr_status declare(job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source) {
    char name[2 * VR_NAME_SIZE];
    int64_t shape[VR_MAX_DIMS];
    int ndim = target_shape(j, part, row, layer, name, shape);
    vr_dtype type = target_type(j, row, source);
    if (row->kind == VR_MAT && !j->options->keep_type && type != j->options->type && layer == 0)
        note(j, "%s: rows of %lld do not fit %s, stored as %s", name, (long long)shape[ndim - 1], vr_dtype_of(j->options->type)->name,
             vr_dtype_of(type)->name);
    j->total += source->entry->bytes;
    return vr_save_declare(j->save, name, type, ndim, shape, j->err);
}

/* n elements of one type to another; scratch holds n floats. */
static vr_status convert_block(job *j, vr_dtype to, const void *in, vr_dtype from, int64_t n, float *scratch, void *out) {
    uint64_t bytes;
    vr_shape_bytes(to, 1, &n, &bytes);
    if (to == from) return vr_save_put(j->save, in, (size_t)bytes, j->err);
    vr_quant_of(from)->decode(scratch, in, n);
    vr_quant_of(to)->encode(out, scratch, n);
    return vr_save_put(j->save, out, (size_t)bytes, j->err);
}

/* Whole rows, so that no quantised block is cut. */
static vr_status put_blocks(job *j, const vr_source *source, const void *data, vr_dtype to, const int64_t *shape, int ndim) {
    vr_dtype from = source->entry->dtype;
    int64_t count, last = shape[ndim - 1], offset = 0;
    vr_shape_count(ndim, shape, &count);
    int64_t step = last >= BLOCK_ELEMENTS ? last : BLOCK_ELEMENTS / last * last;
    if (step > count) step = count;
    float *scratch = vr_alloc((size_t)step, sizeof *scratch), *out = vr_alloc((size_t)step, sizeof *out);
    vr_status status = scratch && out ? VRWKV_OK : vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory");
    const vr_dtype_info *info = vr_dtype_of(from);
    for (; status == VRWKV_OK && offset < count; offset += step) {
        int64_t n = count - offset < step ? count - offset : step;
        const char *at = (const char *)data + (size_t)(offset / info->block) * (size_t)info->bytes;
        status = convert_block(j, to, at, from, n, scratch, out);
    }
    free(scratch);
    free(out);
    return status;
}

static vr_status tell(const job *j) {
    if (!j->options->progress || !j->options->progress(j->options->user, "convert", j->done, j->total)) return VRWKV_OK;
    return vr_fail(j->err, VRWKV_ERR_CANCELLED, "cancelled");
}

static vr_status put(job *j, const vr_part *part, const vr_row *row, int layer, const vr_source *source) {
    char name[2 * VR_NAME_SIZE];
    int64_t shape[VR_MAX_DIMS], from_shape[VR_MAX_DIMS];
    int ndim = target_shape(j, part, row, layer, name, shape);
    const void *data = vr_weights_data(source->file, source->entry);
    void *copy = NULL, *turned = NULL;
    vr_status status = VRWKV_OK;
    if (!data) {
        data = copy = vr_alloc((size_t)source->entry->bytes, 1);
        status = copy ? vr_weights_read(source->file, source->entry, copy, j->err)
                      : vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory for '%s', %llu bytes", name, (unsigned long long)source->entry->bytes);
    }
    bool turn = row->transform == VR_TRANSPOSED && source->is_gguf != (j->kind == VR_FILE_GGUF);
    if (status == VRWKV_OK && turn) {
        memcpy(from_shape, source->shape, sizeof from_shape);
        if (source->is_gguf) vr_swap_axes(source->ndim, from_shape);
        turned = vr_alloc((size_t)source->entry->bytes, 1);
        if (turned) vr_transpose(turned, data, source->ndim, from_shape, (size_t)vr_dtype_of(source->entry->dtype)->bytes);
        status = turned ? VRWKV_OK : vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory for '%s'", name);
        data = turned;
    }
    if (status == VRWKV_OK) status = put_blocks(j, source, data, target_type(j, row, source), shape, ndim);
    free(copy);
    free(turned);
    vr_weights_forget(source->file, source->entry); /* a checkpoint of any size passes through, and stays nowhere */
    j->done += source->entry->bytes;
    return status == VRWKV_OK ? tell(j) : status;
}

static vr_status put_vocab(job *j, const vr_vocab *vocab) {
    size_t n = vr_vocab_size(vocab) > (size_t)j->config.lm.n_vocab ? vr_vocab_size(vocab) : (size_t)j->config.lm.n_vocab;
    const char **tokens = vr_alloc(n, sizeof *tokens);
    size_t *bytes = vr_alloc(n, sizeof *bytes);
    vr_status status = tokens && bytes ? VRWKV_OK : vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory");
    for (size_t i = 0; status == VRWKV_OK && i < n; i++) {
        tokens[i] = vr_vocab_token(vocab, (int64_t)i, &bytes[i]);
        if (!tokens[i]) tokens[i] = "", bytes[i] = 0;
    }
    if (status == VRWKV_OK) status = vr_save_meta_string(j->save, "tokenizer.ggml.model", "rwkv", j->err);
    if (status == VRWKV_OK) status = vr_save_meta_strings(j->save, "tokenizer.ggml.tokens", tokens, bytes, n, j->err);
    free(tokens);
    free(bytes);
    return status;
}

static vr_status put_vocab_file(job *j, const char *path) {
    vr_map map;
    vr_vocab *vocab = NULL;
    vr_error inner = {0};
    VR_TRY(vr_map_open(&map, path, false, j->err));
    vr_status status = vr_vocab_parse(&vocab, (const char *)map.data, map.size, &inner);
    vr_map_close(&map);
    if (status != VRWKV_OK) return vr_fail(j->err, status, "'%s': %s", path, inner.message);
    if (vr_vocab_size(vocab) > (size_t)j->config.lm.n_vocab)
        status = vr_fail(j->err, VRWKV_ERR_SHAPE, "'%s' has ids up to %zu, the model has %d", path, vr_vocab_size(vocab) - 1, j->config.lm.n_vocab);
    else
        status = put_vocab(j, vocab);
    vr_vocab_free(vocab);
    return status;
}

/* Which vocabulary goes into the file: the one given, the source's own, the world's, or none. */
static vr_status choose_vocab(job *j) {
    const vr_vocab *world;
    if (j->options->vocab_file) return put_vocab_file(j, j->options->vocab_file);
    for (int i = 0; i < j->options->n_sources; i++) {
        const vr_meta *tokens = vr_weights_meta(j->files[i], "tokenizer.ggml.tokens");
        if (!tokens || tokens->type != VR_META_ARRAY || tokens->item_type != VR_META_STRING) continue;
        VR_TRY(vr_save_meta_string(j->save, "tokenizer.ggml.model", "rwkv", j->err));
        return vr_save_meta_strings(j->save, "tokenizer.ggml.tokens", (const char *const *)tokens->strings, tokens->item_bytes,
                                    tokens->n_items, j->err);
    }
    if (j->config.lm.n_vocab == 65536) {
        VR_TRY(vr_vocab_world(&world, j->err));
        return put_vocab(j, world);
    }
    note(j, "no vocabulary for %d ids: the model takes token ids only (--vocab FILE gives it one)", j->config.lm.n_vocab);
    return VRWKV_OK;
}

static vr_status put_metadata(job *j) {
    if (j->kind == VR_FILE_PTH) return VRWKV_OK;
    char *json = vr_config_json(&j->config);
    if (!json) return vr_fail(j->err, VRWKV_ERR_MEMORY, "out of memory");
    vr_status status = VRWKV_OK;
    if (j->kind == VR_FILE_GGUF) {
        status = vr_save_meta_string(j->save, "general.architecture", "visualrwkv", j->err);
        if (status == VRWKV_OK) status = vr_save_meta_string(j->save, "general.name", j->config.n_towers ? "VisualRWKV" : "RWKV", j->err);
        if (status == VRWKV_OK) status = vr_save_meta_int(j->save, "vrwkv.format", FORMAT_VERSION, j->err);
    }
    if (status == VRWKV_OK) status = vr_save_meta_string(j->save, "vrwkv.config", json, j->err);
    free(json);
    if (status == VRWKV_OK && j->kind == VR_FILE_GGUF) status = choose_vocab(j);
    return status;
}

/* Writing over a source would pull the mapping from under its reader. */
static vr_status check_sources(const vr_convert_options *options, vr_error *err) {
    struct stat out, in;
    if (options->n_sources < 1 || options->n_sources > MAX_SOURCES)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "%d sources, expected 1 to %d", options->n_sources, MAX_SOURCES);
    if (!options->keep_type && (!vr_quant_of(options->type) || !vr_quant_of(options->type)->encode))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "type %s cannot be written", vr_dtype_of(options->type)->name);
    for (int i = 0; i < options->n_sources; i++)
        if (stat(options->out, &out) == 0 && stat(options->sources[i], &in) == 0 && out.st_ino == in.st_ino && out.st_dev == in.st_dev)
            return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s' is both source and target", options->out);
    return VRWKV_OK;
}

static vr_status run_job(job *j) {
    const vr_convert_options *options = j->options;
    VR_TRY(check_sources(options, j->err));
    VR_TRY(vr_file_kind_of(options->out, &j->kind, j->err));
    for (int i = 0; i < options->n_sources; i++) VR_TRY(vr_weights_open(&j->files[i], options->sources[i], NULL, j->err));
    VR_TRY(vr_config_describe(&j->config, j->files, options->n_sources, options->settings, j->err));
    if (!options->keep_type && vr_is_quantised(options->type) && j->kind != VR_FILE_GGUF)
        return vr_fail(j->err, VRWKV_ERR_UNSUPPORTED, "type %s exists only in .gguf files", vr_dtype_of(options->type)->name);
    j->n_parts = vr_config_parts(&j->config, j->parts);
    VR_TRY(vr_save_open(&j->save, options->out, j->err));
    VR_TRY(put_metadata(j));
    VR_TRY(walk(j, declare));
    VR_TRY(tell(j));
    VR_TRY(walk(j, put));
    vr_save *save = j->save;
    j->save = NULL;
    return vr_save_commit(save, j->err);
}

vr_status vr_convert(const vr_convert_options *options, vr_error *err) {
    job j = {.options = options, .err = err};
    vr_status status = run_job(&j);
    vr_save_abandon(j.save);
    for (int i = 0; i < MAX_SOURCES; i++) vr_weights_close(j.files[i]);
    return status;
}
