/* Longest-match index over byte strings: a trie in double-array form.
 *
 * A node is a unit; its child for byte c is the unit at base ^ c if that unit carries the label c.
 * No two nodes share a base, so the label alone proves the parent. Units are handed out in blocks of
 * 256, and base ^ c stays within its block. Block 0 stays empty: a leaf's base is 0, and so no byte
 * matches there. The first two bytes of a token are looked up in one table instead: text is walked
 * from its third byte on. */
#ifndef VR_TEXT_TRIE_H
#define VR_TEXT_TRIE_H
#include "base/status.h"

#define VR_TRIE_LABEL 0x1FFu /* bits of tag: byte, or VR_TRIE_FREE */
#define VR_TRIE_FREE 0x100u
#define VR_TRIE_SHIFT 9 /* tag >> 9: token id + 1, 0: no token ends here */
#define VR_TRIE_MAX_IDS ((size_t)1 << 21)

typedef struct vr_unit { uint32_t base, tag; } vr_unit;

typedef struct vr_trie {
    vr_unit *units;
    size_t n_units;
    int32_t byte_id[256]; /* of one-byte tokens; -1: none */
    uint32_t *pair;       /* [65536] unit after two bytes (first << 8 | second); 0: no token goes on so */
} vr_trie;

/* Token id has the bytes blob[start[id] .. start[id+1]); empty: no token. Of equal tokens the lowest
 * id counts. n <= VR_TRIE_MAX_IDS. */
vr_status vr_trie_make(vr_trie *trie, const char *blob, const uint32_t *start, size_t n, vr_error *err);
void vr_trie_free(vr_trie *trie);

/* Length of the longest token that the bytes p..end (p < end) begin with, and its id; 0: none. */
static inline size_t vr_trie_match(const vr_trie *trie, const unsigned char *p, const unsigned char *end, int32_t *id) {
    int32_t best = trie->byte_id[*p];
    size_t length = best >= 0;
    if (end - p >= 2) {
        uint32_t at = trie->pair[(size_t)p[0] << 8 | p[1]];
        if (at) {
            const vr_unit *units = trie->units;
            vr_unit unit = units[at];
            for (const unsigned char *q = p + 2;; q++) {
                if (unit.tag >> VR_TRIE_SHIFT) {
                    best = (int32_t)(unit.tag >> VR_TRIE_SHIFT) - 1;
                    length = (size_t)(q - p);
                }
                if (q == end) break;
                unit = units[unit.base ^ *q];
                if ((unit.tag & VR_TRIE_LABEL) != *q) break;
            }
        }
    }
    *id = best;
    return length;
}
#endif
