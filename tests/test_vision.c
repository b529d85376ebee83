/* Towers alone: what a checkpoint's shapes tell without any setting, settings that contradict them, the
 * stored description, pictures of another grid, threads, stored types. The numbers themselves are compared
 * with the reference cases by `vrwkv verify`; operations by test_ops_vision.c. */
#include "check.h"

#include "ops/quant.h"
#include "vl/shapes.h"
#include "vl/tower.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CASES VRWKV_SOURCE_DIR "/tests/data/cases/v7/towers/"

static vr_error err; /* of the call under test */

static vr_settings *settings_of(const char *json) {
    vr_settings *settings = NULL;
    CHECK(vr_settings_parse(&settings, json, strlen(json), &err) == VRWKV_OK, "%s", err.message);
    return settings;
}

static vr_status open_tower(vr_lone_tower *tower, const char *name, const char *json) {
    char path[512];
    vr_settings *settings = settings_of(json);
    snprintf(path, sizeof path, CASES "%s/model.pth", name);
    vr_status status = vr_lone_tower_open(tower, path, settings, &err);
    vr_settings_free(settings);
    return status;
}

static vr_status random_tower(vr_lone_tower *tower, const char *json, vr_dtype type) {
    vr_settings *settings = settings_of(json);
    vr_status status = vr_lone_tower_random(tower, settings, type, false, &err);
    vr_settings_free(settings);
    return status;
}

/* ---- descriptions ---- */

static void check_dims(const vr_tower_dims *a, const vr_tower_dims *b, const char *what) {
    const int found[] = {a->image_size, a->patch_size, a->hidden_size, a->num_hidden_layers, a->num_attention_heads,
                         a->intermediate_size, a->positions, a->prefix_tokens, a->taken_block, a->resample, (int)a->hidden_act,
                         a->window_size, a->out_chans, a->down_sampler, (int)a->global_attn_indexes};
    const int expected[] = {b->image_size, b->patch_size, b->hidden_size, b->num_hidden_layers, b->num_attention_heads,
                            b->intermediate_size, b->positions, b->prefix_tokens, b->taken_block, b->resample, (int)b->hidden_act,
                            b->window_size, b->out_chans, b->down_sampler, (int)b->global_attn_indexes};
    for (size_t i = 0; i < VR_COUNT(found); i++) CHECK(found[i] == expected[i], "%s: field %zu is %d, expected %d", what, i, found[i], expected[i]);
    CHECK(a->layer_norm_eps == b->layer_norm_eps, "%s: eps %g", what, (double)a->layer_norm_eps);
    for (int c = 0; c < 3; c++)
        CHECK(a->image_mean[c] == b->image_mean[c] && a->image_std[c] == b->image_std[c], "%s: colour %d is (value - %g) / %g", what,
              c, (double)a->image_mean[c], (double)a->image_std[c]);
}

static void test_shapes(void) {
    static const struct { const char *name, *json; vr_tower_dims dims; } cases[] = {
        {"dino", "{\"towers\":[{\"type\":\"dinov2\",\"num_attention_heads\":4}]}",
         {84, 14, 64, 4, 4, 256, 36, 5, 2, 3, VR_ACT_GELU, 1e-6f, 0, 0, 0, 0, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}},
        {"siglip-remainder", "{\"towers\":[{\"type\":\"siglip\",\"num_attention_heads\":2}]}",
         {56, 14, 32, 3, 2, 119, 16, 0, 1, 3, VR_ACT_GELU, 1e-6f, 0, 0, 0, 0, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}}},
        {"sam-relpos-resized", "{\"towers\":[{\"type\":\"sam\"}]}", /* heads, too, are told by the relative positions */
         {40, 4, 32, 2, 2, 64, 0, 0, 1, 3, VR_ACT_GELU, 1e-6f, 4, 8, 1, 2, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}},
    };
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        vr_lone_tower tower;
        CHECK(open_tower(&tower, cases[i].name, cases[i].json) == VRWKV_OK, "%s", err.message);
        check_dims(&tower.config.towers[0], &cases[i].dims, cases[i].name);
        vr_lone_tower_close(&tower);
    }
}

