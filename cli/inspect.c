/* inspect: the description, parts, metadata and tensors of one file. A file that is no model is
 * listed all the same, with the keys that a model would need. */
#include "common.h"
#include "inspect_plan.h"
#include "json_out.h"
#include "verbs.h"

#include "vl/layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where our files and llama.cpp's keep the vocabulary. */
#define VOCAB_KEY "tokenizer.ggml.tokens"
#define SHOWN_TEXT 100 /* bytes of a long metadata text */

typedef struct inspected {
    const char *path;
    vr_weights *weights;
    bool is_model;
    vr_config config;
    vr_error why_not;
    double file_bytes;
    uint64_t tensor_bytes, parameters;
    int64_t vocabulary; /* tokens stored; -1: none */
    uint64_t state_bytes;
} inspected;

typedef struct part_sum {
    const char *name;
    size_t tensors;
    uint64_t bytes, parameters;
} part_sum;

static const char *const kind_names[] = {
    [VR_FILE_PTH] = "PyTorch checkpoint", [VR_FILE_SAFETENSORS] = "safetensors", [VR_FILE_GGUF] = "GGUF",
    [VR_FILE_RWKV_CPP] = "rwkv.cpp"};

static uint64_t entry_count(const vr_entry *entry) {
    int64_t count = 0;
    vr_shape_count(entry->ndim, entry->shape, &count);
    return (uint64_t)count;
}

static double bits_per_weight(uint64_t bytes, uint64_t count) {
    return count ? 8.0 * (double)bytes / (double)count : 0;
}

static vr_status look(inspected *in, const vr_settings *settings, vr_error *err) {
    struct stat info;
    VR_TRY(vr_weights_open(&in->weights, in->path, NULL, err));
    for (size_t i = 0; i < vr_weights_count(in->weights); i++) {
        const vr_entry *entry = vr_weights_at(in->weights, i);
        in->tensor_bytes += entry->bytes;
        in->parameters += entry_count(entry);
    }
    const vr_meta *vocab = vr_weights_meta(in->weights, VOCAB_KEY);
    bool regular = stat(in->path, &info) == 0 && S_ISREG(info.st_mode);
    in->file_bytes = (double)(regular ? (uint64_t)info.st_size : in->tensor_bytes); /* a pipe tells no size */
    in->vocabulary = vocab && vocab->type == VR_META_ARRAY ? (int64_t)vocab->n_items : -1;
    in->is_model = vr_config_describe(&in->config, &in->weights, 1, settings, &in->why_not) == VRWKV_OK;
    const vr_rwkv_arch *arch = in->is_model ? vr_rwkv_arch_find(in->config.rwkv) : NULL;
    if (arch)
        in->state_bytes = (uint64_t)in->config.lm.n_layer *
                          (uint64_t)vr_rwkv_state_floats(arch, &in->config.lm) * sizeof(float);
    return VRWKV_OK;
}

static part_sum sum_part(const inspected *in, const vr_part *part) {
    part_sum sum = {.name = part->name};
    vr_weights *files[] = {in->weights};
    for (int layer = 0; layer < part->repeat; layer++) {
        for (int i = 0; i < part->n_rows; i++) {
            vr_found found;
            const vr_entry *entry = vr_config_find(files, 1, part, &part->rows[i], layer, &found);
            if (!entry || found.place.slice > 0) continue; /* a fused tensor counts once */
            sum.tensors++;
            sum.bytes += entry->bytes;
            sum.parameters += entry_count(entry);
        }
    }
    return sum;
}

/* Outer and layer tables of one part have one name: they are added up. */
static int sum_parts(const inspected *in, part_sum sums[VR_MAX_PARTS]) {
    vr_part parts[VR_MAX_PARTS];
    int n = 0, n_parts = vr_config_parts(&in->config, parts);
    for (int i = 0; i < n_parts; i++) {
        part_sum sum = sum_part(in, &parts[i]);
        if (n && strcmp(sums[n - 1].name, sum.name) == 0) {
            sums[n - 1].tensors += sum.tensors;
            sums[n - 1].bytes += sum.bytes;
            sums[n - 1].parameters += sum.parameters;
        } else {
            sums[n++] = sum;
        }
    }
    return n;
}

/* ---- text ---- */

