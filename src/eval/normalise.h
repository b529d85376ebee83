/* Normalisation of short answers before they are compared, each rule as the scorer that has it. */
#ifndef VR_EVAL_NORMALISE_H
#define VR_EVAL_NORMALISE_H
#include "eval/str.h"

typedef struct vr_rule vr_rule;
/* "vqa": the official VQA evaluator's; "vqa_gt": what VisualRWKV's copy of it does to the human answers
 * (punctuation alone); "m4c": TextVQA's, VizWiz's and of uploads. NULL: unknown. */
const vr_rule *vr_rule_find(const char *name);
const char *vr_rule_name(int index); /* NULL behind the last */
void vr_normalise(const vr_rule *rule, vr_slice answer, vr_str *out);
/* The bare pieces: line ends and tabs to spaces, then trimmed; what VQA does before anything else. */
void vr_normalise_spaces(vr_slice answer, vr_str *out);
#endif
