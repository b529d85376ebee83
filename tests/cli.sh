#!/bin/bash
# The program as a user sees it: exit codes, messages, help, round trips, and answers of a reference
# case. Usage: tests/cli.sh BUILD_DIR. Prints one line per check; exits 1 where one failed.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
case $build in /*) vrwkv=$build/vrwkv ;; *) vrwkv=$PWD/$build/vrwkv ;; esac
[ -x "$vrwkv" ] || { echo "no program at $vrwkv"; exit 1; }
case_dir=tests/data/cases/v6/grid-none-first
picture=$case_dir/image.png
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/frame.sh
unset VRWKV_CPU
json_list() { tr -d '\n' | sed -n "s/.*\"$1\": *\[\([^]]*\)\].*/\1/p" | tr -d ' '; } # KEY < JSON
json_value() { tr -d '\n' | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }
json_ok() { # NAME FILE
    if ! command -v python3 >/dev/null 2>&1; then ok "$1 (python3 is not there: not parsed)"; return; fi
    if python3 -c 'import json, sys; json.load(open(sys.argv[1], encoding="utf-8"))' "$2" 2>"$work/json"; then ok "$1"
    else bad "$1" "$(tail -1 "$work/json")"; fi
}

# ---- usage ----
verbs=$("$vrwkv" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
check "how many verbs there are" "$(echo "$verbs" | wc -l)" 14
code "--help" 0 "$vrwkv" --help
for verb in $verbs; do
    has "--help lists $verb" "$(cat "$work/out")" "
  $verb "
done
code "--version" 0 "$vrwkv" --version
check "--version tells the header's version" "$(cat "$work/out")" \
    "vrwkv $(sed -n 's/^#define VRWKV_VERSION_[MP][A-Z]* //p' include/vrwkv.h | paste -sd.)"
code "no verb" 2 "$vrwkv"
code "unknown verb" 2 "$vrwkv" tokenise
says "unknown verb: the nearest is suggested" 'did you mean "tokenize"?'
says "unknown verb: a pointer to the help" "See: vrwkv --help"
code "unknown option of the program" 2 "$vrwkv" --verbose
code "unknown kernel set" 1 env VRWKV_CPU=abacus "$vrwkv" --version
says "unknown kernel set is named" "abacus"
code "a full disk is an error" 1 sh -c "'$vrwkv' --help >/dev/full"
says "a full disk: the system's reason" "No space left on device"
code "help VERB" 0 "$vrwkv" help inspect
has "help VERB is VERB --help" "$(head -1 "$work/out")" "Usage: vrwkv inspect"
code "help of an unknown verb" 2 "$vrwkv" help inspekt
says "help of an unknown verb: the nearest" 'did you mean "inspect"?'
completions() { # VERB: the options that the shell offers
    (. completions/vrwkv.bash; COMP_WORDS=(vrwkv "$1" --); COMP_CWORD=2; _vrwkv; printf '%s\n' "${COMPREPLY[@]}" | sort -u)
}
check "the shell offers the verbs" "$(. completions/vrwkv.bash; COMP_WORDS=(vrwkv ''); COMP_CWORD=1; _vrwkv
    printf '%s\n' "${COMPREPLY[@]}" | grep -v '^--' | sort)" "$(echo "$verbs" | sort)"
for verb in $verbs; do
    code "$verb --help" 0 "$vrwkv" $verb --help
    check "$verb --help is on stdout alone" "$(cat "$work/err")" ""
    has "$verb --help ends with an example" "$(sed -n '/^Example/,$p' "$work/out")" "vrwkv $verb"
    has "$verb --help begins with its usage" "$(head -1 "$work/out")" "Usage: vrwkv $verb"
    grep -oE '^ +(-[a-z], )?--[a-z0-9-]+' "$work/out" | grep -oE '[-][-][a-z0-9-]+' | sort -u >"$work/options"
    check "the shell offers the options of $verb" "$(completions "$verb" | paste -sd' ')" "$(paste -sd' ' "$work/options")"
    missing=""
    while read -r option; do
        sed 's/\\-/-/g' man/vrwkv.1 | grep -qE -- "(^|[^a-z-])$option([^a-z-]|$)" || missing="$missing $option"
    done <"$work/options"
    check "options of $verb are in man/vrwkv.1" "$missing" ""
    code "$verb: unknown option" 2 "$vrwkv" $verb --no-such-option
    says "$verb: unknown option is named" "no-such-option"
    case $verb in verify | bench) continue ;; esac
    says "$verb: a pointer to the help" "See: vrwkv $verb --help"
    has "$verb takes --threads" "$(cat "$work/options")" "--threads"
