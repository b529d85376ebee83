#include "train/reply.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 64 };

typedef struct text {
    char *data;
    size_t n, capacity;
    vr_error *err;
} text;

static int collect(void *user, int32_t token, const char *bytes, size_t n) {
    text *t = user;
    (void)token;
    if (vr_grow(&t->data, &t->capacity, t->n + n + 1, 1, t->err) != VRWKV_OK) return 1;
    memcpy(t->data + t->n, bytes, n);
    t->n += n;
    t->data[t->n] = 0;
    return 0;
}

/* The answer that is wanted: the last turn of "gpt", with all that stands behind it left out. */
static size_t find_answer(const vr_record *record) {
    for (size_t i = record->n_turns; i > 0; i--)
        if (strcmp(record->turns[i - 1].from, "gpt") == 0) return i;
    return 0;
}

static vr_status generate(vrwkv_model *model, const vr_example *e, vrwkv_features *const *images,
                          const vr_example_options *options, text *out, vr_error *err) {
    const vrwkv_context_options how = {.manner = options->manner,
                                       .sampling = {.top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_decay = 1}};
    const vrwkv_generate_options limits = {.max_tokens = MOST_TOKENS};
    vrwkv_context *context;
    VR_TRY(vrwkv_context_new(model, &how, &context, err));
    vr_status status = vrwkv_feed(context, e->sample.ids, e->sample.n, images, (size_t)e->sample.n_pictures, err);
    if (status == VRWKV_OK) status = vrwkv_generate(context, &limits, collect, out, NULL, err);
    vrwkv_context_free(context);
    return status;
}

static vr_status answer(vrwkv_model *model, const vr_example *e, const vr_example_options *options, text *out,
                        vr_error *err) {
    size_t n = (size_t)e->sample.n_pictures, made = 0;
    vrwkv_features **images = vr_alloc(n + 1, sizeof *images);
    vr_status status = images ? VRWKV_OK : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    for (; made < n && status == VRWKV_OK; made += status == VRWKV_OK)
        status = vr_model_encode(model, &e->pictures[made], &images[made], err);
    if (status == VRWKV_OK) status = generate(model, e, images, options, out, err);
    while (made-- > 0) vrwkv_features_free(images[made]);
    free(images);
    return status;
}

vr_status vr_reply_make(vr_reply *out, const vr_dataset *dataset, int64_t index, vrwkv_model *model,
                         const vr_example_options *options, vr_error *err) {
    vr_record record;
    vr_example example;
    vr_example_options how = *options;
    *out = (vr_reply){0};
    how.known = NULL;
    how.fill_up = false;
    VR_TRY(vr_dataset_read(dataset, index, &record, err));
    size_t turns = find_answer(&record);
    vr_status status = VRWKV_OK;
    if (turns) {
        text made = {.err = err};
        out->expected = vr_strdup(record.turns[turns - 1].value);
        out->question = vr_strdup(turns > 1 ? record.turns[turns - 2].value : "");
        record.turns[turns - 1].value = "";
        record.n_turns = turns;
        status = vr_example_of(&example, &record, model, &how, err);
        if (status == VRWKV_OK) {
            status = answer(model, &example, &how, &made, err);
            vr_example_free(&example);
        }
        out->answer = made.data ? made.data : vr_strdup("");
        if (status == VRWKV_OK && (!out->expected || !out->question || !out->answer))
            status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    }
    vr_record_free(&record);
    if (status != VRWKV_OK) vr_reply_free(out);
    return status;
}

void vr_reply_free(vr_reply *answer) {
    free(answer->question);
    free(answer->expected);
    free(answer->answer);
    *answer = (vr_reply){0};
}
