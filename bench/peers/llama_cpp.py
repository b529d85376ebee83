#!/usr/bin/env python3
"""Both ways between vrwkv and llama.cpp, with small random RWKV-6 and RWKV-7 models made here.

    python3 bench/peers/llama_cpp.py [--steps 24] [--only x060]
    python3 bench/peers/llama_cpp.py --fixtures tests/data/llama    (makes the files of tests/test_formats.c)

Below build/peers: a virtual environment with llama-cpp-python (built from its sources: some 15 minutes on two
cores, once) and gguf, and the models. For each version:

  there  `convert --split` to each type, with and without halved activations: the language half must give the logits
         of the whole file in vrwkv, and both programs read the same text and continue it greedily from it
  back   llama.cpp's own quantiser makes Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K_M, Q5_K_M, Q6_K of the f32 file; both
         programs run each of them, and `vrwkv convert` turns each into a file of ours with the same logits

llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights; vrwkv does not. So a quantised
file is compared twice: as it is, where logits may differ by a bound and an id only where both of our logits are that
close; and with llama.cpp running what its own quantiser turned back into f32, where nothing may differ but
rounding. Both programs are given the same ids at every step (ours), so that one difference is not counted twice.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOME = os.path.join(ROOT, "build", "peers")
VRWKV = os.path.join(ROOT, "build", "vrwkv")
os.environ["VRWKV_EXACT"] = "1"  # the numbers of files are compared, not ways to multiply them
TEXT = "The state holds what was seen.\n\t\u56fe\u7247 \"q\" 'a' \\ caf\u00e9 \U0001f600"
OUR_TYPES = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0"]
THEIR_TYPES = {"Q8_0": 7, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}
# of the logits' spread; half floats: llama.cpp rounds activations to the weights' type
BOUND_PLAIN, BOUND_QUANTISED = 5e-5, 6e-2
BOUND_WIDE = {"f32": BOUND_PLAIN, "f16": 3e-3, "bf16": 1.5e-2}


def set_up():
    """The environment's Python; started with -I, so that this file is not taken for the package of its name."""
    python = os.path.join(HOME, "venv", "bin", "python")
    os.makedirs(HOME, exist_ok=True)
    if not os.path.exists(python):
        venv.create(os.path.join(HOME, "venv"), with_pip=True)
    if subprocess.run([python, "-I", "-c", "import llama_cpp, gguf, numpy"], capture_output=True).returncode:
        print("building llama-cpp-python, once ...", file=sys.stderr)
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run(pip + ["install", "llama-cpp-python", "gguf", "numpy"], check=True)
    return python


# ---- random checkpoints, in the released key layout ----

def rwkv6(layers, width, small, np, rng):
    heads, ffn, mix, decay = width // 64, int(width * 3.5) // 32 * 32, 32, 64
    if small:
        ffn, mix, decay = 32, 4, 8
    for i in range(layers):
        p, a = f"blocks.{i}.", f"blocks.{i}.att."
        for name in "xwkvrg":
            yield a + "time_maa_" + name, rng.uniform(0, 1, (1, 1, width))
        yield a + "time_maa_w1", rng.normal(0, 0.1, (width, 5 * mix))
        yield a + "time_maa_w2", rng.normal(0, 0.1, (5, mix, width))
        yield a + "time_decay", rng.uniform(-6, 0, (1, 1, width))
        yield a + "time_decay_w1", rng.normal(0, 0.1, (width, decay))
        yield a + "time_decay_w2", rng.normal(0, 0.1, (decay, width))
        yield a + "time_faaaa", rng.normal(0, 0.5, (heads, 64))
        for name in ("receptance", "key", "value", "gate", "output"):
            yield a + name + ".weight", rng.normal(0, 1, (width, width)) / np.sqrt(width)
        yield p + "ffn.time_maa_k", rng.uniform(0, 1, (1, 1, width))
        yield p + "ffn.time_maa_r", rng.uniform(0, 1, (1, 1, width))
        yield p + "ffn.key.weight", rng.normal(0, 1, (ffn, width)) / np.sqrt(width)
        yield p + "ffn.receptance.weight", rng.normal(0, 1, (width, width)) / np.sqrt(width)
        yield p + "ffn.value.weight", rng.normal(0, 1, (width, ffn)) / np.sqrt(ffn)


