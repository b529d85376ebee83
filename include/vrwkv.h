/* vrwkv: VisualRWKV in C. Look at a picture and answer, with constant memory.
 *
 *     #include <stdio.h>
 *     #include <vrwkv.h>
 *
 *     static int print(void *user, int32_t token, const char *text, size_t n) {
 *         (void)user; (void)token;
 *         fwrite(text, 1, n, stdout);
 *         return 0;                                  // not 0 stops
 *     }
 *     int main(int argc, char **argv) {
 *         vrwkv_error err = {0};
 *         vrwkv_model *model = NULL;
 *         vrwkv_context *chat = NULL;
 *         vrwkv_features *picture = NULL;
 *         if (argc != 4) return 2;
 *         if (vrwkv_model_open(argv[1], NULL, &model, &err) == VRWKV_OK &&
 *             vrwkv_encode_file(model, argv[2], VRWKV_FRIENDLY, &picture, &err) == VRWKV_OK &&
 *             vrwkv_context_new(model, NULL, &chat, &err) == VRWKV_OK &&
 *             vrwkv_ask(chat, argv[3], &picture, 1, &err) == VRWKV_OK)
 *             vrwkv_generate(chat, NULL, print, NULL, NULL, &err);
 *         if (err.status) fprintf(stderr, "%s\n", err.message);
 *         vrwkv_context_free(chat); vrwkv_features_free(picture); vrwkv_model_close(model);
 *         return err.status ? 1 : 0;
 *     }
 *
 * Threads: a model and an encoded picture never change after they were made; any number of threads
 * may use one at once. A context belongs to one thread at a time (vrwkv_cancel excepted).
 * Errors: functions return a status; the message is in `err` (may be NULL), names what was found and
 * what was expected, and stays the caller's. The library never prints, exits or aborts.
 * Ownership: what a function gives through a `**out` is the caller's, freed with the function named
 * beside its type. A model must outlive its contexts; an encoded picture need not outlive its use. */
#ifndef VRWKV_H
#define VRWKV_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VRWKV_API __attribute__((visibility("default")))
#else
#define VRWKV_API
#endif

#define VRWKV_VERSION_MAJOR 0
#define VRWKV_VERSION_MINOR 1
#define VRWKV_VERSION_PATCH 0

/* The id that stands for one picture in a list of token ids, in every model version. */
#define VRWKV_IMAGE (-200)

typedef enum vrwkv_status {
    VRWKV_OK = 0,
    VRWKV_ERR_ARGUMENT,    /* a wrong argument: null, out of range, of another model */
    VRWKV_ERR_IO,          /* a file cannot be opened, read, written */
    VRWKV_ERR_FORMAT,      /* a file is damaged or is no such file */
    VRWKV_ERR_UNSUPPORTED, /* well-formed, but not of a kind this program runs */
    VRWKV_ERR_SHAPE,       /* a tensor is missing or has another shape than the model needs */
    VRWKV_ERR_MEMORY,      /* an allocation failed or a limit was reached */
    VRWKV_ERR_CANCELLED    /* vrwkv_cancel or a callback stopped the call */
} vrwkv_status;

typedef struct vrwkv_error {
    vrwkv_status status;
    char message[1024]; /* UTF-8, one line, without a line end */
} vrwkv_error;

typedef struct vrwkv_model vrwkv_model;       /* weights, description, vocabulary: vrwkv_model_close */
typedef struct vrwkv_context vrwkv_context;   /* one conversation: vrwkv_context_free */
typedef struct vrwkv_features vrwkv_features; /* one encoded picture: vrwkv_features_free */

/* What the original programs do, or what people expect (decoding of pictures, where to stop). */
typedef enum vrwkv_manner { VRWKV_FRIENDLY = 0, VRWKV_ORIGINAL = 1 } vrwkv_manner;

VRWKV_API const char *vrwkv_version(void);
VRWKV_API const char *vrwkv_status_name(vrwkv_status status);
/* The kernel set in use: "generic", "avx2", "avx512" or "neon". NULL, with the message in err, where
 * the environment's VRWKV_CPU names a set that is unknown or that this processor lacks. */
VRWKV_API const char *vrwkv_cpu(vrwkv_error *err);

/* ---- callbacks ------------------------------------------------------------------------------ */

