#include "train/loader.h"
#include "base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { SLOTS = 3 }; /* one in use, two ahead */

typedef struct slot {
    vr_example *examples;
    vr_status status;
    vr_error err;
} slot;

struct vr_loader {
    const vr_dataset *dataset;
    const vrwkv_model *model;
    vr_sampler *sampler;
    const vr_example_options *options;
    vr_loader_steps steps;
    slot slots[SLOTS];
    int64_t loaded, taken; /* batches; taken - 1 is in use */
    bool quit, running;
    pthread_t thread;
    pthread_mutex_t mutex; /* of the four above */
    pthread_cond_t changed;
};

static void empty(vr_loader *l, slot *s) {
    for (int64_t i = 0; i < l->steps.n; i++) vr_example_free(&s->examples[i]);
}

static void load_batch(vr_loader *l, int64_t number, slot *s) {
    empty(l, s);
    s->err = (vr_error){0};
    s->status = VRWKV_OK;
    for (int64_t i = 0; i < l->steps.n && s->status == VRWKV_OK; i++) {
        int64_t index;
        s->status = vr_sampler_at(l->sampler, l->steps.first + number * l->steps.stride + i, &index, &s->err);
        if (s->status == VRWKV_OK)
            s->status = vr_example_load(&s->examples[i], l->dataset, index, l->model, l->options, &s->err);
    }
}

static void *work(void *argument) {
    vr_loader *l = argument;
    for (int64_t number = 0; number < l->steps.n_batches; number++) {
        pthread_mutex_lock(&l->mutex);
        while (!l->quit && number - (l->taken - 1) >= SLOTS) pthread_cond_wait(&l->changed, &l->mutex);
        bool quit = l->quit;
        pthread_mutex_unlock(&l->mutex);
        if (quit) break;
        load_batch(l, number, &l->slots[number % SLOTS]);
        pthread_mutex_lock(&l->mutex);
        l->loaded = number + 1;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->mutex);
    }
    return NULL;
}

vr_status vr_loader_open(vr_loader **out, const vr_dataset *dataset, const vrwkv_model *model, vr_sampler *sampler,
                         const vr_example_options *options, vr_loader_steps steps, vr_error *err) {
    vr_loader *l = vr_alloc(1, sizeof *l);
    sigset_t all, before;
    *out = NULL;
    if (!l) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory");
    *l = (vr_loader){.dataset = dataset, .model = model, .sampler = sampler, .options = options, .steps = steps};
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    vr_status status = VRWKV_OK;
    for (int i = 0; i < SLOTS && status == VRWKV_OK; i++) {
        l->slots[i].examples = vr_alloc((size_t)steps.n, sizeof *l->slots[i].examples);
        if (!l->slots[i].examples)
            status = vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a batch of %lld", (long long)steps.n);
    }
    sigfillset(&all); /* signals are the program's business */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (status == VRWKV_OK && pthread_create(&l->thread, NULL, work, l) != 0)
        status = vr_fail(err, VRWKV_ERR_MEMORY, "cannot start the thread that loads samples");
    else
        l->running = status == VRWKV_OK;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == VRWKV_OK)
        *out = l;
    else
        vr_loader_close(l);
    return status;
}

void vr_loader_close(vr_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->mutex);
    l->quit = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    if (l->running) pthread_join(l->thread, NULL);
    for (int i = 0; i < SLOTS; i++) {
        if (l->slots[i].examples) empty(l, &l->slots[i]);
        free(l->slots[i].examples);
    }
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

vr_status vr_loader_next(vr_loader *l, vr_example **examples, vr_error *err) {
    pthread_mutex_lock(&l->mutex);
    l->taken++;
    pthread_cond_broadcast(&l->changed);
    while (l->loaded < l->taken && l->taken <= l->steps.n_batches) pthread_cond_wait(&l->changed, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
    if (l->taken > l->steps.n_batches)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "there are no batches after number %lld", (long long)l->steps.n_batches);
    const slot *s = &l->slots[(l->taken - 1) % SLOTS];
    if (s->status != VRWKV_OK) return vr_fail(err, s->status, "%s", s->err.message);
    *examples = s->examples;
    return VRWKV_OK;
}
