#!/usr/bin/python3
"""Checks ref/visualrwkv.py and ref/rwkv57.py against reference cases, and makes further cases.

    ref/check.py CASE_DIR...                 runs every case that is one of KINDS below, in or below the folders
    ref/check.py --make DIR [--seed 7 ...]   makes a random small model and case in DIR (see --help)
    ref/check.py --make DIR --language x070  makes a language model alone, a case of kind "text-state"

For each expected tensor: worst absolute error, worst relative error (of the tensor's largest absolute
value), index of the worst element, bound. Exit status 1 where a bound is broken or ids differ.
A made case holds the results of float64 runs, rounded to float32; `fp32_vs_fp64` tells how far a
float32 run of the same code is from them.
"""
import argparse
import json
import math
import struct
import sys
import zlib
from pathlib import Path

import torch

from rwkv57 import Rwkv5, Rwkv7, assemble_batch, forward_batch
from visualrwkv import IMAGE, STOP, Rwkv6, VisualRWKV, load_state_dict, normalise

sys.dont_write_bytecode = True
NP = {"F32": torch.float32, "F16": torch.float16, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8}
LANGUAGE = {"v5": Rwkv5, "v6": Rwkv6, "v7": Rwkv7}     # by the beginning of `version`
# Absolute bounds of a float32 run; a name takes the longest prefix that fits.
BOUNDS = {"logits": 1e-3, "x.": 2e-4, "image": 2e-4, "vision": 1e-4, "tokens": 0.0, "pixels": 0.0}
TEXT_BOUNDS = {"logits": 1e-4, "x.": 1e-4, "padded.x.": 1e-4, "end.state.": 1e-4, "piece0.state.": 1e-4, "tokens": 0.0}


# ---- files -----------------------------------------------------------------------------------------

def read_safetensors(path):
    data = Path(path).read_bytes()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = bytearray(data[8 + size + begin:8 + size + end])
        out[name] = torch.frombuffer(raw, dtype=NP[entry["dtype"]]).reshape(entry["shape"])
    return out


def write_safetensors(path, tensors):
    names = {torch_type: name for name, torch_type in NP.items()}
    header, blobs, at = {}, [], 0
    for name, t in tensors.items():
        blob = t.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)                     # tensor data start at a multiple of 8
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_png(path, rgb):
    """rgb uint8 [S, S, 3]; no compression tricks, filter 0 in every row."""
    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + bytes(rgb[y].flatten().tolist()) for y in range(height))
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                           + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


# ---- running ---------------------------------------------------------------------------------------

def build(case, weights):
    tower = case["towers"][0]
    model = VisualRWKV(weights, case["grid_size"], case["scan"], tower["num_attention_heads"],
                       case["head_size_divisor"], tower["layer_norm_eps"], LANGUAGE[case["version"][:2]])
    found = {"n_layer": model.rwkv.L, "n_embd": model.rwkv.C, "vocab_size": model.rwkv.V, "head_size": model.rwkv.N}
    for key, value in found.items():
        if case[key] != value:
            raise ValueError(f"{key}: the checkpoint has {value}, case.json says {case[key]}")
    return model


def run_case(model, case, pixels):
    """-> every tensor that a case may expect, and the results that stand in case.json."""
    ids, out = case["input_ids"], {}
    watch = out.__setitem__
    out["pixels"], out["tokens"] = pixels, torch.tensor(ids, dtype=torch.int32)
    picture = model.encode(pixels, watch)                                   # [n, C]
    rows, span, out["image"] = model.assemble(ids, picture)                 # [T, C]
    logits = {"logits": model.run(rows, span, watch=watch), "logits.uni": model.run(rows, span, "unidirection")}
    for name, value in logits.items():
        out[name], out[name + ".last"] = value, value[-1]                   # [T, V], [V]
    more, stops = case["greedy"]["max_new_tokens"], (case["greedy"]["stop_token"],)
    info = {"sequence_length": len(rows), "n_image_tokens": len(picture), "img_start": span[0], "img_end": span[1],
            "greedy": model.generate(rows, span, more, case["ctx_len"], stateful=False, stops=stops),
            "stateful": model.generate(rows, span, more, stops=stops),
            "recomputed_uncut": model.generate(rows, span, more, None, stateful=False, stops=stops)}
    if "demo" in case:              # the public demo's order: text, picture, the same text again
        demo = case["demo"]
        rows = torch.cat([model.rwkv.embed(demo["prefix_ids"]), picture, model.rwkv.embed(demo["suffix_ids"])])
        out["logits.demo.last"] = model.run(rows, (0, 0), demo["scan"])[-1]
        info["demo"] = model.generate(rows, (0, 0), len(demo["greedy_ids"]), scan=demo["scan"], stops=(0, STOP))
    return out, info


