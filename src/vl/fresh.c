/* Towers of their own files under a language model, with a projector that is yet to be trained. */
#include "vl/fresh.h"

#include "base/memory.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROJECTOR_PREFIX "proj."
#define HEADER_ROOM 4096 /* bytes of JSON that describe a projector's tensors */

/* One that has its place in a model, "vit.NAME." or "NAME.", keeps its names. */
static bool is_placed(const vr_weights *file, const vr_tower_arch *arch) {
    const char *short_prefix = strchr(arch->prefix, '.') + 1;
    for (size_t i = 0; i < vr_weights_count(file); i++) {
        const char *name = vr_weights_at(file, i)->name;
        if (strncmp(name, arch->prefix, strlen(arch->prefix)) == 0) return true;
        if (strcmp(short_prefix, arch->raw_prefix) != 0 && strncmp(name, short_prefix, strlen(short_prefix)) == 0) return true;
    }
    return false;
}

static const vr_tower_arch *find_arch(const char *name) {
    for (int i = 0; vr_tower_arch_at(i); i++)
        if (strcmp(vr_tower_arch_at(i)->type, name) == 0 || strcmp(vr_tower_arch_at(i)->name, name) == 0) return vr_tower_arch_at(i);
    return NULL;
}

vr_status vr_tower_file_open(vr_weights **out, const char *type, const char *path, vr_error *err) {
    const vr_tower_arch *arch = find_arch(type);
    *out = NULL;
    if (!arch) {
        char known[160] = "";
        for (int i = 0; vr_tower_arch_at(i); i++)
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", vr_tower_arch_at(i)->type);
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "tower type '%s' is unknown, expected one of %s", type, known);
    }
    VR_TRY(vr_weights_open(out, path, NULL, err));
    if (is_placed(*out, arch)) return VRWKV_OK;
    vr_status status = vr_weights_rename(*out, arch->raw_prefix, arch->prefix, err);
    if (status == VRWKV_OK) return status;
    vr_weights_close(*out);
    *out = NULL;
    return status;
}

/* Matrices as nn.Linear begins, U(-1/sqrt(in), 1/sqrt(in)); norms as nn.LayerNorm, 1 and 0.
 * src: docs/MODEL.md, "Initial values" */
static void fill(float *to, const vr_row *row, int ndim, const int64_t *shape, int64_t count, vr_rng *rng) {
    bool bias = strstr(row->key, ".bias") != NULL;
    float range = ndim > 1 ? 1.0f / sqrtf((float)shape[ndim - 1]) : 0.0f;
    for (int64_t i = 0; i < count; i++)
        to[i] = ndim > 1 ? range * (2.0f * (float)vr_rng_uniform(rng) - 1.0f) : bias ? 0.0f : 1.0f;
}

/* {"proj.NAME": {"dtype":"F32","shape":[..],"data_offsets":[..]}, ...}, filled up with blanks; the bytes
 * of all tensors. */
static uint64_t write_header(char *json, const vr_part *part) {
    uint64_t at = 0;
    int n = snprintf(json, HEADER_ROOM, "{");
    for (int r = 0; r < part->n_rows; r++) {
        char name[VR_NAME_SIZE];
        int64_t shape[VR_MAX_DIMS], count;
        int ndim = vr_part_shape(part, &part->rows[r], 0, shape);
        vr_shape_count(ndim, shape, &count);
        n += snprintf(json + n, (size_t)(HEADER_ROOM - n), "%s\"" PROJECTOR_PREFIX "%s\":{\"dtype\":\"F32\",\"shape\":", r ? "," : "",
                      vr_row_name(part->rows[r].key, 0, name));
        for (int i = 0; i < ndim; i++) n += snprintf(json + n, (size_t)(HEADER_ROOM - n), "%c%lld", i ? ',' : '[', (long long)shape[i]);
        n += snprintf(json + n, (size_t)(HEADER_ROOM - n), "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                      (unsigned long long)(at + (uint64_t)count * sizeof(float)));
        at += (uint64_t)count * sizeof(float);
    }
    n += snprintf(json + n, (size_t)(HEADER_ROOM - n), "}");
    memset(json + n, ' ', (size_t)(HEADER_ROOM - n));
    return at;
}

vr_status vr_fresh_projector(const vr_config *config, uint64_t seed, void **memory, vr_weights **out, vr_error *err) {
    vr_part parts[VR_MAX_PARTS], *part = parts;
    int n = vr_config_parts(config, parts);
    char header[HEADER_ROOM];
    vr_rng rng = {seed};
    *out = NULL;
    *memory = NULL;
    while (part < parts + n && strcmp(part->name, "projector") != 0) part++;
    uint64_t bytes = write_header(header, part), length = HEADER_ROOM;
    unsigned char *file = vr_alloc((size_t)(8 + HEADER_ROOM + bytes), 1);
    if (!file) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a projector of %llu bytes", (unsigned long long)bytes);
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)(length >> 8 * i);
    memcpy(file + 8, header, HEADER_ROOM);
    float *to = (float *)(void *)(file + 8 + HEADER_ROOM);
    for (int r = 0; r < part->n_rows; r++) {
        int64_t shape[VR_MAX_DIMS], count;
        int ndim = vr_part_shape(part, &part->rows[r], 0, shape);
        vr_shape_count(ndim, shape, &count);
        fill(to, &part->rows[r], ndim, shape, count, &rng);
        to += count;
    }
    *memory = file;
    return vr_weights_open_memory(out, file, (size_t)(8 + HEADER_ROOM + bytes), NULL, err);
}
