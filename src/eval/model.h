/* A real model behind the questions of predict.h. */
#ifndef VR_EVAL_MODEL_H
#define VR_EVAL_MODEL_H
#include "eval/predict.h"

typedef struct vr_lm vr_lm;

/* `branches`: how many ranking needs. Text is read as the language model alone would: no blank picture, no
 * padding. */
vr_status vr_lm_open(vr_lm **out, vrwkv_model *model, size_t branches, vr_error *err);
void vr_lm_close(vr_lm *lm);
/* Points into lm. */
vr_predictor vr_lm_predictor(vr_lm *lm);
/* Branches begin from here from now on: a conversation that has read its prompt. */
void vr_lm_prompt(vr_lm *lm, vrwkv_context *prompt);

vr_status vr_model_encode_text(vrwkv_model *model, vr_slice text, vr_id_list *ids, vr_error *err);
vr_status vr_model_decode_text(vrwkv_model *model, const int32_t *ids, size_t n, vr_str *text, vr_error *err);
#endif