# ---- comparing -------------------------------------------------------------------------------------

class Report:
    def __init__(self, bounds=BOUNDS):
        self.failed, self.bounds = False, bounds

    def line(self, ok, text):
        self.failed |= not ok
        print(f"  {'ok  ' if ok else 'FAIL'} {text}")

    def tensor(self, name, got, want):
        prefixes = [p for p in self.bounds if name.startswith(p)]
        if not prefixes or list(got.shape) != list(want.shape):
            return self.line(False, f"{name}: shape {list(got.shape)}, expected {list(want.shape)}")
        bound = self.bounds[max(prefixes, key=len)]
        error = (got.double() - want.double()).abs()
        error[error.isnan()] = math.inf
        worst, at = error.flatten().max(0)
        index, rest = [], int(at)
        for size in reversed(want.shape):
            index.insert(0, rest % size)
            rest //= size
        relative = float(worst) / max(float(want.double().abs().max()), 1e-30)
        self.line(float(worst) <= bound, f"{name:18} abs {float(worst):.3g}  rel {relative:.3g}  "
                  f"at {index} of {list(want.shape)}  bound {bound:g}")

    def tensors(self, got, want):
        for name in sorted(want):
            if name in got:
                self.tensor(name, got[name], want[name])
            else:
                self.line(False, f"{name}: expected, but nothing of that name is computed")

    def equal(self, name, got, want):
        self.line(got == want, f"{name:18} {got}" + ("" if got == want else f", expected {want}"))

    def numbers(self, name, got, want, bound):
        worst = max((abs(a - b) for a, b in zip(got, want)), default=0.0)
        self.line(len(got) == len(want) and worst <= bound, f"{name:18} abs {worst:.3g}  bound {bound:g}")


def check_infer(folder, case):
    want = read_safetensors(folder / "expect.safetensors")
    model = build(case, load_state_dict(folder / case["model"]))
    pixels = want.get("pixels")
    if pixels is None:
        pixels = torch.zeros(3, model.clip.image_size, model.clip.image_size)
    got, info = run_case(model, case, pixels)

    report, greedy = Report(), case["greedy"]
    report.tensors(got, want)
    for key in ("sequence_length", "n_image_tokens", "img_start", "img_end"):
        report.equal(key, info[key], case[key])
    report.equal("greedy ids", info["greedy"]["ids"], greedy["ids"])
    if "logits" in greedy:
        report.numbers("greedy logits", info["greedy"]["logits"], greedy["logits"], 1e-3)
        report.numbers("greedy probs", info["greedy"]["probs"], greedy["probs"], 1e-4)
    report.numbers("greedy margin", [info["greedy"]["min_margin"]], [greedy["min_margin"]], 2e-3)
    # Without a cut, carrying the state gives what running everything again gives. (A cut case has no
    # expected ids for this; there the two ways are compared with each other, uncut.)
    report.equal("stateful ids", info["stateful"]["ids"], info["recomputed_uncut"]["ids"])
    if case["sequence_length"] + len(greedy["ids"]) - 1 <= case["ctx_len"]:
        report.equal("stateful ids", info["stateful"]["ids"], greedy["ids"])
    if "avg_logit" in greedy:
        logits, probs = info["greedy"]["logits"], info["greedy"]["probs"]
        mean = sum(logits) / len(logits), math.prod(probs) ** (1 / len(probs))
        report.numbers("avg_logit avg_prob", mean, (float(greedy["avg_logit"]), float(greedy["avg_prob"])), 1.5e-3)
    if "demo" in case:
        report.equal("demo ids", info["demo"]["ids"], case["demo"]["greedy_ids"])
        report.numbers("demo logits", info["demo"]["logits"], case["demo"]["greedy_logits"], 1e-3)
    return not report.failed