done
if command -v python3 >/dev/null 2>&1; then
    check "the man page is that of man/generate.py" "$(python3 man/generate.py "$vrwkv" | cksum)" "$(cksum <man/vrwkv.1)"
fi
code "misspelt option" 2 "$vrwkv" run -m x --gredy
says "misspelt option: the nearest is suggested" "did you mean --greedy?"
code "option without its value" 2 "$vrwkv" run -m
says "option without its value is named" "-m needs a value"
code "a value that is no number" 2 "$vrwkv" run -m x -p y -n many
says "a value that is no number is shown" '--max-tokens takes a whole number'
code "a value out of range" 2 "$vrwkv" run -m x -p y --top-p 1.5
says "a value out of range: limits and value" 'takes a number from 0 to 1, found "1.5"'
code "a value for a flag" 2 "$vrwkv" run -m x -p y --greedy=yes
code "one of several words" 2 "$vrwkv" run -m x -p y --manner rude
says "one of several words: they are listed" 'friendly|original'
code "run without a prompt" 2 "$vrwkv" run -m x
code "run without a model" 2 "$vrwkv" run -p hello
code "run: a picture without a prompt" 2 "$vrwkv" run -m x --state-in y -i $picture
says "run: a picture without a prompt: what is needed" "give -p TEXT or --tokens"
code "run: --half-state without --state-out" 2 "$vrwkv" run -m x -p hello --half-state
code "run with two prompts" 2 "$vrwkv" run -m x -p hello --tokens 1
code "a word too many" 2 "$vrwkv" tokenize file.txt
code "ids that are none" 2 "$vrwkv" run -m x --tokens 1,two
says "ids that are none: shown" '"two"'
code "an id that is none" 2 "$vrwkv" run -m x --tokens 1,99999999999
says "an id that is none: as it was written" '"99999999999" is larger than any token id'
code "convert of an unknown version" 2 "$vrwkv" convert x.pth -o y.gguf --version v9
says "convert of an unknown version: those that there are" "v6.0"
code "trace without -o" 2 "$vrwkv" trace -m x --tokens 1
code "trace to another kind of file" 2 "$vrwkv" trace -m x --tokens 1 -o out.npz
code "convert without -o" 2 "$vrwkv" convert $case_dir/model.pth
code "convert without a source" 2 "$vrwkv" convert -o x.gguf
code "convert to an unknown type" 2 "$vrwkv" convert $case_dir/model.pth -o "$work/x.gguf" --type q3
code "convert to an unknown ending" 2 "$vrwkv" convert $case_dir/model.pth -o "$work/x.npz"

# ---- text ----
text='Hello, 世界！ 😀  a
  b'
check "tokenize, detokenize" "$(printf '%s' "$text" | "$vrwkv" tokenize | "$vrwkv" detokenize)" "$text"
check "tokenize" "$(printf 'User: hi\n\n' | "$vrwkv" tokenize)" "24281 59 4571 261"
check "tokenize --json" "$(printf 'User: hi\n\n' | "$vrwkv" tokenize --json)" "[24281, 59, 4571, 261]"
check "tokenize of nothing" "$(printf '' | "$vrwkv" tokenize --json)" "[]"
head -c 4096 $case_dir/model.pth >"$work/bytes"
"$vrwkv" tokenize <"$work/bytes" | "$vrwkv" detokenize --bytes >"$work/bytes2"
if cmp -s "$work/bytes" "$work/bytes2"; then ok "raw bytes round trip"; else bad "raw bytes round trip"; fi
check "detokenize reads JSON too" "$(echo '[24281, 59]' | "$vrwkv" detokenize)" "User:"
check "an unknown id" "$(echo 24281 -200 59 | "$vrwkv" detokenize)" "�"
check "an unknown id, bytes" "$(echo 24281 65535 99999999999 59 | "$vrwkv" detokenize --bytes)" "User:"
check "half a character" "$(echo 229 | "$vrwkv" detokenize)" "�"
check "detokenize --json" "$(echo 24281 59 261 | "$vrwkv" detokenize --json)" '"User:\n\n"'
sample='{"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is in the picture?"}, {"from": "gpt", "value": "A dog."}]}'
check "prompt --json" "$(printf '%s' "$sample" | "$vrwkv" prompt --json --image-position first)" \
    '{"text": "User: <image>\nWhat is in the picture?\n\nAssistant: A dog.\n\n", "ids": [24281, 59, 33, -200, 11, 24326, 4600, 4596, 22590, 52467, 64, 261, 5585, 41693, 59, 300, 21551, 47, 261], "labels": [-100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, 300, 21551, 47, 261]}'
