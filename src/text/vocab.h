/* Vocabulary and tokenizer: RWKV "World", greedy longest match on bytes.
 *
 * An id's token is a byte string; ids may have gaps (id 0 and 65530.. in the world vocabulary). The
 * vocabulary never changes once made; threads may share it. */
#ifndef VR_TEXT_VOCAB_H
#define VR_TEXT_VOCAB_H
#include "base/status.h"

#include <stdbool.h>

typedef struct vr_vocab vr_vocab;

/* tokens[id] of bytes[id] bytes, NULL or 0 bytes: no such token. Copies what it keeps. Two ids with
 * equal bytes: encoding uses the lower id. */
vr_status vr_vocab_make(vr_vocab **out, const char *const *tokens, const size_t *bytes, size_t n, vr_error *err);
/* The built-in world vocabulary (ids 1..65529; models give it 65,536 rows), made at first use, shared
 * by all threads, kept until the program ends: do not free. */
vr_status vr_vocab_world(const vr_vocab **out, vr_error *err);
/* Text in the line grammar of rwkv_vocab_v20230424.txt: ID SPACE PYTHON-LITERAL SPACE LENGTH. */
vr_status vr_vocab_parse(vr_vocab **out, const char *text, size_t size, vr_error *err);
/* The same text of any vocabulary, heap, the caller's. */
vr_status vr_vocab_write(const vr_vocab *vocab, char **out, vr_error *err);
void vr_vocab_free(vr_vocab *vocab);
size_t vr_vocab_size(const vr_vocab *vocab);                            /* largest id + 1 */
const char *vr_vocab_token(const vr_vocab *vocab, int64_t id, size_t *bytes); /* NULL: unknown id */

/* Ids of n bytes, appended to *ids (grown with realloc, heap, the caller's): *count and *capacity are
 * kept up to date. VRWKV_ERR_UNSUPPORTED where a byte has no token (small vocabularies); *count is then
 * as it was. */
vr_status vr_encode(const vr_vocab *vocab, const char *text, size_t n, int32_t **ids, size_t *count, size_t *capacity,
                    vr_error *err);
/* Bytes of the ids, heap, closed by a zero, the caller's; unknown ids give no bytes and set *unknown. */
vr_status vr_decode_bytes(const vr_vocab *vocab, const int32_t *ids, size_t n, char **out, size_t *bytes, bool *unknown,
                          vr_error *err);
/* As the original's decode: one U+FFFD where an id is unknown or the whole is no valid UTF-8. */
vr_status vr_decode_text(const vr_vocab *vocab, const int32_t *ids, size_t n, char **out, size_t *bytes, vr_error *err);

/* Streaming: collects bytes and lets whole UTF-8 characters out; bytes that can never become a
 * character come out as U+FFFD (one per maximal broken part, as Unicode recommends). */
typedef struct vr_stream {
    char held[4];
    int n_held;
} vr_stream;
/* Text that n more bytes complete, appended to out, which has room for 3*n + 12 bytes; returns how
 * many bytes were written. */
size_t vr_stream_push(vr_stream *stream, const char *bytes, size_t n, char *out);
/* What is still held, at the end: U+FFFD or nothing; at most 3 bytes. */
size_t vr_stream_end(vr_stream *stream, char *out);

bool vr_utf8_valid(const char *text, size_t n);
#endif