static void test_contradictions(void) {
    static const struct { const char *name, *json, *message; } cases[] = {
        {"dino", "\"type\":\"dinov2\"", "tower dinov2: 0 attention heads for a width of 64"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"hidden_size\":65", "tower 1: setting hidden_size is 65, but the checkpoint's shapes say 64"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"prefix_tokens\":3", "'vit.dino_featurizer.reg_token' has shape [1, 4, 64], expected [1, 2, 64]"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"prefix_tokens\":0", "prefix_tokens 0 cannot be"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"taken_block\":4", "taken_block 4, expected one of the 4 layers"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"resample\":1", "resample 1, expected 2 (bilinear) or 3 (bicubic)"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"window_size\":7", "settings of windows or a neck"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"mlp_ratio\":3.5", "setting mlp_ratio 3.5 makes an MLP of 224, but it has 256"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"use_abs_pos\":false", "setting use_abs_pos is false, but there is a position table"},
        {"dino", "\"type\":\"dinov2\",\"num_attention_heads\":4,\"hidden_act\":\"swish\"", "hidden_act 'swish' is unknown"},
        {"dino", "\"type\":\"siglip\"", "the checkpoint has no 'vit.siglip_featurizer.patch_embed.proj.weight'"},
        {"dino", "\"type\":\"sam\"", "the checkpoint has no 'vit.sam_featurizer.patch_embed.proj.weight'"},
        {"dino", "\"type\":\"resnet\"", "the first of type 'resnet'"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"window_size\":5", "setting window_size is 5, but the checkpoint's shapes say 4"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"global_attn_indexes\":[0]", "setting global_attn_indexes names other layers"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"global_attn_indexes\":[64]", "item 0 is no layer, expected 0 to 63"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"use_abs_pos\":true", "setting use_abs_pos is true, but there is no position table"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"image_size\":48", "rel_pos_h' has shape [19, 16], expected [23, 16]"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"image_size\":44", "a grid of 11 x 11, but the down-sampler needs an even one"},
        {"sam-relpos-resized", "\"type\":\"sam\",\"down_sampler\":1", "setting down_sampler: expected true or false"},
        {"dino", "\"type\":\"dinov2\",\"image_mean\":[0.5,0.5]", "setting image_mean: expected a list of three numbers"},
        {"dino", "\"type\":\"dinov2\",\"image_mean\":[0.5,0.5,\"0.5\"]", "setting image_mean: item 2 is no number between -255 and 255"},
        {"dino", "\"type\":\"dinov2\",\"image_std\":[0.5,0,0.5]", "setting image_std: item 1 is no number between 0.001 and 255"},
    };
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        char json[300];
        vr_lone_tower tower;
        snprintf(json, sizeof json, "{\"towers\":[{%s}]}", cases[i].json);
        vr_status status = open_tower(&tower, cases[i].name, json);
        CHECK(status != VRWKV_OK && strstr(err.message, cases[i].message), "%s %s: '%s', expected '%s'", cases[i].name, cases[i].json,
              status ? err.message : "", cases[i].message);
        vr_lone_tower_close(&tower);
    }
}

/* Changes that only a stored description can tell. */
static void change_dims(vr_tower_dims *dims, const char *type) {
    dims->image_mean[1] = 0.9f, dims->image_std[2] = 0.3f;
    if (strcmp(type, "dinov2") == 0) dims->positions = 37 * 37, dims->taken_block = 0; /* a table that is resampled */
    if (strcmp(type, "sam") == 0) dims->positions = 0, dims->down_sampler = 0;
    if (strcmp(type, "siglip-hf") == 0) dims->resample = 2;
}