check "prompt --ctx-len cuts" "$(printf '%s' "$sample" | "$vrwkv" prompt --json --ctx-len 4 | json_list ids)" "24281,59,33,-200"
check "prompt --ctx-len pads" "$(printf '%s' "$sample" | "$vrwkv" prompt --json --ctx-len 20 | json_list ids | tail -c 8)" "47,261,0"
has "prompt: last" "$(printf '%s' "$sample" | "$vrwkv" prompt --image-position last)" "picture?
<image>"
printf '{"conversations": [{"from": "robot", "value": "x"}]}' | "$vrwkv" prompt >"$work/out" 2>"$work/err"
check "prompt: a refused sample" $? 1
printf '{"conversations": ' | "$vrwkv" prompt >"$work/out" 2>"$work/err"
check "prompt: broken JSON" $? 1
printf '%s' "$sample" | "$vrwkv" prompt --image-position behind >"$work/out" 2>"$work/err"
check "prompt: an unknown place" $? 1
printf '%s' "$sample" | "$vrwkv" prompt --ctx-len 2000000000 >"$work/out" 2>"$work/err"
check "prompt: a window that no memory holds" $? 2

# ---- convert, inspect ----
model=$work/模型.gguf
code "convert, a name in Chinese" 0 "$vrwkv" convert $case_dir/model.pth -o "$model" --config $case_dir/case.json --json
json_ok "convert --json" "$work/out"
check "convert leaves no other file" "$(ls "$work" | grep -c tmp)" 0
code "convert refuses to write over a source" 2 "$vrwkv" convert "$model" -o "$model"
code "convert of a missing file" 1 "$vrwkv" convert missing.pth -o "$work/x.gguf"
says "convert of a missing file: its name" "missing.pth"
code "convert of a picture" 1 "$vrwkv" convert $picture -o "$work/x.gguf"
[ ! -e "$work/x.gguf" ] && ok "a failed convert leaves nothing" || bad "a failed convert leaves nothing"
for type in f32 f16 bf16 q8_0 q6_k q5_k q4_k q4_0; do
    code "convert --type $type" 0 "$vrwkv" convert "$model" -o "$work/$type.gguf" --type $type
done
"$vrwkv" convert "$model" -o "$work/q4_k.gguf" --type q4_k 2>"$work/err" >/dev/null
says "convert --type q4_k: rows that do not fit" "rows of 128 do not fit q4_k, stored as q4_0"
code "convert --type that is only read" 2 "$vrwkv" convert "$model" -o "$work/x.gguf" --type q5_1
says "convert --type that is only read: those that are written" "f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0"
code "convert --type auto:5" 0 "$vrwkv" convert "$model" -o "$work/auto.gguf" --type auto:5
has "inspect of measured types" "$("$vrwkv" inspect "$work/auto.gguf")" "measured types (auto:5)"
has "inspect of measured types: each matrix" "$("$vrwkv" inspect "$work/auto.gguf")" "KL where it alone is"
"$vrwkv" inspect --brief --json "$work/auto.gguf" >"$work/out"
has "inspect --json of measured types" "$(cat "$work/out")" '"chosen"'
json_ok "inspect --json of measured types is JSON" "$work/out"
code "run of measured types" 0 "$vrwkv" run -m "$work/auto.gguf" --tokens 3,17 -n 2 --greedy
"$vrwkv" convert "$model" -o "$work/auto-8.gguf" --type auto:5 -t 1 --vision-type q8_0 >/dev/null 2>&1
has "convert --type auto:5 --vision-type q8_0" "$("$vrwkv" inspect "$work/auto-8.gguf" | grep '^v.blk.0.attn_q.weight')" "q8_0"
for type in auto:3 auto:x auto: auto:17 auto:5x; do
    code "convert --type $type" 2 "$vrwkv" convert "$model" -o "$work/x.gguf" --type $type
    says "convert --type $type: what it takes" "takes 4.5 to 16 bits per weight"
