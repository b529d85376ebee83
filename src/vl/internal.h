/* Types shared by this room's files, and with training, which runs the model's parts itself. */
#ifndef VR_VL_INTERNAL_H
#define VR_VL_INTERNAL_H
#include "base/rng.h"
#include "vl/load.h"
#include "vl/model.h"

#include <pthread.h>
#include <stdatomic.h>

#define VR_MOST_REGIONS 4096 /* of one picture */
bool vr_regions_fit(vr_cut cut, int64_t regions);

/* Scratch memory of one running call; kept by the model for the next. */
typedef struct vr_workspace {
    vr_arena arena;
    struct vr_workspace *next;
} vr_workspace;

struct vrwkv_model {
    vr_config config;
    vrwkv_model_options options;
    vrwkv_info info;
    char *config_json;
    vr_weights *files[2];
    int n_files;
    vr_owned owned;
    vr_rwkv lm;
    vr_tower towers[VR_MAX_TOWERS];
    vr_projector projector;
    vr_rwkv vtc; /* blocks of the compressor, where there is one */
    vr_weights *adapter_file; /* where the model is one of adapters and the model that they were trained on */
    vr_adapter *adapters;     /* [n_adapters], of matrices of the language model's blocks */
    int n_adapters;
    const vr_scan *scan;
    vr_vocab *own_vocab;
    const vr_vocab *vocab;
    vr_pool *pool;
    const vr_kernels *kernels;
    int64_t state_floats;
    pthread_mutex_t lock; /* of the three below */
    vr_workspace *spare;
    float *blank_state; /* after the blank image's rows, computed once */
    vrwkv_features *zero_picture; /* encoded once, likewise */
};

struct vrwkv_features {
    atomic_int owners;
    int rows, width;
    char fingerprint[65];
    float data[]; /* [rows, width] */
};

struct vrwkv_context {
    vrwkv_model *model;
    vrwkv_manner manner;
    bool no_blank_image, has_logits;
    vrwkv_padding padding;
    bool continued; /* a state was loaded: nothing is put in front of what is read first */
    uint64_t length;
    vrwkv_sampling sampling;
    vr_rng rng;
    vrwkv_trace_fn trace;
    void *trace_user;
    int cancelled; /* set by other threads; read by ops through vr_run.cancel */
    float *state;  /* all four arrays lie in one allocation behind the struct */
    float *logits;
    float *counts; /* decayed occurrences of each id among the generated */
    float *backup; /* of state and logits, for vrwkv_score */
};

/* ---- model.c ---- */
/* After the weights have changed: what was computed with them once. */
void vr_model_forget(vrwkv_model *model);
vr_status vr_workspace_get(vrwkv_model *model, vr_workspace **out, vr_error *err);
void vr_workspace_put(vrwkv_model *model, vr_workspace *workspace);
vr_run vr_run_make(vrwkv_model *model, vr_workspace *workspace, const int *cancel, vr_error *err);

/* ---- encode.c ---- */
/* A picture to projected rows in the run's arena; emits pixels, vision, image and what is between,
 * `index` being the picture's number in names, -1 where it is the only one. */
vr_tensor *vr_encode_picture(vr_run *run, vrwkv_model *model, const vr_picture *picture, int index, vrwkv_trace_fn trace,
                             void *user);
/* Its two halves: all towers' channels side by side, [regions * rows, channels]; and pooling, projector
 * and compressor. */
vr_tensor *vr_encode_towers(vr_run *run, vrwkv_model *model, const vr_picture *picture, int index, vrwkv_trace_fn trace, void *user);
/* Features [regions * rows, channels] -> pooled, region by region, likewise: the first step of vr_project. */
vr_tensor *vr_pool_features(vr_run *run, const vrwkv_model *model, vr_tensor *x, int regions);
vr_tensor *vr_project(vr_run *run, vrwkv_model *model, vr_tensor *features, int regions, int index, vrwkv_trace_fn trace,
                      void *user);
/* An activation to a trace callback as it stands. */
void vr_emit(vrwkv_trace_fn trace, void *user, const char *name, const vr_tensor *value);
/* Rows as features of this model, the caller's. */
vr_status vr_features_make(const vrwkv_model *model, int rows, int width, const float *data, vrwkv_features **out, vr_error *err);
/* The features of the zero picture, the model's; encoded at the first call. */
vr_status vr_zero_picture(vrwkv_model *model, vrwkv_features **out, vr_error *err);
/* Rows of a picture that the scan permutes: all but the class row. */
int64_t vr_scanned_rows(const vrwkv_model *model, int64_t image_rows);
/* Copies a picture's rows to where they enter the sequence, in the scan's input order. */
vr_status vr_place_image(const vrwkv_model *model, const vr_scan *scan, float *to, const float *rows, int64_t n, vr_error *err);

/* ---- adapters.c ---- */
/* A file of adapters names the file of its model; NULL: this is none. */
const char *vr_adapter_base(const vr_weights *file);
/* Attaches the model's adapter_file. */
vr_status vr_model_load_adapters(vrwkv_model *model, vr_error *err);
/* "blocks.0.att.key.lora_A" from "blocks.0.att.key.weight" and which = 'A'; VR_NAME_SIZE bytes. */
const char *vr_adapter_name(const char *key, char which, char *buffer);
/* Orders a model's adapters as vr_run wants them. */
void vr_adapters_sort(vr_adapter *adapters, int n);

/* ---- tuned.c ---- */
bool vr_state_is_tuned(const vr_weights *file);
/* Makes `fresh` an empty conversation that begins with the file's states. */
vr_status vr_state_load_tuned(vrwkv_context *fresh, const vr_weights *file, vr_error *err);

/* ---- context.c ---- */
/* As vrwkv_feed without the blank image or padding in front. */
vr_status vr_feed(vrwkv_context *context, const int32_t *ids, size_t n, vrwkv_features *const *images, size_t n_images,
                  vr_error *err);
/* n_images: ids that stand for rows of pictures are allowed where there are any. */
vr_status vr_check_ids(const vrwkv_model *model, const int32_t *ids, size_t n, size_t n_images, vr_error *err);
/* Rows that the original puts in front of a prompt of `rows` rows. */
int64_t vr_left_padding(const vrwkv_model *model, int64_t rows);

/* ---- compress.c ---- */
/* Projected rows of all regions [n,D] -> [tokens,D]: blocks over the rows, odd layers backwards, then the
 * mean over equal parts. src: VisualRWKV v7.03 src/model.py */
vr_tensor *vr_compress(vr_run *run, const vrwkv_model *model, vr_tensor *rows, int tokens, vr_tensor **blocks_out);
#endif
