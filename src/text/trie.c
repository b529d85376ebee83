/* Building the trie: sort the tokens by bytes, then place each node's children, parents first.
 *
 * Sorting is a radix sort by the first eight bytes (zero-padded, big-endian), then a comparison sort
 * within runs that agree in those; the world vocabulary takes some ten milliseconds in all. In sorted
 * order a node is a range of tokens: those that begin with the node's bytes. */
#include "text/trie.h"

#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 256
#define WINDOW 2 /* blocks with room that are searched, the newest ones: more of them only cost time */

typedef struct token {
    uint64_t key; /* first eight bytes; once sorted: where in the blob it begins */
    uint32_t id, bytes;
} token;

typedef struct range { /* tokens lo..hi-1 begin with the node's `depth` bytes */
    uint32_t lo, hi, depth, unit;
} range;

typedef struct block { /* bit set: unit is free, base is free */
    uint64_t room[4], base[4];
    uint32_t at; /* its first unit */
    int free;
} block;

typedef struct builder {
    vr_trie *trie;
    const char *blob;
    const uint32_t *start;
    token *tokens, *spare;
    size_t n;
    range *stack;
    size_t n_stack, stack_room;
    block open[WINDOW]; /* oldest first */
    int n_open;
    size_t unit_room;
    vr_error *err;
} builder;

