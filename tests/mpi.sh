#!/bin/bash
# Training by several processes: the losses, gradients and weights of one process with the same batches, and what
# stops one stops all, with its message. Usage: tests/mpi.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
for tool in mpirun mpicc python3; do
    command -v $tool >/dev/null || { echo "mpi: skipped, no $tool"; exit 77; }
done
cmake --build "$build" --target vrwkv_mpi || exit 1
without=$(cd "$build" && pwd)/vrwkv
vrwkv=${without}_mpi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/frame.sh
cd "$work" || exit 1
# containers run as root, and have fewer cores than processes here
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
ranks() { local n=$1; shift; timeout -k 5 120 mpirun -n "$n" --oversubscribe --bind-to none "$@"; }

# ---- pictures of one colour each; questions and answers of several lengths ----

python3 - <<'P'
import json, os
os.mkdir("pictures")
colours = {"red": (255, 32, 32), "green": (32, 255, 32), "blue": (32, 32, 255), "white": (240, 240, 240)}
for name, rgb in colours.items():
    open(f"pictures/{name}.ppm", "wb").write(b"P6 16 16 255\n" + bytes(rgb) * 256)
names, data = list(colours), []
for i in range(21):
    colour = names[i % 4]
    question = "Look. " * (i % 3) + "<image>\nWhat colour" + " is it" * (i % 5) + "?"
    data.append({"id": str(i), "image": colour + ".ppm", "conversations": [
        {"from": "human", "value": question}, {"from": "gpt", "value": " ".join([colour] * (1 + i % 3))}]})
data.append({"id": "text", "conversations": [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "yes"}]})
json.dump(data, open("data.json", "w"))
for sample in data: # a picture that cannot be read
    if sample["id"] == "6": sample["image"] = "short.ppm"
json.dump(data, open("short.json", "w"))
open("pictures/short.ppm", "wb").write(b"P6 16 16 255\n")
tower = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
small = {"n_layer": 2, "n_embd": 32, "dim_att": 32, "head_size": 16, "vocab_size": 65536, "ctx_len": 64}
v6 = dict(small, version="v6.0", rwkv="x060", dim_ffn=96, rank_mix=32, rank_decay=64, grid_size=-1, scan="bidirection",
          image_position="middle", towers=[dict(tower, type="clip")])
v5 = dict(v6, version="v5.1", rwkv="x052", scan="unidirection")
json.dump(v6, open("v6.json", "w"))
json.dump(v5, open("v5.json", "w"))
P
cat >compare.py <<'P'
# ONE OTHER [LIMIT]: the steps' losses, gradient norms and evaluations agree, and so do the last weights.
import glob, json, struct, sys
limit = float(sys.argv[3]) if len(sys.argv) > 3 else 1e-5
lines = [[json.loads(l) for l in open(f + "/log.jsonl")] for f in sys.argv[1:3]]
def tensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    for name, t in sorted(json.loads(raw[8:8 + n]).items()):
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            yield name, struct.unpack(f"<{(end - begin) // 4}f", raw[8 + n + begin:8 + n + end])
worst = 0
for a, b in zip(*lines):
    for key in ("loss", "grad_norm", "eval_loss"):
        if key in a: worst = max(worst, abs(a[key] / b[key] - 1) / (1 if "loss" in key else 10))
path = [sorted(p for p in glob.glob(f + "/step-*.safetensors") if "optim" not in p)[-1] for f in sys.argv[1:3]]
weights = square = 0
for (name, a), (other, b) in zip(tensors(path[0]), tensors(path[1])):
    assert name == other and len(a) == len(b), (name, other)
    weights += sum((x - y) ** 2 for x, y in zip(a, b))
    square += sum(x * x for x in a)
distance = (weights / square) ** 0.5
print(f"losses {worst:.2g}, weights {distance:.2g}")
sys.exit(len(lines[0]) != len(lines[1]) or not lines[0] or worst > limit or not distance < 1e-4)
P
alike() { # NAME ONE OTHER [LIMIT]
    local found; found=$(python3 compare.py "${@:2}" 2>&1)
    if [ $? -eq 0 ]; then ok "$1 ($found)"; else bad "$1" "$found"; fi
}
data=(--data data.json --images pictures --seed 7 -t 1 --steps 10 --save-every 5 --keep 9)
fresh=(--vocab auto --lr 1e-3)