typedef void (*vrwkv_log_fn)(void *user, const char *message);
/* done of total units of the step named `what`; a result other than 0 cancels. */
typedef int (*vrwkv_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);
/* One generated token and the text it completes: n bytes of whole UTF-8 characters, perhaps none.
 * A result other than 0 ends the generation. */
typedef int (*vrwkv_token_fn)(void *user, int32_t token, const char *text, size_t n);
/* A named activation: ndim sizes, row-major floats, valid during the call. Rows of one name may come
 * in several calls (one per chunk of the prompt), in order. */
typedef void (*vrwkv_trace_fn)(void *user, const char *name, int ndim, const int64_t *shape, const float *data);

/* ---- model ---------------------------------------------------------------------------------- */

typedef struct vrwkv_model_options {
    int threads;                  /* 0: one per core */
    const char *mmproj;           /* vision half in a file of its own, or NULL */
    const char *scan;             /* another scan than the model's ("unidirection", "bidirection"), or NULL */
    const char *image_position;   /* "first", "last", "middle", or NULL: the model's */
    int no_mmap;                  /* not 0: read the file into memory instead of mapping it */
    int exact;                    /* not 0: quantised weights are multiplied as f32 too, slowly; without, as 8-bit
                                     numbers (docs/ACCURACY.md). VRWKV_EXACT=1 in the environment sets it */
    int lock_memory;              /* not 0: keep the weights from being paged out (mlock) */
    uint64_t max_workspace_bytes; /* scratch memory of one running call; 0: 16 GiB of address space */
    uint64_t max_pixels;          /* largest picture accepted, checked before decoding; 0: 178956970 */
    vrwkv_log_fn log;
    vrwkv_progress_fn progress;
    void *user; /* given to log and progress */
} vrwkv_model_options;

typedef struct vrwkv_info {
    const char *version;     /* "v6.0"; "" for a language model alone */
    const char *rwkv;        /* "x060" */
    const char *scan;        /* "bidirection" */
    const char *config_json; /* the complete description, JSON; the model's */
    int n_layer, n_embd, n_vocab, head_size;
    int image_tokens; /* rows of one picture, or of each of its regions; 0 where the model has no tower */
    int most_images;  /* pictures that one prompt takes; 0: any number (or none, without a tower) */
    int ctx_len;      /* the window of training; generation has no limit */
    int stop_token, pad_token;
    uint64_t parameters;
    uint64_t weight_bytes;
    uint64_t state_bytes; /* of one conversation, f32 */
    char fingerprint[65]; /* hex digest of description and weights' layout */
} vrwkv_info;

VRWKV_API vrwkv_status vrwkv_model_open(const char *path, const vrwkv_model_options *options, vrwkv_model **out,
                                        vrwkv_error *err);
VRWKV_API void vrwkv_model_close(vrwkv_model *model);
VRWKV_API const vrwkv_info *vrwkv_model_info(const vrwkv_model *model);

/* ---- text ----------------------------------------------------------------------------------- */

/* Ids of n bytes of text (any bytes). At most `capacity` ids are written; *count is how many there
 * are in all, so a first call with capacity 0 measures. */
VRWKV_API vrwkv_status vrwkv_tokenize(const vrwkv_model *model, const char *text, size_t n, int32_t *ids, size_t capacity,
                                      size_t *count, vrwkv_error *err);
/* The text of n ids: bytes joined; one U+FFFD where an id is unknown or the whole is no valid UTF-8.
 * *length excludes the closing zero, which is written where there is room. */
VRWKV_API vrwkv_status vrwkv_detokenize(const vrwkv_model *model, const int32_t *ids, size_t n, char *text, size_t capacity,
                                        size_t *length, vrwkv_error *err);
/* The ids of the model's prompt for one question (its template and image position), with one
 * VRWKV_IMAGE per picture; ends where the answer begins. Written as by vrwkv_tokenize. */
VRWKV_API vrwkv_status vrwkv_prompt(const vrwkv_model *model, const char *question, size_t n_images, int32_t *ids,
                                    size_t capacity, size_t *count, vrwkv_error *err);

/* ---- pictures ------------------------------------------------------------------------------- */

/* Decodes, resizes and encodes a JPEG, PNG, WebP, GIF (first frame), BMP or PPM picture. */
VRWKV_API vrwkv_status vrwkv_encode_file(vrwkv_model *model, const char *path, vrwkv_manner manner, vrwkv_features **out,
                                         vrwkv_error *err);
