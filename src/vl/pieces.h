/* A prompt in pieces: stretches of text, and rows of pictures between them. A picture stands where
 * VRWKV_IMAGE is, all its rows; or, in versions that mark each row (row_id), row by row where those ids
 * are, pictures one after another, as many rows as there are ids. */
#ifndef VR_VL_PIECES_H
#define VR_VL_PIECES_H
#include "vl/internal.h"

typedef struct vr_piece {
    const int32_t *ids; /* n ids of text */
    size_t n;
    const vrwkv_features *image; /* rows [first, first + rows) of it follow; NULL: none */
    int first, rows;
} vr_piece;

typedef struct vr_pieces {
    const int32_t *ids;
    size_t n, at;
    vrwkv_features *const *images;
    size_t n_images, image;
    int row; /* of the current picture, next to be taken */
    int32_t row_id;
} vr_pieces;

void vr_pieces_start(vr_pieces *pieces, const vrwkv_model *model, const int32_t *ids, size_t n,
                     vrwkv_features *const *images, size_t n_images);
bool vr_pieces_next(vr_pieces *pieces, vr_piece *piece); /* false: there is no more */
/* Rows of the whole prompt. */
int64_t vr_pieces_rows(const vrwkv_model *model, const int32_t *ids, size_t n, vrwkv_features *const *images, size_t n_images);
#endif
