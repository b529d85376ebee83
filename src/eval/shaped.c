#include "eval/shaped.h"

#include "base/memory.h"
#include "eval/model.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

vr_status vr_words_make(vr_words *words, vrwkv_model *model, vr_error *err) {
    int n = vrwkv_model_info(model)->n_vocab;
    vr_str all = {0};
    *words = (vr_words){.n = n, .from = vr_alloc((size_t)n + 1, sizeof *words->from)};
    if (!words->from) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %d tokens", n);
    for (int32_t i = 0; i < n; i++) {
        size_t before = all.n;
        vr_status status = vr_model_decode_text(model, &i, 1, &all, err);
        if (status != VRWKV_OK) {
            vr_str_free(&all);
            return status;
        }
        bool broken = all.n - before == strlen(VR_UTF8_REPLACEMENT) &&
                      memcmp(all.data + before, VR_UTF8_REPLACEMENT, all.n - before) == 0;
        if (broken) all.n = before;
        words->from[i + 1] = all.n;
    }
    words->text = all.data;
    return VRWKV_OK;
}

void vr_words_free(vr_words *words) {
    free(words->text);
    free(words->from);
    *words = (vr_words){0};
}

int32_t vr_words_choose(const vr_words *words, const float *logits, int32_t stop, vr_shape_state *state) {
    bool first[256]; /* most tokens fail by their first byte, without a copy of the state */
    int32_t best = vr_shape_may_end(state) ? stop : -1;
    vr_shape_state after = *state;
    for (int b = 0; b < 256; b++) {
        vr_shape_state trial = *state;
        first[b] = vr_shape_push(&trial, (unsigned char)b);
    }
    for (int32_t i = 0; i < words->n; i++) {
        const char *text = words->text + words->from[i];
        size_t n = words->from[i + 1] - words->from[i];
        if (!n || !first[(unsigned char)*text] || (best >= 0 && logits[i] <= logits[best])) continue;
        vr_shape_state trial = *state;
        if (!vr_shape_push_all(&trial, text, n)) continue;
        best = i;
        after = trial;
    }
    *state = after;
    return best;
}
