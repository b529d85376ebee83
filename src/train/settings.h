/* Settings of a training: one table of names, kinds and defaults serves the command line, the file that a
 * run keeps of itself (run.json), and help. */
#ifndef VR_TRAIN_SETTINGS_H
#define VR_TRAIN_SETTINGS_H
#include "base/status.h"

#include <stdbool.h>

typedef enum vr_field_kind {
    VR_SET_TEXT,
    VR_SET_WORD, /* a text, one of those in `value` */
    VR_SET_INT,
    VR_SET_NUMBER,
    VR_SET_HEADING /* no setting */
} vr_field_kind;

typedef struct vr_train_settings {
    /* texts are heap, or NULL where nothing was said */
    char *model, *mmproj, *config, *data, *images, *out, *train, *l2wrap, *vocab, *vocab_data, *scan, *image_position, *manner,
        *recompute, *eval_data, *output;
    int64_t stage, epochs, steps, batch, accumulate, warmup, epoch_begin, epoch_steps, ctx_len, grid_size,
        freeze_layers, seed, group, save_every, keep, eval_every, eval_samples, patience, feature_cache, max_memory, threads,
        lora_rank, eval_answers;
    double lr, lr_final, weight_decay, weight_decay_final, beta1, beta2, adam_eps, grad_clip, init_ln0;
} vr_train_settings;

typedef struct vr_train_field {
    const char *name;  /* "lr-final" */
    const char *alias; /* the original's name in dashes, "lr-init"; NULL: the same or none */
    vr_field_kind kind;
    size_t offset;
    double otherwise, min, max; /* default (VR_UNSAID: decided by the rest), limits of numbers */
    const char *value, *help;   /* what stands for the value, what it is */
} vr_train_field;

#define VR_UNSAID (-1e300)
static inline bool vr_is_said(double number) { return number > VR_UNSAID; }
#define VR_UNSAID_INT INT64_MIN

const vr_train_field *vr_train_field_at(int index); /* headings too; NULL at the end */
void vr_train_settings_default(vr_train_settings *settings);
void vr_train_settings_free(vr_train_settings *settings);
/* One setting by its name or alias; an error names it, what was found and what was expected. */
vr_status vr_train_settings_put(vr_train_settings *settings, const char *name, const char *value, vr_error *err);
/* Settings as a JSON object, heap, and back. */
char *vr_train_settings_json(const vr_train_settings *settings);
vr_status vr_train_settings_parse(vr_train_settings *settings, const char *json, size_t n, vr_error *err);
/* run.json of the training's folder: of settings->out; of a folder, which is settings->out afterwards, wherever
 * it was when they were written. */
vr_status vr_train_settings_write(const vr_train_settings *settings, vr_error *err);
vr_status vr_train_settings_read(vr_train_settings *settings, const char *folder, vr_error *err);
#endif
