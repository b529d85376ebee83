/* The files of a set of scenes, below one folder:
 *
 *   images/SPLIT-000000.png       the pictures
 *   SPLIT.json                    LLaVA: [{"id", "image", "language", "kinds", "conversations"}]; `kinds` has one
 *                                 entry per question
 *   SPLIT.questions.jsonl         {"question_id", "image", "text", "answer", "kind", "form", "novel", "language",
 *                                 "history"}; `history` has question and answer by turns, where the question
 *                                 makes no sense without them
 *   SPLIT.scenes.jsonl            what was drawn (on request)
 *
 * The lists appear when everything is written; until then there are only pictures. */
#ifndef SC_OUTPUT_H
#define SC_OUTPUT_H
#include "ask.h"
#include "base/io.h"

typedef struct sc_output {
    char *folder;
    const char *split;
    int pixels;
    vr_writer samples, questions, scenes;
    bool with_scenes;
    int64_t n_samples, n_questions;
} sc_output;

/* Makes the folder with its parents. sc_output_close or sc_output_abandon must be called after success. */
vr_status sc_output_open(sc_output *out, const char *folder, const char *split, int pixels, bool with_scenes, vr_error *err);
vr_status sc_output_add(sc_output *out, const sc_scene *scene, const sc_talk *talk, vr_error *err);
vr_status sc_output_close(sc_output *out, vr_error *err); /* abandons what fails */
void sc_output_abandon(sc_output *out);
#endif