static void print_count(uint64_t count) {
    if (count >= 1000000000)
        printf("%.2f billion", (double)count / 1e9);
    else if (count >= 1000000)
        printf("%.1f million", (double)count / 1e6);
    else
        printf("%llu", (unsigned long long)count);
}

static void print_picture(const vr_config *config) {
    const vr_version *rules = config->rules;
    bool each = rules->cut != VR_CUT_NONE && rules->rows != VR_ROWS_PICTURE;
    printf("picture      %d rows%s", vr_config_image_rows(config), each ? " for each of its regions" : "");
    if (vr_config_has_class_row(config)) printf(" (grid size %d)", config->grid_size);
    if (config->n_vtc_layer) printf(", compressor of %d layers", config->n_vtc_layer);
    printf(", %s projector, ", config->proj_type);
    if (rules->row_id)
        printf("anywhere in the prompt"); /* where its marks are */
    else
        printf("%s", config->image_position);
    printf(", scan %s\n", config->scan);
}

static void print_model(const inspected *in) {
    const vr_config *config = &in->config;
    const vr_rwkv_dims *lm = &config->lm;
    char size[24];
    if (config->version[0])
        printf("model        VisualRWKV %s\n", config->version);
    else
        printf("model        language model alone\n");
    printf("language     %s, %d layers, width %d, %d heads of %d, feed-forward %d\n", config->rwkv, lm->n_layer, lm->n_embd,
           lm->head_size ? lm->dim_att / lm->head_size : 0, lm->head_size, lm->dim_ffn);
    for (int i = 0; i < config->n_towers; i++) {
        const vr_tower_dims *tower = &config->towers[i];
        printf("vision       %s, %d px, patches of %d, %d layers, width %d, %d heads\n", config->tower_type[i],
               tower->image_size, tower->patch_size, tower->num_hidden_layers, tower->hidden_size,
               tower->num_attention_heads);
    }
    if (config->n_towers) print_picture(config);
    printf("vocabulary   %d ids, ", lm->n_vocab);
    if (in->vocabulary >= 0)
        printf("%lld tokens stored", (long long)in->vocabulary);
    else
        printf("%s", lm->n_vocab == 65536 ? "the world vocabulary is built in" : "no tokens stored: ids only");
    printf("; stop %d, pad %d\n", config->stop_token, config->pad_token);
    printf("window       %d (of training)\n", config->ctx_len);
    printf("state        %s in f32\n", vr_size_text((double)in->state_bytes, size));
}

static void print_parts(const inspected *in) {
    part_sum sums[VR_MAX_PARTS];
    size_t known = 0;
    char size[24];
    int n = sum_parts(in, sums);
    printf("\nparts\n");
    for (int i = 0; i < n; i++) {
        printf("  %-14s %5zu tensors  %9s  %5.2f bits per weight  ", sums[i].name, sums[i].tensors,
               vr_size_text((double)sums[i].bytes, size), bits_per_weight(sums[i].bytes, sums[i].parameters));
        print_count(sums[i].parameters);
        printf(" weights\n");
        known += sums[i].tensors;
    }
    if (known < vr_weights_count(in->weights))
        printf("  %-14s %5zu tensors\n", "not used", vr_weights_count(in->weights) - known);
}

static void print_text_value(const char *text, size_t n) {
    char line[SHOWN_TEXT];
    size_t shown = n < SHOWN_TEXT ? n : SHOWN_TEXT;
    while (shown < n && shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80) shown--; /* whole characters */
    for (size_t i = 0; i < shown; i++) line[i] = text[i] == '\n' || text[i] == '\t' ? ' ' : text[i];
    vr_print_text(line, shown);
    if (shown < n) printf("... (%zu bytes)", n);
}

static void print_meta(const vr_weights *weights) {
    if (!vr_weights_meta_count(weights)) return;
    printf("\nmetadata\n");
    for (size_t i = 0; i < vr_weights_meta_count(weights); i++) {
        const vr_meta *meta = vr_weights_meta_at(weights, i);
        int length = (int)strlen(meta->key);
        printf("  ");
        vr_print_text(meta->key, strlen(meta->key));
        printf("%*s ", length < 32 ? 32 - length : 0, "");
        if (meta->type == VR_META_STRING) print_text_value(meta->string, meta->n_bytes);
        if (meta->type == VR_META_INT) printf("%lld", (long long)meta->integer);
        if (meta->type == VR_META_FLOAT) printf("%.9g", meta->number);
        if (meta->type == VR_META_BOOL) fputs(meta->integer ? "true" : "false", stdout);
        if (meta->type == VR_META_ARRAY) printf("list of %zu", meta->n_items);
        putchar('\n');
    }
}

