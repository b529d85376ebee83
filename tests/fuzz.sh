#!/bin/bash
# Runs every fuzzer for a bounded time: tests/fuzz.sh SECONDS. Findings stay in build/fuzz/found.
set -u
seconds=${1:-5}
command -v clang >/dev/null 2>&1 || { echo "clang is not installed: fuzzing is skipped"; exit 77; }
echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n == 77 ? 0 : 0; }' >/tmp/vrwkv_probe.$$.c
clang -fsanitize=fuzzer,address /tmp/vrwkv_probe.$$.c -o /tmp/vrwkv_probe.$$ 2>/dev/null
have=$?
rm -f /tmp/vrwkv_probe.$$ /tmp/vrwkv_probe.$$.c
[ $have -eq 0 ] || { echo "clang has no libFuzzer here: fuzzing is skipped"; exit 77; }
cmake --preset fuzz -G Ninja >/dev/null && cmake --build --preset fuzz -j "$(nproc)" >build/fuzz.log 2>&1 || { tail -n 30 build/fuzz.log; exit 1; }
mkdir -p build/fuzz/found
failed=0
run_one() {
    name=$(basename "$1"); kind=${name#fuzz_}
    mkdir -p "build/fuzz/grown/$kind" "fuzz/corpus/$kind"
    if "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -close_fd_mask=1 \
        -artifact_prefix="build/fuzz/found/$kind-" "build/fuzz/grown/$kind" "fuzz/corpus/$kind" >"build/fuzz/$kind.txt" 2>&1; then
        echo "$kind: $(awk '/number_of_executed_units/{print $2}' "build/fuzz/$kind.txt") runs, nothing found"
    else
        echo "$kind: FOUND"; tail -n 40 "build/fuzz/$kind.txt"; return 1
    fi
}
# as many at a time as there are cores
targets=$(find build/fuzz -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | sort)
[ -n "$targets" ] || { echo "no fuzz targets were built"; exit 1; }
for t in $targets; do
    run_one "$t" &
    while [ "$(jobs -r | wc -l)" -ge "$(nproc)" ]; do wait -n || failed=1; done
done
for j in $(jobs -p); do wait "$j" || failed=1; done
exit $failed
