/* What was measured and decided, as the text that goes into the model file. */
#ifndef VR_QUANTISE_REPORT_H
#define VR_QUANTISE_REPORT_H
#include "quantise/meter.h"

/* What a measured matrix may become, from narrow to wide; those of equal width together. */
enum { VR_PLAN_TYPES = 6 };
extern const vr_dtype vr_plan_types[VR_PLAN_TYPES];

typedef struct vr_plan_matrix {
    char name[VR_NAME_SIZE];
    vr_tensor *tensor; /* the model's */
    int64_t weights;
    bool vision;
    bool measured;     /* false: it becomes `type` */
    vr_dtype type;
    int narrowest, chosen; /* vr_plan_types[] that it begins and ends with */
    bool fits[VR_PLAN_TYPES], known[VR_PLAN_TYPES];
    double cost[VR_PLAN_TYPES]; /* where known */
} vr_plan_matrix;

typedef struct vr_plan_report {
    const vr_plan_matrix *matrices;
    size_t n;
    const vr_samples *samples;
    bool given; /* the samples are not the built-in ones */
    double bits, reached;
    uint64_t weights;
    vr_distance narrowest, chosen; /* all measured matrices rounded together */
} vr_plan_report;

/* JSON (docs/FORMATS.md), heap, the caller's; NULL when out of memory. */
char *vr_plan_json(const vr_plan_report *report);
#endif
