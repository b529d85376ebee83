#!/bin/bash
# Training through the program, on a small fresh model and pictures made here: a run that is killed again
# and again ends with the same bits as one that is not; what can go wrong with data, disk and options is
# said clearly and loses nothing. Usage: tests/train.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.." || exit 1
program=$(cd "${1:-build}" && pwd)/vrwkv || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0 checked=0

check() { # WHAT COMMAND...
    local what=$1
    shift
    checked=$((checked + 1))
    "$@" >out 2>&1 && return
    failures=$((failures + 1))
    echo "FAIL  $what: $*"
    tail -n 5 out
}

expect() { # STATUS TEXT COMMAND...: the exit status, and what stdout or stderr holds
    local status=$1 text=$2
    shift 2
    "$@" >out 2>&1
    local found=$?
    checked=$((checked + 1))
    if [ "$found" -ne "$status" ] || ! grep -qF -- "$text" out; then
        failures=$((failures + 1))
        echo "FAIL  exit $found, expected $status with \"$text\": $*"
        tail -n 5 out
    fi
}

# ---- pictures of one colour each, and questions about them ----

mkdir pictures
colours=(red green blue white)
values=('\xff\x20\x20' '\x20\xff\x20' '\x20\x20\xff' '\xf0\xf0\xf0')
for c in 0 1 2 3; do
    { printf 'P6 16 16 255\n'; for ((i = 0; i < 256; i++)); do printf '%b' "${values[$c]}"; done; } >"pictures/${colours[$c]}.ppm"