done
code "convert --type auto:5 to a checkpoint" 2 "$vrwkv" convert "$model" -o "$work/x.pth" --type auto:5
code "convert --samples without auto" 2 "$vrwkv" convert "$model" -o "$work/x.gguf" --type q8_0 --samples $picture
code "convert --type auto:5, samples that are not there" 1 "$vrwkv" convert "$model" -o "$work/x.gguf" --type auto:5 --samples "$work/none"
says "convert --type auto:5, samples that are not there: named" "none"
code "convert --type auto:5 of a quantised model" 1 "$vrwkv" convert "$work/q8_0.gguf" -o "$work/x.gguf" --type auto:5
says "convert --type auto:5 of a quantised model: said" "is q8_0 already"
[ ! -e "$work/x.gguf" ] && ok "a failed measurement leaves nothing" || bad "a failed measurement leaves nothing"
printf 'The cat sat.' >"$work/sample.txt"
code "convert --samples, a text without a vocabulary" 1 "$vrwkv" convert "$model" -o "$work/x.gguf" --type auto:5 -t 1 --samples "$work/sample.txt"
says "convert --samples, a text without a vocabulary: said" "has no vocabulary"
printf '10 "\\n" 1\n' >"$work/letters.txt"
for i in $(seq 32 126); do printf "%s '\\\\x%02x' 1\n" "$i" "$i"; done >>"$work/letters.txt"
"$vrwkv" convert "$model" -o "$work/letters.gguf" --vocab "$work/letters.txt" >/dev/null 2>"$work/err"
code "convert --samples, a text" 0 "$vrwkv" convert "$work/letters.gguf" -o "$work/text.gguf" --type auto:5 -t 1 --samples "$work/sample.txt"
has "convert --samples, a text: 11 positions, towers as q8_0" "$("$vrwkv" inspect "$work/text.gguf" | grep -E '  samples|^mm.0' | paste -sd' ')" "given: 1 texts, 0 pictures, 11 positions"
code "convert --type auto:5, built-in texts" 0 "$vrwkv" convert "$work/letters.gguf" -o "$work/text.gguf" --type auto:5
has "convert --type auto:5, built-in texts and picture" "$("$vrwkv" inspect "$work/text.gguf" | grep '  samples')" "3 texts, 1 pictures"
code "convert --split" 0 "$vrwkv" convert $case_dir/model.pth -o "$work/split.gguf" --config $case_dir/case.json --split
check "convert --split: three files" "$(cd "$work" && echo split*.gguf)" "split-mmproj.gguf split-rwkv.gguf split.gguf"
code "convert --split to a checkpoint" 2 "$vrwkv" convert "$model" -o "$work/x.pth" --split
has "inspect of the language half" "$("$vrwkv" inspect --brief "$work/split-rwkv.gguf")" "general.architecture             rwkv6"
code "inspect of a file of llama.cpp" 0 "$vrwkv" inspect tests/data/llama/rwkv7-q4_k_m.gguf
has "inspect of a file of llama.cpp: description" "$(cat "$work/out")" "x070, 2 layers, width 256"
code "run of a file of llama.cpp" 0 "$vrwkv" run -m tests/data/llama/rwkv7-q4_k_m.gguf --tokens 3,17 -n 2 --greedy
code "convert to .safetensors" 0 "$vrwkv" convert "$model" -o "$work/m.safetensors"
code "convert to .pth" 0 "$vrwkv" convert "$model" -o "$work/m.pth"
code "inspect" 0 "$vrwkv" inspect "$model"
has "inspect: description" "$(cat "$work/out")" "x060, 4 layers, width 128"
code "inspect --json" 0 "$vrwkv" inspect --json "$model"
json_ok "inspect --json is JSON" "$work/out"
has "inspect --json: tensors" "$(cat "$work/out")" '"bits_per_weight"'
code "inspect of a checkpoint" 0 "$vrwkv" inspect $case_dir/model.pth
has "inspect of a checkpoint: keys" "$(cat "$work/out")" "rwkv.emb.weight"
code "inspect of tensors that are no model" 0 "$vrwkv" inspect $case_dir/expect.safetensors
has "inspect of tensors that are no model: said" "$(cat "$work/out")" "model        none:"
code "inspect of a missing file" 1 "$vrwkv" inspect "$work/nothing.gguf"
head -c 100000 "$model" >"$work/cut.gguf"
code "inspect of a file cut short" 1 "$vrwkv" inspect "$work/cut.gguf"
says "inspect of a file cut short: its name" "cut.gguf"


