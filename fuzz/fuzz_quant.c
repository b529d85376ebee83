/* Stored blocks: the first byte chooses the type, the rest is decoded. Where the type can be written, the
 * numbers are encoded again; any numbers at all, NaN and infinities too, must do no harm. */
#include "ops/quant.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    vr_dtype type = (vr_dtype)(data[0] % VR_DTYPE_COUNT);
    const vr_quant *quant = vr_quant_of(type);
    if (!quant) return 0; /* packed order: these bytes in another order */
    const vr_dtype_info *info = vr_dtype_of(type);
    int64_t blocks = (int64_t)(size - 1) / info->bytes, n = blocks * info->block;
    uint64_t bytes = (uint64_t)blocks * (uint64_t)info->bytes;
    char *copy = malloc(bytes + 1); /* of exact size, so that a sanitizer sees each step too far */
    float *numbers = malloc((size_t)n * sizeof *numbers + 1);
    if (copy && numbers) {
        memcpy(copy, data + 1, bytes);
        quant->decode(numbers, copy, n);
        if (quant->encode) quant->encode(copy, numbers, n);
        n = (int64_t)((size - 1) / sizeof *numbers) / info->block * info->block; /* the same bytes as numbers */
        float *raw = realloc(numbers, (size_t)n * sizeof *numbers + 1);
        char *coded = realloc(copy, (size_t)(n / info->block) * (size_t)info->bytes + 1);
        if (raw) numbers = raw;
        if (coded) copy = coded;
        if (raw && coded && quant->encode) {
            memcpy(numbers, data + 1, (size_t)n * sizeof *numbers);
            quant->encode(copy, numbers, n);
            quant->decode(numbers, copy, n);
        }
    }
    free(copy);
    free(numbers);
    return 0;
}