# ---- the same losses ----

eval=(--eval-data data.json --eval-every 5 --eval-samples 8)
code "one process" 0 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" "${eval[@]}" --batch 5 -o one
code "two, a batch of 5" 0 ranks 2 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" "${eval[@]}" --batch 5 -o two
alike "two are as one" one two
check "one line per step" "$(grep -c '"loss"' two/log.jsonl)" 10
check "one process writes" "$(find two -name '*.tmp')" ""
code "three, which share an evaluation's last 3 samples" 0 ranks 3 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" "${eval[@]}" --batch 5 -o three
alike "three are as one" one three
code "version 5 weighs all labels of a batch, one process" 0 "$vrwkv" train -m v5.json "${fresh[@]}" "${data[@]}" --batch 4 --accumulate 2 -o one5
code "two" 0 ranks 2 "$vrwkv" train -m v5.json "${fresh[@]}" "${data[@]}" --batch 4 --accumulate 2 -o two5
alike "version 5: two are as one" one5 two5
code "in the original's manner, one process" 0 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" --batch 4 --manner original -o oneo
code "two" 0 ranks 2 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" --batch 4 --manner original -o twoo
alike "the original's manner: two are as one" oneo twoo
for kind in lora state; do
    tuned=(-m one/step-000010.safetensors "${data[@]}" --batch 4 --train $kind --lora-rank 4 --lr 1e-2)
    code "$kind, one process" 0 "$vrwkv" train "${tuned[@]}" -o one$kind
    code "$kind, two" 0 ranks 2 "$vrwkv" train "${tuned[@]}" -o two$kind
    alike "$kind: two are as one" one$kind two$kind
done

# ---- resumed, by the same number of processes or another ----

for n in 1 2; do
    mkdir again$n
    cp two/run.json two/step-000005.* two/log.jsonl two/curves.csv two/answers.jsonl again$n
    echo '{"step": 5, "best_loss": null, "best_step": 0, "without_better": 0}' >again$n/latest.json
    code "resumed by $n" 0 ranks $n "$vrwkv" train --resume again$n
    says "from step 5 on" "goes on after step 5 of 10"
    alike "resumed by $n" one again$n
done
same "resumed by as many: the same bits" two/step-000010.safetensors again2/step-000010.safetensors

# ---- what stops one stops all ----

stops() { # NAME MESSAGE COMMAND...: with an error, and by itself
    local name=$1 message=$2; shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null
    local found=$?
    if [ $found -ne 0 ] && [ $found -lt 124 ]; then ok "$name ends"; else bad "$name ends" "exit code $found: $(cat "$work/err")"; fi
    says "$name: the message" "$message"
    check "$name: told once" "$(grep -cF -- "$message" "$work/err")" 1
}
stops "a picture that one process cannot read" "not one row of pixels" \
    ranks 2 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" --data short.json --batch 4 --save-every 100 -o short
says "which one" "process 1: "
check "a checkpoint first" "$(find short -name 'step-*.safetensors' | wc -l)" 2
stops "a small batch" "a batch of 1 samples for 2 processes" ranks 2 "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" --batch 1 -o none
stops "rotation" "scan 'rotation' exchanges rows between the samples" \
    ranks 2 "$vrwkv" train -m v5.json --scan rotation "${fresh[@]}" "${data[@]}" --batch 4 -o none2
code "a program without MPI" 1 ranks 2 "$without" train -m v6.json "${fresh[@]}" "${data[@]}" -o none3
says "says so" "built without MPI"
check "and trains nothing" "$(ls none3 2>&1 | grep -c json)" 0

ranks 2 sh -c 'echo $$ >pid$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
    "$vrwkv" train -m v6.json "${fresh[@]}" "${data[@]}" --steps 100000 --batch 4 -o stopped >out 2>err &
while [ ! -e stopped/latest.json ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
kill -TERM "$(cat pid1)"
wait $!
check "a signal to one process ends all" "$(grep -c 'is saved in' err)" 1
check "and leaves a checkpoint of the last step" "$(tail -n 1 stopped/log.jsonl | sed 's/.*"step": \([0-9]*\).*/\1/')" \
    "$(($(sed 's/.*"step": \([0-9]*\).*/\1/' stopped/latest.json) - 1))"

echo "$((count - failed)) of $count"
[ "$failed" -eq 0 ]