def rwkv7(layers, width, small, np, rng):
    heads, ffn = width // 64, 32 if small else 4 * width
    ranks = {"w": 8, "a": 6, "v": 4, "g": 8} if small else {"w": 64, "a": 64, "v": 32, "g": 96}
    for i in range(layers):
        p, a = f"blocks.{i}.", f"blocks.{i}.att."
        for name in "rwkvag":
            yield a + "x_" + name, rng.uniform(0, 1, (1, 1, width))
        for name, rank in ranks.items():
            if name == "v" and i == 0:
                continue
            if name != "g":
                yield a + name + "0", rng.uniform(-3, 1, (1, 1, width))
            yield a + name + "1", rng.normal(0, 0.1, (width, rank))
            yield a + name + "2", rng.normal(0, 0.1, (rank, width))
        yield a + "k_k", rng.uniform(0.5, 1, (1, 1, width))
        yield a + "k_a", rng.uniform(0.5, 1, (1, 1, width))
        yield a + "r_k", rng.normal(0, 0.2, (heads, 64))
        for name in ("receptance", "key", "value", "output"):
            yield a + name + ".weight", rng.normal(0, 1, (width, width)) / np.sqrt(width)
        yield p + "ffn.x_k", rng.uniform(0, 1, (1, 1, width))
        yield p + "ffn.key.weight", rng.normal(0, 1, (ffn, width)) / np.sqrt(width)
        yield p + "ffn.value.weight", rng.normal(0, 1, (width, ffn)) / np.sqrt(ffn)


VERSIONS = {"x060": rwkv6, "x070": rwkv7}


def checkpoint(path, version, np, layers=4, width=256, vocab=65536, small=False):
    """Random weights as a .safetensors file, written by hand; small: hardly anything but square matrices."""
    rng = np.random.default_rng(7)
    weights = {"emb.weight": rng.normal(0, 1, (vocab, width)), "head.weight": rng.normal(0, 1, (vocab, width)) / np.sqrt(width)}
    for i in range(layers):
        for name in ["ln1", "ln2", "att.ln_x"] + (["ln0"] if i == 0 else []):
            weights[f"blocks.{i}.{name}.weight"] = rng.uniform(0.5, 1.5, width)
            weights[f"blocks.{i}.{name}.bias"] = rng.normal(0, 0.1, width)
    weights["ln_out.weight"], weights["ln_out.bias"] = rng.uniform(0.5, 1.5, width), rng.normal(0, 0.1, width)
    weights.update(VERSIONS[version](layers, width, small, np, rng))
    save(path, weights)


def save(path, weights):
    header, offset = {}, 0
    for name, value in weights.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + 4 * value.size]}
        offset += 4 * value.size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for value in weights.values():
            out.write(value.astype("<f4").tobytes())


# ---- the two programs ----

def vrwkv(*args, **more):
    result = subprocess.run([VRWKV, *args], capture_output=True, **more)
    if result.returncode:
        sys.exit(f"vrwkv {' '.join(args)}: {result.stderr.decode()}")
    return result.stdout


def tensors(path, np):
    with open(path, "rb") as data:
        data = data.read()
    size = struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[name] = np.frombuffer(data[8 + size + first:8 + size + last], "<f4").reshape(entry["shape"])
    return found


def our_run(model, ids, steps, np):
    """Greedy ids after the prompt, and the logits of every row that led to one."""
    out = json.loads(vrwkv("run", "-m", model, "--greedy", "--manner", "original", "--raw", "-p", TEXT, "-n", str(steps),
                           "--json", "--stop-token", "-1"))
    trace = os.path.join(HOME, "trace.safetensors")
    vrwkv("trace", "-m", model, "--tokens", ",".join(map(str, ids + out["ids"][:-1])), "-o", trace)
    return out["ids"], tensors(trace, np)["logits"][len(ids) - 1:]


