#include "train/vocabulary.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct collector {
    const vr_vocab *from;
    bool *used; /* [size of from] */
    int32_t *ids;
    size_t n, capacity;
    vr_error *err;
} collector;

static vr_status collect_text(collector *c, const char *text, size_t n) {
    c->n = 0;
    VR_TRY(vr_encode(c->from, text, n, &c->ids, &c->n, &c->capacity, c->err));
    for (size_t i = 0; i < c->n; i++) c->used[c->ids[i]] = true;
    return VRWKV_OK;
}

/* Prompts cut texts at pictures' marks, which they put in several places. */
static vr_status collect_prompts(collector *c, const vr_template *rules, const vr_turn *turns, size_t n, bool has_image) {
    for (int position = VR_IMAGE_FIRST; position <= VR_IMAGE_MIDDLE; position++) {
        vr_prompt prompt = {0};
        vr_prompt_options how = {.has_image = has_image, .position = (vr_position)position, .dummy = true};
        VR_TRY(vr_prompt_build(&prompt, rules, c->from, turns, n, &how, c->err));
        for (size_t i = 0; i < prompt.n; i++)
            if (prompt.ids[i] >= 0) c->used[prompt.ids[i]] = true;
        vr_prompt_free(&prompt);
    }
    return VRWKV_OK;
}

static vr_status collect_data(collector *c, const vr_dataset *data) {
    static const char *const templates[] = {"v6.0", "v7.00"};
    vr_error *err = c->err, inner = {0};
    vr_status status = VRWKV_OK;
    for (int64_t i = 0; i < vr_dataset_size(data) && status == VRWKV_OK; i++) {
        vr_record record;
        VR_TRY(vr_dataset_read(data, i, &record, err));
        c->err = &inner;
        for (size_t t = 0; t < VR_COUNT(templates) && status == VRWKV_OK; t++)
            status = collect_prompts(c, vr_template_find(templates[t]), record.turns, record.n_turns, record.n_images > 0);
        c->err = err;
        if (status != VRWKV_OK)
            vr_fail(err, status, "'%s', line %lld: sample %lld: %s", vr_dataset_path(data), (long long)record.line,
                    (long long)i, inner.message);
        vr_record_free(&record);
    }
    return status;
}

/* Tokens that a prompt is made of whatever the data says, and the single bytes. */
static vr_status collect_always(collector *c, int32_t stop, int32_t pad) {
    static const char *const texts[] = {"User: ", "User:", "Assistant: ", "Assistant:", "\n\n", "\n"};
    for (size_t i = 0; i < VR_COUNT(texts); i++) VR_TRY(collect_text(c, texts[i], strlen(texts[i])));
    for (int byte = 0; byte < 256; byte++) {
        char one = (char)byte;
        VR_TRY(collect_text(c, &one, 1));
    }
    if (stop > 0) c->used[stop] = true;
    if (pad > 0) c->used[pad] = true;
    return VRWKV_OK;
}

static vr_status number(vr_small_vocab *out, const collector *c, int32_t stop, int32_t pad) {
    size_t size = vr_vocab_size(c->from), n = 1;
    for (size_t id = 1; id < size; id++) n += c->used[id];
    const char **tokens = vr_alloc(n, sizeof *tokens);
    size_t *bytes = vr_alloc(n, sizeof *bytes);
    out->old = vr_alloc(n, sizeof *out->old);
    vr_status status =
        tokens && bytes && out->old ? VRWKV_OK : vr_fail(c->err, VRWKV_ERR_MEMORY, "out of memory for %zu tokens", n);
    for (size_t id = 1; id < size && status == VRWKV_OK; id++) {
        if (!c->used[id]) continue;
        int k = ++out->n;
        tokens[k] = vr_vocab_token(c->from, (int64_t)id, &bytes[k]);
        out->old[k] = (int32_t)id;
        if ((int32_t)id == stop) out->stop = k;
        if ((int32_t)id == pad) out->pad = k;
    }
    out->n++;
    if (status == VRWKV_OK) status = vr_vocab_make(&out->vocab, tokens, bytes, n, c->err);
    free(tokens);
    free(bytes);
    return status;
}

vr_status vr_small_vocab_make(vr_small_vocab *out, const vr_vocab *from, vr_dataset *const *data, int n, int32_t stop,
                              int32_t pad, vr_error *err) {
    collector c = {.from = from, .used = vr_alloc(vr_vocab_size(from), 1), .err = err};
    *out = (vr_small_vocab){.stop = 0, .pad = 0};
    vr_status status = c.used ? collect_always(&c, stop, pad) : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (int i = 0; i < n && status == VRWKV_OK; i++) status = collect_data(&c, data[i]);
    if (status == VRWKV_OK) status = number(out, &c, stop, pad);
    free(c.used);
    free(c.ids);
    if (status != VRWKV_OK) vr_small_vocab_free(out);
    return status;
}

void vr_small_vocab_free(vr_small_vocab *small) {
    vr_vocab_free(small->vocab);
    free(small->old);
    *small = (vr_small_vocab){0};
}

/* The rows old[0..n-1] of a stored matrix, in memory of the model's. */
static vr_status pick(vrwkv_model *model, vr_tensor *table, const vr_small_vocab *small, vr_error *err) {
    uint64_t row;
    VR_TRY(vr_shape_bytes(table->dtype, 1, &table->shape[1], &row)
               ? VRWKV_OK
               : vr_fail(err, VRWKV_ERR_SHAPE, "a table of tokens without rows"));
    char *rows = vr_owned_get(&model->owned, (size_t)row * (size_t)small->n, err);
    if (!rows) return VRWKV_ERR_MEMORY;
    for (int i = 0; i < small->n; i++)
        memcpy(rows + (size_t)i * row, (const char *)table->data + (size_t)small->old[i] * row, (size_t)row);
    table->data = rows;
    table->shape[0] = small->n;
    return VRWKV_OK;
}

vr_status vr_small_vocab_apply(vr_small_vocab *small, vrwkv_model *model, vr_error *err) {
    if (model->config.lm.n_vocab != small->n) {
        VR_TRY(pick(model, &model->lm.emb, small, err));
        VR_TRY(pick(model, &model->lm.head, small, err));
    }
    model->config.lm.n_vocab = model->lm.dims.n_vocab = model->info.n_vocab = small->n;
    model->config.stop_token = model->info.stop_token = small->stop;
    model->config.pad_token = model->info.pad_token = small->pad;
    vr_vocab_free(model->own_vocab);
    model->own_vocab = small->vocab;
    model->vocab = small->vocab;
    small->vocab = NULL;
    return VRWKV_OK;
}
