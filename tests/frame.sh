# What cli.sh, eval.sh and scenes.sh share; sourced after $work is there. One line per check; at the end the
# caller prints "$((count - failed)) of $count" or the like and exits by $failed.
export LC_ALL=C.UTF-8 TMPDIR=$work
count=0 failed=0

ok() { count=$((count + 1)); echo "ok $count - $1"; }
bad() { # NAME [WHAT]
    count=$((count + 1)); failed=$((failed + 1)); echo "not ok $count - $1"
    [ $# -gt 1 ] && printf '%s\n' "$2" | head -40 | sed 's/^/#   /'
    return 0
}
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "found:    $2
expected: $3"; fi; }                                                               # NAME FOUND EXPECTED
has() { case $2 in *"$3"*) ok "$1" ;; *) bad "$1" "\"$3\" is not in: $2" ;; esac; } # NAME TEXT PART
same() { if cmp -s "$2" "$3"; then ok "$1"; else bad "$1" "$2 and $3 differ"; fi; } # NAME FILE FILE
code() { # NAME EXPECTED-CODE COMMAND...: stdout and stderr stay in $work/out and $work/err
    local name=$1 expected=$2; shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null
    local found=$?
    if [ $found -eq "$expected" ]; then ok "$name"; else bad "$name" "exit code $found, expected $expected: $(cat "$work/err")"; fi
}
says() { has "$1" "$(cat "$work/err")" "$2"; }   # NAME PART, of stderr
prints() { has "$1" "$(cat "$work/out")" "$2"; } # NAME PART, of stdout
