#!/bin/sh
# Builds the rooms base and ops with their tests for arm64 and runs it in an emulator. Needs neither
# CMake nor libraries of the target. Skipped, saying so, where the tools are missing.
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
sources="src/base/*.c src/ops/*.c src/ops/cpu/kernels.c src/ops/cpu/generic.c src/ops/cpu/neon.c"
for name in test_ops test_ops_rwkv test_ops_vision; do
    # shellcheck disable=SC2086
    "$CC" -std=gnu11 -O2 -Wall -Wextra -Werror -ffp-contract=off -D_GNU_SOURCE -DVRWKV_SOURCE_DIR='"."' -Isrc -Iinclude -Itests \
        -static -o "$folder/$name" "tests/$name.c" $sources -lpthread -lm
    "$RUN" "$folder/$name"
done
