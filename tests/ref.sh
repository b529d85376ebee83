#!/bin/sh
# Runs the executable specification (ref/) on the reference cases of the repository and, where
# VRWKV_ORACLES names a folder, on all of its v6 cases. Exit status 77: skipped.
PATH=/usr/bin:/bin:$PATH
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
python=/usr/bin/python3

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
    set -- "$@" "$VRWKV_ORACLES/v6"
fi
if [ $# -eq 0 ]; then
    echo "ref: skipped, neither tests/data/cases nor VRWKV_ORACLES is there" >&2
    exit 77
fi

PYTHONDONTWRITEBYTECODE=1 "$python" "$root/ref/check.py" "$@" || exit 1

# A fresh case must agree with itself through files: writing, reading, float32 against float64.
made=$(mktemp -d) || exit 1
trap 'rm -rf "$made"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$python" "$root/ref/check.py" --make "$made/a" --seed 3 --n-embd 48 --grid-size 3 &&
    PYTHONDONTWRITEBYTECODE=1 "$python" "$root/ref/check.py" "$made"
