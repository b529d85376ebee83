#!/bin/sh
# The demo: converts a small checkpoint of this repository and asks it about a picture. Its weights are
# random and it has no vocabulary, so question and answer are token ids; what counts is that the
# answer is, id for id, what the original PyTorch program gave for the same checkpoint and picture.
set -eu
vrwkv=${1:-build}/vrwkv
case_dir=tests/data/cases/v6/grid-none-middle
checkpoint=tests/data/cases/v6/grid-none-first/model.pth
model=${1:-build}/demo.gguf

field() { sed -n "s/^ *\"$1\": \(\[[^]]*\]\).*/\1/p" "$2" | tr -d '[] '; }

question=$(field input_ids $case_dir/case.json)
original=$(sed -n 's/^ *"greedy": {.*"ids": \[\([^]]*\)\].*/\1/p' $case_dir/case.json | tr -d ' ')

$vrwkv convert $checkpoint --config $case_dir/case.json -o "$model"
answer=$($vrwkv run -m "$model" -i $case_dir/image.png --tokens "$question" --greedy -n 10 --manner original --json |
    tr -d ' \n' | sed 's/.*"ids":\[\([0-9,]*\)\].*/\1/')
echo
echo "picture:  $case_dir/image.png"
echo "Q: $question   (-200 is the picture)"
echo "A: $answer"
echo "original: $original"
[ "$answer" = "$original" ] || { echo "the answers differ" >&2; exit 1; }
echo "The same, token for token. README.md tells how to get a checkpoint that speaks."