def check_batch(folder, case):
    """Samples with one picture each, read together: v5.1's scan `rotation` exchanges rows between them."""
    want, got = read_safetensors(folder / "expect.safetensors"), {}
    model = build(case, load_state_dict(folder / case["model"]))
    got["tokens"], got["pixels"] = torch.tensor(case["input_ids"], dtype=torch.int32), want["pixels"]
    got["image"] = torch.stack([model.encode(pixels) for pixels in want["pixels"]])         # [B, n, C]
    rows, span = assemble_batch(model, case["input_ids"], list(got["image"]))
    got["logits"] = model.rwkv.logits(forward_batch(model.rwkv, rows, case["scan"], span, got.__setitem__))
    report = Report()
    report.equal("img_start, img_end", span, (case["img_start"], case["img_end"]))
    report.tensors(got, want)
    return not report.failed


def run_text(model, case):
    """All ids at once and in pieces, behind pad rows -> for each of the two ways the tensors that a case may expect."""
    ids, pads, ways = case["input_ids"], [case["pad_token"]] * case["pad_left"], []
    for pieces in [len(ids)], case["pieces"]:
        out, at, parts, state = {"tokens": torch.tensor(ids, dtype=torch.int32)}, 0, [], model.new_state()

        def show_state(when):
            for i, s in enumerate(state):
                wkv = s.S if isinstance(model, Rwkv7) else s.S.transpose(1, 2)      # [H, value, key]
                for name, value in ("att_shift", s.att_x), ("ffn_shift", s.ffn_x), ("wkv", wkv):
                    out[f"{when}.state.{i}.{name}"] = value.clone()

        for length in pieces:
            x = model.embed(ids[at:at + length])
            parts.append((x, model.logits(model.forward(x, state))))
            at += length
            if at == case["pieces"][0]:
                show_state("piece0")
        show_state("end")
        out["x.in"], out["logits"] = (torch.cat(part) for part in zip(*parts))
        padded = {}
        x = model.forward(model.embed(pads + ids), model.new_state(), watch=padded.__setitem__)
        out["logits.padded"] = model.logits(x)[len(pads):]
        out.update({f"padded.{name}": value[len(pads):] for name, value in padded.items()})
        ways.append(out)
    return ways


def check_text_state(folder, case):
    """A language model alone."""
    model = LANGUAGE[case["version"][:2]](load_state_dict(folder / case["model"]), case["head_size_divisor"])
    report, want = Report(TEXT_BOUNDS), read_safetensors(folder / "expect.safetensors")
    whole, pieces = run_text(model, case)
    report.tensors(whole, {name: value for name, value in want.items() if not name.startswith("piece0")})
    report.tensors(pieces, want)
    return not report.failed


KINDS = {("infer", "v5"): check_infer, ("infer", "v6"): check_infer, ("infer-batch", "v5"): check_batch,
         ("text-state", "v5"): check_text_state, ("text-state", "v6"): check_text_state,
         ("text-state", "v7"): check_text_state}


# ---- making ----------------------------------------------------------------------------------------

class Draw:
    """A dict of random weights in which every parameter matters."""

    def __init__(self, rng):
        self.rng, self.w = rng, {}

    def normal(self, *shape, std=1.0, mean=0.0):
        return mean + std * torch.randn(*shape, generator=self.rng)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.rng)

    def matrix(self, out, inner, gain=1.0):
        return self.normal(out, inner, std=gain / math.sqrt(inner))

    def norm(self, name, size):
        self.w[name + ".weight"], self.w[name + ".bias"] = self.normal(size, std=0.2, mean=1.0), self.normal(size, std=0.2)

    def stored(self, dtype):
        stored = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}[dtype]
        return {name: value.to(torch.float32).to(stored) for name, value in self.w.items()}


