/* Conversations in LLaVA's format: a JSON list of samples, or one sample per line (JSONL).
 *
 *     {"id": .., "image": "a.png" or ["a.png", "b.png"] or absent, "conversations": [{"from": "human", "value": ".."}, ..]}
 *
 * The file is mapped and read once from end to end when it is opened: every sample is parsed and checked, a
 * fault is told with its line, and of each only the place is kept. Afterwards samples are parsed one by one. */
#ifndef VR_TRAIN_DATA_H
#define VR_TRAIN_DATA_H
#include "base/status.h"
#include "text/prompt.h"

typedef struct vr_dataset vr_dataset;

typedef struct vr_record {
    vr_turn *turns;
    size_t n_turns;
    const char **images; /* names below the images' folder */
    size_t n_images;
    int64_t line;        /* of the file, from 1 */
    void *json;          /* what the texts above live in */
} vr_record;

typedef struct vr_dataset_facts {
    int64_t with_image, without_answer; /* samples; the latter train nothing */
} vr_dataset_facts;

/* progress (may be NULL) is told bytes. */
vr_status vr_dataset_open(vr_dataset **out, const char *path, vrwkv_progress_fn progress, void *user, vr_error *err);
void vr_dataset_close(vr_dataset *dataset); /* NULL is fine */
int64_t vr_dataset_size(const vr_dataset *dataset);
const char *vr_dataset_path(const vr_dataset *dataset);
vr_dataset_facts vr_dataset_tell(const vr_dataset *dataset);
/* What a sample takes in the file: about as many bytes per token in any language. */
uint32_t vr_dataset_bytes(const vr_dataset *dataset, int64_t index);
/* Any thread. The record is the caller's, vr_record_free. */
vr_status vr_dataset_read(const vr_dataset *dataset, int64_t index, vr_record *out, vr_error *err);
void vr_record_free(vr_record *record);
#endif
