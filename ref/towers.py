"""The vision towers of VisualRWKV v7 in plain PyTorch: DINOv2 with registers, SigLIP in two forms, SAM;
an executable specification. docs/MODEL.md, section 16, says the same in words.

Job:        pixels [3, H, W] -> features [rows, channels]; `watch` sees patch, block.i, neck.i on the way.
Invariants: one picture, no batch axis; sizes come from shapes, only the number of heads does not.
Sources:    Dosovitskiy et al., "An Image is Worth 16x16 Words"; Oquab et al., "DINOv2"; Darcet et al.,
            "Vision Transformers Need Registers"; Zhai et al., "Sigmoid Loss"; Kirillov et al., "Segment
            Anything"; the behaviour of the released programs v7.00 and v7.01.

Letters:    P patches   C width   d = C / heads   M width of the MLP   R registers
            h x w grid of patches   s window   O channels out of SAM's neck
"""
import math

import torch
from torch.nn.functional import conv2d, gelu, layer_norm, pad


def cubic_weights(old, new, dtype=torch.float32):
    """[new, old]: each new cell as a sum of old cells. Cubic with a = -0.5, centres at half pixels,
    widened where the grid shrinks; what lies beyond the edge is left out, the rest scaled to a sum of 1."""
    scale = old / new
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * scale                         # [new]
    x = (torch.arange(old) + 0.5 - centre[:, None]).abs() / max(scale, 1)                   # [new, old]
    near, far = 1.5 * x ** 3 - 2.5 * x ** 2 + 1, -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return (weights / weights.sum(1, keepdim=True)).to(dtype)


def resample_table(table, grid, prefix=0):
    """[prefix + n*n, C] -> [prefix + h*w, C]: position rows of another grid; the first `prefix` stay."""
    side = math.isqrt(len(table) - prefix)
    if grid == (side, side):
        return table
    cells = table[prefix:].reshape(side, side, -1)
    down, across = (cubic_weights(side, size, table.dtype) for size in grid)                # [h, n], [w, n]
    cells = torch.einsum("yi,xj,ijc->yxc", down, across, cells)
    return torch.cat([table[:prefix], cells.reshape(grid[0] * grid[1], -1)])


class Vit:
    """What all towers share: patches, attention, pre-norm blocks. `names` are the keys of a block."""

    prefix, layer = "", "blocks.{}."
    names = {"norm1": "norm1", "norm2": "norm2", "out": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    act = staticmethod(gelu)                                            # the exact one, by erf

    def __init__(self, weights, heads, eps=1e-6):
        self.w = {k[len(self.prefix):]: w for k, w in weights.items() if k.startswith(self.prefix)}
        self.heads, self.eps = heads, eps
        self.layers = 1
        while self.layer.format(self.layers) + self.names["norm1"] + ".weight" in self.w:
            self.layers += 1

    def norm(self, x, name):
        return layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], self.eps)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def patches(self, pixels, name):
        """-> [h, w, C]; pixels left over at the right and at the bottom are dropped."""
        w = self.w[name + ".weight"]                                    # [C, 3, p, p]
        return conv2d(pixels[None], w, self.w[name + ".bias"], stride=w.shape[-1])[0].permute(1, 2, 0)

    def qkv(self, x, block):
        """[.., rows, C] -> three of [.., heads, rows, d]."""
        parts = self.linear(x, block + "attn.qkv").chunk(3, -1)         # rows of q, then k, then v
        return [self.split(y) for y in parts]

    def split(self, y):
        return y.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def attention(self, x, block, bias=lambda q: 0):
        """[.., rows, C] -> the same, no mask; bias: from unscaled queries to what is added to the logits."""
        q, k, v = self.qkv(x, block)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias(q)      # [.., heads, rows, rows]
        y = (logits.softmax(-1) @ v).transpose(-2, -3).flatten(-2)              # [.., rows, C]
        return self.linear(y, block + self.names["out"])

    def block(self, x, i):
        b = self.layer.format(i)
        scale = lambda name: self.w.get(b + name, 1)                    # LayerScale: DINOv2 only
        x = x + scale("ls1.gamma") * self.attend(self.norm(x, b + self.names["norm1"]), i)
        y = self.act(self.linear(self.norm(x, b + self.names["norm2"]), b + self.names["fc1"]))
        return x + scale("ls2.gamma") * self.linear(y, b + self.names["fc2"])

    def attend(self, y, i):
        return self.attention(y, self.layer.format(i))

    def blocks(self, x, n, watch):
        for i in range(n):
            x = self.block(x, i)
            watch(f"block.{i}", x)
        return x


class Siglip(Vit):
    """timm's form. The last block, `norm.*` and `attn_pool.*` have no effect."""

    prefix = "vit.siglip_featurizer."

    def extra_rows(self):
        return self.w["pos_embed"][0, :0]                               # [0, C]

    def __call__(self, pixels, watch=lambda name, value: None):
        x = self.patches(pixels, "patch_embed.proj")                    # [h, w, C]
        grid, x = x.shape[:2], x.flatten(0, 1)
        watch("patch", x)
        x = x + resample_table(self.w["pos_embed"][0], tuple(grid))     # extra rows get no position
        extra = self.extra_rows()
        x = self.blocks(torch.cat([extra, x]), self.layers - 1, watch)
        return x[len(extra):]                                           # [P, C]


