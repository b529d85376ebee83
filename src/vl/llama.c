/* The layouts of llama.cpp's rwkv6 and rwkv7, both ways: what of their tensors differs from our own GGUF,
 * their metadata, and their vocabulary, whose tokens are escaped as Python writes bytes.
 * src: ggml-org/llama.cpp, conversion/rwkv.py and src/models/rwkv6.cpp, rwkv7.cpp. */
#include "base/memory.h"
#include "vl/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_NORM_EPS 64e-5f /* written into llama.cpp's code */

#define FUSED(key, slice, slices) {"blocks.%d.att." key, "blk.%d.time_mix_lerp_fused.weight", VR_SLICE, slice, slices, NULL}
#define HALVED(key) {"blocks.%d." key, NULL, VR_HALVED, 0, 0, NULL}
#define STAND_IN(key, other) {"blocks.%d.att." key, NULL, VR_UNCHANGED, 0, 0, "blocks.%d.att." other}
static const vr_layout_row rows6[] = {
    FUSED("time_maa_w", 0, 5), FUSED("time_maa_k", 1, 5), FUSED("time_maa_v", 2, 5),
    FUSED("time_maa_r", 3, 5), FUSED("time_maa_g", 4, 5),
    HALVED("att.output.weight"), HALVED("ffn.value.weight"),
};
static const vr_layout_row rows7[] = {
    FUSED("x_r", 0, 6), FUSED("x_w", 1, 6), FUSED("x_k", 2, 6), FUSED("x_v", 3, 6), FUSED("x_a", 4, 6), FUSED("x_g", 5, 6),
    {"blocks.%d.att.r_k", NULL, VR_FLAT, 0, 0, NULL},
    STAND_IN("v0", "a0"), STAND_IN("v1", "a1"), STAND_IN("v2", "a2"),
};
#undef FUSED
#undef HALVED
#undef STAND_IN

const vr_layout vr_llama_layouts[VR_LLAMA_LAYOUTS] = {
    {"llama.cpp's rwkv6", "rwkv6", NULL, "x060", true, rows6, VR_COUNT(rows6), GROUP_NORM_EPS},
    {"llama.cpp's rwkv7", "rwkv7", NULL, "x070", true, rows7, VR_COUNT(rows7), GROUP_NORM_EPS},
};

const vr_layout *vr_llama_layout_for(const char *rwkv) {
    for (int i = 0; i < VR_LLAMA_LAYOUTS; i++)
        if (strcmp(vr_llama_layouts[i].rwkv, rwkv) == 0) return &vr_llama_layouts[i];
    return NULL;
}

/* ---- metadata: keys after "rwkv6." ---- */

typedef struct number {
    const char *key;
    size_t offset;    /* of an int in vr_rwkv_dims */
    const char *rwkv; /* the version that has it; NULL: all */
} number;

#define DIM(field) offsetof(vr_rwkv_dims, field)
static const number numbers[] = {
    {"block_count", DIM(n_layer), NULL},
    {"embedding_length", DIM(n_embd), NULL},
    {"feed_forward_length", DIM(dim_ffn), NULL},
    {"wkv.head_size", DIM(head_size), NULL},
    {"time_mix_extra_dim", DIM(rank_mix), "x060"},
    {"time_decay_extra_dim", DIM(rank_decay), "x060"},
    {"attention.decay_lora_rank", DIM(rank_decay), "x070"},
    {"attention.iclr_lora_rank", DIM(rank_iclr), "x070"},
    {"attention.value_residual_mix_lora_rank", DIM(rank_value), "x070"},
    {"attention.gate_lora_rank", DIM(rank_gate), "x070"},
};
#undef DIM

static bool has_number(const vr_layout *layout, const number *n) { return !n->rwkv || strcmp(n->rwkv, layout->rwkv) == 0; }

static const char *full_key(const vr_layout *layout, const char *key, char *buffer) {
    snprintf(buffer, VR_NAME_SIZE, "%s.%s", layout->architecture, key);
    return buffer;
}