# What does not describe the model, or not this one.
setting() { # NAME JSON PART-OF-THE-MESSAGE
    printf '%s' "$2" >"$work/setting.json"
    code "$1" 1 "$vrwkv" convert $case_dir/model.pth -o "$work/x.gguf" --config "$work/setting.json"
    says "$1: said" "$3"
}
setting "a divisor of nothing" '{"head_size_divisor": 0}' "head_size_divisor is 0, expected 1"
setting "settings that are no object" '[]' "expected an object"
setting "settings cut short" '{"n_embd": ' "setting.json"
setting "another width" '{"n_embd": 64}' "n_embd is 64, but the checkpoint's shapes say 128"
setting "half a stop token" '{"stop_token": 5.5}' "stop_token"
setting "an unknown scan in the settings" '{"scan": "circle"}' "bidirection"
code "convert with half a grid" 1 "$vrwkv" convert $case_dir/model.pth -o "$work/x.gguf" --vit-heads 4 --grid-size 2.5
says "convert with half a grid: said" "expected a whole number"
code "convert with heads left over" 1 "$vrwkv" convert $case_dir/model.pth -o "$work/x.gguf" --vit-heads 4,4
[ ! -e "$work/x.gguf" ] && ok "no convert that failed left a file" || bad "no convert that failed left a file"

# Where the result goes.
mkdir "$work/folder.gguf"
code "convert onto a folder" 1 "$vrwkv" convert "$model" -o "$work/folder.gguf"
says "convert onto a folder: said" "is a folder"
mkfifo "$work/pipe.gguf"
code "convert onto a pipe" 1 "$vrwkv" convert "$model" -o "$work/pipe.gguf"
says "convert onto a pipe: said" "no regular file"
: >"$work/target.gguf" && ln -s target.gguf "$work/link.gguf"
code "convert through a link" 0 "$vrwkv" convert "$model" -o "$work/link.gguf"
if [ -L "$work/link.gguf" ] && cmp -s "$work/target.gguf" "$model"; then ok "the link's target is written"; else bad "the link's target is written"; fi
rm -r "$work"/folder.gguf "$work"/*.gguf.* "$work/pipe.gguf" "$work/link.gguf" "$work/target.gguf" 2>/dev/null
for seconds in 0.005 0.01 0.015 0.02 0.03 0.05; do
    timeout $seconds "$vrwkv" convert "$model" -o "$work/killed.gguf" --type q4_0 >/dev/null 2>&1
done
check "a killed convert leaves nothing half-written" "$(find "$work" -name 'killed.gguf.*')" ""

# ---- run ----
tokens=$(tr -d '\n' <$case_dir/case.json | json_list input_ids)
expected=$(sed -n 's/.*"greedy".*"ids": \[\([^]]*\)\].*/\1/p' $case_dir/case.json | tr -d ' ')
run() { "$vrwkv" run -m "$model" "$@"; }
ids() { run "$@" --json 2>"$work/err" | json_list ids; }
check "run of two halves: the ids of the original" "$("$vrwkv" run -m "$work/split-rwkv.gguf" --mmproj "$work/split-mmproj.gguf" -i $picture \
    --tokens "$tokens" -n 10 --greedy --manner original --json 2>/dev/null | json_list ids)" "$expected"