VRWKV_API vrwkv_status vrwkv_encode_memory(vrwkv_model *model, const void *data, size_t size, vrwkv_manner manner,
                                           vrwkv_features **out, vrwkv_error *err);
/* The same from decoded pixels, width*height*3 bytes RGB, rows from the top. */
VRWKV_API vrwkv_status vrwkv_encode_rgb(vrwkv_model *model, const uint8_t *rgb, int width, int height, vrwkv_features **out,
                                        vrwkv_error *err);
/* The same from normalised pixels: pixels[t] is [regions, 3, S, S] of tower t, regions being 1 in versions
 * that do not cut pictures. NULL: the zero picture. */
VRWKV_API vrwkv_status vrwkv_encode_pixels(vrwkv_model *model, const float *const *pixels, int regions, vrwkv_features **out,
                                           vrwkv_error *err);
/* Rows of the language model's width: [rows, n_embd]. The data lives as long as the features. */
VRWKV_API const float *vrwkv_features_rows(const vrwkv_features *features, int *rows, int *width);
VRWKV_API vrwkv_features *vrwkv_features_share(vrwkv_features *features); /* one more owner */
VRWKV_API void vrwkv_features_free(vrwkv_features *features);             /* one owner less */
VRWKV_API vrwkv_status vrwkv_features_save(const vrwkv_features *features, const char *path, vrwkv_error *err);
VRWKV_API vrwkv_status vrwkv_features_load(vrwkv_model *model, const char *path, vrwkv_features **out, vrwkv_error *err);

/* ---- conversation --------------------------------------------------------------------------- */

typedef struct vrwkv_sampling {
    float temperature;       /* 0: greedy, the lowest id on ties */
    int top_k;               /* 0: all */
    float top_p;             /* 1: all */
    float min_p;             /* 0: all; keeps p >= min_p * largest p */
    float typical;           /* 1: all; locally typical sampling */
    float repeat_penalty;    /* 1: none; divides positive, multiplies negative logits of seen ids */
    float presence_penalty;  /* 0: none; subtracted once from seen ids */
    float frequency_penalty; /* 0: none; subtracted per (decayed) occurrence */
    float penalty_decay;     /* 1: never; RWKV's form multiplies all counts by this at each token */
    uint64_t seed;
} vrwkv_sampling;

/* Some versions (v7) put rows of padding in front of every prompt. */
typedef enum vrwkv_padding { VRWKV_PAD_BY_MANNER, VRWKV_PAD_ORIGINAL, VRWKV_PAD_NONE } vrwkv_padding;

typedef struct vrwkv_context_options {
    vrwkv_manner manner;
    vrwkv_padding padding;   /* by manner: as the original in the original manner, else none */
    int no_blank_image;      /* not 0: text-only questions go without the zero rows of training */
    vrwkv_sampling sampling; /* all zeros: the defaults of vrwkv_sampling_default */
} vrwkv_context_options;

VRWKV_API vrwkv_sampling vrwkv_sampling_default(void); /* temperature 1, top-p 0.3, no penalties, seed 0 */
VRWKV_API vrwkv_status vrwkv_context_new(vrwkv_model *model, const vrwkv_context_options *options, vrwkv_context **out,
                                         vrwkv_error *err);
VRWKV_API void vrwkv_context_free(vrwkv_context *context);
VRWKV_API void vrwkv_context_reset(vrwkv_context *context); /* back to the empty conversation */
VRWKV_API vrwkv_model *vrwkv_context_model(const vrwkv_context *context);
VRWKV_API uint64_t vrwkv_context_length(const vrwkv_context *context); /* rows read so far */
VRWKV_API vrwkv_status vrwkv_set_sampling(vrwkv_context *context, const vrwkv_sampling *sampling, vrwkv_error *err);
VRWKV_API void vrwkv_set_trace(vrwkv_context *context, vrwkv_trace_fn trace, void *user);
/* Ends the running call of this context soon with VRWKV_ERR_CANCELLED; callable from any thread. */
VRWKV_API void vrwkv_cancel(vrwkv_context *context);

