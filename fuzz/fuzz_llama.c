/* GGUF and .bin files as models: what any metadata, names and shapes make of a description, which rows are
 * found, and what becomes of a vocabulary's escapes. */
#include "file/internal.h"
#include "vl/load.h"

#include <stdlib.h>

#define READ_LIMIT ((uint64_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(vr_weights *file) {
    const vr_want wants[] = {{.model_order = true}, {.f32 = true}, {.model_order = true, .halvings = 1}};
    vr_config config;
    vr_part parts[VR_MAX_PARTS];
    vr_error err = {0};
    if (vr_config_describe(&config, &file, 1, NULL, &err) != VRWKV_OK) return;
    int n = vr_config_parts(&config, parts);
    for (int p = 0; p < n; p++)
        for (int r = 0; r < parts[p].n_rows; r++)
            for (size_t w = 0; w < VR_COUNT(wants); w++) {
                vr_source source;
                vr_numbers numbers;
                if (vr_row_find(&file, 1, &parts[p], &parts[p].rows[r], parts[p].repeat - 1, &source, &err) != VRWKV_OK ||
                    !source.found.entry || source.found.entry->bytes > READ_LIMIT)
                    continue;
                if (vr_source_read(&source, &parts[p].rows[r], &wants[w], &numbers, &err) == VRWKV_OK) free(numbers.owned);
            }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vr_weights *file = NULL;
    vr_vocab *vocab = NULL;
    vr_error err = {0};
    if (vr_weights_open_memory(&file, data, size, NULL, &err) != VRWKV_OK) return 0;
    look(file);
    if (vr_stored_vocab(&vocab, file, &err) == VRWKV_OK) vr_vocab_free(vocab);
    vr_weights_close(file);
    return 0;
}
