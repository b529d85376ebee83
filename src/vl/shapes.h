/* The released sizes, as descriptions: for measuring speed without their weights. */
#ifndef VR_VL_SHAPES_H
#define VR_VL_SHAPES_H

typedef struct vr_shape {
    const char *name;   /* "v6-1b6" */
    const char *config; /* JSON, complete */
} vr_shape;

/* Released towers alone: {"towers": [...]}; NULL at the end. */
const vr_shape *vr_tower_shape_at(int index);
const vr_shape *vr_shape_find(const char *name); /* NULL: unknown */
const vr_shape *vr_shape_at(int index);          /* NULL at the end */
#endif
