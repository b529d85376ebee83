#!/bin/sh
# Installs what vrwkv needs on Debian and Ubuntu: first what it is built with, then what its tests use.
# Packages that are already there are not touched; without root it asks sudo.
set -eu

needed="gcc g++ make cmake ninja-build pkg-config git
 libjpeg-dev libpng-dev libwebp-dev libgif-dev zlib1g-dev libjansson-dev libcmocka-dev libcairo2-dev"
# witnesses and other builds; where one is missing its tests are skipped with a notice
wanted="libchafa-dev libglib2.0-dev clang llvm libclang-rt-14-dev valgrind gcc-aarch64-linux-gnu libc6-dev-arm64-cross
 qemu-user-static libopenmpi-dev openmpi-bin python3 python3-torch python3-numpy"

has() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

missing=""
for p in $needed; do has "$p" || missing="$missing $p"; done
optional=""
for p in $wanted; do has "$p" || optional="$optional $p"; done
[ -n "$missing$optional" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: no apt-get here; install by hand:$missing" >&2
    [ -z "$missing" ] || exit 1
    exit 0
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then as_root="sudo"; else
        echo "deps: need root to install:$missing$optional" >&2
        [ -z "$missing" ] || exit 1
        exit 0
    fi
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq || echo "deps: apt-get update failed; going on with what is known" >&2
if [ -n "$missing" ]; then $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; fi
for p in $optional; do
    $as_root apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1 || echo "deps: '$p' is not to be had here: its tests are skipped" >&2
done
