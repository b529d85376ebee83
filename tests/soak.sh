#!/bin/bash
# The long runs: ten minutes of fuzzing per parser, valgrind over unit tests and the program, the thread
# sanitizer, the whole program for arm64 in an emulator. `make soak`; SECONDS_PER_PARSER=60 make soak is a
# shorter one.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
step() {
    name=$1; shift
    "$@" >build/soak-"$name".txt 2>&1
    case $? in
    0) passed=$((passed + 1)); echo "ok    $name"; [ "$name" = fuzz ] && cat build/soak-fuzz.txt ;;
    77) skipped=$((skipped + 1)); echo "skip  $name" ;;
    *) failed=$((failed + 1)); echo "FAIL  $name"; tail -n 40 build/soak-"$name".txt ;;
    esac
}
valgrind_all() {
    command -v valgrind >/dev/null 2>&1 || return 77
    # valgrind knows no AVX-512
    export VRWKV_CPU=avx2
    grep -q avx2 /proc/cpuinfo || export VRWKV_CPU=generic
    v="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite"
    c=tests/data/cases/v6
    for type in q8_0 q4_0 f16; do # of the 8-bit products those that valgrind can run: it lacks a move that the K types use
        $v build/vrwkv convert $c/grid-none-first/model.pth --config $c/grid-none-first/case.json -o build/soak.gguf --type $type &&
            $v build/vrwkv run -m build/soak.gguf -i $c/grid-none-first/image.png --tokens 5,-200,6,7 -n 4 --greedy --json || return 1
    done
    $v build/vrwkv verify $c/p7-grid2-floor && $v build/vrwkv inspect build/soak.gguf &&
        for t in base file text image eval train; do [ -x build/test_$t ] && { $v build/test_$t || return 1; }; done
}
thread_checks() {
    cmake -S . -B build/tsan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS=-fsanitize=thread >/dev/null &&
        cmake --build build/tsan -j "$(nproc)" --target test_base test_ops test_ops_int8 test_model test_api test_same test_train vrwkv &&
        for t in base ops ops_int8 model api same train; do build/tsan/test_$t || return 1; done
}
make || exit 1
step fuzz bash tests/fuzz.sh "${SECONDS_PER_PARSER:-600}"
step valgrind valgrind_all
step threads thread_checks
step arm64 bash tests/arm64.sh
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
