#!/bin/sh
# Installs to a prefix of its own and uses it as a stranger would: the example at the top of vrwkv.h is
# cut out, compiled through pkg-config against the installed library, and run.
set -eu
build=${1:-build}
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >/dev/null
for f in bin/vrwkv include/vrwkv.h share/man/man1/vrwkv.1 share/bash-completion/completions/vrwkv; do
    [ -s "$prefix/$f" ] || { echo "not installed: $f"; exit 1; }
done
pc=$(find "$prefix" -name vrwkv.pc)
lib=$(dirname "$(dirname "$pc")")
[ -e "$lib/libvrwkv.so.0" ] && [ -e "$lib/libvrwkv.a" ] || { echo "the libraries are not installed"; exit 1; }
awk '/^ \*     /{sub(/^ \*     /, ""); print}' include/vrwkv.h >"$prefix/example.c"
sed "s|^prefix=.*|prefix=$prefix|" "$pc" >"$prefix/vrwkv.pc"
export PKG_CONFIG_PATH="$prefix"
cc -Wall -Werror "$prefix/example.c" $(pkg-config --cflags --libs vrwkv) -o "$prefix/example"
cases=tests/data/cases/v6
"$build/vrwkv" convert $cases/grid-none-first/model.pth --config $cases/grid-none-first/case.json -o "$prefix/m.gguf" 2>/dev/null
# the small model has no vocabulary: the example must say so and fail, not crash
out=$(LD_LIBRARY_PATH=$lib "$prefix/example" "$prefix/m.gguf" $cases/grid-none-first/image.png "What is this?" 2>&1) && { echo "expected a refusal, got: $out"; exit 1; }
case $out in *vocabulary*) ;; *) echo "unexpected message: $out"; exit 1 ;; esac
if LD_LIBRARY_PATH=$lib "$prefix/example" "$prefix/missing.gguf" x y 2>/dev/null; then echo "a missing file was no error"; exit 1; fi
# with a vocabulary (256 bytes and a few words) it answers
awk 'BEGIN{for(i=0;i<256;i++) printf "%d b'"'"'\\x%02x'"'"' 1\n", i+1, i; print "257 '"'"'\\n\\n'"'"' 2"}' >"$prefix/vocab.txt"
"$build/vrwkv" convert $cases/grid-none-first/model.pth --config $cases/grid-none-first/case.json --vocab "$prefix/vocab.txt" -o "$prefix/v.gguf" 2>/dev/null
LD_LIBRARY_PATH=$lib "$prefix/example" "$prefix/v.gguf" $cases/grid-none-first/image.png "What is this?" >"$prefix/answer" || { echo "the example failed"; exit 1; }
[ -s "$prefix/answer" ] || { echo "the example printed no answer"; exit 1; }
echo "installed, compiled, run"
