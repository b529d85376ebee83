/* tokenize: bytes of stdin to ids; detokenize: ids on stdin to text. */
#include "common.h"
#include "json_out.h"
#include "verbs.h"

#include <stdlib.h>

#define VOCAB_OPTION(m)                                                                                                \
    {"model", 'm', VR_OPT_STRING, &(m)->path, "FILE", "take the vocabulary of this model (default: the world vocabulary)", 0, 0}

static vr_status tokenize(const vr_model_args *args, bool json, int *code, vr_error *err) {
    vrwkv_model *model = NULL;
    const vr_vocab *vocab = NULL;
    vr_buffer text = {0};
    vr_ids list = {0};
    vr_status status = vr_model_args_vocab(args, &model, &vocab, err);
    if (status == VRWKV_OK) status = vr_buffer_read(&text, stdin, "stdin", err);
    if (status == VRWKV_OK) status = vr_encode(vocab, text.data, text.n, &list.ids, &list.n, &list.capacity, err);
    if (status == VRWKV_OK && json) {
        *code = vr_json_print(vr_json_ids(list.ids, list.n), 0);
    } else if (status == VRWKV_OK) {
        for (size_t i = 0; i < list.n; i++) printf(i ? " %d" : "%d", list.ids[i]);
        putchar('\n');
    }
    free(list.ids);
    free(text.data);
    vrwkv_model_close(model);
    return status;
}

int vr_cmd_tokenize(int argc, char **argv) {
    vr_model_args model = {0};
    bool json = false;
    vr_error err = {0};
    const vr_option options[] = {VOCAB_OPTION(&model), VR_OPTION_JSON(&json), VR_OPTION_THREADS(&model.threads)};
    const vr_usage usage = {
        .verb = "tokenize",
        .line = "[OPTION]... < TEXT",
        .about = "Reads bytes from stdin to the end, nothing trimmed, and prints their token ids.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  printf 'Hello, 世界' | vrwkv tokenize",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    code = 0;
    return tokenize(&model, json, &code, &err) == VRWKV_OK ? code : vr_report(argv[0], &err);
}

static vr_status detokenize(const vr_model_args *args, bool raw, bool json, int *code, vr_error *err) {
    vrwkv_model *model = NULL;
    const vr_vocab *vocab = NULL;
    vr_buffer text = {0};
    vr_ids list = {0};
    char *out = NULL;
    size_t n = 0;
    bool unknown;
    vr_status status = vr_model_args_vocab(args, &model, &vocab, err);
    if (status == VRWKV_OK) status = vr_buffer_read(&text, stdin, "stdin", err);
    if (status == VRWKV_OK) status = vr_ids_parse(&list, text.data, true, err);
    if (status == VRWKV_OK)
        status = raw ? vr_decode_bytes(vocab, list.ids, list.n, &out, &n, &unknown, err)
                     : vr_decode_text(vocab, list.ids, list.n, &out, &n, err);
    if (status == VRWKV_OK && json)
        *code = vr_json_print(vr_json_text(out, n), 0);
    else if (status == VRWKV_OK)
        fwrite(out, 1, n, stdout);
    free(out);
    free(list.ids);
    free(text.data);
    vrwkv_model_close(model);
    return status;
}

int vr_cmd_detokenize(int argc, char **argv) {
    vr_model_args model = {0};
    bool raw = false, json = false;
    vr_error err = {0};
    const vr_option options[] = {
        VOCAB_OPTION(&model),
        {"bytes", 0, VR_OPT_FLAG, &raw, NULL, "the raw bytes, valid UTF-8 or not; unknown ids give none", 0, 0},
        VR_OPTION_JSON(&json),
        VR_OPTION_THREADS(&model.threads),
    };
    const vr_usage usage = {
        .verb = "detokenize",
        .line = "[OPTION]... < IDS",
        .about = "Reads token ids from stdin, parted by spaces, and prints their text, without a line end of its own. "
                 "Where an id is unknown or the whole is no valid UTF-8, the text is one U+FFFD.",
        .options = options,
        .n_options = VR_COUNT(options),
        .example = "  echo 33155 45 33 10267 14610 | vrwkv detokenize",
    };
    int code = vr_options_parse(&usage, argc, argv, &(vr_strings){0});
    if (code != VR_GO_ON) return code;
    if (raw && json) return vr_usage_error(argv[0], "--bytes and --json exclude each other");
    code = 0;
    return detokenize(&model, raw, json, &code, &err) == VRWKV_OK ? code : vr_report(argv[0], &err);
}