class Dino(Siglip):
    """DINOv2 with registers, timm's form: class row and R registers in front, LayerScale."""

    prefix = "vit.dino_featurizer."

    def extra_rows(self):
        return torch.cat([self.w[name][0] for name in ("cls_token", "reg_token") if name in self.w])


class SiglipHf(Vit):
    """transformers' form: all layers, tanh GELU, and the features are normed. `head.*` has no effect."""

    prefix, layer = "vit.vision_model.", "encoder.layers.{}."
    names = {"norm1": "layer_norm1", "norm2": "layer_norm2", "out": "self_attn.out_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    act = staticmethod(lambda x: gelu(x, approximate="tanh"))

    def qkv(self, x, block):
        return [self.split(self.linear(x, f"{block}self_attn.{c}_proj")) for c in "qkv"]

    def __call__(self, pixels, watch=lambda name, value: None):
        x = self.patches(pixels, "embeddings.patch_embedding").flatten(0, 1)
        watch("patch", x)
        x = self.blocks(x + self.w["embeddings.position_embedding.weight"], self.layers, watch)
        return self.norm(x, "post_layernorm")                           # [P, C]


class Sam(Vit):
    """SAM ViT-B: blocks within windows of `window`, those of `whole` over the whole grid."""

    prefix = "vit.sam_featurizer."
    names = {**Vit.names, "fc1": "mlp.lin1", "fc2": "mlp.lin2"}

    def __init__(self, weights, heads, eps=1e-6, window=14, whole=(2, 5, 8, 11), down_sampler=True):
        super().__init__(weights, heads, eps)
        self.window, self.whole, self.down_sampler = window, whole, down_sampler

    def relative(self, name, size):
        """[size, size, d]: for query row a and key row b the table's row a - b + size - 1; a table of
        another length is resized linearly."""
        table = self.w[name]                                            # [2*side-1, d]
        rows = 2 * size - 1
        if len(table) != rows:
            at = ((torch.arange(rows, dtype=table.dtype) + 0.5) * len(table) / rows - 0.5).clamp(0, len(table) - 1)
            low = at.floor().long()
            share = (at - low)[:, None]
            table = table[low] * (1 - share) + table[(low + 1).clamp(max=len(table) - 1)] * share
        a = torch.arange(size)
        return table[a[:, None] - a + size - 1]

    def attend(self, y, i):
        """y [h, w, C]. A window block cuts it into windows, zeros filling the last ones: these zero rows
        (after the norm) take part as keys and values, there is no mask."""
        h, w, C = y.shape
        s, block = self.window, self.layer.format(i)
        if i in self.whole:
            parts, size = y.reshape(1, h * w, C), (h, w)
        else:
            y = pad(y, (0, 0, 0, -w % s, 0, -h % s))                    # [h', w', C]
            H, W = y.shape[0] // s, y.shape[1] // s
            parts, size = y.reshape(H, s, W, s, C).transpose(1, 2).reshape(H * W, s * s, C), (s, s)
        down, across = self.relative(block + "attn.rel_pos_h", size[0]), self.relative(block + "attn.rel_pos_w", size[1])

        def bias(q):                                                    # [windows, heads, rows, d]
            q = q.unflatten(2, size)
            by_row = torch.einsum("nmyxd,ykd->nmyxk", q, down)[..., :, None]        # [.., y, x, ky, 1]
            by_column = torch.einsum("nmyxd,xkd->nmyxk", q, across)[..., None, :]   # [.., y, x, 1, kx]
            return (by_row + by_column).flatten(4).flatten(2, 3)

        parts = self.attention(parts, block, bias)
        if i in self.whole:
            return parts.reshape(h, w, C)
        return parts.reshape(H, W, s, s, C).transpose(1, 2).reshape(H * s, W * s, C)[:h, :w]

    def __call__(self, pixels, watch=lambda name, value: None):
        x = self.patches(pixels, "patch_embed.proj")                    # [h, w, C]
        watch("patch", x)
        if "pos_embed" in self.w:
            x = x + self.w["pos_embed"][0]
        x = self.blocks(x, self.layers, watch)
        for i, convolution in enumerate(["neck.0", "neck.2"]):          # 1x1, then 3x3 with a border of zeros
            x = conv2d(x.permute(2, 0, 1)[None], self.w[convolution + ".weight"], padding=i)[0].permute(1, 2, 0)
            watch(convolution, x)
            x = self.norm(x, f"neck.{2 * i + 1}")                       # over channels
            watch(f"neck.{2 * i + 1}", x)
        if self.down_sampler:                                           # channel c*4 + dy*2 + dx
            h, w, O = x.shape
            x = x.reshape(h // 2, 2, w // 2, 2, O).permute(0, 2, 4, 1, 3).reshape(h // 2, w // 2, 4 * O)
        return x.flatten(0, 1)                                          # [P, O] or [P/4, 4*O]


TYPES = {"dinov2": Dino, "siglip": Siglip, "siglip-hf": SiglipHf, "sam": Sam}


def build_tower(weights, about):
    """`about`: a tower of case.json."""
    more = {}
    if about["type"] == "sam":
        more = {"window": about["window_size"], "whole": about["global_attn_indexes"],
                "down_sampler": about.get("down_sampler", True)}
    return TYPES[about["type"]](weights, about["num_attention_heads"], about.get("layer_norm_eps", 1e-6), **more)
