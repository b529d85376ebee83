#!/bin/bash
# Every released version as a user meets it: a checkpoint is converted, inspected, answers in the original
# manner as its case says, and comes back as a checkpoint that converts to the same file. Then models put
# together from the files of their parts. Usage: tests/versions.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.." || exit 1
program=$(cd "${1:-build}" && pwd)/vrwkv || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0 checked=0

check() { # NAME FOUND EXPECTED
    checked=$((checked + 1))
    [ "$2" = "$3" ] && return
    failures=$((failures + 1))
    printf 'FAIL  %s\n  found:    %s\n  expected: %s\n' "$1" "$2" "$3"
}
list() { tr -d '\n ' <"$2" | sed -n "s/.*\"$1\":\[\([^]]*\)\].*/\1/p"; } # KEY FILE
value() { tr -d '\n' <"$2" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }
quiet() { "$@" >"$work/out" 2>"$work/err" || { failures=$((failures + 1)); echo "FAIL  $*: $(tail -n 1 "$work/err")"; }; }

# FOLDER NAMES-IN-INSPECT...: the case's greedy ids; `list` finds the last list of that name, so the greedy part is cut out first
version() {
    local folder=$1 name=${1#tests/data/cases/} weights n images=() key
    shift
    weights=$(value model "$folder/case.json")
    tr -d '\n' <"$folder/case.json" | sed 's/.*"greedy": *{\([^}]*\)}.*/{\1}/' >"$work/greedy.json"
    for key in $(list images "$folder/case.json" | tr -d '"' | tr ',' ' '); do images+=(-i "$folder/$key"); done
    n=$(value max_new_tokens "$work/greedy.json")
    quiet "$program" convert "$folder/${weights:-model.pth}" --config "$folder/case.json" -o "$work/m.gguf" --type f32
    quiet "$program" inspect "$work/m.gguf"
    for key in "$@"; do check "$name: inspect says $key" "$(grep -oF -m 1 -- "$key" "$work/out")" "$key"; done
    quiet "$program" run -m "$work/m.gguf" "${images[@]}" --tokens "$(list input_ids "$folder/case.json")" --greedy --recompute \
        --manner original -n "$n" --json
    check "$name: ids" "$(list ids "$work/out")" "$(list ids "$work/greedy.json")"
    quiet "$program" convert "$work/m.gguf" -o "$work/back.pth"
    quiet "$program" convert "$work/back.pth" --config "$folder/case.json" -o "$work/again.gguf"
    cmp -s "$work/m.gguf" "$work/again.gguf"
    check "$name: a checkpoint and back" $? 0
}
cases=tests/data/cases
version $cases/v5/g4-multidirection "VisualRWKV v5.1" x052 clip multidirection
version $cases/v5/g4-spiral "VisualRWKV v5.1" spiral
version $cases/v6/p5-grid-none "VisualRWKV v6.0" x060 clip bidirection "linear projector"
version $cases/v7/v700-linear "VisualRWKV v7.00" x070 dinov2 siglip sam "linear projector"
version $cases/v7/v701/one_image "VisualRWKV v7.01" siglip-hf "mlp projector"
version $cases/v7/v701/text_dummy_image "VisualRWKV v7.01"
version $cases/v7/v702/regions "VisualRWKV v7.02" "each of its regions"
version $cases/v7/v703/compressor "VisualRWKV v7.03" "compressor of 3 layers"
version $cases/v7/v704/compressor "VisualRWKV v7.04" "compressor of 3 layers"

# ---- from parts ----
echo '{"towers": []}' >"$work/language.json"
quiet "$program" convert $cases/v7/v701/model.pth --config "$work/language.json" -o "$work/language.gguf"
quiet "$program" inspect "$work/language.gguf"
check "a language model alone" "$(grep -c "language model alone" "$work/out")" 1
tower=siglip=$cases/v7/towers/siglip-remainder/model.pth
for seed in 1 1 2; do
    quiet "$program" convert "$work/language.gguf" --vision "$tower" --vit-heads 2 --seed $seed -o "$work/seed$seed.gguf"
    [ -e "$work/first.gguf" ] || cp "$work/seed1.gguf" "$work/first.gguf"
done
cmp -s "$work/first.gguf" "$work/seed1.gguf"; check "the same seed, the same projector" $? 0
cmp -s "$work/first.gguf" "$work/seed2.gguf"; check "another seed, another projector" $? 1
quiet "$program" inspect "$work/first.gguf"
check "a tower of its own file" "$(grep -cE '^vision +siglip, 56 px|mlp projector' "$work/out")" 2
quiet "$program" run -m "$work/first.gguf" --tokens 5,-200,7 -n 3 --greedy
check "a model that begins answers" "$(wc -w <"$work/out")" 3
"$program" convert "$work/language.gguf" --vision cat=x.pth -o "$work/no.gguf" 2>"$work/err"
check "an unknown tower is refused" "$?: $(grep -c "expected one of clip" "$work/err")" "1: 1"
"$program" convert $cases/v7/towers/siglip-remainder/model.pth -o "$work/no.gguf" 2>"$work/err"
check "a tower alone is no model" "$?: $(grep -c "neither 'emb.weight'" "$work/err")" "1: 1"

echo "$((checked - failures)) of $checked checks held"
[ "$failures" -eq 0 ]