def draw_layer56(d, b, i, C, H, N, F, version):
    """RWKV-5 and RWKV-6, block i, keys beginning with b."""
    w, mix = d.w, "time_mix_" if version == "x052" else "time_maa_"
    for c in "kvrg" if version == "x052" else "xwkvrg":
        w[f"{b}att.{mix}{c}"] = d.uniform(1, 1, C)
    if version == "x052":
        w[b + "att.time_decay"] = -5 + 5 * d.uniform(H, N)
    else:
        R, Q = 32, 64
        w[b + "att.time_maa_w1"], w[b + "att.time_maa_w2"] = d.matrix(C, 5 * R), d.normal(5, R, C, std=0.1)
        w[b + "att.time_decay"] = -5 + 5 * d.uniform(1, 1, C)
        w[b + "att.time_decay_w1"], w[b + "att.time_decay_w2"] = d.matrix(C, Q), d.normal(Q, C, std=0.1)
    w[b + "att.time_faaaa"] = d.normal(H, N, std=0.5)
    for name in "receptance", "key", "value", "output", "gate":
        w[f"{b}att.{name}.weight"] = d.matrix(C, C)
    for c in "kr":
        w[f"{b}ffn.{mix}{c}"] = d.uniform(1, 1, C)
    for name, out, inner in ("key", F, C), ("receptance", C, C), ("value", C, F):
        w[f"{b}ffn.{name}.weight"] = d.matrix(out, inner)


def draw_layer7(d, b, i, C, H, N, F, version):
    w = d.w
    for c in "rwkvag":
        w[f"{b}att.x_{c}"] = d.uniform(1, 1, C)
    for c, rank in ("w", 9), ("a", 16), ("v", 5), ("g", 24):
        if c == "v" and i == 0:
            continue
        if c != "g":
            w[f"{b}att.{c}0"] = d.normal(1, 1, C)
        w[f"{b}att.{c}1"], w[f"{b}att.{c}2"] = d.normal(C, rank, std=1 / math.sqrt(C)), d.normal(rank, C, std=0.5)
    w[b + "att.k_k"], w[b + "att.k_a"] = 0.5 + d.uniform(1, 1, C), d.uniform(1, 1, C)
    w[b + "att.r_k"] = d.normal(H, N, std=0.3)
    for name in "receptance", "key", "value", "output":
        w[f"{b}att.{name}.weight"] = d.matrix(C, C)
    w[b + "ffn.x_k"] = d.uniform(1, 1, C)
    w[b + "ffn.key.weight"], w[b + "ffn.value.weight"] = d.matrix(F, C), d.matrix(C, F)


def dim_ffn(o):
    return 4 * o.n_embd if o.language == "x070" else int(o.n_embd * 3.5) // 32 * 32


