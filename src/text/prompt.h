/* Prompts: conversations to text, ids and labels, for each version's rules (oracle-exact).
 * Rules: docs/MODEL.md, "Prompts". */
#ifndef VR_TEXT_PROMPT_H
#define VR_TEXT_PROMPT_H
#include "text/vocab.h"

typedef enum vr_position { VR_IMAGE_FIRST, VR_IMAGE_LAST, VR_IMAGE_MIDDLE } vr_position;

bool vr_position_parse(const char *name, vr_position *out);
const char *vr_position_name(vr_position position);

typedef struct vr_turn {
    const char *from;  /* "human" or "gpt", any case */
    const char *value; /* UTF-8; may hold "<image>" */
} vr_turn;

/* One row per family of versions: how turns become text, which ids are labels. */
typedef struct vr_template vr_template;
const vr_template *vr_template_find(const char *version); /* "v6.0", "v7.00"; NULL: unknown */
const char *vr_template_names(void);                      /* "v5.1, v6.0, ..." for messages */

typedef struct vr_prompt {
    char *text;       /* turns after the rules, joined */
    size_t text_bytes;
    int32_t *ids;     /* VRWKV_IMAGE at a picture */
    int32_t *labels;  /* -100: not trained */
    size_t n;
} vr_prompt;

typedef struct vr_prompt_options {
    bool has_image;       /* v5, v6: without it "<image>" is plain text */
    vr_position position; /* of the picture in v5, v6 */
    size_t ctx_len;       /* > 0: ids and labels are cut to it (the first stay) and padded with 0 / -100 */
    bool dummy;           /* a sample without a picture gets the mark that its version was trained with (v7.01) */
    int regions;          /* marks that one "<image>" becomes where the version cuts pictures; 0: one */
    int rows;             /* > 0: a mark is this many ids of image_id; 0: one VRWKV_IMAGE */
    int32_t image_id;
} vr_prompt_options;

/* vocab may be NULL: text alone. A conversation that the version refuses (an unknown speaker or
 * position, another number of marks than it takes) is VRWKV_ERR_ARGUMENT. */
vr_status vr_prompt_build(vr_prompt *out, const vr_template *rules, const vr_vocab *vocab, const vr_turn *turns,
                          size_t n_turns, const vr_prompt_options *options, vr_error *err);
void vr_prompt_free(vr_prompt *prompt);
#endif
