"""What stands around the parts of VisualRWKV HD, UHD, v6.20 and v7 in plain PyTorch: towers side by side,
regions, pooling, projectors, the compressor, padding; an executable specification. docs/MODEL.md, section
17, says the same in words. Parts: visualrwkv.py, rwkv57.py, towers.py.

Job:        pixels of a picture, {tower: [regions, 3, S, S]} -> rows [n, C]; ids and pictures -> logits.
Invariants: one sample; a picture's rows stand where its ids are (v6.20, v7) or at IMAGE (HD, UHD).
Sources:    Hou et al., "VisualRWKV-HD and UHD"; the behaviour of the released programs.

Letters:    as in visualrwkv.py and towers.py; E channels of all towers together
"""
import math

import torch
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, layer_norm

from rwkv57 import Rwkv7
from towers import build_tower
from visualrwkv import IMAGE, Rwkv6

ROW = 65535                                     # the id of one row of a picture
SHORT = {"dinov2": "dino", "siglip": "siglip", "sam": "sam", "siglip-hf": "siglip"}
RULES = {"hd": ("bidirection", False, 0), "uhd": ("bidirection", False, 0), "v6.20": ("unidirection", True, 0)}
V7 = ("unidirection", True, 16)                 # scan, an id per row, left padding to a multiple of


def square(rows):
    """[s*s, E] -> [E, s, s]"""
    side = math.isqrt(len(rows))
    return rows.T.reshape(-1, side, side)


def pool(rows, side):
    """[s*s, E] -> [side*side, E], adaptive."""
    return adaptive_avg_pool2d(square(rows)[None], side)[0].flatten(1).T


def overlay(features):
    """UHD: [5, s*s, E], the whole and its quarters -> [s*s, 2E]."""
    half = math.isqrt(features.shape[1]) // 2
    quarters = [square(pool(f, half)) for f in features[1:]]
    grid = torch.cat([torch.cat(quarters[:2], 2), torch.cat(quarters[2:], 2)], 1)       # [E, s, s]
    return torch.cat([features[0], grid.flatten(1).T], 1)


def project(w, x):
    """[n, E] -> [n, C]; the keys tell which projector it is."""
    if "proj.weight" in w:
        return x @ w["proj.weight"].T                                       # linear
    if "proj.ln_v.weight" in w:                                             # mlp
        y = (x * torch.sigmoid(x @ w["proj.gate.weight"].T)) @ w["proj.o_proj.weight"].T
        return layer_norm(y, y.shape[-1:], w["proj.ln_v.weight"], w["proj.ln_v.bias"], 1e-5)
    h = x @ w["proj.proj.weight"].T
    return h, w["proj.gate.weight"], w["proj.o_proj.weight"]                # gated or relu: the version says


class Compressor(Rwkv7):
    """Blocks without embedding and head, keys `vtc.*`; odd blocks read the rows backwards."""

    def __init__(self, weights, language):
        self.w = {k[4:]: w for k, w in weights.items() if k.startswith("vtc.")}
        self.eps, self.group_eps, self.C, self.H, self.N = language.eps, language.group_eps, language.C, language.H, language.N
        self.L = 1 + max(int(k.split(".")[1]) for k in self.w if k.startswith("blocks."))
        self.dtype = language.dtype

    def __call__(self, rows, n, watch):
        pads = -len(rows) % 16
        x = torch.cat([torch.zeros(pads, self.C, dtype=self.dtype), rows])
        x = self.norm(self.forward(x, self.new_state(), "bidirection", (0, len(x))), "ln_out")[pads:]
        watch("compressed", x)
        return adaptive_avg_pool1d(x.T[None], n)[0].T                       # [n, C]


class Assembly:
    """`case`: the settings of a case.json."""

    def __init__(self, weights, case):
        self.version, self.w = case["version"], weights
        self.scan, self.row_ids, self.multiple = RULES.get(self.version, V7)
        self.scan = case.get("scan") or self.scan
        language = Rwkv7 if "rwkv.blocks.0.att.r_k" in weights else Rwkv6
        self.rwkv = language(weights, case["head_size_divisor"])
        self.towers = [(SHORT[t["type"]], build_tower(weights, t)) for t in case["towers"]]
        self.tokens, self.pad = case.get("num_token_per_image", 0), case.get("pad_token", 261)
        self.compress = Compressor(weights, self.rwkv) if any(k.startswith("vtc.") for k in weights) else None

    def encode(self, pixels, watch=lambda name, value: None):
        """{tower: [regions, 3, S, S]} -> the picture's rows [n, C]."""
        each = []
        for name, tower in self.towers:
            each.append(torch.stack([tower(p) for p in pixels[name]]))      # [regions, s*s, d]
            watch("vision" if len(self.towers) == 1 else f"vision.{name}", each[-1])
        features = torch.cat(each, 2)                                       # [regions, s*s, E]
        if self.version == "uhd":
            h, _, out = project(self.w, overlay(features))
            return torch.relu(h) @ out.T
        if self.version in ("hd", "v6.20") and "proj.weight" not in self.w:
            h, gate, out = project(self.w, self.pooled(features).flatten(0, 1))
            return (h * torch.sigmoid(h @ gate.T)) @ out.T
        if not self.compress:
            return project(self.w, self.pooled(features).flatten(0, 1))
        rows = project(self.w, features.flatten(0, 1))
        watch("projected", rows)
        return self.compress(rows, self.tokens * (len(features) if self.version == "v7.04" else 1), watch)

    def pooled(self, features):
        side = math.isqrt(self.tokens) or math.isqrt(features.shape[1])
        return torch.stack([pool(f, side) for f in features])

    def assemble(self, ids, pictures):
        """-> rows [T, C], the scanned range. Row ids and the pictures' rows are matched in order."""
        if self.row_ids:
            rows = self.rwkv.embed([0 if t == ROW else t for t in ids])
            at = [i for i, t in enumerate(ids) if t == ROW]
            image = torch.cat(pictures)[:len(at)] if pictures else torch.zeros(0, self.rwkv.C)
            rows[at[:len(image)]] = image.to(rows.dtype)
            return rows, (0, 0)
        image, q = pictures[0], ids.index(IMAGE) if IMAGE in ids else 0
        after = ids[q + 1:] if IMAGE in ids else ids
        image = image if IMAGE in ids else torch.zeros_like(image)
        return torch.cat([self.rwkv.embed(ids[:q]), image, self.rwkv.embed(after)]), (q, q + len(image))

    def run(self, rows, span, watch=None):
        """[T, C] -> logits [T, V]; the rows put in front are cut off again."""
        pads = -len(rows) % self.multiple if self.multiple else 0
        x = torch.cat([self.rwkv.embed([self.pad] * pads), rows])
        span = (span[0] + pads, span[1] + pads)
        cut = watch and (lambda name, value: watch(name, value[pads:]))
        return self.rwkv.logits(self.rwkv.forward(x, self.rwkv.new_state(), self.scan, span, cut))[pads:]

    def generate(self, rows, span, max_new, stop):
        """Greedy, as the original: all rows again, padded anew, at each step."""
        ids, values, margin = [], [], math.inf
        while True:
            last = self.run(rows, span)[-1]
            two, best = last.topk(2).values, int((last == last.max()).nonzero()[0])
            ids.append(best)
            values.append(float(last[best]))
            margin = min(margin, float(two[0] - two[1]))
            if best == stop or len(ids) == max_new:
                return ids, values, margin
            rows = torch.cat([rows, self.rwkv.embed([best])])