/* Each released tower beside a language model: written and read back, every field as it was. */
static void test_round_trip(void) {
    static const char *const language = "{\"version\":\"v6.0\",\"rwkv\":\"x060\",\"n_layer\":1,\"n_embd\":64,\"dim_att\":64,\"dim_ffn\":224,"
                                        "\"head_size\":64,\"vocab_size\":300,\"rank_mix\":32,\"rank_decay\":64,";
    char json[2000];
    vr_config first, second;
    for (int i = 0; vr_tower_shape_at(i); i++) {
        snprintf(json, sizeof json, "%s%s", language, vr_tower_shape_at(i)->config + 1);
        CHECK(vr_config_parse(&first, json, strlen(json), &err) == VRWKV_OK, "%s: %s", json, err.message);
        change_dims(&first.towers[0], first.tower_type[0]);
        char *text = vr_config_json(&first);
        CHECK(vr_config_parse(&second, text, strlen(text), &err) == VRWKV_OK, "%s: %s", text, err.message);
        CHECK(second.n_towers == 1, "%d towers", second.n_towers);
        check_dims(&second.towers[0], &first.towers[0], first.tower_type[0]);
        bool sam = strcmp(first.tower_type[0], "sam") == 0;
        CHECK(!sam || (strstr(text, "\"global_attn_indexes\":[2,5,8,11]") && strstr(text, "\"use_abs_pos\":false")), "%s", text);
        free(text);
        if (!sam) continue;
        CHECK(vr_tower_width(&first.towers[0]) == 256 && vr_tower_side(&first.towers[0]) == 64, "without a down-sampler");
        first.towers[0].down_sampler = 1;
        CHECK(vr_tower_width(&first.towers[0]) == 1024 && vr_tower_side(&first.towers[0]) == 32, "with a down-sampler");
    }
}

/* ---- running ---- */

typedef struct bench {
    vr_arena arena;
    vr_pool *pools[3];
} bench;

typedef struct names { char text[256]; } names;

static void collect(void *user, const char *name, const vr_tensor *value) {
    names *all = user;
    size_t n = strlen(all->text);
    snprintf(all->text + n, sizeof all->text - n, "%s[%d] ", name, value->ndim);
}

/* features in the bench's arena, until the caller releases it; NULL with a message. */
static vr_tensor *run_tower(bench *b, const vr_tower *tower, int64_t height, int64_t width, int threads, vr_status *status) {
    vr_run run = {.arena = &b->arena, .pool = b->pools[threads - 1], .kernels = vr_kernels_get(&err), .err = &err};
    vr_tensor *pixels = vr_new(&run, 3, (int64_t[]){3, height, width});
    for (int64_t i = 0; i < 3 * height * width; i++) ((float *)pixels->data)[i] = (float)((i * 7919) % 1000) / 500 - 1;
    vr_tensor *features = tower->arch->forward(&run, tower, pixels);
    if (status) *status = vr_run_status(&run);
    return features;
}

static bool same(const vr_tensor *x, const vr_tensor *y) {
    return x && y && x->shape[0] == y->shape[0] && x->shape[1] == y->shape[1] &&
           memcmp(x->data, y->data, (size_t)(x->shape[0] * x->shape[1]) * sizeof(float)) == 0;
}

#define SMALL_SAM                                                                                                      \
    "{\"towers\":[{\"type\":\"sam\",\"image_size\":64,\"patch_size\":4,\"hidden_size\":64,\"num_hidden_layers\":3,"     \
    "\"num_attention_heads\":2,\"mlp_ratio\":2,\"window_size\":7,\"global_attn_indexes\":[1],\"out_chans\":8,"          \
    "\"down_sampler\":true}]}"
#define SMALL_DINO                                                                                                     \
    "{\"towers\":[{\"type\":\"dinov2\",\"image_size\":56,\"patch_size\":14,\"hidden_size\":64,\"num_hidden_layers\":3," \
    "\"num_attention_heads\":2,\"intermediate_size\":96}]}"