code "run --json" 0 "$vrwkv" run -m "$model" -i $picture --tokens "$tokens" -n 10 --greedy --manner original --json
json_ok "run --json is JSON" "$work/out"
check "run gives the original's ids" "$(json_list ids <"$work/out")" "$expected"
check "run --json: image_tokens" "$(json_value image_tokens <"$work/out")" 17
check "run --json: prompt_tokens" "$(json_value prompt_tokens <"$work/out")" 16
check "run --json: stop_reason" "$(json_value stop_reason <"$work/out")" length
check "run --json: as many logits" "$(json_list logits <"$work/out" | awk -F, '{ print NF }')" 10
check "run --json: as many logprobs" "$(json_list logprobs <"$work/out" | awk -F, '{ print NF }')" 10
logits=$(sed -n 's/.*"greedy".*"logits": \[\([^]]*\)\].*/\1/p' $case_dir/case.json | tr -d ' ')
probs=$(sed -n 's/.*"greedy".*"probs": \[\([^]]*\)\].*/\1/p' $case_dir/case.json | tr -d ' ')
near() { # LIST LIST BOUND exp|same: elementwise
    echo "$1;$2;$3;$4" | awk -F';' '{ n = split($1, a, ","); m = split($2, b, ","); bad = n != m
        for (i = 1; i <= n; i++) { x = $4 == "exp" ? exp(a[i]) : a[i]; d = x - b[i]; if (d < 0) d = -d; if (!(d <= $3)) bad = 1 }
        print bad ? "far" : "near" }'
}
check "run: the original's logits" "$(near "$(json_list logits <"$work/out")" "$logits" 0.001 same)" near
check "run: the original's probabilities" "$(near "$(json_list logprobs <"$work/out")" "$probs" 0.001 exp)" near
check "run --recompute" "$(ids -i $picture --tokens "$tokens" -n 10 --manner original --recompute)" "$expected"
check "run of a checkpoint's copy" "$("$vrwkv" run -m "$work/f32.gguf" -i $picture --tokens "$tokens" -n 10 --greedy --manner original --json | json_list ids)" "$expected"
check "run without mmap, one thread" "$(ids -i $picture --tokens "$tokens" -n 10 --greedy --manner original --no-mmap --threads 1)" "$expected"
text_case=tests/data/cases/v6/text-only
if [ -d $text_case ]; then
    check "run without a picture" "$(ids --tokens "$(tr -d '\n' <$text_case/case.json | json_list input_ids)" -n 10 --greedy --manner original)" \
        "$(sed -n 's/.*"greedy".*"ids": \[\([^]]*\)\].*/\1/p' $text_case/case.json | tr -d ' ')"
fi
check "run without a vocabulary prints ids" "$(run -i $picture --tokens "$tokens" -n 10 --greedy --manner original 2>/dev/null)" "$(echo "$expected" | tr ',' ' ')"
sixth=$(echo "$expected" | cut -d, -f6)
check "--stop-token" "$(ids -i $picture --tokens "$tokens" -n 10 --greedy --manner original --stop-token "$sixth")" "$(echo "$expected" | cut -d, -f1-6)"
check "a seed gives one answer" "$(ids --tokens 5,6,7 -n 8 --temp 1.5 --top-p 1 --seed 7)" "$(ids --tokens 5,6,7 -n 8 --temp 1.5 --top-p 1 --seed 7)"