/* Reads a list of ids in which each VRWKV_IMAGE stands for the next of the n_images pictures; in versions
 * that mark every row of a picture with an id (v7: 65535), those ids stand for its rows as well. Where the
 * conversation is empty, the model was trained with a blank image (v5, v6: zero rows; v7.01: a zero picture
 * at the VRWKV_IMAGE of vrwkv_prompt) and no picture is given, that is read, unless switched off. */
VRWKV_API vrwkv_status vrwkv_feed(vrwkv_context *context, const int32_t *ids, size_t n, vrwkv_features *const *images,
                                  size_t n_images, vrwkv_error *err);
/* Text, as it stands. */
VRWKV_API vrwkv_status vrwkv_feed_text(vrwkv_context *context, const char *text, size_t n, vrwkv_error *err);
/* The rows of one picture. */
VRWKV_API vrwkv_status vrwkv_feed_features(vrwkv_context *context, vrwkv_features *image, vrwkv_error *err);
/* A question in the model's prompt, ready to generate the answer: vrwkv_prompt, then vrwkv_feed. */
VRWKV_API vrwkv_status vrwkv_ask(vrwkv_context *context, const char *question, vrwkv_features *const *images,
                                 size_t n_images, vrwkv_error *err);
/* One step of n different contexts of one model: context i reads tokens[i]. */
VRWKV_API vrwkv_status vrwkv_decode(vrwkv_context *const *contexts, size_t n, const int32_t *tokens, vrwkv_error *err);
/* The logits after the last row read: n_vocab floats, valid until the next call with this context;
 * NULL before anything was read. */
VRWKV_API const float *vrwkv_logits(const vrwkv_context *context);
/* logprobs[i] = ln p(ids[i] | everything read, ids[0..i-1]). The context is left as it was. */
VRWKV_API vrwkv_status vrwkv_score(vrwkv_context *context, const int32_t *ids, size_t n, float *logprobs, vrwkv_error *err);
/* Chooses the next token from the logits, by the context's sampling; does not read it. */
VRWKV_API vrwkv_status vrwkv_sample(vrwkv_context *context, int32_t *token, vrwkv_error *err);

typedef enum vrwkv_stop { VRWKV_STOP_LENGTH, VRWKV_STOP_TOKEN, VRWKV_STOP_STRING, VRWKV_STOP_CALLBACK } vrwkv_stop;

typedef struct vrwkv_generate_options {
    int max_tokens;            /* 0: 512 */
    const char *const *stops;  /* texts that end the answer; not part of it */
    size_t n_stops;
    const int32_t *stop_tokens; /* NULL: the model's (friendly manner: id 0 and a blank line as well) */
    size_t n_stop_tokens;
} vrwkv_generate_options;

typedef struct vrwkv_result {
    vrwkv_stop stop;
    int tokens;     /* generated, the stop token included */
    double seconds; /* spent after the prompt */
} vrwkv_result;

/* Generates until a stop. Every generated token but the last is read; the last one (stop token, or
 * the one at max_tokens) too, so that the conversation can go on. options, callback, result may be NULL. */
VRWKV_API vrwkv_status vrwkv_generate(vrwkv_context *context, const vrwkv_generate_options *options,
                                      vrwkv_token_fn callback, void *user, vrwkv_result *result, vrwkv_error *err);

/* ---- snapshots ------------------------------------------------------------------------------ */

/* A second conversation that goes on from here: state, logits, sampler. */
VRWKV_API vrwkv_status vrwkv_fork(const vrwkv_context *context, vrwkv_context **out, vrwkv_error *err);
/* Copies the whole conversation of `from` into `to` (same model); no allocation. */
VRWKV_API vrwkv_status vrwkv_copy(vrwkv_context *to, const vrwkv_context *from, vrwkv_error *err);
/* A safetensors file; half: f16 (half the size) instead of f32 (exact). */
VRWKV_API vrwkv_status vrwkv_state_save(const vrwkv_context *context, const char *path, int half, vrwkv_error *err);
/* A saved conversation (that of another model is refused, naming both fingerprints), or a state tuning
 * file: any tensor file with `blocks.N.att.time_state` [heads, value, key] for each layer, from which an
 * empty conversation begins. In either, nothing is put in front of what is read next. */
VRWKV_API vrwkv_status vrwkv_state_load(vrwkv_context *context, const char *path, vrwkv_error *err);

#ifdef __cplusplus
}
#endif
#endif
