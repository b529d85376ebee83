#!/bin/sh
# Makes models/scenes.gguf from nothing: draws the data, trains in three rounds, converts, scores. Kill it at any
# point; the same command goes on. PARTS: data and steps are divided by it, to see in seconds that all of it runs.
# Usage: examples/scenes/train.sh [BUILD_DIR [WORK_DIR [MODEL [PARTS]]]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-build} work=${2:-build/scenes-training} model=${3:-models/scenes.gguf} parts=${4:-1}
mkdir -p "$work"

draw() { # FOLDER SPLIT SEED PICTURES OPTION...: lists appear when they are whole
    folder=$1 split=$2 seed=$3 pictures=$(($4 / parts))
    shift 4
    [ -e "$work/$folder/$split.json" ] || "$build/scenes" -o "$work/$folder" --split "$split" --seed "$seed" -n "$pictures" "$@"
}

round() { # NAME STEPS OPTION...
    name=$1 steps=$(($2 / parts))
    shift 2
    last=$work/$name/step-$(printf %06d "$steps").safetensors
    if [ -e "$last" ]; then return; fi
    if [ -e "$work/$name/latest.json" ]; then
        "$build/vrwkv" train --resume "$work/$name"
    else
        "$build/vrwkv" train --steps "$steps" --l2wrap 0 --warmup 50 --save-every 250 -o "$work/$name" "$@"
    fi
}

draw one train 1 24000 --kinds caption --layouts one
draw some train 2 36000 --kinds caption --layouts one,two,few,many,reading
draw all train 3 120000
draw all test 1 3000

# What is drawn is told in whole sentences first, each of one object, then of some: each word of them needs the
# picture, so the tower learns from every one. Of questions alone the language is learned long before the picture
# is looked at.
round one 1400 -m "$here/model.json" --init-ln0 0.3 --vocab auto --vocab-data "$work/all/train.json" --seed 1 \
    --batch 16 --lr 1e-3 --lr-final 1e-3 --data "$work/one/train.json" --images "$work/one"
round some 1800 -m "$last" --seed 2 --batch 20 --lr 1e-3 --lr-final 1e-3 \
    --data "$work/some/train.json" --images "$work/some"
round all 4800 -m "$last" --seed 3 --batch 32 --lr 1e-3 --lr-final 3e-5 \
    --data "$work/all/train.json" --images "$work/all" --eval-data "$work/all/test.json" --eval-samples 192 --eval-every 600

mkdir -p "$(dirname "$model")"
"$build/vrwkv" convert "$last" -o "$model" --type q8_0
"$build/scenes-score" -m "$model" -d "$work/all"