def their_run(model, ids, continuation, np):
    """Logits after the prompt and after each id of the continuation but the last; ids of the text; bytes of the ids."""
    import llama_cpp
    llama = llama_cpp.Llama(model_path=model, n_ctx=256, n_threads=2, logits_all=True, verbose=False)
    own = llama.tokenize(TEXT.encode(), add_bos=False, special=False)
    rows = []
    for part in [ids] + [[token] for token in continuation[:-1]]:
        llama.eval(part)
        rows.append(llama.scores[llama.n_tokens - 1].copy())
    text = llama.detokenize(continuation)
    llama.close()
    return np.array(rows), own, text


def their_quantise(source, out, ftype):
    import llama_cpp
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = ftype, 2, True
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), params):
        sys.exit(f"llama.cpp cannot turn {source} into type {ftype}")


def forget_us(path):
    """Without our description the file is as one that llama.cpp's converter made."""
    subprocess.run([sys.executable, "-I", "-m", "gguf.scripts.gguf_new_metadata", "--force", "--remove-metadata", "vrwkv.config", path,
                    path + ".new"], check=True, capture_output=True)
    os.replace(path + ".new", path)


def compare(label, model, theirs_model, steps, bound, np):
    """One line; False where something is out of bounds."""
    ids = json.loads(vrwkv("tokenize", "-m", model, "--json", input=TEXT.encode()))
    ours, logits = our_run(model, ids, steps, np)
    theirs, their_ids, their_text = their_run(theirs_model, ids, ours, np)
    text = vrwkv("detokenize", "-m", model, "--bytes", input=" ".join(map(str, ours)).encode())
    spread = float(logits.max() - logits.min())
    off = np.abs(logits - theirs).max() / spread
    best = theirs.argmax(axis=1)
    differ = [t for t in range(len(ours)) if best[t] != ours[t]]
    close = all(logits[t][ours[t]] - logits[t][best[t]] <= 2 * bound * spread for t in differ)
    good = off <= bound and their_ids == ids and close and text == their_text
    print(f"{label:42} logits differ by {off:7.1e} of their spread, bound {bound:.0e}; "
          f"{len(ours) - len(differ)}/{len(ours)} greedy ids equal; prompt ids {'equal' if their_ids == ids else 'DIFFER'}, "
          f"text {'equal' if text == their_text else 'DIFFERS'}{'' if good else '  <-- WRONG'}", flush=True)
    return good


def same_here(label, first, second, np):
    """Two files that hold the same numbers must give the same logits here."""
    ids = json.loads(vrwkv("tokenize", "-m", first, "--json", input=TEXT.encode()))
    same = np.array_equal(our_run(first, ids, 4, np)[1], our_run(second, ids, 4, np)[1])
    if not same:
        print(f"{label}: other logits  <-- WRONG", flush=True)
    return same


def compare_quantised(label, model, steps, np):
    plain = os.path.join(HOME, "plain.gguf")
    their_quantise(model, plain, 0)
    good = compare(label, model, model, steps, BOUND_QUANTISED, np)
    good &= compare(f"{label}, back in f32", model, plain, steps, BOUND_PLAIN, np)
    os.remove(plain)
    return good


def check_vocabulary(path):
    """The tokens of a split file against what llama.cpp's converter writes for the world vocabulary."""
    import ast
    import gguf
    expected = ["<s>"]
    with open(os.path.join(ROOT, "src", "text", "data", "rwkv_vocab_v20230424.txt"), encoding="utf-8") as lines:
        for line in lines:
            token = ast.literal_eval(line[line.index(" "):line.rindex(" ")].strip())
            expected.append(repr(token.encode() if isinstance(token, str) else token)[2:-1])
    expected += [f"[PAD{i}]" for i in range(len(expected), 65536)]
    reader = gguf.GGUFReader(path)
    tokens, types = (reader.fields["tokenizer.ggml." + name].contents() for name in ("tokens", "token_type"))
    wrong = sum(a != b for a, b in zip(tokens, expected))
    good = len(tokens) == 65536 and wrong == 0 and [types[i] for i in (0, 1, 65529, 65530)] == [3, 1, 1, 5]
    print(f"vocabulary: {len(tokens)} tokens, {wrong} other than llama.cpp's converter writes them"
          f"{'' if good else '  <-- WRONG'}", flush=True)
    return good


