/* Layers: what a layer of a model needs on its way is given back at its end. */
#include "ops/internal.h"

#include <string.h>

/* Moves results that lie above the mark down to it, in the order of their addresses: each finds its
 * place before the next one begins, since every result was made with its header in front. */
static bool move_down(vr_run *run, size_t mark, vr_tensor *const from[VR_STREAMS], vr_tensor *to[VR_STREAMS]) {
    int order[VR_STREAMS] = {0, 1};
    if (from[1] && (!from[0] || (char *)from[1]->data < (char *)from[0]->data)) order[0] = 1, order[1] = 0;
    vr_tensor tensors[VR_STREAMS];
    for (int i = 0; i < VR_STREAMS; i++)
        if (from[i]) tensors[i] = *from[i];
    vr_arena_release(run->arena, mark);
    for (int i = 0; i < VR_STREAMS; i++) {
        int s = order[i];
        if (!from[s]) continue;
        int64_t count;
        to[s] = vr_new(run, tensors[s].ndim, tensors[s].shape);
        if (!to[s]) return false;
        vr_shape_count(tensors[s].ndim, tensors[s].shape, &count);
        memmove(to[s]->data, tensors[s].data, (size_t)count * sizeof(float));
    }
    return true;
}

/* Runs the layer, then keeps its results alone: in the place of a stream that vr_layer made and may
 * write over, else at the mark. */
static bool run_and_keep(vr_run *run, vr_layer_fn fn, const void *model, int layer, vr_streams *s, bool over) {
    size_t mark = vr_arena_mark(run->arena);
    vr_tensor *next[VR_STREAMS], *moved[VR_STREAMS] = {0};
    memcpy(next, s->at, sizeof next);
    if (!fn(run, model, layer, next) || vr_run_status(run) != VRWKV_OK) return false;
    for (int i = 0; i < VR_STREAMS; i++) {
        int64_t count;
        if (next[i] == s->at[i] || !next[i]) continue;
        if (over && s->own[i] && vr_shape_count(next[i]->ndim, next[i]->shape, &count))
            memcpy(s->at[i]->data, next[i]->data, (size_t)count * sizeof(float));
        else
            moved[i] = next[i];
    }
    if (!move_down(run, mark, moved, s->at)) return false;
    for (int i = 0; i < VR_STREAMS; i++) s->own[i] |= moved[i] != NULL;
    return true;
}

typedef struct layer_node {
    vr_layer_fn fn;
    const void *model;
    int layer;
    vr_tensor *in[VR_STREAMS], *out[VR_STREAMS];
} layer_node;

/* The layer once more, with a tape of its own; results' gradients are handed to those of the repetition. */
static void layer_back(vr_run *run, const void *saved) {
    const layer_node *node = saved;
    vr_tape *tape = run->tape;
    size_t mark = vr_arena_mark(run->arena);
    vr_node *rest = tape->last;
    vr_tensor *again[VR_STREAMS];
    memcpy(again, node->in, sizeof again);
    tape->last = NULL;
    bool checkpoints = tape->checkpoints;
    tape->checkpoints = false;
    if (node->fn(run, node->model, node->layer, again) && vr_run_status(run) == VRWKV_OK)
        for (int i = 0; i < VR_STREAMS; i++) {
            int64_t count;
            if (node->out[i] == node->in[i]) continue;
            float *from = vr_grad(run, node->out[i]->data), *to = vr_grad(run, again[i]->data);
            vr_shape_count(node->out[i]->ndim, node->out[i]->shape, &count);
            run->kernels->add(to, to, from, count);
            memset(from, 0, (size_t)count * sizeof *from);
        }
    vr_op_run_nodes(run);
    tape->checkpoints = checkpoints;
    tape->last = rest;
    vr_arena_release(run->arena, mark);
}

bool vr_layer(vr_run *run, vr_layer_fn fn, const void *model, int layer, vr_streams *s) {
    if (!vr_op_start(run)) return false;
    if (!vr_op_records(run)) return run_and_keep(run, fn, model, layer, s, true);
    if (!run->tape->checkpoints) return fn(run, model, layer, s->at) && vr_run_status(run) == VRWKV_OK;
    layer_node node = {.fn = fn, .model = model, .layer = layer};
    memcpy(node.in, s->at, sizeof node.in);
    run->tape->recording = false;
    bool done = run_and_keep(run, fn, model, layer, s, false);
    run->tape->recording = true;
    memcpy(node.out, s->at, sizeof node.out);
    if (done) vr_op_record(run, NULL, layer_back, &node, sizeof node);
    return done && vr_run_status(run) == VRWKV_OK;
}