#define SMALL_CLIP                                                                                                     \
    "{\"towers\":[{\"type\":\"clip\",\"image_size\":56,\"patch_size\":14,\"hidden_size\":64,\"num_hidden_layers\":2,"   \
    "\"num_attention_heads\":2,\"intermediate_size\":96}]}"

static void test_threads(bench *b) {
    static const char *const towers[] = {SMALL_SAM, SMALL_DINO, SMALL_CLIP};
    for (size_t i = 0; i < VR_COUNT(towers); i++) {
        vr_lone_tower tower;
        CHECK(random_tower(&tower, towers[i], VR_F32) == VRWKV_OK, "%s", err.message);
        int64_t size = tower.tower.dims.image_size;
        vr_tensor *one = run_tower(b, &tower.tower, size, size, 1, NULL);
        CHECK(one && one->shape[1] == vr_tower_width(&tower.tower.dims), "%s", err.message);
        for (int threads = 2; threads <= 3; threads++)
            CHECK(same(one, run_tower(b, &tower.tower, size, size, threads, NULL)), "%s: other bits with %d threads", tower.tower.arch->type, threads);
        vr_arena_release(&b->arena, 0);
        vr_lone_tower_close(&tower);
    }
}

static vr_tensor *find_tensor(vr_lone_tower *tower, const char *key) {
    vr_part parts[VR_TOWER_PARTS];
    vr_config_tower_parts(&tower->config, 0, parts);
    parts[0].weights = tower->tower.outer;
    for (int r = 0; r < parts[0].n_rows; r++)
        if (strcmp(parts[0].rows[r].key, key) == 0) return vr_row_tensor(&parts[0], &parts[0].rows[r], 0);
    return NULL;
}

static double difference(const vr_tensor *x, const vr_tensor *y) {
    double most = 0;
    for (int64_t i = 0; i < x->shape[0] * x->shape[1]; i++)
        most = fmax(most, fabs((double)((float *)x->data)[i] - (double)((float *)y->data)[i]));
    return most;
}

/* A table of another grid is resampled (not CLIP's), and so is one for a picture that is no square. A
 * table of equal rows is the same table for every grid. */
static void test_other_grids(bench *b) {
    vr_lone_tower dino, clip;
    vr_status status;
    CHECK(random_tower(&dino, SMALL_DINO, VR_F32) == VRWKV_OK && random_tower(&clip, SMALL_CLIP, VR_F32) == VRWKV_OK, "%s", err.message);
    vr_tensor *features = run_tower(b, &dino.tower, 42, 100, 2, NULL);
    CHECK(features && features->shape[0] == 3 * 7 && features->shape[1] == 64, "%s", err.message);
    CHECK(!run_tower(b, &clip.tower, 70, 56, 2, &status) && status == VRWKV_ERR_SHAPE, "status %d", status);
    CHECK(strstr(err.message, "clip: a picture of 5 x 4 patches, expected 4 x 4"), "%s", err.message);
    vr_tower three = dino.tower; /* reads its table as one of 3 x 3 */
    three.dims.positions = 9;
    vr_tensor *mixed = run_tower(b, &dino.tower, 56, 56, 2, NULL), *mixed3 = run_tower(b, &three, 56, 56, 2, NULL);
    CHECK(mixed && mixed3 && difference(mixed, mixed3) > 1e-2, "%s", err.message);
    for (int64_t i = 0; i < 16 * 64; i++) ((float *)find_tensor(&dino, "pos_embed")->data)[i] = 0.25f;
    vr_tensor *equal = run_tower(b, &dino.tower, 56, 56, 2, NULL), *equal3 = run_tower(b, &three, 56, 56, 2, NULL);
    CHECK(equal && equal3 && difference(equal, equal3) < 1e-4, "%s", err.message);
    vr_arena_release(&b->arena, 0);
    vr_lone_tower_close(&dino);
    vr_lone_tower_close(&clip);
}

/* ---- a tower written under its checkpoint keys and opened by its shapes ---- */