def draw_language(d, o, prefix):
    C, N = o.n_embd, o.head_size
    draw_layer = draw_layer7 if o.language == "x070" else draw_layer56
    d.w[prefix + "emb.weight"] = d.normal(o.vocab_size, C)
    for i in range(o.n_layer):
        b = f"{prefix}blocks.{i}."
        for name in ["ln1", "ln2"] + ["ln0"] * (i == 0):
            d.norm(b + name, C)
        draw_layer(d, b, i, C, C // N, N, dim_ffn(o), o.language or "x060")
        d.norm(b + "att.ln_x", C)
    d.norm(prefix + "ln_out", C)
    d.w[prefix + "head.weight"] = d.matrix(o.vocab_size, C, 3.0)


def draw_tower(d, o):
    E, v = o.vit_width, "vit.vision_model."
    d.w[v + "embeddings.class_embedding"] = d.normal(E)
    d.w[v + "embeddings.patch_embedding.weight"] = d.normal(E, 3, 14, 14, std=1 / math.sqrt(3 * 14 * 14))
    d.w[v + "embeddings.position_embedding.weight"] = d.normal((o.image_size // 14) ** 2 + 1, E, std=0.5)
    d.norm(v + "pre_layrnorm", E)
    for i in range(o.vit_layers):
        b = f"{v}encoder.layers.{i}."
        shapes = [("self_attn." + p + "_proj", E, E) for p in ("k", "v", "q", "out")]
        for name, out, inner in shapes + [("mlp.fc1", o.vit_mlp, E), ("mlp.fc2", E, o.vit_mlp)]:
            d.w[f"{b}{name}.weight"], d.w[f"{b}{name}.bias"] = d.matrix(out, inner), d.normal(out, std=0.2)
        d.norm(b + "layer_norm1", E)
        d.norm(b + "layer_norm2", E)
    d.norm(v + "post_layernorm", E)
    d.w["proj.weight"] = d.matrix(o.n_embd, E)


def draw_inputs(o, case, rng):
    """-> case.json's ids, picture (uint8 [S, S, 3]) or None, pixels. Smooth waves and some noise."""
    ids = torch.randint(1, o.vocab_size, (o.before + o.after,), generator=rng).tolist()
    case["input_ids"] = ids if o.no_placeholder else ids[:o.before] + [IMAGE] + ids[o.before:]
    S = o.image_size
    if o.no_picture:
        return None, torch.zeros(3, S, S)
    y, x = torch.meshgrid(torch.arange(S) / S, torch.arange(S) / S, indexing="ij")
    f = torch.rand(3, 3, generator=rng) * 12
    waves = torch.stack([torch.sin(f[c, 0] * x + f[c, 1] * y + f[c, 2]) for c in range(3)], -1)     # [S, S, 3]
    rgb = (128 + 90 * waves + 18 * torch.randn(S, S, 3, generator=rng)).clamp(0, 255).to(torch.uint8)
    return rgb, normalise(rgb)


def write_case(folder, case):
    text = json.dumps(case, ensure_ascii=False)
    (folder / "case.json").write_text(text.replace(', "', ',\n "').replace('{"kind"', '{\n "kind"') + "\n")


def greedy_on_state(model, state, ids, n):
    last, out = model.logits(model.forward(model.embed(ids), state))[-1], []
    while len(out) < n:
        out.append(int(last.argmax()))
        last = model.logits(model.forward(model.embed(out[-1:]), state))[-1]
    return out


def make_text(o):
    """A language model with the keys of a released one, without prefix, and an initial state for it as
    state tuning makes it; expected are float64 results."""
    folder, rng = Path(o.make), torch.Generator().manual_seed(o.seed)
    folder.mkdir(parents=True, exist_ok=True)
    draw = Draw(rng)
    draw_language(draw, o, "")
    torch.save(draw.stored(o.stored_dtype), folder / "model.pth")
    version = f"v{o.language[2]}"
    pieces = [5, 1, 9, 8]
    case = {"kind": "text-state", "version": version + " language model", "rwkv": o.language, "n_layer": o.n_layer,
            "n_embd": o.n_embd, "vocab_size": o.vocab_size, "head_size": o.head_size, "dim_ffn": dim_ffn(o),
            "head_size_divisor": o.head_size_divisor, "pieces": pieces, "pad_left": 3, "pad_token": STOP,
            "note": f"made by ref/check.py --make, seed {o.seed}", "model": "model.pth",
            "input_ids": torch.randint(1, o.vocab_size, (sum(pieces),), generator=rng).tolist()}
    model = LANGUAGE[version](load_state_dict(folder / "model.pth", torch.float64), o.head_size_divisor)
    out = run_text(model, case)[1]
    case["greedy_ids"] = greedy_on_state(model, model.new_state(), case["input_ids"], o.new_tokens)
    tuned = {f"blocks.{i}.att.time_state": draw.normal(model.H, model.N, model.N) for i in range(model.L)}  # [H, value, key]
    torch.save(tuned, folder / "tuned.pth")
    state = model.new_state()
    for i, layer in enumerate(state):
        S = tuned[f"blocks.{i}.att.time_state"].double()
        layer.S = S if o.language == "x070" else S.transpose(1, 2)
    case["tuned_ids"] = greedy_on_state(model, state, case["input_ids"], o.new_tokens)
    write_safetensors(folder / "expect.safetensors",
                      {name: value if name == "tokens" else value.to(torch.float32) for name, value in out.items()})
    write_case(folder, case)
    print(f"{folder}: {o.language}, {len(case['input_ids'])} ids, then {case['greedy_ids']}, tuned {case['tuned_ids']}")


def make(o):
    if o.n_embd % o.head_size or o.vit_width % o.vit_heads or o.image_size % 14:
        raise ValueError("n_embd must be a multiple of head_size, vit_width of vit_heads, image_size of 14")
    folder = Path(o.make)
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(o.seed)
    case = {"kind": "infer", "version": "v6.0", "rwkv": "x060", "n_layer": o.n_layer, "n_embd": o.n_embd,
            "dim_att": o.n_embd, "dim_ffn": dim_ffn(o), "head_size": o.head_size,
            "head_size_divisor": o.head_size_divisor, "vocab_size": o.vocab_size, "ctx_len": o.ctx_len,
            "grid_size": o.grid_size, "stored_dtype": o.stored_dtype, "model": "model.pth", "image_seed": o.seed,
            "image_position": None, "scan": o.scan, "note": f"made by ref/check.py --make, seed {o.seed}",
            "images": [] if o.no_picture else ["image.png"],
            "towers": [{"type": "clip", "hidden_size": o.vit_width, "num_hidden_layers": o.vit_layers,
                        "num_attention_heads": o.vit_heads, "intermediate_size": o.vit_mlp, "patch_size": 14,
                        "image_size": o.image_size, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05}],
            "greedy": {"max_new_tokens": o.new_tokens, "stop_token": STOP}}
    draw = Draw(rng)
    draw_language(draw, o, "rwkv.")
    draw_tower(draw, o)
    torch.save(draw.stored(o.stored_dtype), folder / "model.pth")
    exact = build(case, load_state_dict(folder / "model.pth", torch.float64))
    single = build(case, load_state_dict(folder / "model.pth"))
    for _ in range(30):     # until no greedy choice is so close that rounding could turn it
        rgb, pixels = draw_inputs(o, case, rng)
        got, info = run_case(exact, case, pixels.double())
        if info["greedy"]["min_margin"] >= 2e-2:
            break
    else:
        raise ValueError(f"no input with a clear greedy choice in 30 draws; take another seed than {o.seed}")
    near, _ = run_case(single, case, pixels)
    if rgb is not None:
        write_png(folder / "image.png", rgb)        # S x S already: preprocessing changes no sample

    logits = "logits" if o.vocab_size <= 4096 else "logits.last"
    names = ["image", logits, "logits.uni.last", "pixels", "vision", "x.in", "tokens"]
    names += [f"x.{i}" for i in range(o.n_layer)]
    write_safetensors(folder / "expect.safetensors",
                      {n: got[n].to(torch.int32 if n == "tokens" else torch.float32) for n in names})
    gap = lambda n: float((near[n].double() - got[n].double()).abs().max())
    case.update({k: info[k] for k in ("sequence_length", "n_image_tokens", "img_start", "img_end")})
    case["greedy"].update(info["greedy"])
    case["fp32_vs_fp64"] = {n: gap(n) for n in ("logits", "logits.uni", "image", "vision")}
    case["fp32_vs_fp64"].update({"x.last": gap(f"x.{o.n_layer - 1}"),
                                 "logits_absmax": float(got["logits"].abs().max()),
                                 "logits_std": float(got["logits"].std())})
    write_case(folder, case)
    print(f"{folder}: {case['sequence_length']} rows, ids {case['greedy']['ids']}, "
          f"margin {case['greedy']['min_margin']:.3g}, logits std {case['fp32_vs_fp64']['logits_std']:.3g}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cases", nargs="*", metavar="CASE_DIR")
    p.add_argument("--make", metavar="DIR", help="make a case instead; the options below are its sizes")
    for name, default in [("seed", 1), ("n-layer", 3), ("n-embd", 64), ("head-size", 16), ("head-size-divisor", 8),
                          ("vocab-size", 300), ("grid-size", -1), ("ctx-len", 1024), ("image-size", 56),
                          ("vit-width", 48), ("vit-layers", 2), ("vit-heads", 3), ("vit-mlp", 96), ("before", 3),
                          ("after", 6), ("new-tokens", 10)]:
        p.add_argument("--" + name, type=int, default=default, help=f"default {default}")
    p.add_argument("--scan", default="bidirection", choices=["bidirection", "unidirection"])
    p.add_argument("--language", choices=["x052", "x060", "x070"], help="a language model of this version alone")
    p.add_argument("--stored-dtype", default="bf16", choices=["bf16", "f16", "f32"])
    p.add_argument("--no-placeholder", action="store_true", help="no -200 among the ids")
    p.add_argument("--no-picture", action="store_true", help="the zero picture")
    o = p.parse_args()
    torch.manual_seed(0)
    if o.make:
        make_text(o) if o.language else make(o)
        return 0
    if not o.cases:
        p.error("a folder of cases, or --make DIR, is needed")
    run = failed = 0
    for path in sorted({c.parent for f in o.cases for c in Path(f).rglob("case.json")}):
        case = json.loads((path / "case.json").read_text())
        check = KINDS.get((case.get("kind"), case.get("version", "")[:2]))
        if not check:
            continue
        print(path)
        run += 1
        try:
            failed += not check(path, case)
        except (ValueError, KeyError, OSError) as problem:
            failed += 1
            print(f"  FAIL {type(problem).__name__}: {problem}")
    print(f"{run} cases, {failed} failed")
    return 1 if failed or not run else 0


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main())
