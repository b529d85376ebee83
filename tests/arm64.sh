#!/bin/bash
# The whole program for arm64, in an emulator: fetches the target's libraries (nothing is installed),
# cross-compiles into build/arm64, runs the reference cases with the kernel sets neon and generic. Minutes,
# and network on the first call, so it is part of `make soak`; tests/neon.sh is the quick one.
# Usage: tests/arm64.sh [PATH...]: what is verified (default: the cases of the repository, and VRWKV_ORACLES).
set -u
cd "$(dirname "$0")/.." || exit 1
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static apt-get dpkg-deb cmake ninja; do
    command -v $tool >/dev/null || { echo "arm64: skipped, no $tool"; exit 77; }
done
out=$PWD/build/arm64
root=$out/root

fetch_libraries() { # with an apt of its own: another architecture, other folders
    local packages="libjansson4 libjansson-dev libjpeg62-turbo libjpeg62-turbo-dev libpng16-16 libpng-dev libwebp7
        libwebp-dev libgif7 libgif-dev zlib1g zlib1g-dev"
    mkdir -p "$out"/apt/{state/lists/partial,cache/archives/partial,debs} "$root"
    : >"$out/apt/status"
    cat >"$out/apt/conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$out/apt/state";
Dir::State::status "$out/apt/status";
Dir::Cache "$out/apt/cache";
END
    export APT_CONFIG=$out/apt/conf
    # shellcheck disable=SC2086
    apt-get update -qq && (cd "$out/apt/debs" && apt-get download -qq $packages) || return 1
    for deb in "$out"/apt/debs/*.deb; do dpkg-deb -x "$deb" "$root" || return 1; done
    touch "$out/fetched"
}

[ -e "$out/fetched" ] || fetch_libraries >"$out.log" 2>&1 || { echo "arm64: skipped, its libraries cannot be had here"; exit 77; }
cat >"$out/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_FIND_ROOT_PATH $root)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_C_FLAGS "-isystem $root/usr/include/aarch64-linux-gnu")
set(CMAKE_EXE_LINKER_FLAGS "-L$root/usr/lib/aarch64-linux-gnu -L$root/lib/aarch64-linux-gnu -Wl,-rpath-link,$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu")
set(CMAKE_SHARED_LINKER_FLAGS "\${CMAKE_EXE_LINKER_FLAGS}")
END
export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig
cmake -S . -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVRWKV_TESTS=OFF -DCMAKE_TOOLCHAIN_FILE="$out/toolchain.cmake" >"$out.log" 2>&1 &&
    cmake --build "$out/build" --target vrwkv >>"$out.log" 2>&1 || { tail -n 30 "$out.log"; exit 1; }

if [ $# -eq 0 ]; then
    set -- tests/data/cases
    [ -n "${VRWKV_ORACLES:-}" ] && set -- "$@" "$VRWKV_ORACLES/v6"
fi
libraries=$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu
failed=0
for set in neon generic; do
    QEMU_LD_PREFIX=/usr/aarch64-linux-gnu qemu-aarch64-static -E LD_LIBRARY_PATH="$libraries" -E VRWKV_CPU=$set \
        "$out/build/vrwkv" verify "$@" >"$out/$set.txt" 2>&1 || failed=1
    echo "$set: $(tail -n 1 "$out/$set.txt")"
    [ $failed -eq 0 ] || grep -v ' ok$' "$out/$set.txt" | tail -n 20
done
exit $failed
