/* What several verbs share: opening a model, ids from the command line, reading stdin, options that
 * are the same everywhere. */
#ifndef VR_CLI_COMMON_H
#define VR_CLI_COMMON_H
#include "options.h"
#include "terminal.h"
#include "vl/model.h"

/* Growing bytes; always closed by a zero. */
typedef struct vr_buffer {
    char *data;
    size_t n, capacity;
} vr_buffer;
vr_status vr_buffer_add(vr_buffer *buffer, const char *data, size_t n, vr_error *err);
vr_status vr_buffer_read(vr_buffer *buffer, FILE *file, const char *name, vr_error *err); /* to its end */

typedef struct vr_ids {
    int32_t *ids;
    size_t n, capacity;
} vr_ids;
vr_status vr_ids_add(vr_ids *list, int32_t id, vr_error *err);
/* Whole numbers parted by commas or white space (and JSON's brackets). What no int32 holds is -1, an id
 * that no vocabulary has, where `lenient`, else an error. */
vr_status vr_ids_parse(vr_ids *list, const char *text, bool lenient, vr_error *err);
vr_status vr_ids_prompt(vr_ids *list, const vrwkv_model *model, const char *question, size_t n_images, vr_error *err);
/* Text as it stands; each "<image>" is a picture, and pictures without a mark stand in front. */
vr_status vr_ids_raw(vr_ids *list, const vrwkv_model *model, const char *text, size_t n, size_t n_images, vr_error *err);
size_t vr_ids_images(const vr_ids *list); /* how many are VRWKV_IMAGE */
size_t vr_ids_rows(const vr_ids *list, const vrwkv_model *model); /* how many stand for one row of a picture (v7) */

/* Which model, and how it is opened. */
typedef struct vr_model_args {
    const char *path, *mmproj, *scan, *image_position;
    int threads;
    bool no_mmap, lock;
} vr_model_args;
vr_status vr_model_args_open(const vr_model_args *args, vr_progress *progress, vrwkv_model **out, vr_error *err);

/* The model's vocabulary, or the built-in world vocabulary where args->path is NULL. */
vr_status vr_model_args_vocab(const vr_model_args *args, vrwkv_model **model, const vr_vocab **vocab, vr_error *err);

/* Pictures of the command line, encoded in order. */
typedef struct vr_pictures {
    vrwkv_features **items;
    size_t n;
} vr_pictures;
vr_status vr_pictures_encode(vr_pictures *pictures, vrwkv_model *model, const vr_strings *files, vrwkv_manner manner,
                             vr_error *err);
void vr_pictures_free(vr_pictures *pictures);
/* n copies of the features of the zero picture. */
vr_status vr_pictures_zero(vr_pictures *pictures, vrwkv_model *model, size_t n, vr_error *err);

/* The same, as the towers want them but not encoded. */
typedef struct vr_decoded {
    vr_picture *items;
    size_t n;
} vr_decoded;
vr_status vr_decoded_read(vr_decoded *out, vrwkv_model *model, const vr_strings *files, vrwkv_manner manner, vr_error *err);
void vr_decoded_free(vr_decoded *pictures);

/* Rows of option tables. */
#define VR_GROUP(heading) {.kind = VR_OPT_GROUP, .help = heading}
#define VR_OPTION_THREADS(t) {"threads", 't', VR_OPT_INT, t, "N", "threads to use (default: one per core)", 1, 1024}
#define VR_OPTION_JSON(t) {"json", 0, VR_OPT_FLAG, t, NULL, "one JSON value on stdout", 0, 0}
#define VR_OPTIONS_MODEL(m)                                                                                            \
    {"model", 'm', VR_OPT_STRING, &(m)->path, "FILE", "the model (.gguf)", 0, 0},                                      \
    {"mmproj", 0, VR_OPT_STRING, &(m)->mmproj, "FILE", "its vision half, where that is a file of its own", 0, 0},      \
    {"scan", 0, VR_OPT_STRING, &(m)->scan, "NAME",                                                                     \
     "another scan than the model's: unidirection, bidirection, multidirection, rotation, spiral, snake, zigzag", 0, 0}
#define VR_OPTION_POSITION(m)                                                                                          \
    {"image-position", 0, VR_OPT_STRING, &(m)->image_position, "WHERE",                                                \
     "place of the picture in the prompt: first, last, middle (default: the model's)", 0, 0}
#define VR_OPTIONS_MEMORY(m)                                                                                           \
    VR_OPTION_THREADS(&(m)->threads),                                                                                  \
    {"no-mmap", 0, VR_OPT_FLAG, &(m)->no_mmap, NULL, "read the file into memory instead of mapping it", 0, 0},         \
    {"mlock", 0, VR_OPT_FLAG, &(m)->lock, NULL, "keep the weights from being paged out", 0, 0}
#define VR_OPTIONS_SAMPLING(s, greedy, seed)                                                                                \
    {"greedy", 0, VR_OPT_FLAG, greedy, NULL, "always the likeliest token", 0, 0},                                      \
    {"temp", 0, VR_OPT_FLOAT, &(s)->temperature, "X", "temperature, 0 is greedy (default 1)", 0, 100},                 \
    {"top-k", 0, VR_OPT_INT, &(s)->top_k, "N", "of the N likeliest tokens; 0: of all (default)", 0, INT32_MAX},        \
    {"top-p", 0, VR_OPT_FLOAT, &(s)->top_p, "X", "of the likeliest that make up X (default 0.3)", 0, 1},               \
    {"min-p", 0, VR_OPT_FLOAT, &(s)->min_p, "X", "of those at least X times as likely as the likeliest", 0, 1},        \
    {"typical", 0, VR_OPT_FLOAT, &(s)->typical, "X", "locally typical sampling, 1 is off (default)", 0, 1},            \
    {"repeat-penalty", 0, VR_OPT_FLOAT, &(s)->repeat_penalty, "X", "divides logits of seen tokens (default 1)", 0.01, 100}, \
    {"presence-penalty", 0, VR_OPT_FLOAT, &(s)->presence_penalty, "X", "subtracted once from seen tokens", -100, 100}, \
    {"frequency-penalty", 0, VR_OPT_FLOAT, &(s)->frequency_penalty, "X", "subtracted per occurrence", -100, 100},      \
    {"penalty-decay", 0, VR_OPT_FLOAT, &(s)->penalty_decay, "X", "fades occurrences at each token (default 1: never)", 0, 1}, \
    {"seed", 0, VR_OPT_U64, seed, "N", "of the random choices (default 0; of a loaded state: as it was)", 0, 0}

#endif
