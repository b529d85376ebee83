#!/usr/bin/env python3
"""The tables of docs/ACCURACY.md.

    bench/accuracy.py oracles PATH... [--program P] [--set avx2]...   worst errors of `vrwkv verify`, per tensor and kernel set
    bench/accuracy.py types [--program P] [--check]                   stored types against f32

types: the small reference checkpoints of tests/data/cases are converted to f32 and to each type; all run
the same prompts (the cases', and 256 random ids), and the logits of every position are compared:

    largest |difference| of a logit; Kullback-Leibler divergence KL(f32 || type) in nats, mean, median and largest;
    share of the positions at which the likeliest token is the same.

Each type is measured with exact products (VRWKV_EXACT=1), which shows what the stored numbers lost, and the quantised
ones again as they run by default, with activations rounded to 8 bit too.

--check: fails where a number is over its bound (BOUNDS below; the suite runs it). Needs Python alone.
"""
import argparse
import glob
import json
import math
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASES = os.path.join(ROOT, "tests", "data", "cases", "v6")
RANDOM_IDS = 256

# (type, how it is multiplied): mean KL, largest |difference|, least top-1 agreement, median KL; over all positions of
# all models. About one and a half times what was measured: kernel sets sum in different orders.
BOUNDS = {
    ("f16", "exact"): (1e-6, 0.1, 0.99, 1e-9),
    ("bf16", "exact"): (4e-4, 2.5, 0.98, 4e-5),
    ("q8_0", "exact"): (4e-3, 2, 0.94, 2e-3),
    ("q8_0", "8-bit"): (2e-2, 14, 0.91, 5e-3),
    ("q4_0", "exact"): (0.8, 18, 0.5, 0.5),
    ("q4_0", "8-bit"): (0.8, 18, 0.5, 0.5),
    ("auto:5", "8-bit"): (0.5, 15, 0.55, 0.33),
    ("auto:6", "8-bit"): (0.17, 14, 0.7, 0.11),
}


# ---- verify ----

GROUPS = [("pixels", "pixels"), ("vision", "vision"), ("image", "image"), ("x", "x."), ("logits", "logits"),
          ("greedy, re-run", "recompute."), ("greedy, from the state", "state.logits"), ("greedy, from the state", "state.probs"),
          ("one pass = one by one", "state.one-by-one"), ("one pass = public interface", "state.prompt"),
          ("one pass = public interface", "state.image"), ("saved and loaded", "state.saved"), ("alone = together", "state.together")]


def group_of(name):
    return next((group for group, start in GROUPS if name.startswith(start)), None)


def verify(command, kernels, paths):
    """{group: (worst error, its bound, where)} of one kernel set; the error nearest to its bound counts."""
    run = subprocess.run([*command, "verify", "--json", *paths], capture_output=True, text=True, env={**os.environ, "VRWKV_CPU": kernels})
    if not run.stdout:
        sys.exit(f"{kernels}: {run.stderr.strip()}")
    result, worst, checks = json.loads(run.stdout), {}, 0
    for case in result["cases"]:
        for check in case["checks"]:
            checks += 1
            group = group_of(check["name"])
            if group is None or "abs" not in check:
                continue
            near = check["abs"] / check["bound"] if check["bound"] else check["abs"]
            if group not in worst or near > worst[group][0]:
                worst[group] = (near, check["abs"], check["bound"], f"{case['case']} {check['name']}")
    print(f"{kernels}: {result['passed']} passed, {result['failed']} failed, {result['skipped']} skipped, {checks} comparisons", file=sys.stderr)
    return worst


def oracles(args):
    sets = args.set or ["generic", "avx2", "avx512"]
    columns = {}
    for kernels in sets:
        probe = subprocess.run([*args.command, "--version"], capture_output=True, env={**os.environ, "VRWKV_CPU": kernels})
        if probe.returncode == 0:
            columns[kernels] = verify(args.command, kernels, args.paths)
    print("| compared | bound |" + "".join(f" {kernels} |" for kernels in columns) + " worst in |")
    print("|---|---|" + "---|" * len(columns) + "---|")
    for group in dict.fromkeys(group for group, _ in GROUPS):
        cells = [column.get(group) for column in columns.values()]
        if not any(cells):
            continue
        last = max(filter(None, cells))
        print(f"| {group} | {last[2]:.2g} |" + "".join(f" {cell[1]:.2g} |" if cell else " |" for cell in cells) + f" {last[3]} |")


# ---- types ----

