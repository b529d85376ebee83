#!/usr/bin/python3
"""Checks ref/assembly.py against reference cases of whole models, and makes cases of versions that have none.

    ref/check_assembly.py CASE_DIR...               kind "infer" of HD, UHD, v6.20 and v7 whose pixels are stored whole
    ref/check_assembly.py --make DIR --version V    a random small model of V (hd, uhd, v6.20, v7.00) and a case
"""
import argparse
import json
import sys
from pathlib import Path

import torch

from assembly import ROW, RULES, SHORT, Assembly
from check import Draw, Report, draw_language, read_safetensors, write_case, write_safetensors
from visualrwkv import IMAGE, STOP, load_state_dict

sys.dont_write_bytecode = True
# Pixels of v7.02 to v7.04 are stored as float16: 5e-4 of rounding goes in.
BOUNDS = {"logits": 1e-4, "x.": 1e-4, "image": 1e-4, "vision": 5e-5, "projected": 1e-4, "compressed": 1e-4}
ROUNDED = {name: 1e-2 for name in BOUNDS}
TOWERS = [{"type": "dinov2", "image_size": 16, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
           "intermediate_size": 64},
          {"type": "siglip", "image_size": 20, "patch_size": 5, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
           "intermediate_size": 40},
          {"type": "sam", "image_size": 24, "patch_size": 3, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
           "intermediate_size": 48, "window_size": 3, "global_attn_indexes": [1], "out_chans": 6, "down_sampler": True}]


def stored_pixels(case, want):
    """{tower: [regions, 3, S, S]} of the case's only picture, or None where it is not stored whole."""
    out = {}
    for about in case["towers"]:
        name = SHORT[about["type"]]
        pixels = want.get(f"pixels.{name}", want.get("pixels") if len(case["towers"]) == 1 else None)
        if pixels is None or pixels.shape[-1] != about["image_size"]:
            return None
        out[name] = pixels.float().reshape(-1, *pixels.shape[-3:])
    return out


def forward(model, case, pixels):
    """-> named tensors, rows, scanned range."""
    got = {}

    def watch(name, value):
        got[name] = value
    image = model.encode(pixels, watch)
    got["image"] = image
    rows, span = model.assemble(case["input_ids"], [image])
    got["logits"] = model.run(rows, span, watch)
    return got, rows, span


def check(folder, case):
    want = read_safetensors(folder / "expect.safetensors")
    pixels = stored_pixels(case, want)
    if pixels is None:
        print("  note the pixels are not stored whole: not run")
        return True
    model = Assembly(load_state_dict(folder / case["model"]), case)
    with torch.no_grad():
        got, rows, span = forward(model, case, pixels)
        ids, _, _ = model.generate(rows, span, case["greedy"]["max_new_tokens"], case["greedy"]["stop_token"])
    rounded = any(n.startswith("pixels") and json.loads(header(folder))[n]["dtype"] == "F16" for n in want)
    report = Report(ROUNDED if rounded else BOUNDS)
    for name in sorted(want):
        if name.split(".")[0] in ("pixels", "tokens") or name == "image.step":
            continue
        report.tensor(name, got[name].reshape(want[name].shape) if name in got else torch.zeros(0), want[name].float())
    report.equal("greedy ids", ids, case["greedy"]["ids"])
    return not report.failed


def header(folder):
    data = (folder / "expect.safetensors").read_bytes()
    return data[8:8 + int.from_bytes(data[:8], "little")]


# ---- making ----------------------------------------------------------------------------------------

def draw_timm(d, prefix, t, scale):
    C, M, p, side = t["hidden_size"], t["intermediate_size"], t["patch_size"], t["image_size"] // t["patch_size"]
    d.w[prefix + "pos_embed"] = d.normal(1, side * side, C, std=0.5)
    d.w[prefix + "patch_embed.proj.weight"], d.w[prefix + "patch_embed.proj.bias"] = d.normal(C, 3, p, p, std=0.2), d.normal(C, std=0.2)
    if scale:
        d.w[prefix + "cls_token"], d.w[prefix + "reg_token"] = d.normal(1, 1, C), d.normal(1, 4, C)
    for i in range(t["num_hidden_layers"]):
        draw_block(d, f"{prefix}blocks.{i}.", C, M, "fc")
        if scale:
            d.w[f"{prefix}blocks.{i}.ls1.gamma"], d.w[f"{prefix}blocks.{i}.ls2.gamma"] = d.uniform(C), d.uniform(C)
    d.norm(prefix + "norm", C)


def draw_block(d, b, C, M, mlp):
    for name, out, inner in ("attn.qkv", 3 * C, C), ("attn.proj", C, C), (f"mlp.{mlp}1" if mlp == "fc" else "mlp.lin1", M, C), \
            (f"mlp.{mlp}2" if mlp == "fc" else "mlp.lin2", C, M):
        d.w[f"{b}{name}.weight"], d.w[f"{b}{name}.bias"] = d.matrix(out, inner), d.normal(out, std=0.2)
    d.norm(b + "norm1", C)
    d.norm(b + "norm2", C)