static void write_part(vr_save *save, const vr_part *part, bool declare) {
    for (int layer = 0; layer < part->repeat; layer++)
        for (int r = 0; r < part->n_rows; r++) {
            char key[VR_NAME_SIZE], name[2 * VR_NAME_SIZE];
            const vr_tensor *tensor = vr_row_tensor(part, &part->rows[r], layer);
            uint64_t bytes = 0;
            snprintf(name, sizeof name, "%s%s", part->prefix, vr_row_name(part->rows[r].key, layer, key));
            vr_shape_bytes(tensor->dtype, tensor->ndim, tensor->shape, &bytes);
            if (bytes == 0) continue; /* no registers, no position table */
            vr_status status = declare ? vr_save_declare(save, name, tensor->dtype, tensor->ndim, tensor->shape, &err)
                                       : vr_save_put(save, tensor->data, (size_t)bytes, &err);
            CHECK(status == VRWKV_OK, "%s: %s", name, err.message);
        }
}

static void write_tower(const vr_lone_tower *tower, const char *path) {
    vr_part parts[VR_TOWER_PARTS];
    vr_save *save;
    vr_config_tower_parts(&tower->config, 0, parts);
    parts[0].weights = tower->tower.outer;
    parts[1].weights = tower->tower.layers;
    CHECK(vr_save_open_as(&save, path, VR_FILE_SAFETENSORS, &err) == VRWKV_OK, "%s", err.message);
    for (int pass = 0; pass < 2; pass++)
        for (int p = 0; p < VR_TOWER_PARTS; p++) write_part(save, &parts[p], pass == 0);
    CHECK(vr_save_commit(save, &err) == VRWKV_OK, "%s", err.message);
}

static void test_written(bench *b) {
    static const struct { const char *type, *rest; int window_size; uint64_t global; } cases[] = {
        {"clip", "", 0, 0},
        {"siglip-hf", "", 0, 0},
        {"siglip", "", 0, 0},
        {"dinov2", ",\"prefix_tokens\":1", 0, 0},
        {"dinov2", ",\"prefix_tokens\":4", 0, 0},
        {"sam", ",\"out_chans\":6,\"down_sampler\":true,\"window_size\":3,\"global_attn_indexes\":[0,2]", 3, 5},
        {"sam", ",\"out_chans\":6,\"down_sampler\":true,\"window_size\":3,\"global_attn_indexes\":[0,1,2]", 0, 0}, /* is all global */
        {"sam", ",\"out_chans\":6,\"down_sampler\":true,\"window_size\":3", 3, 0},
        {"sam", ",\"out_chans\":6,\"down_sampler\":true", 0, 0},
    };
    char path[] = "/tmp/vrwkv_tower_XXXXXX";
    close(mkstemp(path));
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        char json[400];
        vr_lone_tower first, second;
        snprintf(json, sizeof json,
                 "{\"towers\":[{\"type\":\"%s\",\"image_size\":32,\"patch_size\":4,\"hidden_size\":16,\"num_hidden_layers\":3,"
                 "\"num_attention_heads\":2,\"intermediate_size\":24%s}]}", cases[i].type, cases[i].rest);
        CHECK(random_tower(&first, json, VR_F32) == VRWKV_OK, "%s", err.message);
        write_tower(&first, path);
        snprintf(json, sizeof json, "{\"towers\":[{\"type\":\"%s\",\"num_attention_heads\":2}]}", cases[i].type);
        vr_settings *settings = settings_of(json);
        CHECK(vr_lone_tower_open(&second, path, settings, &err) == VRWKV_OK, "%s", err.message);
        vr_settings_free(settings);
        first.config.towers[0].window_size = cases[i].window_size;
        first.config.towers[0].global_attn_indexes = cases[i].global;
        check_dims(&second.config.towers[0], &first.config.towers[0], cases[i].type);
        CHECK(same(run_tower(b, &first.tower, 32, 32, 2, NULL), run_tower(b, &second.tower, 32, 32, 2, NULL)), "%s: %s", cases[i].type, err.message);
        vr_arena_release(&b->arena, 0);
        vr_lone_tower_close(&first);
        vr_lone_tower_close(&second);
    }
    unlink(path);
}