# ---- state ----
whole=$(ids -i $picture --tokens "$tokens" -n 10 --greedy --manner original)
state=$work/zustand-ü.safetensors
first=$(ids -i $picture --tokens "$tokens" -n 4 --greedy --manner original --state-out "$state")
rest=$(ids --state-in "$state" -n 6 --greedy --manner original)
check "--state-out, --state-in go on" "$first,$rest" "$whole"
run -i $picture --tokens "${tokens%,*}" -n 0 --manner original --state-out "$state" >"$work/out" 2>/dev/null
check "-n 0 prints nothing" "$(cat "$work/out")" ""
check "a prompt in two halves" "$(ids --state-in "$state" --tokens "${tokens##*,}" -n 10 --greedy --manner original)" "$whole"
run -i $picture --tokens "$tokens" -n 0 --manner original --half-state --state-out "$work/half.safetensors" 2>/dev/null
if [ "$(wc -c <"$work/half.safetensors")" -lt "$(wc -c <"$state")" ]; then ok "--half-state is smaller"; else bad "--half-state is smaller"; fi
seeded() { ids --state-in "$state" --tokens "${tokens##*,}" -n 8 --temp 2 --top-p 1 "$@"; }
check "--seed with --state-in: one answer" "$(seeded --seed 5)" "$(seeded --seed 5)"
if [ "$(seeded --seed 5)" != "$(seeded --seed 6)" ]; then ok "--seed wins over the state's"; else bad "--seed wins over the state's"; fi
code "--state-out to a missing folder" 1 "$vrwkv" run -m "$work/none.gguf" --tokens 1 --state-out "$work/none/state"
says "--state-out to a missing folder: before anything is read" "none/state"
run --state-in "$state" --tokens 5 -i $picture -n 1 --manner original >"$work/out" 2>"$work/err"
says "a picture that a state does not read: said" "the picture is not read"
code "run to a full disk" 1 sh -c "'$vrwkv' run -m '$model' --tokens 5,6 -n 3 >/dev/full"
says "run to a full disk: the system's reason" "No space left on device"
check "run to a full disk: said once" "$(grep -c 'No space' "$work/err")" 1
code "a state that is none" 1 "$vrwkv" run -m "$model" --state-in $case_dir/expect.safetensors --tokens 1
code "a missing state" 1 "$vrwkv" run -m "$model" --state-in "$work/none" --tokens 1

# ---- failures ----
code "a missing model" 1 "$vrwkv" run -m "$work/none.gguf" -p hello
says "a missing model: its name" "none.gguf"
code "a model that is none" 1 "$vrwkv" run -m $picture -p hello
code "a missing picture" 1 "$vrwkv" run -m "$model" -i "$work/none.png" --tokens "$tokens"
says "a missing picture: its name" "none.png"
head -c 60 $picture >"$work/broken.png"
code "a broken picture" 1 "$vrwkv" run -m "$model" -i "$work/broken.png" --tokens "$tokens"
says "a broken picture: its name" "broken.png"
code "a text for a model without vocabulary" 1 "$vrwkv" run -m "$model" -p hello
code "an id outside the vocabulary" 1 "$vrwkv" run -m "$model" --tokens 1,400
says "an id outside the vocabulary: it is named" "400"
code "two pictures for one place" 1 "$vrwkv" run -m "$model" -i $picture -i $picture --tokens "$tokens"
code "an unknown scan" 1 "$vrwkv" run -m "$model" --scan zickzack --tokens 1
says "an unknown scan: those that there are" "zigzag"
for scan in unidirection bidirection multidirection rotation spiral snake zigzag; do
    code "--scan $scan" 0 "$vrwkv" run -m "$model" --scan $scan --tokens 5,-200,6 -i $picture -n 1
    has "run --help tells --scan $scan" "$("$vrwkv" run --help | tr -s ' \n' ' ')" "$scan"
done
code "an empty prompt" 1 "$vrwkv" run -m "$model" --raw -p ""

# ---- trace ----
code "trace" 0 "$vrwkv" trace -m "$model" -i $picture --tokens "$tokens" -o "$work/trace.safetensors"
"$vrwkv" inspect --json "$work/trace.safetensors" >"$work/trace.json"
names=$(grep -o '"name": "[^"]*"' "$work/trace.json" | cut -d'"' -f4 | sort | paste -sd' ')
check "trace: the names" "$names" "image logits logits.last pixels tokens vision x.0 x.1 x.2 x.3 x.in"
code "trace from pixels" 0 "$vrwkv" trace -m "$model" --pixels $case_dir/expect.safetensors --tokens "$tokens" -o "$work/trace2.safetensors"
if cmp -s "$work/trace.safetensors" "$work/trace2.safetensors"; then ok "trace: picture and pixels agree"; else bad "trace: picture and pixels agree"; fi
code "trace --scan" 0 "$vrwkv" trace -m "$model" -i $picture --tokens "$tokens" --scan unidirection -o "$work/trace3.safetensors"
if cmp -s "$work/trace.safetensors" "$work/trace3.safetensors"; then bad "trace --scan changes something"; else ok "trace --scan changes something"; fi

# ---- a vocabulary of single bytes: text with a small model ----
for i in $(seq 0 255); do printf "%d b'\\\\x%02x' 1\n" $((i + 1)) "$i"; done >"$work/bytes.vocab"
small=$work/bytes.gguf
code "convert --vocab" 0 "$vrwkv" convert $case_dir/model.pth -o "$small" --config $case_dir/case.json --vocab "$work/bytes.vocab"
check "its tokens" "$(printf 'aé' | "$vrwkv" tokenize -m "$small")" "98 196 170"
code "run -p" 0 "$vrwkv" run -m "$small" -i $picture -p "What is this?" -n 5 --greedy --json
json_ok "run -p --json" "$work/out"
check "run -p: image_tokens" "$(json_value image_tokens <"$work/out")" 17
check "run -p -" "$(printf 'What is this?' | "$vrwkv" run -m "$small" -i $picture -p - -n 5 --greedy --json | json_list ids)" "$(json_list ids <"$work/out")"
check "run --raw is tokens" "$("$vrwkv" run -m "$small" -p 'a<image>b' --raw -i $picture -n 5 --greedy --json | json_list ids)" \
    "$("$vrwkv" run -m "$small" --tokens 98,-200,99 -i $picture -n 5 --greedy --json | json_list ids)"
check "run --raw, no mark: the picture in front" "$("$vrwkv" run -m "$small" -p 'ab' --raw -i $picture -n 5 --greedy --json | json_list ids)" \
    "$("$vrwkv" run -m "$small" --tokens=-200,98,99 -i $picture -n 5 --greedy --json | json_list ids)"
chat() { "$vrwkv" chat -m "$small" --greedy -n 6 2>"$work/err"; }
printf 'Hi\n' | chat >"$work/out"
printf 'Hi\n/undo\nHi\n' | chat >"$work/out2"
cat "$work/out" "$work/out" >"$work/twice"
if cmp -s "$work/out2" "$work/twice"; then ok "chat: /undo, then the same answer"; else bad "chat: /undo, then the same answer" "$(cat "$work/out2")"; fi
printf '/image %s\nHi\n/save %s\nAnd?\n' "$picture" "$work/chat.safetensors" | chat >"$work/out"
check "chat with a picture" $? 0
says "chat: what the picture is" "17 rows"
printf '/load %s\nAnd?\n' "$work/chat.safetensors" | chat >"$work/out2"
check "chat: /load goes on" "$(tail -c "$(wc -c <"$work/out2")" "$work/out" | cksum)" "$(cksum <"$work/out2")"
printf '/reset\n/help\n/quit\nnot read\n' | chat >"$work/out"
check "chat: /quit" "$?$(cat "$work/out")" 0
says "chat: /help" "/undo"
printf '/imgae x\n' | chat >"$work/out"
check "chat: an unknown command" $? 1
says "chat: the nearest command" "/image"

# ---- stops: a vocabulary made for the known answer 338,381,254,111,24,1,215,248,36,242 ----
awk 'BEGIN { for (i = 1; i < 400; i++) {
    if (i == 338) printf "%d b%c\\xe5\\x9b%c 2\n", i, 39, 39        # two bytes of a character
    else if (i == 381) printf "%d b%c\\xbe z%c 3\n", i, 39, 39         # its third, and more
    else if (i == 254) printf "%d %c狗。\\n%c 7\n", i, 39, 39
    else if (i == 111) printf "%d %c\\nx%c 2\n", i, 39, 39
    else printf "%d %c%c%c%c 2\n", i, 39, 97 + int(i / 20), 65 + i % 20, 39 } }' >"$work/answer.vocab"