done
question='{"from": "human", "value": "<image>\nWhat colour?"}'
{
    echo '['
    for ((i = 0; i < 24; i++)); do
        c=${colours[$((i % 4))]}
        echo " {\"id\": \"$i\", \"image\": \"$c.ppm\", \"conversations\": [$question, {\"from\": \"gpt\", \"value\": \"$c\"}]},"
    done
    echo ' {"id": "text", "conversations": [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "yes"}]}'
    echo ']'
} >data.json
cat >small.json <<'EOF'
{"version": "v6.0", "rwkv": "x060", "n_layer": 2, "n_embd": 32, "dim_att": 32, "dim_ffn": 96, "head_size": 16, "vocab_size": 65536,
 "rank_mix": 32, "rank_decay": 64, "grid_size": -1, "scan": "bidirection", "image_position": "first", "ctx_len": 64,
 "towers": [{"type": "clip", "image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32}]}
EOF
how=(-m small.json --vocab auto --data data.json --images pictures --batch 4 --lr 3e-3 --seed 7)

# ---- one run, and one that is killed at any moment, in the middle of writing too ----

check "a whole run" "$program" train "${how[@]}" --steps 40 --save-every 1 -o whole
"$program" train "${how[@]}" --steps 40 --save-every 1 -o killed >/dev/null 2>&1 &
pid=$!
for pause in 0.35 0.3 0.4 0.33 0.37 0.31 0.45; do
    sleep "$pause"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    [ -e killed/run.json ] || { "$program" train "${how[@]}" --steps 40 --save-every 1 -o killed >/dev/null 2>&1 & pid=$!; continue; }
    "$program" train --resume killed >/dev/null 2>&1 &
    pid=$!
done
wait "$pid"
check "a resumed run ends" "$program" train --resume killed
for file in step-000040.safetensors step-000040.optim.safetensors; do
    check "the same bits after being killed" cmp "whole/$file" "killed/$file"
done
check "one line per step" test "$(wc -l <killed/log.jsonl)" -eq 40
check "no leftovers" test -z "$(find killed -name '*.tmp')"
check "old checkpoints are removed" test "$(find killed -name 'step-*.safetensors' | wc -l)" -eq 4
expect 1 "holds a training already" "$program" train "${how[@]}" --steps 40 -o whole
check "the curves are drawn" grep -q polyline whole/curves.svg
"$program" train "${how[@]}" --steps 40 --save-every 40 --recompute on -t 1 -o again >/dev/null 2>&1
check "the same bits when blocks run twice, on one thread" cmp whole/step-000040.safetensors again/step-000040.safetensors

# ---- it learns, and the result is a model ----

check "a longer run" "$program" train "${how[@]}" --steps 250 --save-every 250 --l2wrap 0 --eval-data data.json --eval-every 125 -o learned
for c in red blue; do
    expect 0 "$c" "$program" run -m learned/best.safetensors -i "pictures/$c.ppm" -p "What colour?" --greedy
done
check "convert takes it" "$program" convert learned/best.safetensors -o learned.gguf --type q8_0
expect 0 "green" "$program" run -m learned.gguf -i pictures/green.ppm -p "What colour?" --greedy
check "convert writes the released layout" "$program" convert learned/best.safetensors -o learned.pth

# ---- adapters and a state, beside 8-bit weights: what the model says changes, its file does not ----

sed 's/"value": "red"/"value": "green"/' data.json >other.json
tuned=(-m learned.gguf --data other.json --images pictures --batch 4 --seed 7 --steps 60 --save-every 20 --keep 9)
before=$(cksum learned.gguf)
check "adapters" "$program" train "${tuned[@]}" --train lora --lora-rank 4 --lr 1e-2 -o adapters
expect 0 "green" "$program" run -m adapters/step-000060.safetensors -i pictures/red.ppm -p "What colour?" --greedy
expect 0 "blue" "$program" run -m adapters/step-000060.safetensors -i pictures/blue.ppm -p "What colour?" --greedy
check "merged" "$program" train "${tuned[@]}" --train lora --lora-rank 4 --lr 1e-2 --output merged -o merged
expect 0 "green" "$program" run -m merged/step-000060.safetensors -i pictures/red.ppm -p "What colour?" --greedy
check "a state" "$program" train "${tuned[@]}" --train state --lr 1e-1 --lr-final 1e-1 -o state
expect 0 "green" "$program" run -m learned.gguf --state-in state/step-000060.safetensors -i pictures/red.ppm -p "What colour?" --greedy
check "the model's file is as it was" test "$before" = "$(cksum learned.gguf)"
for kind in adapters state; do
    mkdir "again-$kind"
    cp "$kind"/run.json "$kind"/step-000020.* "again-$kind"
    echo '{"step": 20, "best_loss": null, "best_step": 0, "without_better": 0}' >"again-$kind/latest.json"
    check "$kind: resumed" "$program" train --resume "again-$kind"
    check "$kind: from step 20 on" test "$(wc -l <"again-$kind/log.jsonl")" -eq 40
    check "$kind: the same bits" cmp "$kind/step-000060.safetensors" "again-$kind/step-000060.safetensors"
done

# ---- data ----

echo '[]' >empty.json
expect 1 "holds no samples" "$program" train "${how[@]}" --data empty.json --steps 2 -o none
: >nothing.json
expect 1 "is empty" "$program" train "${how[@]}" --data nothing.json --steps 2 -o none
sed '16s/"value": "blue"/"value": "blue/' data.json >broken.json
expect 1 "line 16" "$program" train "${how[@]}" --data broken.json --steps 2 -o none
sed -n '2,25p' data.json | sed 's/,$//' >lines.jsonl
check "one sample per line" "$program" train "${how[@]}" --data lines.jsonl --steps 2 -o lines
sed '9s/$/x/' lines.jsonl >broken.jsonl
expect 1 "line 9" "$program" train "${how[@]}" --data broken.jsonl --steps 2 -o none
sed '4s/"from": "gpt"/"from": "cat"/' data.json >cat.json
expect 1 "line 4: sample 2: turn 2 is of 'cat'" "$program" train "${how[@]}" --data cat.json --steps 2 -o none
echo "[{\"image\": \"red.ppm\", \"conversations\": [$question]}, {\"image\": \"red.ppm\", \"conversations\": [$question, {\"from\": \"gpt\", \"value\": \"red\"}]}]" >half.json
expect 0 "without an answer, which train nothing: 1" "$program" train "${how[@]}" --data half.json --steps 2 -o half
head -c 300 pictures/red.ppm >pictures/short.ppm
sed '25s/white.ppm/short.ppm/' data.json >short.json
expect 1 "pictures/short.ppm': PPM picture is cut short" "$program" train "${how[@]}" --data short.json --steps 40 --batch 2 -o short

# ---- fresh models ----

tokens() { sed -n 's/^vocabulary: \([0-9]*\) tokens.*/\1/p' "$1"; }
echo '[{"id": "later", "conversations": [{"from": "human", "value": "Zebra?"}, {"from": "gpt", "value": "no zebra"}]}]' >later.json
"$program" train "${how[@]}" --steps 1 -o narrow >narrow.out 2>&1
"$program" train "${how[@]}" --vocab-data later.json --steps 1 -o wider >wider.out 2>&1
check "--vocab-data: its tokens are kept too" test "$(tokens wider.out)" -gt "$(tokens narrow.out)"
rm wider/step-* wider/latest.json
check "--vocab-data: begun again from another folder" env -C / "$program" train --resume "$PWD/wider"
expect 1 "--vocab-data is for --vocab auto" "$program" train -m small.json --data data.json --images pictures --vocab-data later.json --steps 1 -o none
expect 1 "--init-ln0 is for a fresh model" "$program" train -m learned.gguf --data data.json --images pictures --init-ln0 0.5 --steps 1 -o none
"$program" train "${how[@]}" --init-ln0 0.5 --steps 1 -o ln0 >/dev/null 2>&1
! cmp -s narrow/step-000001.safetensors ln0/step-000001.safetensors
check "--init-ln0 makes another model" test $? -eq 0

# ---- disk ----

(trap '' XFSZ; ulimit -f 100; "$program" train "${how[@]}" --steps 6 --save-every 2 -o full) >out 2>&1
checked=$((checked + 1))
grep -q "File too large" out || { failures=$((failures + 1)); echo "FAIL  a full disk is told"; tail -n 3 out; }
check "a full disk leaves no half file" test -z "$(find full -name '*.tmp')"
check "and the training goes on once there is room" "$program" train --resume full

# ---- options ----

expect 2 "--data FILE is missing" "$program" train -m small.json -o none
expect 2 "--batch takes a whole number" "$program" train "${how[@]}" --batch 0 -o none
expect 1 "there is no part 'head'" "$program" train "${how[@]}" --train head -o none
expect 1 "run.json" "$program" train --resume nowhere
expect 2 "--manner takes friendly or original" "$program" train "${how[@]}" --manner rude -o none
expect 2 "--recompute takes auto, on or off" "$program" train "${how[@]}" --recompute never -o none
expect 1 "a training may see 1e+18 samples" "$program" train "${how[@]}" --epochs 1000000000 --epoch-steps 1000000000000 -o none

echo "$checked checks, $failures failed"
[ "$failures" -eq 0 ]
