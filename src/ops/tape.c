#include "ops/tape.h"
#include "ops/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct vr_node {
    vr_node *before;
    vr_backward_fn backward;
    float *grad; /* of the result: cleared after the backward pass; NULL: the pass sees to that */
    int64_t count;
    _Alignas(16) char saved[];
};

vr_status vr_tape_open(vr_tape *tape, vr_arena *arena, vr_error *err) {
    *tape = (vr_tape){.arena = arena};
    void *mirror = mmap(NULL, arena->reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mirror == MAP_FAILED)
        return vr_fail(err, VRWKV_ERR_MEMORY, "cannot reserve %zu bytes of address space for gradients", arena->reserved);
    tape->mirror = mirror;
    return VRWKV_OK;
}

void vr_tape_close(vr_tape *tape) {
    if (tape->mirror) munmap(tape->mirror, tape->arena->reserved);
    free(tape->trained);
    *tape = (vr_tape){0};
}

vr_status vr_tape_train(vr_tape *tape, const float *weight, float *grad, int64_t count, vr_error *err) {
    vr_trained new = {(const char *)weight, (const char *)(weight + count), grad};
    VR_TRY(vr_grow(&tape->trained, &tape->capacity, tape->n_trained + 1, sizeof *tape->trained, err));
    size_t at = tape->n_trained++;
    for (; at > 0 && tape->trained[at - 1].begin > new.begin; at--) tape->trained[at] = tape->trained[at - 1];
    tape->trained[at] = new;
    return VRWKV_OK;
}

void vr_tape_begin(vr_run *run, vr_tape *tape) {
    run->tape = tape;
    tape->floor = vr_arena_mark(tape->arena);
    tape->last = NULL;
    tape->recording = true;
}

static float *weight_grad(const vr_tape *tape, const char *at) {
    size_t low = 0, high = tape->n_trained;
    while (low < high) { /* the first that begins behind `at` */
        size_t middle = low + (high - low) / 2;
        if (tape->trained[middle].begin <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || at >= tape->trained[low - 1].end) return NULL;
    return tape->trained[low - 1].grad + (at - tape->trained[low - 1].begin) / (ptrdiff_t)sizeof(float);
}

float *vr_grad(const vr_run *run, const void *data) {
    const vr_tape *tape = run->tape;
    const char *base = tape->arena->base, *at = data;
    if (!data) return NULL;
    if (at < base || at >= base + tape->arena->reserved) return weight_grad(tape, at);
    return (size_t)(at - base) < tape->floor ? NULL : (float *)(void *)(tape->mirror + (at - base));
}

vr_tensor *vr_op_record(vr_run *run, vr_tensor *y, vr_backward_fn backward, const void *saved, size_t size) {
    if (!vr_op_records(run)) return y;
    vr_node *node = vr_op_memory(run, 1, sizeof *node + size);
    if (!node) return NULL;
    *node = (vr_node){.before = run->tape->last, .backward = backward};
    if (y) {
        node->grad = vr_grad(run, y->data);
        vr_shape_count(y->ndim, y->shape, &node->count);
    }
    if (size) memcpy(node->saved, saved, size);
    run->tape->last = node;
    return y;
}

bool vr_op_keep_sequences(vr_run *run, const vr_span **spans, float *const **states, int n) {
    if (!vr_op_records(run)) return true;
    vr_span *own_spans = vr_op_memory(run, (size_t)n, sizeof *own_spans);
    float **own_states = vr_op_memory(run, (size_t)n, sizeof *own_states);
    if (!own_spans || !own_states) return false;
    for (int i = 0; i < n; i++) own_spans[i] = (*spans)[i], own_states[i] = (*states)[i];
    *spans = own_spans, *states = own_states;
    return true;
}

void vr_op_nothing_back(vr_run *run, const void *saved) { (void)run, (void)saved; }

void vr_op_run_nodes(vr_run *run) {
    vr_tape *tape = run->tape;
    while (tape->last) {
        vr_node *node = tape->last;
        tape->last = node->before;
        if (vr_op_start(run)) node->backward(run, node->saved);
        if (node->grad) memset(node->grad, 0, (size_t)node->count * sizeof(float));
    }
}

vr_status vr_tape_backward(vr_run *run, const vr_tensor *loss, float seed) {
    int64_t count;
    if (loss && loss->dtype == VR_F32 && vr_shape_count(loss->ndim, loss->shape, &count) && count == 1)
        *vr_grad(run, loss->data) = seed;
    else
        vr_op_fail(run, VRWKV_ERR_SHAPE, "backward: the loss is no single number");
    vr_op_run_nodes(run);
    run->tape = NULL;
    return vr_run_status(run);
}

typedef struct watched {
    vr_tensor x;
    const char *name;
    vr_watch_fn watch;
    void *user;
} watched;

static void show_gradient(vr_run *run, const void *saved) {
    const watched *w = saved;
    vr_tensor gradient = w->x;
    gradient.data = vr_grad(run, w->x.data);
    w->watch(w->user, w->name, &gradient);
}

void vr_watch_gradient(vr_run *run, const vr_tensor *x, const char *name, vr_watch_fn watch, void *user) {
    if (x) vr_op_record(run, NULL, show_gradient, &(watched){*x, name, watch, user}, sizeof(watched));
}