/* rwkv7 of llama.cpp never halves activations, whatever its metadata say. */
static bool halves(const vr_layout *layout) {
    for (int i = 0; i < layout->n_rows; i++)
        if (layout->rows[i].change == VR_HALVED) return true;
    return false;
}

int vr_llama_rescale(const vr_layout *layout, const vr_weights *file) {
    char key[VR_NAME_SIZE];
    const vr_meta *meta = halves(layout) ? vr_weights_meta(file, full_key(layout, "rescale_every_n_layers", key)) : NULL;
    return meta && meta->type == VR_META_INT && meta->integer > 0 && meta->integer <= INT32_MAX ? (int)meta->integer : 0;
}

vr_status vr_llama_describe(vr_config *config, const vr_layout *layout, const vr_weights *file, vr_error *err) {
    char key[VR_NAME_SIZE];
    const vr_entry *emb = vr_weights_find(file, "token_embd.weight");
    for (size_t i = 0; i < VR_COUNT(numbers); i++) {
        if (!has_number(layout, &numbers[i])) continue;
        const vr_meta *meta = vr_weights_meta(file, full_key(layout, numbers[i].key, key));
        if (!meta || meta->type != VR_META_INT || meta->integer < 1 || meta->integer > 1 << 28)
            return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': metadata '%s' is %s, expected a size", vr_weights_path(file), key,
                           meta ? "no size" : "missing");
        int value = (int)meta->integer;
        memcpy((char *)&config->lm + numbers[i].offset, &value, sizeof value);
    }
    if (!emb || emb->ndim != 2)
        return vr_fail(err, VRWKV_ERR_SHAPE, "'%s' has no tensor 'token_embd.weight' of two axes", vr_weights_path(file));
    const vr_meta *eps = vr_weights_meta(file, full_key(layout, "attention.layer_norm_epsilon", key));
    const vr_meta *stop = vr_weights_meta(file, "tokenizer.ggml.eot_token_id");
    if (eps && eps->type == VR_META_FLOAT && eps->number > 0 && eps->number < 1) config->lm.norm_eps = (float)eps->number;
    if (stop && stop->type == VR_META_INT && stop->integer >= 0 && stop->integer < emb->shape[0])
        config->stop_token = (int)stop->integer;
    config->lm.n_vocab = emb->shape[0] <= 1 << 28 ? (int)emb->shape[0] : 0;
    config->lm.dim_att = config->lm.n_embd;
    config->lm.group_norm_eps = GROUP_NORM_EPS;
    snprintf(config->rwkv, sizeof config->rwkv, "%s", layout->rwkv);
    return VRWKV_OK;
}

vr_status vr_llama_check(const vr_config *config, vr_error *err) {
    const vr_rwkv_dims *lm = &config->lm;
    if (!vr_llama_layout_for(config->rwkv))
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "llama.cpp has no RWKV %s: only x060 and x070 can be split",
                       config->rwkv);
    if (lm->dim_att != lm->n_embd)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "llama.cpp expects dim_att = n_embd, found %d and %d", lm->dim_att,
                       lm->n_embd);
    if (fabsf(lm->group_norm_eps - GROUP_NORM_EPS) > 1e-9f)
        return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "llama.cpp expects a GroupNorm epsilon of %g, found %g",
                       (double)GROUP_NORM_EPS, (double)lm->group_norm_eps);
    return VRWKV_OK;
}