def draw_sam(d, prefix, t):
    C, O, p, side = t["hidden_size"], t["out_chans"], t["patch_size"], t["image_size"] // t["patch_size"]
    d.w[prefix + "pos_embed"] = d.normal(1, side, side, C, std=0.5)
    d.w[prefix + "patch_embed.proj.weight"], d.w[prefix + "patch_embed.proj.bias"] = d.normal(C, 3, p, p, std=0.2), d.normal(C, std=0.2)
    for i in range(t["num_hidden_layers"]):
        draw_block(d, f"{prefix}blocks.{i}.", C, t["intermediate_size"], "lin")
        size = side if i in t["global_attn_indexes"] else t["window_size"]
        for axis in "hw":
            d.w[f"{prefix}blocks.{i}.attn.rel_pos_{axis}"] = d.normal(2 * size - 1, C // t["num_attention_heads"], std=0.3)
    d.w[prefix + "neck.0.weight"], d.w[prefix + "neck.2.weight"] = d.normal(O, C, 1, 1, std=0.3), d.normal(O, O, 3, 3, std=0.15)
    d.norm(prefix + "neck.1", O)
    d.norm(prefix + "neck.3", O)


def draw_projector(d, version, E, C):
    if version == "v7.00":
        d.w["proj.gate.weight"], d.w["proj.o_proj.weight"] = d.matrix(E, E), d.matrix(C, E)
        d.norm("proj.ln_v", C)
    else:
        d.w["proj.proj.weight"] = d.matrix(C, 2 * E if version == "uhd" else E)
        d.w["proj.gate.weight"], d.w["proj.o_proj.weight"] = d.matrix(C, C), d.matrix(C, C)


def make(o):
    folder, rng = Path(o.make), torch.Generator().manual_seed(o.seed)
    folder.mkdir(parents=True, exist_ok=True)
    row_ids = o.version not in ("hd", "uhd")
    o.language, o.n_layer, o.vocab_size = ("x070" if o.version == "v7.00" else "x060"), 3, 290
    o.n_embd, o.head_size = (64, 64) if o.version == "v7.00" else (32, 16)
    d = Draw(rng)
    draw_language(d, o, "rwkv.")
    draw_timm(d, "vit.dino_featurizer.", TOWERS[0], True)
    draw_timm(d, "vit.siglip_featurizer.", TOWERS[1], False)
    draw_sam(d, "vit.sam_featurizer.", TOWERS[2])
    draw_projector(d, o.version, 16 + 24 + 4 * 6, o.n_embd)
    torch.save(d.stored("bf16"), folder / "model.pth")
    tokens = {"v6.20": 9, "v7.00": 4}.get(o.version, 0)
    ids = torch.randint(1, 250, (11,), generator=rng).tolist()
    ids[4:4] = [ROW] * tokens if row_ids else [IMAGE]
    case = {"kind": "infer", "version": o.version, "rwkv": o.language, "n_layer": o.n_layer, "n_embd": o.n_embd, "head_size": o.head_size,
            "head_size_divisor": 8, "vocab_size": o.vocab_size, "ctx_len": 512, "model": "model.pth", "towers": TOWERS,
            "note": f"made by ref/check_assembly.py --make, seed {o.seed}", "input_ids": ids,
            "greedy": {"max_new_tokens": 8, "stop_token": STOP}}
    if row_ids:
        case["num_token_per_image"] = tokens
    regions = 5 if o.version == "uhd" else 1
    for _ in range(30):     # until no greedy choice is so close that rounding could turn it
        pixels = {SHORT[t["type"]]: torch.randn(regions, 3, t["image_size"], t["image_size"], generator=rng) for t in TOWERS}
        with torch.no_grad():
            model = Assembly(load_state_dict(folder / "model.pth", torch.float64), case)
            got, rows, span = forward(model, case, {k: v.double() for k, v in pixels.items()})
            greedy, logits, margin = model.generate(rows, span, 8, STOP)
        if margin >= 2e-2:
            break
    else:
        raise ValueError(f"no picture with a clear greedy choice in 30 draws; take another seed than {o.seed}")
    case["greedy"].update(ids=greedy, logits=logits, min_margin=margin)
    keep = {"tokens": torch.tensor(ids, dtype=torch.int32)}
    keep.update({f"pixels.{k}": v if regions > 1 else v[0] for k, v in pixels.items()})
    keep.update({k: v if regions > 1 or not k.startswith("vision") else v[0] for k, v in got.items()})
    write_safetensors(folder / "expect.safetensors", {k: v if k == "tokens" else v.to(torch.float32) for k, v in keep.items()})
    write_case(folder, case)
    print(f"{folder}: {o.version}, {len(rows)} rows, ids {greedy}, margin {margin:.3g}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cases", nargs="*")
    p.add_argument("--make", metavar="DIR")
    p.add_argument("--version", default="hd", choices=["hd", "uhd", "v6.20", "v7.00"])
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    if o.make:
        return make(o)
    run = failed = 0
    for folder in sorted({c.parent for f in o.cases for c in Path(f).rglob("case.json")}):
        case = json.loads((folder / "case.json").read_text())
        version = case.get("version", "")
        if case.get("kind") != "infer" or case.get("optional") or not (version in RULES or version[:4] == "v7.0") or case.get("images") == []:
            continue
        print(folder)
        run += 1
        failed += not check(folder, case)
    print(f"{run - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
