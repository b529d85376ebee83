/* Any bytes as a tensor file of one format, from memory: open, then read all tensors that are small. Included
 * by a target per format, so that each has a corpus of its own. */
#include "file/internal.h"

#include <stdlib.h>

#define READ_LIMIT ((uint64_t)1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_tensor_file(const uint8_t *data, size_t size, vr_file_kind kind) {
    vr_weights *weights = NULL;
    vr_error err = {0};
    uint64_t budget = READ_LIMIT; /* many views of one storage would only cost time */
    if (vr_weights_open_memory(&weights, data, size, NULL, &err) != VRWKV_OK) return;
    if (vr_weights_kind(weights) != kind) budget = 0;
    for (size_t i = 0; i < vr_weights_count(weights); i++) {
        const vr_entry *entry = vr_weights_at(weights, i);
        const unsigned char *mapped = vr_weights_data(weights, entry);
        if (entry->bytes > budget) continue;
        unsigned char *out = malloc(entry->bytes ? entry->bytes : 1);
        /* What is mapped and what is read must be the same. */
        if (out && vr_weights_read(weights, entry, out, &err) == VRWKV_OK && mapped && entry->bytes &&
            memcmp(out, mapped, entry->bytes) != 0)
            abort();
        budget -= entry->bytes;
        free(out);
    }
    vr_weights_close(weights);
}
