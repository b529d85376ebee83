/* Prompts: the first byte's bits choose picture, context length and the first speaker; turns follow,
 * separated by byte 0xFF. Both versions and all positions must give consistent ids and labels. */
#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TURNS 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const vr_prompt *prompt, const vr_vocab *vocab, bool has_image, size_t ctx_len) {
    size_t pictures = 0, bytes, text_pictures = 0;
    char *text;
    bool unknown;
    if (strlen(prompt->text) != prompt->text_bytes || (ctx_len && prompt->n != ctx_len)) abort();
    for (size_t i = 0; i < prompt->n; i++) {
        pictures += prompt->ids[i] == VRWKV_IMAGE;
        if (prompt->labels[i] != prompt->ids[i] && prompt->labels[i] != -100) abort();
    }
    if (ctx_len) return;
    for (const char *at = prompt->text; has_image && (at = strstr(at, "<image>")); at += 7) text_pictures++;
    if (pictures != text_pictures) abort();
    if (vr_decode_bytes(vocab, prompt->ids, prompt->n, &text, &bytes, &unknown, NULL) != VRWKV_OK) abort();
    if (bytes + 7 * pictures != prompt->text_bytes || unknown != (pictures > 0)) abort();
    if (!pictures && memcmp(text, prompt->text, bytes)) abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const versions[] = {"v5.1", "v6.0", "v7.00", "v7.01", "v7.02"}, *const speakers[] = {"human", "gpt", "Human"};
    const vr_vocab *vocab = NULL;
    vr_turn turns[MAX_TURNS];
    size_t n = 0;
    if (!size || size > 20000 || vr_vocab_world(&vocab, NULL) != VRWKV_OK) return 0;
    bool has_image = data[0] & 1;
    size_t ctx_len = data[0] & 2 ? data[0] >> 3 : 0, speaker = data[0] >> 2 & 1;
    char *copy = malloc(size);
    if (!copy) return 0;
    memcpy(copy, data + 1, size - 1);
    copy[size - 1] = 0;
    for (char *at = copy, *end = copy + size; n < MAX_TURNS && at < end;) {
        char *stop = memchr(at, 0xFF, (size_t)(end - at));
        if (stop) *stop = 0;
        turns[n] = (vr_turn){speakers[(n + speaker) % 3], at};
        n++;
        at = stop ? stop + 1 : end;
    }
    for (size_t v = 0; v < VR_COUNT(versions); v++)
        for (int position = VR_IMAGE_FIRST; position <= VR_IMAGE_MIDDLE; position++) {
            vr_prompt prompt;
            vr_error err = {0};
            vr_prompt_options how = {.has_image = has_image, .position = (vr_position)position, .ctx_len = ctx_len,
                                     .dummy = has_image, .regions = (int)(size % 3)};
            vr_status status = vr_prompt_build(&prompt, vr_template_find(versions[v]), vocab, turns, n, &how, &err);
            if (status != VRWKV_OK && (versions[v][1] != '7' || !err.message[0])) abort(); /* v7: too many marks */
            if (status == VRWKV_OK) check(&prompt, vocab, has_image || versions[v][1] == '7', ctx_len);
            vr_prompt_free(&prompt);
        }
    free(copy);
    return 0;
}