static int compare_tokens(const void *a, const void *b, void *context) {
    const token *x = a, *y = b;
    const builder *of = context;
    uint32_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(of->blob + of->start[x->id], of->blob + of->start[y->id], n);
    if (order) return order;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t first_eight(const char *bytes, size_t n) {
    uint64_t key = 0;
    for (size_t i = 0; i < 8; i++) key = key << 8 | (i < n ? (unsigned char)bytes[i] : 0);
    return key;
}

static void radix_sort(builder *b) {
    uint32_t place[8][256] = {{0}}; /* of each digit: its count, then where its next token goes */
    for (size_t i = 0; i < b->n; i++)
        for (int k = 0; k < 8; k++) place[k][b->tokens[i].key >> 8 * k & 255]++;
    for (int k = 0; k < 8; k++) {
        uint32_t sum = 0;
        for (int digit = 0; digit < 256; digit++) {
            uint32_t count = place[k][digit];
            place[k][digit] = sum;
            sum += count;
        }
        for (size_t i = 0; i < b->n; i++) b->spare[place[k][b->tokens[i].key >> 8 * k & 255]++] = b->tokens[i];
        token *sorted = b->spare;
        b->spare = b->tokens;
        b->tokens = sorted;
    }
}

static void sort_tokens(builder *b) {
    radix_sort(b);
    for (size_t i = 0, end; i < b->n; i = end) {
        for (end = i + 1; end < b->n && b->tokens[end].key == b->tokens[i].key;) end++;
        if (end - i > 1) qsort_r(b->tokens + i, end - i, sizeof *b->tokens, compare_tokens, b);
    }
    for (size_t i = 0; i < b->n; i++) b->tokens[i].key = b->start[b->tokens[i].id];
}

static bool bit(const uint64_t *bits, uint32_t i) { return bits[i >> 6] >> (i & 63) & 1; }
static void clear_bit(uint64_t *bits, uint32_t i) { bits[i >> 6] &= ~(UINT64_C(1) << (i & 63)); }

/* Block 0 is never opened. */
static vr_status add_block(builder *b) {
    size_t old = b->unit_room, first = b->trie->n_units;
    if (first > UINT32_MAX - BLOCK)
        return vr_fail(b->err, VRWKV_ERR_UNSUPPORTED, "vocabulary too large: more than %u units of its index", UINT32_MAX);
    VR_TRY(vr_grow(&b->trie->units, &b->unit_room, first + BLOCK, sizeof(vr_unit), b->err));
    for (size_t i = old; i < b->unit_room; i++) b->trie->units[i] = (vr_unit){0, VR_TRIE_FREE};
    b->trie->n_units = first + BLOCK;
    if (!first) return VRWKV_OK;
    if (b->n_open == WINDOW) memmove(b->open, b->open + 1, (size_t)--b->n_open * sizeof *b->open);
    block *opened = &b->open[b->n_open++];
    memset(opened, 0xFF, sizeof *opened);
    opened->at = (uint32_t)first;
    opened->free = BLOCK;
    return VRWKV_OK;
}

/* A base within the block that puts all labels on free units; -1: none. */
static int fit(const block *space, const uint8_t *labels, int n) {
    if (space->free < n) return -1;
    for (int word = 0; word < 4; word++)
        for (uint64_t bits = space->room[word]; bits; bits &= bits - 1) {
            uint32_t base = (uint32_t)(word * 64 + __builtin_ctzll(bits)) ^ labels[0];
            int i = 1;
            if (!bit(space->base, base)) continue;
            while (i < n && bit(space->room, base ^ labels[i])) i++;
            if (i == n) return (int)base;
        }
    return -1;
}

/* Places children with these labels and gives their common base. */
static vr_status place(builder *b, const uint8_t *labels, int n, uint32_t *out) {
    int at = 0, base = -1;
    while (at < b->n_open && (base = fit(&b->open[at], labels, n)) < 0) at++;
    if (base < 0) {
        VR_TRY(add_block(b));
        at = b->n_open - 1;
        base = fit(&b->open[at], labels, n);
    }
    block *space = &b->open[at];
    clear_bit(space->base, (uint32_t)base);
    for (int i = 0; i < n; i++) {
        uint32_t unit = (uint32_t)base ^ labels[i];
        clear_bit(space->room, unit);
        b->trie->units[space->at + unit].tag = labels[i];
    }
    *out = space->at + (uint32_t)base;
    space->free -= n;
    if (!space->free) memmove(space, space + 1, (size_t)(--b->n_open - at) * sizeof *space);
    return VRWKV_OK;
}

static unsigned char byte_at(const builder *b, uint32_t i, uint32_t depth) {
    return (unsigned char)b->blob[b->tokens[i].key + depth];
}

static vr_status place_node(builder *b, range node) {
    uint32_t start[257], base;
    uint8_t labels[256];
    int n = 0;
    if (b->tokens[node.lo].bytes == node.depth) { /* equal tokens stand together, the lowest id first */
        b->trie->units[node.unit].tag |= (b->tokens[node.lo].id + 1) << VR_TRIE_SHIFT;
        while (node.lo < node.hi && b->tokens[node.lo].bytes == node.depth) node.lo++;
    }
    if (node.lo == node.hi) return VRWKV_OK;
    for (uint32_t i = node.lo; i < node.hi; i++) {
        unsigned char label = byte_at(b, i, node.depth);
        if (n && labels[n - 1] == label) continue;
        start[n] = i;
        labels[n++] = label;
    }
    start[n] = node.hi;
    VR_TRY(place(b, labels, n, &base));
    b->trie->units[node.unit].base = base;
    VR_TRY(vr_grow(&b->stack, &b->stack_room, b->n_stack + (size_t)n, sizeof *b->stack, b->err));
    for (int i = n; i-- > 0;)
        b->stack[b->n_stack++] = (range){start[i], start[i + 1], node.depth + 1, base ^ labels[i]};
    return VRWKV_OK;
}

static vr_status place_all(builder *b) {
    uint8_t root = 0;
    uint32_t base;
    VR_TRY(add_block(b));
    if (!b->n) return VRWKV_OK;
    VR_TRY(place(b, &root, 1, &base)); /* the root takes a unit that no lookup reaches: its base is no node's */
    VR_TRY(vr_grow(&b->stack, &b->stack_room, 1, sizeof *b->stack, b->err));
    b->stack[b->n_stack++] = (range){0, (uint32_t)b->n, 0, base};
    while (b->n_stack) {
        range node = b->stack[--b->n_stack];
        VR_TRY(place_node(b, node));
    }
    const vr_unit *units = b->trie->units;
    for (uint32_t i = 0; i < 256; i++) {
        vr_unit one = units[units[base].base ^ i];
        if ((one.tag & VR_TRIE_LABEL) != i) continue;
        b->trie->byte_id[i] = (int32_t)(one.tag >> VR_TRIE_SHIFT) - 1;
        for (uint32_t j = 0; j < 256; j++)
            if ((units[one.base ^ j].tag & VR_TRIE_LABEL) == j) b->trie->pair[i << 8 | j] = one.base ^ j;
    }
    return VRWKV_OK;
}

vr_status vr_trie_make(vr_trie *trie, const char *blob, const uint32_t *start, size_t n, vr_error *err) {
    builder b = {.trie = trie, .blob = blob, .start = start, .err = err};
    *trie = (vr_trie){0};
    for (int i = 0; i < 256; i++) trie->byte_id[i] = -1;
    trie->pair = vr_alloc(65536, sizeof *trie->pair);
    b.tokens = vr_alloc(n, sizeof *b.tokens);
    b.spare = vr_alloc(n, sizeof *b.spare);
    vr_status status = VRWKV_OK;
    if (!trie->pair || !b.tokens || !b.spare) {
        status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a vocabulary of %zu ids", n);
    } else {
        for (size_t id = 0; id < n; id++) {
            uint32_t bytes = start[id + 1] - start[id];
            if (bytes) b.tokens[b.n++] = (token){first_eight(blob + start[id], bytes), (uint32_t)id, bytes};
        }
        sort_tokens(&b);
        status = place_all(&b);
    }
    free(b.tokens);
    free(b.spare);
    free(b.stack);
    if (status != VRWKV_OK) vr_trie_free(trie);
    return status;
}

void vr_trie_free(vr_trie *trie) {
    free(trie->units);
    free(trie->pair);
    *trie = (vr_trie){0};
}
