/* prompt: one LLaVA sample {"id", "image"?, "conversations"} on stdin to its prompt. */
#include "common.h"
#include "json_out.h"
#include "verbs.h"

#include "base/memory.h"
#include "text/prompt.h"

#include <stdlib.h>

/* The sample's turns; the strings are the JSON's. */
static vr_status read_turns(json_t *sample, vr_turn **turns, size_t *n, vr_error *err) {
    json_t *list = json_object_get(sample, "conversations");
    if (!json_is_object(sample)) return vr_fail(err, VRWKV_ERR_FORMAT, "a sample is an object {\"conversations\": [...]}");
    if (!json_is_array(list)) return vr_fail(err, VRWKV_ERR_FORMAT, "the sample has no list \"conversations\"");
    *n = json_array_size(list);
    *turns = vr_alloc(*n ? *n : 1, sizeof **turns);
    if (!*turns) return vr_fail(err, VRWKV_ERR_MEMORY, "out of memory for %zu turns", *n);
    for (size_t i = 0; i < *n; i++) {
        json_t *turn = json_array_get(list, i);
        (*turns)[i].from = json_string_value(json_object_get(turn, "from"));
        (*turns)[i].value = json_string_value(json_object_get(turn, "value"));
        if (!(*turns)[i].from || !(*turns)[i].value)
            return vr_fail(err, VRWKV_ERR_FORMAT, "turn %zu needs the texts \"from\" and \"value\"", i);
    }
    return VRWKV_OK;
}

static vr_status parse_json(json_t **sample, vr_error *err) {
    vr_buffer text = {0};
    json_error_t where;
    vr_status status = vr_buffer_read(&text, stdin, "stdin", err);
    if (status == VRWKV_OK) {
        *sample = json_loadb(text.data, text.n, JSON_DECODE_ANY, &where);
        if (!*sample)
            status = vr_fail(err, VRWKV_ERR_FORMAT, "stdin is no JSON: line %d, column %d: %s", where.line, where.column,
                             where.text);
    }
    free(text.data);
    return status;
}

typedef struct prompt_args {
    vr_model_args model;
    const char *version, *position;
    int ctx_len;
    bool json;
} prompt_args;

/* Version and place of the picture: of the options, else of the model, else v6.0 and first. */
static vr_status choose_rules(const prompt_args *args, const vrwkv_model *model, const vr_template **rules,
                              vr_position *position, vr_error *err) {
    const vr_config *config = model ? vr_model_config(model) : NULL;
    const char *version = args->version ? args->version : config && config->version[0] ? config->version : "v6.0";
    const char *where = args->position ? args->position : config && config->image_position[0] ? config->image_position : "first";
    *rules = vr_template_find(version);
    if (!*rules)
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "no prompt rules for version \"%s\"; there are: %s", version,
                       vr_template_names());
    if (!vr_position_parse(where, position))
        return vr_fail(err, VRWKV_ERR_ARGUMENT, "the picture's place is first, last or middle, found \"%s\"", where);
    return VRWKV_OK;
}

static int print_json(const vr_prompt *prompt) {
    return vr_json_print(json_pack("{s:o, s:o, s:o}", "text", vr_json_text(prompt->text, prompt->text_bytes), "ids",
                                   vr_json_ids(prompt->ids, prompt->n), "labels",
                                   vr_json_ids(prompt->labels, prompt->n)),
                         0);
}

static vr_status prompt_run(const prompt_args *args, int *code, vr_error *err) {
    vrwkv_model *model = NULL;
    const vr_vocab *vocab = NULL;
    const vr_template *rules = NULL;
    vr_position position = VR_IMAGE_FIRST;
    vr_turn *turns = NULL;
    size_t n = 0;
    json_t *sample = NULL;
    vr_prompt prompt = {0};
    vr_status status = vr_model_args_vocab(&args->model, &model, &vocab, err);
    if (status == VRWKV_OK) status = choose_rules(args, model, &rules, &position, err);
    if (status == VRWKV_OK) status = parse_json(&sample, err);
    if (status == VRWKV_OK) status = read_turns(sample, &turns, &n, err);
    if (status == VRWKV_OK) {
        json_t *image = json_object_get(sample, "image");
        vr_prompt_options how = {.has_image = image && !json_is_null(image), .position = position, .ctx_len = (size_t)args->ctx_len};
        status = vr_prompt_build(&prompt, rules, vocab, turns, n, &how, err);
    }
    if (status == VRWKV_OK && args->json)
        *code = print_json(&prompt);
    else if (status == VRWKV_OK)
        fwrite(prompt.text, 1, prompt.text_bytes, stdout);
    vr_prompt_free(&prompt);
    free(turns);
    json_decref(sample);
    vrwkv_model_close(model);
    return status;
}

int vr_cmd_prompt(int argc, char **argv) {
    prompt_args args = {0};
    vr_error err = {0};
    const vr_option options[] = {
        {"image-position", 0, VR_OPT_STRING, &args.position, "WHERE", "first, last or middle (default: the model's, first)", 0, 0},
        {"version", 0, VR_OPT_STRING, &args.version, "V", "whose rules: v5.1, v6.0 (default: the model's, v6.0)", 0, 0},
        {"ctx-len", 0, VR_OPT_INT, &args.ctx_len, "N", "cut or pad ids and labels to N; 0: neither (default)", 0, 1 << 20},
        {"model", 'm', VR_OPT_STRING, &args.model.path, "FILE", "take this model's vocabulary and settings", 0, 0},
        VR_OPTION_JSON(&args.json),
        VR_OPTION_THREADS(&args.model.threads),
    };
    const vr_usage usage = {
        .verb = "prompt",
        .line = "[OPTION]... < SAMPLE.json",
        .about = "Reads one LLaVA sample {\"id\", \"image\", \"conversations\"} from stdin and prints the text that the "
                 "model is trained with; with --json {\"text\", \"ids\", \"labels\"} (a picture is -200 among the ids, "
                 "-100 a label that is not trained).",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  echo '{\"image\": \"a.jpg\", \"conversations\": [{\"from\": \"human\", \"value\":\n"
                   "      \"<image>\\nWhat is this?\"}, {\"from\": \"gpt\", \"value\": \"A cat.\"}]}' |\n"
                   "      vrwkv prompt --json",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    code = 0;
    return prompt_run(&args, &code, &err) == VRWKV_OK ? code : vr_report(argv[0], &err);
}