def read_logits(path):
    """Rows of the tensor `logits` of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        start, data = header["logits"]["data_offsets"][0], file.read()
    rows, columns = header["logits"]["shape"]
    values = struct.unpack_from(f"<{rows * columns}f", data, start)
    return [values[i * columns:(i + 1) * columns] for i in range(rows)]


def log_softmax(row):
    largest = max(row)
    total = math.log(math.fsum(math.exp(value - largest) for value in row))
    return [value - largest - total for value in row]


def compare(exact, found):
    """(largest |difference|, KL, is the likeliest the same) of one position."""
    p, q = log_softmax(exact), log_softmax(found)
    kl = math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q))
    return max(abs(a - b) for a, b in zip(exact, found)), max(kl, 0), exact.index(max(exact)) == found.index(max(found))


def models():
    """{checkpoint: [case.json's content with its folder]}"""
    found = {}
    for path in sorted(glob.glob(os.path.join(CASES, "*", "case.json"))):
        with open(path, encoding="utf-8") as file:
            case = json.load(file)
        if case["kind"] == "infer":
            case["folder"] = os.path.dirname(path)
            found.setdefault(os.path.realpath(os.path.join(case["folder"], case.get("model", "model.pth"))), []).append(case)
    return found


def prompts(cases):
    """Ids, settings and picture of everything that is run."""
    rng = random.Random(20240612)
    for case in cases:
        picture = [os.path.join(case["folder"], name) for name in case.get("images", [])]
        yield case, case["input_ids"], picture
    yield cases[0], [rng.randrange(1, cases[0]["vocab_size"]) for _ in range(RANDOM_IDS)], []


def run_all(command, cases, checkpoint, kind, products, folder):
    """Logits of every position, prompt after prompt."""
    rows, env = [], {**os.environ, "VRWKV_EXACT": str(int(products == "exact"))}
    for number, (case, ids, picture) in enumerate(prompts(cases)):
        model, out = os.path.join(folder, f"{kind}-{number}.gguf"), os.path.join(folder, "trace.safetensors")
        config = os.path.join(case["folder"], "case.json")
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env}
        subprocess.run([*command, "convert", checkpoint, "--config", config, "-o", model, "--type", kind], **quiet)
        subprocess.run([*command, "trace", "-m", model, "--tokens=" + ",".join(map(str, ids)), "-o", out,
                        *(argument for file in picture for argument in ("-i", file))], **quiet)
        rows += read_logits(out)
        os.remove(model)
    return rows


def types(args):
    over = []
    print("| model | type | products | positions | largest logit difference | mean KL | median KL | largest KL | same likeliest token |")
    print("|---|---|---|---|---|---|---|---|---|")
    totals = {row: [] for row in BOUNDS}
    with tempfile.TemporaryDirectory(prefix="vrwkv-accuracy-") as folder:
        for checkpoint, cases in models().items():
            exact = run_all(args.command, cases, checkpoint, "f32", "exact", folder)
            for row in BOUNDS:
                found = run_all(args.command, cases, checkpoint, *row, folder)
                results = [compare(a, b) for a, b in zip(exact, found)]
                totals[row] += results
                name = f"{os.path.basename(os.path.dirname(checkpoint))} ({cases[0]['stored_dtype']}, width {cases[0]['n_embd']})"
                print_row(name, row, results)
    for row, results in totals.items():
        differences, divergences, same = zip(*results)
        mean, share = math.fsum(divergences) / len(results), sum(same) / len(results)
        median, bound = statistics.median(divergences), BOUNDS[row]
        print_row("**all**", row, results)
        if mean > bound[0] or max(differences) > bound[1] or share < bound[2] or median > bound[3]:
            over.append(f"{row[0]}, {row[1]} products: mean KL {mean:.2e}, largest difference {max(differences):.3g}, agreement "
                        f"{share:.2%}, median KL {median:.2e}; allowed {bound[0]:g}, {bound[1]:g}, {bound[2]:.2%}, {bound[3]:g}")
    if args.check and over:
        sys.exit("\n".join(over))


def print_row(name, row, results):
    differences, divergences, same = zip(*results)
    print(f"| {name} | {row[0]} | {row[1]} | {len(results)} | {max(differences):.2g} | {math.fsum(divergences) / len(results):.1e} | {statistics.median(divergences):.1e} | "
          f"{max(divergences):.1e} | {sum(same) / len(results):.2%} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["oracles", "types"])
    parser.add_argument("paths", nargs="*", help="what is verified (oracles)")
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "vrwkv"), help="a command, perhaps with an emulator in front")
    parser.add_argument("--set", action="append", help="a kernel set; several (default: those of x86-64)")
    parser.add_argument("--check", action="store_true", help="fail where a bound is passed (types)")
    args = parser.parse_args()
    args.command = args.program.split()
    if args.what == "oracles":
        oracles(args)
    else:
        types(args)


if __name__ == "__main__":
    main()
