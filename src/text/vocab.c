/* The vocabulary: a store of byte strings by id, and the index for encoding beside it. */
#include "base/memory.h"
#include "text/store.h"

#include <stdlib.h>
#include <string.h>

static vr_status fill(vr_vocab *vocab, const char *const *tokens, const size_t *bytes, size_t total, vr_error *err) {
    vocab->blob = vr_alloc(total, 1);
    vocab->start = vr_alloc(vocab->n + 1, sizeof *vocab->start);
    if (!vocab->blob || !vocab->start)
        return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a vocabulary of %zu ids, %zu bytes", vocab->n, total);
    uint32_t at = 0;
    for (size_t id = 0; id < vocab->n; id++) {
        vocab->start[id] = at;
        if (!tokens[id] || !bytes[id]) continue;
        memcpy(vocab->blob + at, tokens[id], bytes[id]);
        at += (uint32_t)bytes[id];
    }
    vocab->start[vocab->n] = at;
    return vr_trie_make(&vocab->trie, vocab->blob, vocab->start, vocab->n, err);
}

vr_status vr_vocab_make(vr_vocab **out, const char *const *tokens, const size_t *bytes, size_t n, vr_error *err) {
    size_t total = 0;
    *out = NULL;
    while (n && (!tokens[n - 1] || !bytes[n - 1])) n--;
    if (n > VR_TRIE_MAX_IDS)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "vocabulary of %zu ids; at most %zu are supported", n, VR_TRIE_MAX_IDS);
    for (size_t id = 0; id < n; id++)
        if (tokens[id] && (__builtin_add_overflow(total, bytes[id], &total) || total > UINT32_MAX))
            return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "vocabulary's tokens are longer than %u bytes in all", UINT32_MAX);
    vr_vocab *vocab = vr_alloc(1, sizeof *vocab);
    if (!vocab) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a vocabulary");
    vocab->n = n;
    vr_status status = fill(vocab, tokens, bytes, total, err);
    if (status != VRWKV_OK) {
        vr_vocab_free(vocab);
        return status;
    }
    *out = vocab;
    return VRWKV_OK;
}

void vr_vocab_free(vr_vocab *vocab) {
    if (!vocab) return;
    vr_trie_free(&vocab->trie);
    free(vocab->blob);
    free(vocab->start);
    free(vocab);
}

size_t vr_vocab_size(const vr_vocab *vocab) { return vocab->n; }

const char *vr_vocab_token(const vr_vocab *vocab, int64_t id, size_t *bytes) {
    *bytes = 0;
    if (id < 0 || (uint64_t)id >= vocab->n) return NULL;
    *bytes = vocab->start[id + 1] - vocab->start[id];
    return *bytes ? vocab->blob + vocab->start[id] : NULL;
}
