#include "eval/model.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct vr_lm {
    vrwkv_model *model;
    vrwkv_context *prompt;    /* the caller's */
    vrwkv_context **branches; /* [n_branches] */
    bool *started;            /* [n_branches] */
    vrwkv_context **active;   /* [n_branches] of one step */
    size_t n_branches;
    vrwkv_context *begun, *work; /* of sequences: the beginning that the next may share, and what goes on from it */
    size_t n_begun;
};

/* ---- text and ids ---- */

vr_status vr_model_encode_text(vrwkv_model *model, vr_slice text, vr_id_list *ids, vr_error *err) {
    size_t count;
    VR_TRY(vrwkv_tokenize(model, text.p, text.n, NULL, 0, &count, err));
    VR_TRY(vr_grow(&ids->items, &ids->room, ids->n + count, sizeof *ids->items, err));
    VR_TRY(vrwkv_tokenize(model, text.p, text.n, ids->items + ids->n, count, &count, err));
    ids->n += count;
    return VRWKV_OK;
}

vr_status vr_model_decode_text(vrwkv_model *model, const int32_t *ids, size_t n, vr_str *text, vr_error *err) {
    size_t length;
    VR_TRY(vrwkv_detokenize(model, ids, n, NULL, 0, &length, err));
    VR_TRY(vr_grow(&text->data, &text->room, text->n + length + 1, 1, err));
    VR_TRY(vrwkv_detokenize(model, ids, n, text->data + text->n, length + 1, &length, err));
    text->n += length;
    return VRWKV_OK;
}

/* ---- branches of a prompt ---- */

void vr_lm_prompt(vr_lm *lm, vrwkv_context *prompt) {
    lm->prompt = prompt;
    memset(lm->started, 0, lm->n_branches * sizeof *lm->started);
}

static const float *prompt_logits(void *user) { return vrwkv_logits(((vr_lm *)user)->prompt); }

static vr_status branch(void *user, const size_t *branches, const int32_t *tokens, size_t n, const float **logits,
                        vr_error *err) {
    vr_lm *lm = user;
    for (size_t i = 0; i < n; i++) {
        size_t b = branches[i];
        if (!lm->started[b]) VR_TRY(vrwkv_copy(lm->branches[b], lm->prompt, err));
        lm->started[b] = true;
        lm->active[i] = lm->branches[b];
    }
    VR_TRY(vrwkv_decode(lm->active, n, tokens, err));
    for (size_t i = 0; i < n; i++) logits[i] = vrwkv_logits(lm->active[i]);
    return VRWKV_OK;
}

/* ---- sequences ---- */

typedef struct watching {
    void (*row)(void *row_user, size_t i, const float *logits);
    void *row_user;
    size_t next; /* id that the next row predicts */
} watching;

/* The logits of every row that is read are one of the activations that can be traced. */
static void watch(void *user, const char *name, int ndim, const int64_t *shape, const float *data) {
    watching *to = user;
    if (strcmp(name, "logits") != 0 || ndim != 2) return;
    for (int64_t r = 0; r < shape[0]; r++) to->row(to->row_user, to->next++, data + r * shape[1]);
}

/* `begun` has read ids[0..from) where nothing is shared, else as much as is shared. */
static vr_status begin(vr_lm *lm, const int32_t *ids, size_t from, size_t kept, vr_error *err) {
    size_t n = kept ? kept : from;
    if (kept == 0 || kept != lm->n_begun) {
        vrwkv_context_reset(lm->begun);
        lm->n_begun = 0;
        VR_TRY(vrwkv_feed(lm->begun, ids, n, NULL, 0, err));
        lm->n_begun = n;
    }
    VR_TRY(vrwkv_copy(lm->work, lm->begun, err));
    return vrwkv_feed(lm->work, ids + n, from - n, NULL, 0, err);
}

static vr_status sequence(void *user, const int32_t *ids, size_t n, size_t from, size_t kept,
                          void (*row)(void *row_user, size_t i, const float *logits), void *row_user, vr_error *err) {
    vr_lm *lm = user;
    watching to = {row, row_user, from + 1};
    VR_TRY(begin(lm, ids, from, kept, err));
    row(row_user, from, vrwkv_logits(lm->work));
    if (from + 1 >= n) return VRWKV_OK;
    vrwkv_set_trace(lm->work, watch, &to);
    vr_status status = vrwkv_feed(lm->work, ids + from, n - 1 - from, NULL, 0, err);
    vrwkv_set_trace(lm->work, NULL, NULL);
    return status;
}

/* ---- opening ---- */

static vr_status encode(void *user, vr_slice text, vr_id_list *ids, vr_error *err) {
    return vr_model_encode_text(((vr_lm *)user)->model, text, ids, err);
}

static vr_status decode(void *user, const int32_t *ids, size_t n, vr_str *text, vr_error *err) {
    return vr_model_decode_text(((vr_lm *)user)->model, ids, n, text, err);
}

static vr_status open_contexts(vr_lm *lm, vr_error *err) {
    const vrwkv_context_options bare = {.manner = VRWKV_ORIGINAL, .padding = VRWKV_PAD_NONE, .no_blank_image = 1};
    VR_TRY(vrwkv_context_new(lm->model, &bare, &lm->begun, err));
    VR_TRY(vrwkv_context_new(lm->model, &bare, &lm->work, err));
    for (size_t i = 0; i < lm->n_branches; i++) VR_TRY(vrwkv_context_new(lm->model, &bare, &lm->branches[i], err));
    return VRWKV_OK;
}

vr_status vr_lm_open(vr_lm **out, vrwkv_model *model, size_t branches, vr_error *err) {
    vr_lm *lm = *out = vr_alloc(1, sizeof *lm);
    if (!lm) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *lm = (vr_lm){.model = model, .n_branches = branches, .branches = vr_alloc(branches, sizeof *lm->branches),
                  .started = vr_alloc(branches, sizeof *lm->started), .active = vr_alloc(branches, sizeof *lm->active)};
    vr_status status = lm->branches && lm->started && lm->active
                           ? open_contexts(lm, err)
                           : vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu branches", branches);
    if (status == VRWKV_OK) return VRWKV_OK;
    vr_lm_close(lm);
    *out = NULL;
    return status;
}

void vr_lm_close(vr_lm *lm) {
    if (!lm) return;
    for (size_t i = 0; lm->branches && i < lm->n_branches; i++) vrwkv_context_free(lm->branches[i]);
    vrwkv_context_free(lm->begun);
    vrwkv_context_free(lm->work);
    free(lm->branches);
    free(lm->started);
    free(lm->active);
    free(lm);
}

vr_predictor vr_lm_predictor(vr_lm *lm) {
    return (vr_predictor){.user = lm, .n_vocab = vrwkv_model_info(lm->model)->n_vocab, .encode = encode, .decode = decode,
                          .branch = branch, .prompt_logits = prompt_logits, .sequence = sequence};
}
