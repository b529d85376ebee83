#!/bin/sh
# The whole fast suite: unit tests, reference cases on every kernel set, sanitizers, NEON under qemu,
# the program as a user sees it, bounded fuzzing. Ends with one line "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
out=build/test-output
jobs=$(nproc 2>/dev/null || echo 2)

step() { # NAME COMMAND...: runs, keeps the output for failures
    name=$1; shift
    start=$(date +%s)
    "$@" >"$out/$name.txt" 2>&1
    status=$?
    took=$(($(date +%s) - start))
    case $status in
    0) passed=$((passed + 1)); echo "ok    $name (${took}s)" ;;
    77) skipped=$((skipped + 1)); echo "skip  $name: $(tail -n 1 "$out/$name.txt")" ;;
    *) failed=$((failed + 1)); echo "FAIL  $name (exit $status)"; tail -n 60 "$out/$name.txt" ;;
    esac
}

mkdir -p "$out"
step build make
[ "$failed" -eq 0 ] || { echo "$passed passed, $failed failed, $skipped skipped"; exit 1; }
step unit ctest --test-dir build --output-on-failure -j "$jobs"
step arrows sh tests/arrows.sh
for script in verify train mpi accuracy cli versions eval scenes demo install ref neon; do
    [ -f "tests/$script.sh" ] && step "$script" bash "tests/$script.sh" build
done
for set in generic avx2 avx512; do
    # a set this processor lacks is refused by name; that is a skip
    if VRWKV_CPU=$set build/vrwkv --version >/dev/null 2>&1; then
        step "unit-$set" env VRWKV_CPU=$set ctest --test-dir build --output-on-failure -j "$jobs" -R 'ops|quant|model|vision|versions|same|formats|api'
    else
        skipped=$((skipped + 1)); echo "skip  unit-$set: this processor lacks it"
    fi
done
step asan-build sh -c "cmake -S . -B build/asan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DVRWKV_SANITIZE=ON && cmake --build build/asan -j $jobs"
step asan-unit ctest --test-dir build/asan --output-on-failure -j "$jobs"
[ -f tests/fuzz.sh ] && step fuzz bash tests/fuzz.sh 5
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
