/* A prompt in pieces: stretches of text, and rows of pictures between them. */
#include "vl/pieces.h"

void vr_pieces_start(vr_pieces *pieces, const vrwkv_model *model, const int32_t *ids, size_t n,
                     vrwkv_features *const *images, size_t n_images) {
    *pieces = (vr_pieces){.ids = ids, .n = n, .images = images, .n_images = n_images, .row_id = model->config.rules->row_id};
}

/* Rows of the current picture for a stretch of row ids from `at`. */
static void take_rows(vr_pieces *p, vr_piece *piece) {
    const vrwkv_features *image = p->images[p->image];
    int most = image->rows - p->row, count = 0;
    while (count < most && p->at < p->n && p->ids[p->at] == p->row_id) count++, p->at++;
    piece->image = image;
    piece->first = p->row;
    piece->rows = count;
    p->row += count;
    if (p->row < image->rows) return;
    p->row = 0;
    p->image++;
}

bool vr_pieces_next(vr_pieces *p, vr_piece *piece) {
    if (p->at == p->n) return false;
    *piece = (vr_piece){.ids = p->ids + p->at};
    for (; p->at < p->n; p->at++, piece->n++) {
        bool left = p->image < p->n_images;
        if (left && p->row_id && p->ids[p->at] == p->row_id) {
            take_rows(p, piece);
            return true;
        }
        if (p->ids[p->at] != VRWKV_IMAGE) continue;
        p->at++;
        if (!left) return true; /* a place without a picture: nothing stands there */
        piece->image = p->images[p->image++];
        piece->rows = piece->image->rows;
        p->row = 0;
        return true;
    }
    return true;
}

int64_t vr_pieces_rows(const vrwkv_model *model, const int32_t *ids, size_t n, vrwkv_features *const *images, size_t n_images) {
    vr_pieces pieces;
    vr_piece piece;
    int64_t rows = 0;
    vr_pieces_start(&pieces, model, ids, n, images, n_images);
    while (vr_pieces_next(&pieces, &piece)) rows += (int64_t)piece.n + piece.rows;
    return rows;
}