vr_status vr_llama_put_metadata(vr_save *save, const vr_layout *layout, const vr_config *config, int rescale,
                                vr_error *err) {
    char key[VR_NAME_SIZE];
    VR_TRY(vr_save_meta_string(save, "general.architecture", layout->architecture, err));
    VR_TRY(vr_save_meta_string(save, "general.name", "RWKV", err));
    VR_TRY(vr_save_meta_int(save, "general.quantization_version", 2, err)); /* GGML's blocks in their present form */
    for (size_t i = 0; i < VR_COUNT(numbers); i++) {
        int value;
        if (!has_number(layout, &numbers[i])) continue;
        memcpy(&value, (const char *)&config->lm + numbers[i].offset, sizeof value);
        if (value < 1) value = 1; /* a single layer has no values to mix, and so no rank; the key is asked for */
        VR_TRY(vr_save_meta_int(save, full_key(layout, numbers[i].key, key), value, err));
    }
    VR_TRY(vr_save_meta_int(save, full_key(layout, "vocab_size", key), config->lm.n_vocab, err));
    full_key(layout, "attention.layer_norm_epsilon", key);
    VR_TRY(vr_save_meta_float(save, key, (double)config->lm.norm_eps, err));
    if (halves(layout)) VR_TRY(vr_save_meta_int(save, full_key(layout, "rescale_every_n_layers", key), rescale, err));
    VR_TRY(vr_save_meta_int(save, full_key(layout, "context_length", key), 1 << 20, err)); /* asked for, without meaning */
    return vr_save_meta_int(save, full_key(layout, "attention.head_count", key), 0, err);  /* likewise */
}

/* ---- vocabulary ---- */

enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5 };

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

/* \t \n \r \xHH; any other escaped byte stands for itself. Never longer than what came; returns the length. */
static size_t unescape(char *out, const char *in, size_t n) {
    static const char marks[] = "tnr", bytes[] = "\t\n\r";
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        char c = in[i];
        if (c == '\\' && i + 1 < n) {
            c = in[++i];
            const char *mark = c ? strchr(marks, c) : NULL;
            if (mark) {
                c = bytes[mark - marks];
            } else if (c == 'x' && i + 2 < n && hex_digit(in[i + 1]) >= 0 && hex_digit(in[i + 2]) >= 0) {
                c = (char)(hex_digit(in[i + 1]) << 4 | hex_digit(in[i + 2]));
                i += 2;
            }
        }
        out[length++] = c;
    }
    return length;
}

/* What Python's repr() gives for bytes, without its quotes; at most 4 bytes for each. */
static size_t escape(char *out, const char *in, size_t n) {
    static const char special[] = "\t\n\r\\", marks[] = "tnr\\", digits[] = "0123456789abcdef";
    bool in_double_quotes = memchr(in, '\'', n) && !memchr(in, '"', n);
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)in[i];
        const char *found = c ? strchr(special, c) : NULL;
        if (found || (c == '\'' && !in_double_quotes)) {
            out[length++] = '\\';
            out[length++] = found ? marks[found - special] : '\'';
        } else if (c < 0x20 || c > 0x7e) {
            out[length++] = '\\';
            out[length++] = 'x';
            out[length++] = digits[c >> 4];
            out[length++] = digits[c & 15];
        } else {
            out[length++] = (char)c;
        }
    }
    return length;
}

/* Texts of all ids in one block. */
typedef struct token_list {
    char **texts;
    size_t *bytes, n;
    int64_t *types;
    char *block;
} token_list;

static void free_list(token_list *list) {
    free(list->texts);
    free(list->bytes);
    free(list->types);
    free(list->block);
}

static vr_status new_list(token_list *list, size_t n, size_t block_bytes, vr_error *err) {
    *list = (token_list){.texts = vr_alloc(n, sizeof *list->texts),
                         .bytes = vr_alloc(n, sizeof *list->bytes),
                         .n = n,
                         .types = vr_alloc(n, sizeof *list->types),
                         .block = vr_alloc(block_bytes, 1)};
    if (list->texts && list->bytes && list->types && list->block) return VRWKV_OK;
    free_list(list);
    return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for a vocabulary of %zu ids", n);
}

static bool is_text(const vr_meta *types, size_t id) {
    if (!types || types->type != VR_META_ARRAY || types->item_type != VR_META_INT || id >= types->n_items) return true;
    return types->integers[id] != TOKEN_CONTROL && types->integers[id] != TOKEN_UNUSED;
}

