/* Answers in a given shape: a JSON schema as a machine that reads bytes and says which may come next.
 *
 * Understood: "type" object, array, string, number, integer, boolean, null; "properties" (all are written,
 * in their order), "items", "enum", "const", "minItems", "maxItems", "minLength", "maxLength". The JSON is
 * written without spaces. Whatever could go on for ever has a limit, so that an answer ends. Other keywords
 * that would restrict the value are refused, titles and descriptions read over. */
#ifndef VR_TEXT_SHAPE_H
#define VR_TEXT_SHAPE_H
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct vr_shape vr_shape;

vr_status vr_shape_make(vr_shape **out, const json_t *schema, vr_error *err);
void vr_shape_free(vr_shape *shape);

#define VR_SHAPE_DEPTH 16

/* How far a text has come; copied freely. */
typedef struct vr_shape_frame {
    int node, phase, count, at;
    uint64_t open; /* of an enum: which values are still possible */
} vr_shape_frame;

typedef struct vr_shape_state {
    const vr_shape *shape;
    int depth; /* 0: the value is complete */
    vr_shape_frame frames[VR_SHAPE_DEPTH];
} vr_shape_state;

void vr_shape_start(vr_shape_state *state, const vr_shape *shape);
/* Reads one byte; false where it may not come, and the state is as it was. */
bool vr_shape_push(vr_shape_state *state, unsigned char byte);
bool vr_shape_push_all(vr_shape_state *state, const char *bytes, size_t n);
bool vr_shape_done(const vr_shape_state *state);    /* complete: nothing may follow */
bool vr_shape_may_end(const vr_shape_state *state); /* complete if nothing follows ("12") */
#endif
