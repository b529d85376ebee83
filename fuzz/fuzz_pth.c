/* Any bytes as a .pth file. */
#include "any_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return open_and_read(data, size, VR_FILE_PTH); }
