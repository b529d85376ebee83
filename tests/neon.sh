#!/bin/sh
# For arm64: compiles every file of the library and the program (without linking, so that the target's
# libraries are not needed), and runs the tests of the operations in an emulator. tests/arm64.sh runs the
# whole program. Skipped, saying so, where the tools are missing.
set -eu
cd "$(dirname "$0")/.."
CC=${NEON_CC:-aarch64-linux-gnu-gcc}
RUN=${NEON_RUN:-qemu-aarch64-static}
for tool in "$CC" "$RUN"; do
    if ! command -v "$tool" >/dev/null; then
        echo "neon: skipped, no $tool"
        exit 77
    fi
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
flags="-std=gnu11 -Wall -Wextra -Werror -ffp-contract=off -D_GNU_SOURCE -Isrc -Iinclude"

# Headers of the libraries, which are the same everywhere, but none of this machine's C library.
mkdir "$folder/include"
for header in jansson.h jansson_config.h zlib.h zconf.h jpeglib.h jconfig.h jmorecfg.h jerror.h png.h pngconf.h \
    pnglibconf.h gif_lib.h webp; do
    for place in /usr/include/*-linux-gnu /usr/include; do
        if [ -e "$place/$header" ]; then ln -sf "$place/$header" "$folder/include/$header"; fi
    done
done
# -Wno-maybe-uninitialized: as in CMakeLists.txt; MPI is another build
find src cli -name '*.c' ! -name 'avx*.c' ! -path '*/team/mpi.c' | sort | xargs -P "$(nproc)" -I FILE \
    "$CC" $flags -O3 -fPIC -Wno-maybe-uninitialized -Icli -Isrc/text/data -Wa,-Isrc/text/data -isystem "$folder/include" -c FILE -o /dev/null

sources="src/base/*.c src/ops/*.c src/ops/cpu/kernels.c src/ops/cpu/generic.c src/ops/cpu/generic_back.c src/ops/cpu/generic_int8.c src/ops/cpu/neon.c"
check() {
    # shellcheck disable=SC2086
    "$CC" $flags -O2 -DVRWKV_SOURCE_DIR='"."' -Itests -static -o "$folder/$1" "tests/$1.c" $sources -lpthread -lm &&
        "$RUN" "$folder/$1"
}
# The longest first; the others one after another beside it.
check test_tape &
longest=$!
for name in test_ops test_ops_rwkv test_ops_vision test_ops_int8; do check $name; done
wait $longest
