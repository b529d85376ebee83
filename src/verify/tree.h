/* Comparison of JSON values: numbers within a relative bound, all else equal. */
#ifndef VR_VERIFY_TREE_H
#define VR_VERIFY_TREE_H
#include <jansson.h>
#include <stdbool.h>

#define VR_BOUND_SCORE 1e-9 /* relative; scores are exact doubles (README of metrics) */

/* Everything in `expected` is in `found`, equal; objects may have more members. Where not, `why` says what
 * and where: "tasks.count.acc: 0.5, expected 0.75". */
bool vr_same_json(const json_t *found, const json_t *expected, double bound, char *why, size_t size);
#endif
