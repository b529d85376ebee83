#include "rwkv/scan.h"

#include <stdio.h>
#include <string.h>

int vr_scan_side(int64_t n) {
    int side = 0;
    while ((int64_t)(side + 1) * (side + 1) <= n) side++;
    return (int64_t)side * side == n ? side : 0;
}

static void flip(int32_t *order, int n) {
    for (int i = 0; i < n / 2; i++) {
        int32_t keep = order[i];
        order[i] = order[n - 1 - i];
        order[n - 1 - i] = keep;
    }
}

static bool unidirection(int32_t *order, int n, int side, int layer) {
    (void)order, (void)n, (void)side, (void)layer;
    return false;
}

static bool bidirection(int32_t *order, int n, int side, int layer) {
    (void)side;
    if (layer % 2 == 0) return false;
    for (int k = 0; k < n; k++) order[k] = n - 1 - k;
    return true;
}

/* Layer mod 4: rows, rows backwards, columns, columns backwards. */
static bool multidirection(int32_t *order, int n, int side, int layer) {
    if (layer % 4 == 0) return false;
    bool columns = layer % 4 >= 2;
    for (int k = 0; k < n; k++) order[k] = columns ? k % side * side + k / side : k;
    if (layer % 2) flip(order, n);
    return true;
}

/* Clockwise from the top left, inwards. */
static bool spiral(int32_t *order, int n, int side, int layer) {
    (void)n, (void)layer;
    int k = 0;
    for (int top = 0, bottom = side - 1; top <= bottom; top++, bottom--) {
        for (int c = top; c <= bottom; c++) order[k++] = top * side + c;
        for (int r = top + 1; r <= bottom; r++) order[k++] = r * side + bottom;
        for (int c = bottom - 1; c >= top; c--) order[k++] = bottom * side + c;
        for (int r = bottom - 1; r > top; r--) order[k++] = r * side + top;
        if (top == bottom) break; /* the single middle cell was written once by the first loop */
    }
    return true;
}

/* Every second row backwards. */
static bool snake(int32_t *order, int n, int side, int layer) {
    (void)layer;
    for (int k = 0; k < n; k++) {
        int r = k / side, c = k % side;
        order[k] = r * side + (r % 2 ? side - 1 - c : c);
    }
    return true;
}

/* Along the anti-diagonals r + c = s: even s upwards, odd s downwards, so 0, 1, side, ... */
static bool zigzag(int32_t *order, int n, int side, int layer) {
    (void)n, (void)layer;
    int k = 0;
    for (int s = 0; s <= 2 * (side - 1); s++) {
        int low = s < side ? 0 : s - side + 1, high = s < side ? s : side - 1;
        for (int i = 0; i <= high - low; i++) {
            int r = s % 2 ? low + i : high - i;
            order[k++] = r * side + (s - r);
        }
    }
    return true;
}

/* Rotation was meant to turn the rows of a picture by a third, but rolls the axis of the samples. */
static int third(int n) { return n / 3; }

static const vr_scan scans[] = {
    {"unidirection", VR_SCAN_NONE, false, unidirection, NULL},
    {"bidirection", VR_SCAN_LAYER, false, bidirection, NULL},
    {"multidirection", VR_SCAN_LAYER, true, multidirection, NULL},
    {"rotation", VR_SCAN_NONE, false, unidirection, third},
    {"spiral", VR_SCAN_INPUT, true, spiral, NULL},
    {"snake", VR_SCAN_INPUT, true, snake, NULL},
    {"zigzag", VR_SCAN_INPUT, true, zigzag, NULL},
};

const vr_scan *vr_scan_at(int index) { return (size_t)index < VR_COUNT(scans) ? &scans[index] : NULL; }

const vr_scan *vr_scan_find(const char *name) {
    for (size_t i = 0; i < VR_COUNT(scans); i++)
        if (strcmp(scans[i].name, name) == 0) return &scans[i];
    return NULL;
}

vr_status vr_scan_unknown(const char *name, vr_error *err) {
    char names[160] = "";
    size_t n = 0;
    for (size_t i = 0; i < VR_COUNT(scans) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", scans[i].name);
    return vr_fail(err, VRWKV_ERR_ARGUMENT, "scan '%s' is unknown (there are: %s)", name, names);
}
