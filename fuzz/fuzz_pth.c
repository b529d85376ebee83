/* .pth: zip and pickle. */
#include "tensor_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_tensor_file(data, size, VR_FILE_PTH);
    return 0;
}
