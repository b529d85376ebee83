#!/bin/bash
# Reference cases through the program, on every kernel set that this machine has: the cases of the
# repository and, where VRWKV_ORACLES names a folder, all of its v5, v6, v7, preprocess and metrics.
# Then that `verify` can fail: a value, a NaN, an id, a weight that is not the expected one.
# Usage: tests/verify.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.." || exit 1
program=$(cd "${1:-build}" && pwd)/vrwkv || exit 1
[ -x "$program" ] || { echo "verify: $program is not there" >&2; exit 1; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0 checked=0

say() { printf '%s\n' "$*"; }

expect() { # STATUS TEXT COMMAND...: the exit status, and a line of the output that holds TEXT
    local status=$1 text=$2
    shift 2
    "$@" >"$work/out" 2>&1
    local found=$?
    checked=$((checked + 1))
    if [ "$found" -ne "$status" ] || ! grep -qF -- "$text" "$work/out"; then
        failures=$((failures + 1))
        say "FAIL  exit $found, expected $status with \"$text\": $*"
        grep -v ' ok$' "$work/out" | tail -n 20
    fi
}

# ---- cases that must hold ----

cases=(tests/data/cases tests/data/text tests/data/image tests/data/train)
if [ -n "${VRWKV_ORACLES:-}" ]; then
    [ -d "$VRWKV_ORACLES/v6" ] || { say "verify: VRWKV_ORACLES has no folder v6"; exit 1; }
    for part in v5 v6 v7 preprocess metrics; do cases+=("$VRWKV_ORACLES/$part"); done
else
    say "note  VRWKV_ORACLES is not set: only the cases of the repository"
fi

mkdir "$work/tmp"
export TMPDIR=$work/tmp
sets=0
for set in generic avx2 avx512 neon; do
    if ! VRWKV_CPU=$set "$program" --version >/dev/null 2>"$work/refusal"; then
        say "skip  $set: $(tail -n 1 "$work/refusal")"
        continue
    fi
    sets=$((sets + 1))
    start=$(date +%s%N)
    expect 0 ", 0 failed, " env VRWKV_CPU="$set" "$program" verify "${cases[@]}"
    say "ran   $set: $(tail -n 1 "$work/out"), $((($(date +%s%N) - start) / 1000000)) ms"
done
[ "$sets" -gt 0 ] || { say "FAIL  no kernel set ran"; failures=$((failures + 1)); }

checked=$((checked + 1))
[ -z "$(ls "$TMPDIR")" ] || { say "FAIL  files are left behind: $(ls "$TMPDIR" | head -3)"; failures=$((failures + 1)); }

# ---- cases that must fail ----

good=tests/data/cases/v6/p5-grid-none # holds its own weights

copy() { rm -rf "$work/case"; mkdir "$work/case"; cp "$good"/* "$work/case/"; chmod -R u+w "$work/case"; }

patch() { # FILE OFFSET: bytes of stdin replace those at the offset
    dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

copy
expect 0 "1 passed, 0 failed, 0 skipped" "$program" verify "$work/case"

size=$(stat -c %s "$work/case/expect.safetensors")
printf '\000\000\040\101' | patch "$work/case/expect.safetensors" $((size - 4)) # 10.0
expect 1 "  FAIL" "$program" verify "$work/case"
printf '\000\000\300\177' | patch "$work/case/expect.safetensors" $((size - 4)) # NaN
expect 1 "  FAIL" "$program" verify "$work/case"

copy
head -c $((size - 100)) "$good/expect.safetensors" >"$work/case/expect.safetensors"
expect 1 "1 failed" "$program" verify "$work/case"

copy
sed -i 's/"ids": \[\( *[0-9]\)/"ids": [7, \1/' "$work/case/case.json"
cmp -s "$good/case.json" "$work/case/case.json" && say "FAIL  the copy's ids were not changed" && failures=$((failures + 1))
expect 1 "recompute.ids" "$program" verify "$work/case"

# One weight in the middle of the file: same picture, other logits.
copy
expect 0 "" "$program" convert "$work/case/model.pth" --config "$work/case/case.json" -o "$work/case/model.safetensors"
sed -i 's/"model": "model.pth"/"model": "model.safetensors"/' "$work/case/case.json"
if grep -q '"model": "model.safetensors"' "$work/case/case.json"; then
    expect 0 "1 passed, 0 failed" "$program" verify "$work/case"
    weights=$(stat -c %s "$work/case/model.safetensors")
    head -c 256 /dev/zero | patch "$work/case/model.safetensors" $((weights / 8 * 4))
    expect 1 "  FAIL" "$program" verify "$work/case"
else
    say "FAIL  the copy names no weights to replace"
    failures=$((failures + 1))
fi

# A batch: a wrong value, another scan, no pictures.
cp -r tests/data/cases/v5 "$work/v5"
chmod -R u+w "$work/v5"
rotation=$work/v5/g4-rotation-batch
expect 0 "1 passed, 0 failed" "$program" verify "$rotation"
sed -i 's/"scan": "rotation"/"scan": "unidirection"/' "$rotation/case.json"
expect 1 "x.0" "$program" verify "$rotation"
sed -i 's/"scan": "unidirection"/"scan": "rotation"/' "$rotation/case.json"
size=$(stat -c %s "$rotation/expect.safetensors")
printf '\000\000\040\101' | patch "$rotation/expect.safetensors" $((size - 4))
expect 1 "  FAIL" "$program" verify "$rotation"
rm "$rotation/expect.safetensors"
expect 1 "sample 0 has neither" "$program" verify "$rotation"

# Training: a wrong weight, a loss, another optimizer; and lists of which one number is wrong.
cp -r tests/data/cases/v6/train-stage2 tests/data/cases/v6/train-freeze-one-layer tests/data/train "$work/"
chmod -R u+w "$work"
trained=$work/train-freeze-one-layer
expect 0 "1 passed, 0 failed" "$program" verify "$trained"
size=$(stat -c %s "$trained/expect.safetensors")
head -c 512 /dev/zero | patch "$trained/expect.safetensors" $((size / 2))
expect 1 "after.rwkv.blocks.1" "$program" verify "$trained"
cp tests/data/cases/v6/train-freeze-one-layer/expect.safetensors "$trained/"
sed -i 's/"betas": \[0.9,/"betas": [0.8,/' "$trained/case.json"
expect 1 "step.1.loss" "$program" verify "$trained"
cp tests/data/cases/v6/train-freeze-one-layer/case.json "$trained/"
sed -i '0,/"loss": 8.9427/s//"loss": 8.9428/' "$trained/case.json"
expect 1 "loss" "$program" verify "$trained"
sed -i '0,/"sample": \[0, 1,/s//"sample": [0, 2,/' "$work/train/sampler.json"
sed -i '0,/"lr": 0.000999999/s//"lr": 0.000999998/' "$work/train/lr_schedule.json"
sed -i '0,/"rwkv.blocks.0.ln1.bias": 0.0/s//"rwkv.blocks.0.ln1.bias": 0.5/' "$work/train/init.json"
expect 1 "0 passed, 3 failed" "$program" verify "$work/train"

# ---- what is not run, and wrong usage ----

mkdir -p "$work/folder/note" "$work/folder/maybe" "$work/empty"
cp -r "$good" "$work/folder/good"
printf '{"kind": "note"}' >"$work/folder/note/case.json"
printf '{"kind": "infer", "optional": true, "input_ids": [1]}' >"$work/folder/maybe/case.json"
expect 0 "1 passed, 0 failed, 2 skipped" "$program" verify "$work/folder"
expect 0 "1 passed, 0 failed, 2 skipped" "$program" verify --strict "$work/folder"
expect 0 "0 passed, 0 failed, 1 skipped" "$program" verify "$work/folder/note"
mkdir "$work/folder/later"
printf '{"kind": "no such kind"}' >"$work/folder/later/case.json"
expect 1 "no such kind" "$program" verify "$work/folder"
printf '{"kind": ' >"$work/folder/later/case.json"
expect 1 "1 passed, 1 failed, 2 skipped" "$program" verify "$work/folder"
expect 1 "holds no case" "$program" verify "$work/empty"
expect 1 "none-such" "$program" verify "$work/none-such"
expect 2 "PATH" "$program" verify
expect 2 "unknown option" "$program" verify --no-such-option "$work/folder"
expect 0 "Example" "$program" verify --help
expect 0 '"passed": 1' "$program" verify --json "$good"

# A picture whose resized bytes are not the expected ones.
if [ -d "$work/pictures" ]; then
    expect 0 "1 passed" "$program" verify "$work/pictures"
    end=$(stat -c %s "$work/pictures/rgba.safetensors")
    chmod -R u+w "$work/pictures"
    tail -c 1 "$work/pictures/rgba.safetensors" | tr '\000-\377' '\001-\377\000' |
        patch "$work/pictures/rgba.safetensors" $((end - 1))
    expect 1 "rgba.u8." "$program" verify "$work/pictures"
fi

# A list with one wrong id.
printf '{"encode": [{"text": "A dog.", "ids": [66, 21551, 48]}]}' >"$work/tokenizer.json"
expect 1 "1 of 1 differ" "$program" verify "$work/tokenizer.json"
printf '{"2": {"snake": [0, 1, 2, 3]}}' >"$work/scan_orders.json"
expect 1 "1 of 1 differ" "$program" verify "$work/scan_orders.json"

say "$((checked - failures)) of $checked checks held"
[ "$failures" -eq 0 ]
