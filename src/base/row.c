#include "base/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int vr_letters_shape(const char *letters, const vr_dims *dims, int64_t shape[VR_MAX_DIMS]) {
    int ndim = 0;
    for (const char *at = letters; *at && ndim < VR_MAX_DIMS; ndim++) {
        char *end;
        int64_t size = strtol(at, &end, 10);
        if (end == at) size = 1;
        if (*end >= 'A' && *end <= 'Z') size *= vr_dim(dims, *end++);
        shape[ndim] = size;
        at = *end == ',' ? end + 1 : end;
    }
    return ndim;
}

const char *vr_row_name(const char *pattern, int layer, char *buffer) {
    const char *mark = strstr(pattern, "%d");
    if (mark)
        snprintf(buffer, VR_NAME_SIZE, "%.*s%d%s", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        snprintf(buffer, VR_NAME_SIZE, "%s", pattern);
    return buffer;
}

int vr_part_shape(const vr_part *part, const vr_row *row, int layer, int64_t shape[VR_MAX_DIMS]) {
    if (!part->at_layer) return vr_letters_shape(row->shape, &part->dims, shape);
    vr_dims dims = part->dims;
    part->at_layer(&dims, part->from, layer);
    return vr_letters_shape(row->shape, &dims, shape);
}

const char *vr_part_gguf_name(const vr_part *part, const vr_row *row, int layer, char *buffer) {
    char pattern[VR_NAME_SIZE];
    snprintf(pattern, sizeof pattern, "%s%s", part->gguf_prefix, row->gguf);
    return vr_row_name(pattern, layer, buffer);
}
