/* Files of states and adapters for a small model: the first byte chooses which. A state that is refused
 * leaves the conversation as it was; one that is taken can be read on from. */
#include "vl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char description[] =
    "{\"version\":\"v6.0\",\"rwkv\":\"x060\",\"n_layer\":1,\"n_embd\":8,\"dim_att\":8,\"head_size\":4,\"vocab_size\":5,"
    "\"dim_ffn\":8,\"rank_mix\":1,\"rank_decay\":1,\"towers\":[]}";
static vrwkv_model *model;
static vrwkv_context *context;

static void make_model(void) {
    vr_error err;
    if (vr_model_random(description, VR_F32, VR_F32, &(vrwkv_model_options){.threads = 1}, &model, &err) != VRWKV_OK ||
        vrwkv_context_new(model, NULL, &context, &err) != VRWKV_OK)
        abort();
    snprintf(model->info.fingerprint, sizeof model->info.fingerprint, "small"); /* files in the corpus stay its own */
}

static void load_state(const uint8_t *data, size_t size) {
    const int32_t ids[] = {1, 2, 3};
    static float before[4096];
    size_t bytes = (size_t)model->state_floats * sizeof(float);
    char path[64];
    vr_error err = {0};
    int fd = memfd_create("state", 0);
    if (fd < 0 || bytes > sizeof before || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    vrwkv_context_reset(context);
    if (vrwkv_feed(context, ids, 3, NULL, 0, &err) != VRWKV_OK) abort();
    memcpy(before, context->state, bytes);
    uint64_t length = context->length;
    if (vrwkv_state_load(context, path, &err) != VRWKV_OK) {
        if (!err.message[0] || length != context->length || memcmp(before, context->state, bytes) != 0) abort();
    } else if (vrwkv_feed(context, ids, 2, NULL, 0, &err) != VRWKV_OK) {
        abort();
    }
    close(fd);
}

static void load_adapters(const uint8_t *data, size_t size) {
    vr_error err = {0};
    size_t n_owned = model->owned.n;
    if (vr_weights_open_memory(&model->adapter_file, data, size, NULL, &err) != VRWKV_OK) return;
    bool loaded = vr_model_load_adapters(model, &err) == VRWKV_OK;
    if (loaded ? model->n_adapters < 1 : !err.message[0]) abort();
    for (int i = 0; i < model->n_adapters; i++)
        if (model->adapters[i].a.shape[0] != model->adapters[i].b.shape[1]) abort();
    if (loaded) load_state(NULL, 0); /* reads three ids with the adapters in place */
    while (model->owned.n > n_owned) free(model->owned.items[--model->owned.n]);
    free(model->adapters);
    model->adapters = NULL;
    model->n_adapters = 0;
    vr_weights_close(model->adapter_file);
    model->adapter_file = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    if (!model) make_model();
    if (data[0] & 1)
        load_state(data + 1, size - 1);
    else
        load_adapters(data + 1, size - 1);
    return 0;
}
