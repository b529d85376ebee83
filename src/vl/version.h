/* What each released VisualRWKV does around its parts: one row per version. Which parts a model has
 * (RWKV version, towers, projector, compressor) its weights tell; what is done with them stands here.
 * src: docs/MODEL.md, "Versions"; VisualRWKV v5.1 to v7.04, VisualRWKV-HD. */
#ifndef VR_VL_VERSION_H
#define VR_VL_VERSION_H
#include "base/status.h"

#include <stdbool.h>

/* What a question without a picture is given, as in training. */
typedef enum vr_blank { VR_BLANK_NONE, VR_BLANK_ROWS /* zero rows in front */, VR_BLANK_PICTURE /* a zero picture, marked in the text */ } vr_blank;

/* How a picture is cut into regions of the tower's size. */
typedef enum vr_cut {
    VR_CUT_NONE,
    VR_CUT_FIT,      /* brought to a grid of regions, the one of least waste */
    VR_CUT_FIT_AREA, /* the same, and nearest in area */
    VR_CUT_QUARTERS  /* the whole, then its four quarters */
} vr_cut;
#define VR_QUARTERS 5 /* regions of VR_CUT_QUARTERS */

/* What becomes of the rows of all regions. */
typedef enum vr_rows_of {
    VR_ROWS_POOLED,   /* each region's, one after another */
    VR_ROWS_PICTURE,  /* compressed to one region's number */
    VR_ROWS_REGIONS,  /* compressed to one region's number times the regions */
    VR_ROWS_OVERLAID  /* the whole's; the quarters' stand beside them as further channels */
} vr_rows_of;
static inline bool vr_is_compressed(vr_rows_of rows) { return rows == VR_ROWS_PICTURE || rows == VR_ROWS_REGIONS; }

typedef struct vr_version {
    const char *name;           /* "v7.00" */
    const char *rwkv, *towers;  /* what tells it: "x070", "dinov2,siglip,sam" */
    bool compressor;            /* likewise */
    const char *projector;      /* likewise; NULL: any */
    const char *new_projector;  /* that a model begins with which has none yet; NULL: linear */
    const char *prompt;         /* whose rules its text follows */
    const char *scan, *image_position; /* where nothing else is said */
    vr_blank blank;
    vr_cut cut;
    vr_rows_of rows;
    int most_pictures; /* in one prompt; 0: any number */
    int pad_multiple;  /* original manner: a prompt is padded on the left to a multiple of it; 0: not */
    int pad_token;     /* whose embedding pads */
    int num_token_per_image; /* where nothing else is said; 0: grid_size decides */
    int32_t row_id;    /* id that stands once for each row of a picture; 0: none */
    bool trace_out;    /* traces hold x.out, the rows after the last norm */
    /* training: */
    bool batch_loss;       /* the mean over all labels of a batch, not over each sample's first */
    bool all_decay;        /* vectors too */
    bool trains_embedding; /* with all blocks of the language model */
} vr_version;

const vr_version *vr_version_find(const char *name); /* NULL: unknown */
const vr_version *vr_version_at(int index);          /* NULL at the end */
const char *vr_version_names(void);                  /* "v5.1, v6.0, ..." for messages */
/* The first row with these parts, towers being types joined by commas; a combination that was never
 * released takes the first row with the RWKV version. NULL: none. */
const vr_version *vr_version_detect(const char *rwkv, const char *towers, bool compressor, const char *projector);
#endif