static void test_names(bench *b) {
    static const struct { const char *json, *expected; } cases[] = {
        {SMALL_SAM, "patch[3] block.0[3] block.1[3] block.2[3] neck.0[3] neck.1[3] neck.2[3] neck.3[3] "},
        {SMALL_DINO, "patch[2] block.0[2] block.1[2] "}, /* the last block is not used */
        {SMALL_CLIP, "patch[2] block.0[2] block.1[2] "}};
    for (size_t i = 0; i < VR_COUNT(cases); i++) {
        vr_lone_tower tower;
        names all = {""};
        CHECK(random_tower(&tower, cases[i].json, VR_F32) == VRWKV_OK, "%s", err.message);
        vr_tower watched = tower.tower;
        watched.watch = collect;
        watched.user = &all;
        run_tower(b, &watched, watched.dims.image_size, watched.dims.image_size, 2, NULL);
        CHECK(strcmp(all.text, cases[i].expected) == 0, "%s", all.text);
        vr_arena_release(&b->arena, 0);
        vr_lone_tower_close(&tower);
    }
}

/* q, k and v are thirds of one stored matrix, whatever its type: as if it had been decoded before. */
static void test_stored_types(bench *b) {
    static const vr_dtype types[] = {VR_F16, VR_BF16, VR_Q8_0, VR_Q4_0};
    static const char *const towers[] = {SMALL_SAM, SMALL_DINO};
    for (size_t k = 0; k < VR_COUNT(types) * VR_COUNT(towers); k++) {
        vr_lone_tower tower;
        vr_part parts[VR_TOWER_PARTS];
        CHECK(random_tower(&tower, towers[k % VR_COUNT(towers)], types[k / VR_COUNT(towers)]) == VRWKV_OK, "%s", err.message);
        vr_config_tower_parts(&tower.config, 0, parts);
        parts[1].weights = tower.tower.layers;
        int64_t size = tower.tower.dims.image_size;
        vr_tensor *stored = run_tower(b, &tower.tower, size, size, 2, NULL);
        for (int layer = 0; layer < parts[1].repeat; layer++)
            for (int r = 0; r < parts[1].n_rows; r++) {
                vr_tensor *w = vr_row_tensor(&parts[1], &parts[1].rows[r], layer);
                int64_t count;
                vr_shape_count(w->ndim, w->shape, &count);
                if (w->dtype == VR_F32) continue;
                float *wide = vr_owned_get(&tower.owned, (size_t)count * sizeof *wide, &err);
                vr_quant_of(w->dtype)->decode(wide, w->data, count);
                w->dtype = VR_F32;
                w->data = wide;
            }
        CHECK(same(stored, run_tower(b, &tower.tower, size, size, 2, NULL)), "%s in %s: other bits than its decoded weights",
              tower.tower.arch->type, vr_dtype_of(types[k / VR_COUNT(towers)])->name);
        vr_arena_release(&b->arena, 0);
        vr_lone_tower_close(&tower);
    }
}

int main(void) {
    bench b = {0};
    CHECK(vr_arena_open(&b.arena, (size_t)1 << 30, &err) == VRWKV_OK, "%s", err.message);
    for (int i = 0; i < 3; i++) CHECK(vr_pool_open(&b.pools[i], i + 1, &err) == VRWKV_OK, "%s", err.message);
    test_shapes();
    test_contradictions();
    test_round_trip();
    test_threads(&b);
    test_other_grids(&b);
    test_written(&b);
    test_names(&b);
    test_stored_types(&b);
    for (int i = 0; i < 3; i++) vr_pool_close(b.pools[i]);
    vr_arena_close(&b.arena);
    return check_result();
}
