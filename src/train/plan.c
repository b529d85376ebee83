#include "train/plan.h"

#include <string.h>

vr_plan vr_plan_default(const vr_config *config, int freeze_layers) {
    return (vr_plan){.proj = true, .rwkv = true, .emb = config->rules->trains_embedding && freeze_layers == 0,
                     .freeze_layers = freeze_layers, .n_layer = config->lm.n_layer};
}

static const struct { const char *name; size_t offset; } parts[] = {
    {"proj", offsetof(vr_plan, proj)}, {"rwkv", offsetof(vr_plan, rwkv)}, {"emb", offsetof(vr_plan, emb)},
    {"vit", offsetof(vr_plan, vit)}, {"state", offsetof(vr_plan, state)}, {"lora", offsetof(vr_plan, lora)},
};

vr_status vr_plan_parse(vr_plan *plan, const char *list, vr_error *err) {
    plan->proj = plan->rwkv = plan->emb = plan->vit = plan->state = plan->lora = false;
    while (*list) {
        size_t n = strcspn(list, ","), i = 0;
        while (i < VR_COUNT(parts) && (strlen(parts[i].name) != n || strncmp(parts[i].name, list, n) != 0)) i++;
        if (i == VR_COUNT(parts))
            return vr_fail(err, VRWKV_ERR_ARGUMENT,
                           "there is no part '%.*s' to train: proj, rwkv, emb, vit, state, lora", (int)n, list);
        *(bool *)(void *)((char *)plan + parts[i].offset) = true;
        list += list[n] ? n + 1 : n;
    }
    return VRWKV_OK;
}

bool vr_plan_wants(const void *user, const vr_part *part, const vr_row *row, int layer, const char *name) {
    const vr_plan *plan = user;
    int block;
    (void)name;
    if (strcmp(part->name, "vision") == 0) return plan->vit;
    if (strcmp(part->name, "projector") == 0 || strcmp(part->name, "compressor") == 0) return plan->proj;
    if (strcmp(row->key, "emb.weight") == 0) return plan->emb;
    if (!plan->rwkv || plan->freeze_layers >= plan->n_layer) return false;
    block = part->repeat > 1 || strstr(row->key, "%d") ? layer : strncmp(row->key, "blocks.", 7) == 0 ? 0 : plan->n_layer;
    return block >= plan->freeze_layers;
}