static vr_status unescaped_vocab(vr_vocab **out, const vr_meta *tokens, const vr_meta *types, vr_error *err) {
    token_list list;
    size_t total = 0;
    for (size_t i = 0; i < tokens->n_items; i++) total += tokens->item_bytes[i];
    VR_TRY(new_list(&list, tokens->n_items, total, err));
    char *at = list.block;
    for (size_t i = 0; i < list.n; i++) {
        list.texts[i] = at;
        if (is_text(types, i)) list.bytes[i] = unescape(at, tokens->strings[i], tokens->item_bytes[i]);
        at += list.bytes[i];
    }
    vr_status status = vr_vocab_make(out, (const char *const *)list.texts, list.bytes, list.n, err);
    free_list(&list);
    return status;
}

vr_status vr_stored_vocab(vr_vocab **out, const vr_weights *file, vr_error *err) {
    const vr_meta *tokens = vr_weights_meta(file, "tokenizer.ggml.tokens");
    const vr_layout *layout = vr_layout_of(file);
    const vr_meta *lines = vr_weights_meta(file, "vrwkv.vocab"); /* of training, in files that hold no lists */
    *out = NULL;
    if (lines && lines->type == VR_META_STRING) return vr_vocab_parse(out, lines->string, lines->n_bytes, err);
    if (!tokens || tokens->type != VR_META_ARRAY || tokens->item_type != VR_META_STRING) return VRWKV_OK;
    if (layout && layout != &vr_layout_ours)
        return unescaped_vocab(out, tokens, vr_weights_meta(file, "tokenizer.ggml.token_type"), err);
    return vr_vocab_make(out, (const char *const *)tokens->strings, tokens->item_bytes, tokens->n_items, err);
}

/* An id without a token has a name that is no text: its type says so. */
static size_t name_hole(char *out, size_t id) { return (size_t)snprintf(out, 32, id ? "[PAD%zu]" : "<s>", id); }

static vr_status escaped_list(token_list *list, const vr_vocab *vocab, size_t n, vr_error *err) {
    size_t total = 0, bytes;
    for (size_t i = 0; i < n; i++) {
        vr_vocab_token(vocab, (int64_t)i, &bytes);
        total += 4 * bytes + 32;
    }
    VR_TRY(new_list(list, n, total, err));
    char *at = list->block;
    for (size_t i = 0; i < n; i++) {
        const char *token = vr_vocab_token(vocab, (int64_t)i, &bytes);
        list->texts[i] = at;
        list->bytes[i] = token ? escape(at, token, bytes) : name_hole(at, i);
        list->types[i] = token ? TOKEN_NORMAL : i ? TOKEN_UNUSED : TOKEN_CONTROL;
        at += list->bytes[i];
    }
    return VRWKV_OK;
}

/* llama.cpp stops at the sight of a vocabulary that cannot write a newline. */
static bool has_newline(const vr_vocab *vocab) {
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    vr_status status = vr_encode(vocab, "\n", 1, &ids, &count, &capacity, NULL);
    free(ids);
    return status == VRWKV_OK && count == 1;
}

vr_status vr_llama_put_vocab(vr_save *save, const vr_vocab *vocab, const vr_config *config, vr_error *err) {
    token_list list;
    if (!vocab || !has_newline(vocab)) return vr_save_meta_string(save, "tokenizer.ggml.model", "no_vocab", err);
    VR_TRY(escaped_list(&list, vocab, (size_t)config->lm.n_vocab, err));
    vr_status status = vr_save_meta_string(save, "tokenizer.ggml.model", "rwkv", err);
    if (status == VRWKV_OK)
        status =
            vr_save_meta_strings(save, "tokenizer.ggml.tokens", (const char *const *)list.texts, list.bytes, list.n, err);
    if (status == VRWKV_OK) status = vr_save_meta_ints(save, "tokenizer.ggml.token_type", list.types, list.n, err);
    if (status == VRWKV_OK) status = vr_save_meta_int(save, "tokenizer.ggml.bos_token_id", 0, err);
    if (status == VRWKV_OK) status = vr_save_meta_int(save, "tokenizer.ggml.eos_token_id", 0, err);
    if (status == VRWKV_OK && config->stop_token >= 0 && config->stop_token < config->lm.n_vocab)
        status = vr_save_meta_int(save, "tokenizer.ggml.eot_token_id", config->stop_token, err);
    free_list(&list);
    return status;
}
