/* What a vocabulary is made of; for the files of this room only. */
#ifndef VR_TEXT_STORE_H
#define VR_TEXT_STORE_H
#include "text/trie.h"
#include "text/vocab.h"

struct vr_vocab {
    size_t n;        /* largest id + 1 */
    char *blob;      /* all tokens, in the order of ids */
    uint32_t *start; /* [n + 1] token id is blob[start[id] .. start[id+1]) */
    vr_trie trie;
};
#endif