static void print_tensors(const vr_weights *weights) {
    int widest = 20;
    char shape[128], size[24];
    for (size_t i = 0; i < vr_weights_count(weights); i++) {
        int length = (int)strlen(vr_weights_at(weights, i)->name);
        if (length > widest) widest = length;
    }
    if (widest > 72) widest = 72;
    printf("\n%-*s  %-5s %-20s %9s  bits per weight\n", widest, "tensor", "type", "shape", "size");
    for (size_t i = 0; i < vr_weights_count(weights); i++) {
        const vr_entry *entry = vr_weights_at(weights, i);
        int length = (int)strlen(entry->name);
        vr_print_text(entry->name, strlen(entry->name));
        printf("%*s  %-5s %-20s %9s  %5.2f\n", length < widest ? widest - length : 0, "", vr_dtype_of(entry->dtype)->name,
               vr_shape_text(entry->ndim, entry->shape, shape, sizeof shape), vr_size_text((double)entry->bytes, size),
               bits_per_weight(entry->bytes, entry_count(entry)));
    }
}

static int print_all(const inspected *in, bool tensors) {
    char size[24];
    printf("file         %s\n", in->path);
    printf("kind         %s, %s\n", kind_names[vr_weights_kind(in->weights)], vr_size_text(in->file_bytes, size));
    if (in->is_model)
        print_model(in);
    else
        printf("model        none: %s\n", in->why_not.message);
    printf("weights      ");
    print_count(in->parameters);
    printf(", %s, %.2f bits per weight, %zu tensors\n", vr_size_text((double)in->tensor_bytes, size),
           bits_per_weight(in->tensor_bytes, in->parameters), vr_weights_count(in->weights));
    if (in->is_model) print_parts(in);
    print_meta(in->weights);
    vr_plan_print(in->weights, tensors);
    if (tensors && vr_weights_count(in->weights)) print_tensors(in->weights);
    return 0;
}

/* ---- JSON ---- */

static json_t *meta_items(const vr_meta *meta) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < meta->n_items; i++) {
        json_t *item = NULL;
        if (meta->item_type == VR_META_STRING) item = vr_json_text(meta->strings[i], meta->item_bytes[i]);
        if (meta->item_type == VR_META_INT) item = json_integer(meta->integers[i]);
        if (meta->item_type == VR_META_BOOL) item = json_boolean(meta->integers[i] != 0);
        if (meta->item_type == VR_META_FLOAT) item = vr_json_double(meta->numbers[i]);
        json_array_append_new(list, item ? item : json_null());
    }
    return list;
}

/* Lists as they are, but the vocabulary and its like as their length. */
static json_t *meta_value(const vr_meta *meta) {
    if (meta->type == VR_META_STRING) return vr_json_text(meta->string, meta->n_bytes);
    if (meta->type == VR_META_INT) return json_integer(meta->integer);
    if (meta->type == VR_META_FLOAT) return vr_json_double(meta->number);
    if (meta->type == VR_META_BOOL) return json_boolean(meta->integer != 0);
    if (meta->n_items <= 64) return meta_items(meta);
    return json_pack("{s:I}", "items", (json_int_t)meta->n_items);
}

static json_t *json_meta(const vr_weights *weights) {
    json_t *object = json_object();
    for (size_t i = 0; object && i < vr_weights_meta_count(weights); i++) {
        const vr_meta *meta = vr_weights_meta_at(weights, i);
        json_object_set_new_nocheck(object, meta->key, meta_value(meta));
    }
    return object;
}

static json_t *json_tensors(const vr_weights *weights) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < vr_weights_count(weights); i++) {
        const vr_entry *entry = vr_weights_at(weights, i);
        json_t *shape = json_array();
        for (int d = 0; shape && d < entry->ndim; d++) json_array_append_new(shape, json_integer(entry->shape[d]));
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o, s:o}", "name",
                                              vr_json_text(entry->name, strlen(entry->name)), "type",
                                              vr_dtype_of(entry->dtype)->name, "shape", shape, "bytes",
                                              vr_json_size(entry->bytes), "bits_per_weight",
                                              vr_json_double(bits_per_weight(entry->bytes, entry_count(entry)))));
    }
    return list;
}

