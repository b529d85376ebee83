/* convert: any sources to one model file, streamed tensor by tensor. */
#ifndef VR_VL_CONVERT_H
#define VR_VL_CONVERT_H
#include "vl/config.h"

typedef struct vr_tower_file { const char *type, *path; } vr_tower_file;

/* Types of single matrices, by their names in our GGUF, and how they came to be: a JSON text that a .gguf keeps as
 * metadata (docs/FORMATS.md). */
#define VR_QUANTISATION_KEY "vrwkv.quantisation"
typedef struct vr_tensor_type { char name[VR_NAME_SIZE]; vr_dtype type; } vr_tensor_type;
typedef struct vr_type_table {
    vr_tensor_type *items;
    size_t n;
    char *report;
} vr_type_table;

typedef struct vr_convert_options {
    const char *const *sources; /* files; merged, the first that has a tensor wins */
    int n_sources;
    const vr_tower_file *towers; /* further towers, from their own files; a model without a projector gets a */
    int n_towers;                /* fresh one (the setting "fresh_projector" must be there), drawn from the seed */
    uint64_t seed;
    const char *out;            /* ending decides: .gguf, .safetensors, .pth */
    vr_dtype type;              /* of matrices */
    const vr_dtype *vision_type; /* of the matrices of towers, projector and compressor; NULL: as all others */
    const vr_type_table *types; /* wins over both, for the matrices in it; NULL: none */
    bool keep_type;             /* true: matrices stay as they came, `type` is ignored */
    bool split;                 /* of NAME.gguf also NAME-rwkv.gguf, the language model as llama.cpp keeps it, and
                                   NAME-mmproj.gguf, the rest */
    int rescale;                /* there: the residual stream is halved after so many layers; 0: never */
    int threads;                /* 0: one per core */
    const vr_settings *settings;
    const char *vocab_file;     /* in the world vocabulary's line grammar; NULL: the source's own, else
                                   the world vocabulary for 65,536 rows, else none */
    vrwkv_progress_fn progress;
    vrwkv_log_fn log;           /* notes: no vocabulary, a row kept wider, ... */
    void *user;
} vr_convert_options;

vr_status vr_convert(const vr_convert_options *options, vr_error *err);
#endif