spoken=$work/answer.gguf
code "convert with a vocabulary of words" 0 "$vrwkv" convert $case_dir/model.pth -o "$spoken" --config $case_dir/case.json --vocab "$work/answer.vocab"
speak() { "$vrwkv" run -m "$spoken" -i $picture --tokens "$tokens" -n 10 --greedy "$@" 2>"$work/err"; }
check "a blank line of two tokens ends the answer" "$(speak)" "图 z狗。"
speak --json >"$work/out"
check "a blank line of two tokens: ids" "$(json_list ids <"$work/out")" "$(echo "$expected" | cut -d, -f1-4)"
check "a blank line of two tokens: reason" "$(json_value stop_reason <"$work/out")" string
check "the original's manner goes on, and cuts the text" "$(speak --manner original)" "图 z狗。"
check "the original's manner goes on: ids" "$(speak --manner original --json | json_list ids)" "$expected"
check "without stop tokens nothing ends it" "$(speak --stop-token -1 --json | json_list ids)" "$expected"
whole=$(speak --stop-token -1)
has "the whole text" "$whole" "xbEaBkPmIbQmC"
check "--stop within a token" "$(speak --stop-token -1 --stop kP)" "${whole%kP*}"
check "--stop over two tokens" "$(speak --stop-token -1 --stop EaBkPm)" "${whole%EaBkPm*}"
check "--stop, the first of several counts" "$(speak --stop-token -1 --stop mIb --stop never --stop Bk)" "${whole%Bk*}"
check "--stop that begins, but does not come" "$(speak --stop-token -1 --stop kPmX)" "$whole"
check "--stop: reason" "$(speak --stop kP --stop-token -1 --json | json_value stop_reason)" string
check "--stop-token: reason" "$(speak --stop-token 381 --json | json_value stop_reason)" token
check "--stop-token: its text is no part of the answer" "$(speak --stop-token 254)" "图 z"
check "half a character at the end" "$(speak -n 1)" "�"

echo "1..$count"
echo "$((count - failed)) passed, $failed failed"
[ $failed -eq 0 ]