static json_t *json_parts(const inspected *in) {
    part_sum sums[VR_MAX_PARTS];
    json_t *list = json_array();
    int n = in->is_model ? sum_parts(in, sums) : 0;
    for (int i = 0; list && i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o}", "name", sums[i].name, "tensors",
                                              vr_json_size(sums[i].tensors), "parameters",
                                              vr_json_size(sums[i].parameters), "bytes", vr_json_size(sums[i].bytes)));
    return list;
}

static json_t *json_config(const inspected *in) {
    char *text = in->is_model ? vr_config_json(&in->config) : NULL;
    json_t *config = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    free(text);
    return config ? config : json_null();
}

static int print_json(const inspected *in, bool tensors) {
    json_t *all = json_pack("{s:o, s:s, s:o, s:o, s:o}", "file", vr_json_text(in->path, strlen(in->path)), "kind",
                            kind_names[vr_weights_kind(in->weights)], "bytes",
                            vr_json_size((uint64_t)in->file_bytes), "config", json_config(in), "parts", json_parts(in));
    if (!all) return vr_json_print(NULL, 0);
    if (!in->is_model)
        json_object_set_new(all, "not_a_model", vr_json_text(in->why_not.message, strlen(in->why_not.message)));
    json_object_set_new(all, "vocabulary", in->vocabulary >= 0 ? json_integer(in->vocabulary) : json_null());
    if (in->is_model) json_object_set_new(all, "image_tokens", json_integer(vr_config_image_rows(&in->config)));
    json_object_set_new(all, "state_bytes", vr_json_size(in->state_bytes));
    json_object_set_new(all, "parameters", vr_json_size(in->parameters));
    json_object_set_new(all, "weight_bytes", vr_json_size(in->tensor_bytes));
    json_object_set_new(all, "bits_per_weight", vr_json_double(bits_per_weight(in->tensor_bytes, in->parameters)));
    json_object_set_new(all, "metadata", json_meta(in->weights));
    json_t *plan = vr_plan_of(in->weights);
    if (plan) json_object_set_new(all, "quantisation", plan);
    if (tensors) json_object_set_new(all, "tensors", json_tensors(in->weights));
    return vr_json_print(all, 1);
}

int vr_cmd_inspect(int argc, char **argv) {
    const char *config = NULL;
    bool json = false, brief = false;
    int threads = 0;
    vr_strings files = {0};
    vr_settings *settings = NULL;
    vr_error err = {0};
    inspected in = {0};
    const vr_option options[] = {
        {"brief", 'b', VR_OPT_FLAG, &brief, NULL, "without the list of tensors", 0, 0},
        {"config", 0, VR_OPT_STRING, &config, "FILE", "settings as for convert, for a checkpoint", 0, 0},
        VR_OPTION_JSON(&json),
        VR_OPTION_THREADS(&threads),
    };
    const vr_usage usage = {
        .verb = "inspect",
        .line = "FILE [OPTION]...",
        .about = "Prints what is in a .gguf, .pth or .safetensors file: the model's description and parts, metadata, "
                 "and every tensor with type, shape, size and bits per weight. Of a model whose types were measured "
                 "(convert --type auto:BITS) also what rounding each matrix cost, as KL divergence.",
        .options = options,
        .n_options = VR_COUNT(options),
        .min_args = 1,
        .max_args = 1,
        .arg_name = "FILE",
        .example = "  vrwkv inspect --brief model.gguf",
    };
    int code = vr_options_parse(&usage, argc, argv, &files);
    if (code == VR_GO_ON) {
        in.path = files.items[0];
        vr_status status = config ? vr_settings_file(&settings, config, &err) : VRWKV_OK;
        if (status == VRWKV_OK) status = look(&in, settings, &err);
        if (status != VRWKV_OK)
            code = vr_report(argv[0], &err);
        else if (json)
            code = print_json(&in, !brief);
        else
            code = print_all(&in, !brief);
        vr_weights_close(in.weights);
        vr_settings_free(settings);
    }
    vr_strings_free(&files);
    return code;
}