def there(version, source, steps, np):
    good = True
    for kind in OUR_TYPES:
        for rescale in ("0", "2") if kind in ("f32", "f16", "q4_k") else ("0",):
            out = os.path.join(HOME, f"{version}-{kind}-{rescale}.gguf")
            split, label = out.replace(".gguf", "-rwkv.gguf"), f"{version} {kind} there, rescale {rescale}"
            vrwkv("convert", source, "-o", out, "--type", kind, "--split", "--rescale-every", rescale)
            if kind == "f32" and rescale == "0":
                good &= check_vocabulary(split)
            if kind in BOUND_WIDE:
                good &= compare(label, split, split, steps, BOUND_WIDE[kind], np)
            else:
                good &= compare_quantised(label, split, steps, np)
            if rescale == "0" or kind != "f16":  # halved half floats may lose their last bits
                good &= same_here(f"{label}: the split file", out, split, np)
            os.remove(out)
            if kind != "f32" or rescale != "0":
                os.remove(split)
    return good


def back(version, steps, np):
    good, plain = True, os.path.join(HOME, f"{version}-f32-0-rwkv.gguf")
    forget_us(plain)
    for kind, number in THEIR_TYPES.items():
        out, again = (os.path.join(HOME, f"{version}-{kind}{end}.gguf") for end in ("", "-ours"))
        their_quantise(plain, out, number)
        types = sorted({t["type"] for t in json.loads(vrwkv("inspect", out, "--json"))["tensors"]})
        good &= compare_quantised(f"{version} {kind} ({' '.join(types)})", out, steps, np)
        vrwkv("convert", out, "-o", again)
        good &= same_here(f"{version} {kind}: converted to ours", out, again, np)
        os.remove(out)
        os.remove(again)
    os.remove(plain)
    return good


# every kind of escape, and what needs none
FIXTURE_TOKENS = [b"\0", b"\t", b"\n", b"\r", b"\\", b"'", b'"', b"'\"", b"it's", "\u56fe".encode(), b"\xff", b"\x7f", b" ", b"\\n", b"[PAD3]"]
FIXTURE_IDS = [3, 17, 60, 1, 33, 42, 8]


def fixtures(folder, np):
    """Small models that llama.cpp quantised, and the logits of llama.cpp after FIXTURE_IDS, one row each."""
    os.makedirs(folder, exist_ok=True)
    vocab, source, plain = (os.path.join(HOME, name) for name in ("vocab.txt", "small.safetensors", "small-rwkv.gguf"))
    with open(vocab, "w", encoding="utf-8") as out:
        for i, token in enumerate(FIXTURE_TOKENS + [bytes([c]) for c in range(ord("a"), ord("z") + 1)]):
            out.write(f"{i + 1} {token!r} {len(token)}\n")
    expected = {}
    for version, name, layers in ("x060", "rwkv6", 1), ("x070", "rwkv7", 2):
        checkpoint(source, version, np, layers=layers, vocab=64, small=True)
        vrwkv("convert", source, "-o", os.path.join(HOME, "small.gguf"), "--vocab", vocab, "--split")
        quantised = os.path.join(folder, name + "-q4_k_m.gguf")
        forget_us(plain)
        their_quantise(plain, quantised, THEIR_TYPES["Q4_K_M"])
        their_quantise(quantised, plain, 0)
        expected[name] = their_run(plain, FIXTURE_IDS[:1], FIXTURE_IDS[1:] + [0], np)[0]
    save(os.path.join(folder, "expected.safetensors"), expected)
    return 0


def run(args):
    """Inside the environment."""
    import numpy as np
    if args.fixtures:
        return fixtures(args.fixtures, np)
    good = True
    for version in VERSIONS:
        if args.only and version != args.only:
            continue
        source = os.path.join(HOME, f"{version}.safetensors")
        checkpoint(source, version, np)
        good &= there(version, source, args.steps, np)
        good &= back(version, args.steps, np)
        os.remove(source)
    print("all within bounds" if good else "SOMETHING IS WRONG")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--only", choices=list(VERSIONS))
    parser.add_argument("--fixtures", metavar="DIR")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return run(args)
    return subprocess.run([set_up(), "-I", os.path.abspath(__file__), "--inside", *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
