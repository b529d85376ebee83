/* The report of a model whose types were measured (convert --type auto:BITS), as text and as JSON. */
#ifndef VR_CLI_INSPECT_PLAN_H
#define VR_CLI_INSPECT_PLAN_H
#include "file/weights.h"

#include <jansson.h>

/* Prints nothing where there is none. all: with a line for each matrix. */
void vr_plan_print(const vr_weights *weights, bool all);
/* The stored object; NULL where there is none, or none that can be read. The caller's. */
json_t *vr_plan_of(const vr_weights *weights);
#endif
