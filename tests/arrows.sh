#!/bin/sh
# The house's arrows: a room may include itself and the rooms below it, never a neighbour or a room
# above (docs/DESIGN.md). Fails on the first wrong include.
cd "$(dirname "$0")/.." || exit 1
bad=0
allow() { # ROOM "rooms it may include"
    for f in $(find "$1" -name '*.c' -o -name '*.h' 2>/dev/null); do
        for inc in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$f" | sort -u); do
            case " $2 " in *" $inc "*) ;; *) echo "$f includes room '$inc', allowed: $2"; bad=1 ;; esac
        done
    done
}
allow src/base "base"
allow src/file "file base"
allow src/image "image base"
allow src/text "text base"
allow src/ops "ops base"
allow src/rwkv "rwkv ops base"
allow src/vision "vision ops base"
allow src/vl "vl rwkv vision ops file image text base"
allow src/quantise "quantise vl rwkv vision ops file image text base"
allow src/train "train vl rwkv vision ops file image text base"
allow src/eval "eval file image text base" # the model through vrwkv.h alone
allow src/verify "verify eval train vl rwkv vision ops file image text base"
allow cli "verify eval quantise train vl rwkv vision ops file image text base cli"
if grep -rnE '#\s*if.*(__AVX|__ARM|__x86|CUDA|MPI)' src cli include | grep -v '^src/ops/\|^src/base/'; then
    echo "an instruction set or device is asked for above ops/"; bad=1
fi
if grep -rnE '\b(assert|system|popen|gets|strcpy|strcat|sprintf|tmpnam|mktemp|abort|exit)\(' src include | grep -v static_assert; then
    echo "a forbidden call in the library"; bad=1
fi
exit $bad
