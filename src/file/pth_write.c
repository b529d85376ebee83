/* Writes PyTorch checkpoints: an OrderedDict of contiguous tensors, each with a storage of its own, in
 * the members and opcodes that torch.load(weights_only=True) of 1.13 and later accepts.
 *
 * archive/data.pkl, byteorder, data/0 .. data/n-1 (n-th declared tensor, 64-byte aligned), version. */
#include "file/internal.h"

#include <stdlib.h>

static const char *const storage_names[VR_DTYPE_COUNT] = {
    [VR_F32] = "FloatStorage", [VR_F16] = "HalfStorage",  [VR_BF16] = "BFloat16Storage", [VR_F64] = "DoubleStorage",
    [VR_I8] = "CharStorage",   [VR_U8] = "ByteStorage",   [VR_I16] = "ShortStorage",     [VR_I32] = "IntStorage",
    [VR_I64] = "LongStorage",  [VR_BOOL] = "BoolStorage",
};

/* PyTorch's own writer gives dicts items in batches of this many. */
#define BATCH 1000

vr_status vr_pth_check(vr_save *save, const vr_entry *entry, vr_error *err) {
    if (storage_names[entry->dtype]) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "'%s': tensor '%s' of type %s cannot be stored in a .pth file", save->writer.path,
                   entry->name, vr_dtype_of(entry->dtype)->name);
}

static void put_op(vr_buffer *buffer, unsigned char op) { vr_buffer_put(buffer, &op, 1); }

static void put_int(vr_buffer *buffer, int64_t value) {
    if (value < 256) {
        put_op(buffer, 'K');
        vr_buffer_number(buffer, (uint64_t)value, 1);
    } else if (value <= INT32_MAX) {
        put_op(buffer, 'J');
        vr_buffer_number(buffer, (uint64_t)value, 4);
    } else {
        put_op(buffer, 0x8a);
        vr_buffer_number(buffer, 8, 1);
        vr_buffer_number(buffer, (uint64_t)value, 8);
    }
}

static void put_text(vr_buffer *buffer, const char *text) {
    put_op(buffer, 'X');
    vr_buffer_number(buffer, strlen(text), 4);
    vr_buffer_put(buffer, text, strlen(text));
}

static void put_global(vr_buffer *buffer, const char *module, const char *name) {
    put_op(buffer, 'c');
    vr_buffer_put(buffer, module, strlen(module));
    put_op(buffer, '\n');
    vr_buffer_put(buffer, name, strlen(name));
    put_op(buffer, '\n');
}

static void put_ints(vr_buffer *buffer, int n, const int64_t *values) {
    if (n) put_op(buffer, '(');
    for (int i = 0; i < n; i++) put_int(buffer, values[i]);
    put_op(buffer, n ? 't' : ')');
}

/* OrderedDict() */
static void put_dict(vr_buffer *buffer) {
    put_global(buffer, "collections", "OrderedDict");
    vr_buffer_put(buffer, ")R", 2);
}

/* _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()) */
static void put_tensor(vr_buffer *buffer, const vr_entry *entry, size_t key) {
    char text[24];
    int64_t stride[VR_MAX_DIMS], count = 1;
    for (int i = entry->ndim; i-- > 0;) {
        stride[i] = count;
        count *= entry->shape[i] > 1 ? entry->shape[i] : 1;
    }
    put_global(buffer, "torch._utils", "_rebuild_tensor_v2");
    vr_buffer_put(buffer, "((", 2);
    put_text(buffer, "storage");
    put_global(buffer, "torch", storage_names[entry->dtype]);
    snprintf(text, sizeof text, "%zu", key);
    put_text(buffer, text);
    put_text(buffer, "cpu");
    put_int(buffer, (int64_t)(entry->bytes / (uint64_t)vr_dtype_of(entry->dtype)->bytes));
    vr_buffer_put(buffer, "tQ", 2);
    put_int(buffer, 0);
    put_ints(buffer, entry->ndim, entry->shape);
    put_ints(buffer, entry->ndim, stride);
    put_op(buffer, 0x89);
    put_dict(buffer);
    vr_buffer_put(buffer, "tR", 2);
}

static void put_pickle(vr_buffer *buffer, const vr_save *save) {
    vr_buffer_put(buffer, "\x80\x02", 2);
    put_dict(buffer);
    for (size_t i = 0; i < save->n_entries; i++) {
        if (i % BATCH == 0) put_op(buffer, '(');
        put_text(buffer, save->entries[i].name);
        put_tensor(buffer, &save->entries[i], i);
        if (i % BATCH == BATCH - 1 || i + 1 == save->n_entries) put_op(buffer, 'u');
    }
    put_op(buffer, '.');
}

static vr_status put_member(vr_save *save, const char *name, const void *data, size_t bytes, vr_error *err) {
    VR_TRY(vr_zip_begin(&save->zip, name, bytes, err));
    return vr_zip_put(&save->zip, data, bytes, err);
}

vr_status vr_pth_begin(vr_save *save, vr_error *err) {
    vr_buffer pickle = {0};
    put_pickle(&pickle, save);
    save->zip.out = &save->writer;
    vr_status status = pickle.failed ? vr_fail(err, VRWKV_ERR_MEMORY, "out of memory")
                                     : put_member(save, "archive/data.pkl", pickle.data, pickle.n, err);
    free(pickle.data);
    VR_TRY(status);
    return put_member(save, "archive/byteorder", "little", 6, err);
}

vr_status vr_pth_tensor(vr_save *save, size_t index, vr_error *err) {
    char name[40];
    snprintf(name, sizeof name, "archive/data/%zu", index);
    return vr_zip_begin(&save->zip, name, save->entries[index].bytes, err);
}

vr_status vr_pth_data(vr_save *save, const void *data, size_t bytes, vr_error *err) {
    return vr_zip_put(&save->zip, data, bytes, err);
}

vr_status vr_pth_end(vr_save *save, vr_error *err) {
    VR_TRY(put_member(save, "archive/version", "3\n", 2, err));
    return vr_zip_finish(&save->zip, err);
}
