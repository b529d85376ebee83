#include "vl/shapes.h"

#include <stddef.h>
#include <string.h>

#define CLIP_L                                                                                                         \
    "\"towers\":[{\"type\":\"clip\",\"image_size\":336,\"patch_size\":14,\"hidden_size\":1024,"                        \
    "\"num_hidden_layers\":24,\"num_attention_heads\":16,\"intermediate_size\":4096,"                                  \
    "\"hidden_act\":\"quick_gelu\",\"layer_norm_eps\":1e-05}]"
#define TOWER(type, image, patch, width, layers, heads, mlp)                                                           \
    "{\"type\":\"" type "\",\"image_size\":" #image ",\"patch_size\":" #patch ",\"hidden_size\":" #width                \
    ",\"num_hidden_layers\":" #layers ",\"num_attention_heads\":" #heads ",\"intermediate_size\":" #mlp
#define DINOV2_L TOWER("dinov2", 448, 14, 1024, 24, 16, 4096) "}"
#define SIGLIP_SO400M TOWER("siglip", 448, 14, 1152, 27, 16, 4304) "}"
#define SAM_B                                                                                                          \
    TOWER("sam", 1024, 16, 768, 12, 12, 3072)                                                                          \
    ",\"window_size\":14,\"global_attn_indexes\":[2,5,8,11],\"out_chans\":256,\"down_sampler\":true}"
#define SIGLIP2_B TOWER("siglip-hf", 256, 16, 768, 12, 12, 3072) "}"

static const vr_shape towers[] = {
    {"dinov2-l", "{\"towers\":[" DINOV2_L "]}"},
    {"siglip-so400m", "{\"towers\":[" SIGLIP_SO400M "]}"},
    {"sam-b", "{\"towers\":[" SAM_B "]}"},
    {"siglip2-b", "{\"towers\":[" SIGLIP2_B "]}"},
};

/* dim_ffn = int(n_embd*3.5) rounded down to a multiple of 32 */
#define V6(n_layer, n_embd, dim_ffn, rank_mix, rank_decay)                                                             \
    "{\"version\":\"v6.0\",\"rwkv\":\"x060\",\"n_layer\":" #n_layer ",\"n_embd\":" #n_embd ",\"dim_att\":" #n_embd     \
    ",\"dim_ffn\":" #dim_ffn ",\"head_size\":64,\"vocab_size\":65536,\"rank_mix\":" #rank_mix                          \
    ",\"rank_decay\":" #rank_decay ",\"grid_size\":-1,\"scan\":\"bidirection\"," CLIP_L "}"
/* dim_ffn = 4*n_embd; ranks of decay, in-context learning rate, value mixing, gate; rest: "", or further
 * keys, each with a comma in front */
#define V7(n_layer, n_embd, dim_ffn, w, a, v, g, rest)                                                                 \
    "{\"version\":\"v7.00\",\"rwkv\":\"x070\",\"n_layer\":" #n_layer ",\"n_embd\":" #n_embd ",\"dim_att\":" #n_embd    \
    ",\"dim_ffn\":" #dim_ffn ",\"head_size\":64,\"vocab_size\":65536,\"rank_decay\":" #w ",\"rank_iclr\":" #a            \
    ",\"rank_value\":" #v ",\"rank_gate\":" #g rest "}"

static const vr_shape shapes[] = {
    {"v6-1b6", V6(24, 2048, 7168, 32, 64)},
    {"v6-3b", V6(32, 2560, 8960, 32, 64)},
    {"v6-7b", V6(32, 4096, 14336, 64, 128)},
    {"v7-0b1", V7(12, 768, 3072, 64, 64, 32, 128, "")},
    {"v7-0b4", V7(24, 1024, 4096, 64, 64, 32, 160, "")},
    {"v7-1b5", V7(24, 2048, 8192, 96, 96, 64, 256, "")},
};

const vr_shape *vr_shape_at(int index) {
    return index >= 0 && (size_t)index < sizeof shapes / sizeof *shapes ? &shapes[index] : NULL;
}

const vr_shape *vr_tower_shape_at(int index) {
    return index >= 0 && (size_t)index < sizeof towers / sizeof *towers ? &towers[index] : NULL;
}

const vr_shape *vr_shape_find(const char *name) {
    for (int i = 0; vr_shape_at(i); i++)
        if (strcmp(vr_shape_at(i)->name, name) == 0) return vr_shape_at(i);
    return NULL;
}
