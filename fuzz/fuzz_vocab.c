/* The line grammar of vocabularies. What parses must encode its own text back, and an unknown byte
 * must be an error. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vr_vocab *vocab = NULL;
    vr_error err = {0};
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0, bytes;
    char *text = NULL;
    bool unknown;
    if (vr_vocab_parse(&vocab, (const char *)data, size, &err) != VRWKV_OK) {
        if (vocab || !err.message[0]) abort();
        return 0;
    }
    if (vr_encode(vocab, (const char *)data, size, &ids, &count, &capacity, &err) == VRWKV_OK) {
        if (vr_decode_bytes(vocab, ids, count, &text, &bytes, &unknown, &err) != VRWKV_OK || unknown) abort();
        if (bytes != size || memcmp(text, data, size)) abort();
        free(text);
    }
    for (size_t id = 0; id < vr_vocab_size(vocab) && id < 1000; id++) {
        const char *token = vr_vocab_token(vocab, (int64_t)id, &bytes);
        if (!token) continue;
        count = 0;
        if (vr_encode(vocab, token, bytes, &ids, &count, &capacity, &err) != VRWKV_OK || count != 1 || ids[0] > (int32_t)id) abort();
    }
    free(ids);
    vr_vocab_free(vocab);
    return 0;
}
