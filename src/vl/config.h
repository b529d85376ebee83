/* The description of a model: everything that its weights' shapes cannot tell, and what they can.
 * Stored as JSON under `vrwkv.config` in the GGUF, with the key names of the reference cases. */
#ifndef VR_VL_CONFIG_H
#define VR_VL_CONFIG_H
#include "file/weights.h"
#include "rwkv/rwkv.h"
#include "text/prompt.h"
#include "vision/vision.h"
#include "vl/version.h"

#define VR_MAX_TOWERS 4

typedef struct vr_config {
    char version[24]; /* "v6.0"; "" : a language model alone */
    const vr_version *rules; /* the row of `version`; of a language model alone, and of a combination that was
                                never released, the first with its RWKV version */
    char rwkv[16];    /* "x060" */
    vr_rwkv_dims lm;
    int head_size_divisor;
    int ctx_len;
    int stop_token, pad_token;
    char scan[24], image_position[12];
    int grid_size;           /* of pooling with a class row */
    int num_token_per_image; /* rows of a picture or region, where there is no class row */
    int n_vtc_layer;         /* of the compressor; 0: none */
    char proj_type[12];
    bool no_projector;       /* the checkpoint has none yet: proj_type is what it begins with */
    int n_towers;
    char tower_type[VR_MAX_TOWERS][16];
    vr_tower_dims towers[VR_MAX_TOWERS];
} vr_config;

/* Settings from JSON by the keys of case.json (a whole case.json is fine); keys that do not describe
 * a model are ignored, null means unset. An empty list of `towers` leaves out those of the checkpoint:
 * the language model alone. */
typedef struct vr_settings vr_settings;
vr_status vr_settings_parse(vr_settings **out, const char *json, size_t n, vr_error *err);
vr_status vr_settings_file(vr_settings **out, const char *path, vr_error *err);
/* One more setting, winning over what is there: "grid_size", "8". NULL *settings is made. */
vr_status vr_settings_put(vr_settings **settings, const char *key, const char *value, vr_error *err);
void vr_settings_free(vr_settings *settings); /* NULL is fine */

/* The description of what is in `files` (n of them, searched in order): from a GGUF's vrwkv.config,
 * else from keys and shapes; `settings` (may be NULL) win for what shapes cannot tell, and must agree
 * with the shapes where both speak. A checkpoint that fits nothing: which keys were missing. Towers
 * without a projector are an error unless the settings hold "fresh_projector". */
vr_status vr_config_describe(vr_config *out, vr_weights *const *files, int n, const vr_settings *settings, vr_error *err);
/* The tower alone of files that may hold nothing else; its type is that of the only one of the settings'
 * `towers`. n 0: the settings are complete. Nothing but the tower is described. */
vr_status vr_config_describe_tower(vr_config *out, vr_weights *const *files, int n, const vr_settings *settings, vr_error *err);
/* The description alone, from a complete JSON text. */
vr_status vr_config_parse(vr_config *out, const char *json, size_t n, vr_error *err);
/* The same from settings, with further ones that win (may be NULL). */
vr_status vr_config_make(vr_config *out, const vr_settings *description, const vr_settings *settings, vr_error *err);
/* JSON text, heap, the caller's; NULL when out of memory. */
char *vr_config_json(const vr_config *config);
int vr_config_image_rows(const vr_config *config); /* rows of one picture, or of one of its regions; 0: no tower */
/* A class row stands behind the picture's rows and is never scanned. */
bool vr_config_has_class_row(const vr_config *config);

/* All parts of such a model, in the order of a model file; names and shapes only. Returns how many. */
#define VR_MAX_PARTS (2 + 2 * VR_MAX_TOWERS + 1 + 2)
int vr_config_parts(const vr_config *config, vr_part parts[VR_MAX_PARTS]);
/* Of one tower: its outer rows, its layers' rows. */
#define VR_TOWER_PARTS 2
int vr_config_tower_parts(const vr_config *config, int tower, vr_part parts[VR_TOWER_PARTS]);
/* Finds a row's tensor: in a file that has a layout (vl/layout.h) where that keeps it, else under its
 * checkpoint key (with the part's prefix, or what is left of it after any of its points). NULL: nowhere. */
typedef struct vr_found vr_found;
const vr_entry *vr_config_find(vr_weights *const *files, int n, const vr_part *part, const vr_row *row, int layer,
                               vr_found *out);
#endif
