#!/bin/sh
# Runs the executable specification (ref/) on the reference cases of the repository and, where
# VRWKV_ORACLES names a folder, on all of its cases that it knows. Then on fresh random models, which the
# program must read too: files that torch wrote, of sizes that no case of the repository has.
# Usage: tests/ref.sh [BUILD_DIR]. Exit status 77: skipped.
PATH=/usr/bin:/bin:$PATH
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
python=/usr/bin/python3
case ${1:-build} in /*) program=$1/vrwkv ;; *) program=$root/${1:-build}/vrwkv ;; esac

if [ ! -x "$python" ]; then
    echo "ref: skipped, $python is not there" >&2
    exit 77
fi
if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "ref: skipped, $python has no module torch (Debian: python3-torch)" >&2
    exit 77
fi

set --
[ -d "$root/tests/data/cases" ] && set -- "$root/tests/data/cases"
if [ -n "$VRWKV_ORACLES" ]; then
    if [ ! -d "$VRWKV_ORACLES/v6" ]; then
        echo "ref: VRWKV_ORACLES is set, but there is no folder $VRWKV_ORACLES/v6" >&2
        exit 1
    fi
    set -- "$@" "$VRWKV_ORACLES/v5" "$VRWKV_ORACLES/v6" "$VRWKV_ORACLES/v7"
fi
if [ $# -eq 0 ]; then
    echo "ref: skipped, neither tests/data/cases nor VRWKV_ORACLES is there" >&2
    exit 77
fi

export PYTHONDONTWRITEBYTECODE=1
"$python" "$root/ref/check.py" "$@" || exit 1

# Fresh cases must agree with themselves through files: writing, reading, float32 against float64.
made=$(mktemp -d) || exit 1
trap 'rm -rf "$made"' EXIT
"$python" "$root/ref/check.py" --make "$made/a" --seed 3 --n-embd 48 --grid-size 3 || exit 1
for language in x052 x060 x070; do
    "$python" "$root/ref/check.py" --make "$made/$language" --language $language --n-embd 48 || exit 1
done
"$python" "$root/ref/check.py" "$made" || exit 1

# The program reads the same files.
"$program" verify "$made" || exit 1
for language in x052 x060 x070; do
    "$program" convert "$made/$language/model.pth" -o "$made/m.gguf" --type f32 || exit 1
    "$program" inspect "$made/m.gguf" | grep -q "$language" || { echo "ref: inspect does not say $language" >&2; exit 1; }
    list() { tr -d '\n ' <"$2" | sed "s/.*\"$1\":\[\([^]]*\)\].*/\1/"; }
    answer() { # KEY OPTION...: the program's ids must be the case's list KEY
        key=$1; shift
        "$program" run -m "$made/m.gguf" --tokens "$(list input_ids "$made/$language/case.json")" --greedy -n 10 --stop-token -1 \
            --json "$@" >"$made/answer.json" || return 1
        [ "$(list ids "$made/answer.json")" = "$(list "$key" "$made/$language/case.json")" ] && return 0
        echo "ref: $language: the program answers $(list ids "$made/answer.json"), expected $key" >&2
        return 1
    }
    answer greedy_ids || exit 1
    answer tuned_ids --state-in "$made/$language/tuned.pth" || exit 1
done
