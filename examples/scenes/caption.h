/* The one caption of a scene in a language. */
#ifndef SC_CAPTION_H
#define SC_CAPTION_H
#include "scene.h"

/* Appends "red circle" or "big red circle". */
void sc_add_name(char *text, const sc_object *object, bool with_size, sc_language language);
/* Appends the caption; false where this scene has none (a lone object whose place is not clear). */
bool sc_add_caption(char *text, const sc_scene *scene, sc_language language);
#endif
