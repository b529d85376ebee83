/* Image scans: in which order the recurrence passes over the rows of a picture.
 *
 * A scan is a permutation of the picture's grid rows (the class row, which follows them, never moves).
 * Per-layer scans are undone after each block, residual stream included, so activations stay in
 * natural order; input scans are applied once to the picture's rows and kept. One scan exchanges rows
 * between the samples of a batch (roll).
 * src: VisualRWKV v5.1 (multidirection, rotation, spiral, snake, zigzag), v6.0 (bidirection). */
#ifndef VR_RWKV_SCAN_H
#define VR_RWKV_SCAN_H
#include "base/status.h"

#include <stdbool.h>

typedef enum vr_scan_when { VR_SCAN_NONE, VR_SCAN_LAYER, VR_SCAN_INPUT } vr_scan_when;

typedef struct vr_scan {
    const char *name;
    vr_scan_when when;
    bool square; /* defined on a square grid only */
    /* order[k] = natural row that stands at position k, k < n, n = side*side where square.
     * Returns false where the order is natural (order untouched). */
    bool (*order)(int32_t *order, int n, int side, int layer);
    /* For samples that are read together as one batch: after each block the n rows of sample b become
     * those of sample (b - roll(n)) mod batch. NULL: samples never meet. */
    int (*roll)(int n);
} vr_scan;

const vr_scan *vr_scan_find(const char *name); /* NULL: unknown */
const vr_scan *vr_scan_at(int index);          /* NULL at the end */
vr_status vr_scan_unknown(const char *name, vr_error *err); /* fails, listing those that there are */
/* Side of the square grid of n rows; 0 where n is no square. */
int vr_scan_side(int64_t n);
#endif
