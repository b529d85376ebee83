"""VisualRWKV v6.0 in plain PyTorch: the executable specification of what the C program computes.

Job:        pixels and token ids -> logits and greedy ids; docs/MODEL.md says the same in words.
Data flow:  pixels -> CLIP tower -> grid pooling -> projector -> image rows --+
            ids    -> embedding table ---------------------------> text rows --+-> rows [T, C]
            rows -> RWKV-6 blocks, each in the row order of its scan -> ln_out, head -> logits
Invariants: one sample at a time, no batch axis; the recurrence is a loop over rows and never a
            parallel form; all weights are widened to one float type on loading, the state has the
            same type; activations that are shown to `watch` are in natural row order.
Sources:    Peng et al., "Eagle and Finch" (RWKV-6, equations of section 3.2); Radford et al., "CLIP";
            Hou et al., "VisualRWKV" (scans, prompts); the behaviour of the released v6.0 program.

Letters:    T rows of a sequence   C n_embd        H heads of the language model   N head size
            A = H*N (= C)          F ffn width     L layers                        V vocabulary
            R rank of the mixing   Q rank of the decay
            P = s*s patches        E width of the tower   n image rows
"""
import math

import torch
from torch.nn.functional import conv2d, layer_norm, group_norm, silu

IMAGE = -200       # the id that stands for one picture
STOP = 261         # "\n\n" in the world vocabulary
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def load_state_dict(path, dtype=torch.float32):
    """Checkpoint (a dict of bf16, f16 or f32 tensors) -> the same dict in one type."""
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {k: w.to(dtype) for k, w in weights.items()
            if not k.endswith("embeddings.position_ids")}  # int64 list 0..P of older files


# ---- pictures --------------------------------------------------------------------------------------

def normalise(rgb):
    """8-bit picture [S, S, 3] -> pixels [3, S, S]. The product with 1/255 is rounded once, from double."""
    v = (rgb.to(torch.float64) * (1.0 / 255.0)).to(torch.float32)            # [S, S, 3]
    return ((v - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)).permute(2, 0, 1).contiguous()


class Clip:
    """CLIP vision tower, keys `vit.vision_model.*`. Patch size, width, depth and grid come from shapes;
    the number of heads does not (in all published towers a head has 64 channels)."""

    def __init__(self, weights, heads=None, eps=1e-5):
        prefix = "vit.vision_model."
        self.w = {k[len(prefix):]: w for k, w in weights.items() if k.startswith(prefix)}
        self.eps = eps
        self.width, _, self.patch, _ = self.w["embeddings.patch_embedding.weight"].shape  # [E, 3, p, p]
        positions = self.w["embeddings.position_embedding.weight"].shape[0]               # 1 + P
        self.side = math.isqrt(positions - 1)
        self.image_size = self.side * self.patch
        self.heads = heads or self.width // 64
        self.layers = 1 + max(int(k.split(".")[2]) for k in self.w if k.startswith("encoder.layers."))

    def norm(self, x, name):
        return layer_norm(x, (self.width,), self.w[name + ".weight"], self.w[name + ".bias"], self.eps)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def attention(self, x, name):
        rows, width = x.shape                                               # [1+P, E]
        d = width // self.heads
        split = lambda y: y.reshape(rows, self.heads, d).transpose(0, 1)    # [heads, 1+P, d]
        q = split(self.linear(x, name + "q_proj") * d ** -0.5)
        k = split(self.linear(x, name + "k_proj"))
        v = split(self.linear(x, name + "v_proj"))
        p = (q @ k.transpose(1, 2)).softmax(-1)                             # [heads, 1+P, 1+P], no mask
        y = (p @ v).transpose(0, 1).reshape(rows, width)                    # [1+P, E]
        return self.linear(y, name + "out_proj")

    def __call__(self, pixels):
        """pixels [3, S, S] -> rows [1+P, E] of the last layer, class row FIRST, post_layernorm unused."""
        h = conv2d(pixels[None], self.w["embeddings.patch_embedding.weight"], stride=self.patch)
        h = h[0].flatten(1).T                                               # [P, E], patches row by row
        h = torch.cat([self.w["embeddings.class_embedding"][None], h])      # [1+P, E]
        h = h + self.w["embeddings.position_embedding.weight"]
        h = self.norm(h, "pre_layrnorm")                                    # spelled so in the files
        for i in range(self.layers):
            name = f"encoder.layers.{i}."
            h = h + self.attention(self.norm(h, name + "layer_norm1"), name + "self_attn.")
            y = self.linear(self.norm(h, name + "layer_norm2"), name + "mlp.fc1")       # [1+P, mlp]
            h = h + self.linear(y * torch.sigmoid(1.702 * y), name + "mlp.fc2")         # quick GELU
        return h


def grid_pool(features, grid):
    """Tower rows [1+P, E], class row first -> [n, E], class row last."""
    cls, patches = features[:1], features[1:]                               # [1, E], [P, E]
    if grid == -1:
        pooled = patches                                                    # [P, E]
    elif grid == 0:
        pooled = patches[:0]                                                # [0, E]
    elif grid == 1:
        pooled = patches.mean(0, keepdim=True)                              # [1, E]
    else:
        side = math.isqrt(len(patches))
        cell = side // grid                 # also the step; when grid does not divide side, o != grid
        if cell == 0:
            raise ValueError(f"grid_size {grid} is larger than the {side}x{side} patches")
        o = (side - cell) // cell + 1       # rows and columns beyond o*cell are dropped
        g = patches.reshape(side, side, -1)[:o * cell, :o * cell]           # [o*cell, o*cell, E]
        pooled = g.reshape(o, cell, o, cell, -1).mean((1, 3)).reshape(o * o, -1)
    return torch.cat([pooled, cls])                                         # [n, E]


# ---- scans -----------------------------------------------------------------------------------------

def scan_unidirection(n, layer):
    """order[k] = natural row that is read k-th, over the n grid rows of a picture."""
    return list(range(n))


def scan_bidirection(n, layer):
    return list(range(n)) if layer % 2 == 0 else list(reversed(range(n)))


SCANS = {"unidirection": scan_unidirection, "bidirection": scan_bidirection}
INPUT_SCANS = {}    # of further versions: an order of the n grid rows in which they enter the sequence


def row_order(scan, layer, rows, image):
    """The order in which one layer reads `rows` rows of which image = (start, end) is scanned. A range
    that runs past the last row is clipped: after a cut to ctx_len it may."""
    start, end = min(image[0], rows), min(image[1], rows)
    inner = [start + k for k in SCANS["unidirection" if scan in INPUT_SCANS else scan](end - start, layer)]
    return torch.tensor(list(range(start)) + inner + list(range(end, rows)))


# ---- RWKV-6 ----------------------------------------------------------------------------------------

class LayerState:
    """What one layer remembers between rows; all zeros before the first row."""

    def __init__(self, C, H, N, dtype):
        self.att_x = torch.zeros(C, dtype=dtype)         # ln1 of the row read last
        self.ffn_x = torch.zeros(C, dtype=dtype)         # ln2 of the row read last
        self.S = torch.zeros(H, N, N, dtype=dtype)       # [head, key j, value i]


def before(x, last):
    """[T, C] -> the row read before each row; `last` [C] stands before the first."""
    return torch.cat([last[None], x[:-1]])


class Rwkv6:
    """RWKV-6 (x060), keys `rwkv.*` (without the prefix in a bare language model)."""
    heads_key = "blocks.0.att.time_faaaa"

    def __init__(self, weights, head_size_divisor=8, eps=1e-5):
        prefix = "rwkv." if "rwkv.emb.weight" in weights else ""
        self.w = {k[len(prefix):]: w for k, w in weights.items() if k.startswith(prefix)}
        self.eps, self.group_eps = eps, 1e-5 * head_size_divisor ** 2
        self.V, self.C = self.w["emb.weight"].shape
        self.H, self.N = self.w[self.heads_key].shape[:2]
        self.L = 1 + max(int(k.split(".")[1]) for k in self.w if k.startswith("blocks."))
        self.dtype = self.w["emb.weight"].dtype

    def new_state(self):
        return [LayerState(self.C, self.H, self.N, self.dtype) for _ in range(self.L)]

    def norm(self, x, name):
        return layer_norm(x, (self.C,), self.w[name + ".weight"], self.w[name + ".bias"], self.eps)

    def embed(self, ids):
        return self.w["emb.weight"][torch.tensor(ids, dtype=torch.long)]    # [len, C]

    def time_mix(self, a, i, state):
        """a = ln1(x) [T, C] -> [T, C]."""
        w = lambda name: self.w[f"blocks.{i}.att.{name}"]
        T, C, H, N = len(a), self.C, self.H, self.N
        d = before(a, state.att_x) - a                                      # [T, C]
        state.att_x = a[-1]

        # Five mixing ratios that depend on the data, in the order w, k, v, r, g.
        m = torch.tanh((a + d * w("time_maa_x").reshape(C)) @ w("time_maa_w1"))     # [T, 5R]
        m = m.reshape(T, 5, -1).transpose(0, 1) @ w("time_maa_w2")          # [5, T, R] [5, R, C] -> [5, T, C]
        a_w, a_k, a_v, a_r, a_g = (a + d * (w("time_maa_" + c).reshape(C) + m[j])   # [T, C] each
                                   for j, c in enumerate("wkvrg"))
        r = (a_r @ w("receptance.weight").T).reshape(T, H, N)
        k = (a_k @ w("key.weight").T).reshape(T, H, N)
        v = (a_v @ w("value.weight").T).reshape(T, H, N)
        g = silu(a_g @ w("gate.weight").T)                                  # [T, A]
        lora = torch.tanh(a_w @ w("time_decay_w1")) @ w("time_decay_w2")    # [T, Q] [Q, A] -> [T, A]
        decay = torch.exp(-torch.exp(w("time_decay").reshape(-1) + lora)).reshape(T, H, N)

        u = w("time_faaaa")[:, :, None]                                     # [H, N, 1], bonus of the row itself
        S = state.S                                                         # [H, j, i]
        y = []
        for t in range(T):
            kv = k[t][:, :, None] * v[t][:, None, :]                        # [H, j, i]
            y.append((r[t][:, :, None] * (S + u * kv)).sum(1))              # sum over j: [H, i]
            S = decay[t][:, :, None] * S + kv                               # decay of the key channel j
        state.S = S
        y = torch.stack(y).reshape(T, H * N)                                # [T, A]
        y = group_norm(y, H, w("ln_x.weight"), w("ln_x.bias"), self.group_eps)      # over N of each head
        return (y * g) @ w("output.weight").T                               # [T, C]

    def channel_mix(self, b, i, state):
        """b = ln2(x) [T, C] -> [T, C]."""
        w = lambda name: self.w[f"blocks.{i}.ffn.{name}"]
        e = before(b, state.ffn_x) - b                                      # [T, C]
        state.ffn_x = b[-1]
        k = (b + e * w("time_maa_k").reshape(-1)) @ w("key.weight").T       # [T, F]
        r = (b + e * w("time_maa_r").reshape(-1)) @ w("receptance.weight").T        # [T, C]
        return torch.sigmoid(r) * (torch.relu(k) ** 2 @ w("value.weight").T)

    def forward(self, x, state, scan="unidirection", image=(0, 0), watch=None):
        """Rows x [T, C] before ln0 -> residual stream [T, C] after the last block; `state` moves on.
        A scanned image must lie within the rows of one call."""
        watch = watch or (lambda name, value: None)
        watch("x.in", x)
        x = self.norm(x, "blocks.0.ln0")
        for i in range(self.L):
            order = row_order(scan, i, len(x), image)
            x = x[order]                                # the whole residual stream, not only the input of att
            x = x + self.time_mix(self.norm(x, f"blocks.{i}.ln1"), i, state[i])
            x = x + self.channel_mix(self.norm(x, f"blocks.{i}.ln2"), i, state[i])
            x = x[order.argsort()]                      # undone: natural order between the layers
            watch(f"x.{i}", x)
        return x

    def logits(self, x):
        return self.norm(x, "ln_out") @ self.w["head.weight"].T             # [T, V]


# ---- the whole model -------------------------------------------------------------------------------

class VisualRWKV:
    def __init__(self, weights, grid_size=-1, scan="bidirection", vit_heads=None, head_size_divisor=8,
                 vit_eps=1e-5, language=Rwkv6):
        self.clip = Clip(weights, vit_heads, vit_eps)
        self.rwkv = language(weights, head_size_divisor)
        self.proj = weights["proj.weight"]                                  # [C, E], no bias
        self.grid_size, self.scan = grid_size, scan

    def encode(self, pixels, watch=None):
        """pixels [3, S, S] -> image rows [n, C], class row last."""
        features = self.clip(pixels)                                        # [1+P, E]
        if watch:
            watch("vision", features)
        return grid_pool(features, self.grid_size) @ self.proj.T            # [n, C]

    def assemble(self, ids, image):
        """ids with at most one IMAGE and image rows [n, C] -> rows [T, C], image range, image rows used.
        Without a placeholder the model was trained on zero rows in front, so it gets them here too."""
        places = [q for q, t in enumerate(ids) if t == IMAGE]
        if len(places) > 1:
            raise ValueError(f"{len(places)} pictures in one sample, at most one is possible")
        if not places:
            image = torch.zeros_like(image)
        q = places[0] if places else 0
        after = ids[q + 1:] if places else ids
        n = len(image) - 1
        order = INPUT_SCANS[self.scan](n) + [n] if self.scan in INPUT_SCANS else list(range(n + 1))
        rows = torch.cat([self.rwkv.embed(ids[:q]), image[order], self.rwkv.embed(after)])      # [T, C]
        return rows, (q, q + len(image) - 1), image     # the class row is no part of the scanned range

    def run(self, rows, image, scan=None, state=None, watch=None):
        """rows [T, C] -> logits [T, V] of every row."""
        state = state or self.rwkv.new_state()
        return self.rwkv.logits(self.rwkv.forward(rows, state, scan or self.scan, image, watch))

    def generate(self, rows, image, max_new, ctx_len=None, stateful=True, stops=(STOP,), scan=None):
        """Greedy ids with their logits and probabilities, and the smallest gap between best and second.

        stateful: the prompt is read once, then one row per token on the state that is left. The scanned
                  range lies in the prompt, so no later row ever changes the order.
        not stateful: as the original: every step reads the whole sequence anew, after which its embedded
                  rows are cut to the last ctx_len. The first step reads the prompt uncut, and `image` keeps
                  its numbers after a cut, whatever rows stand there then."""
        state = self.rwkv.new_state() if stateful else None
        last = self.run(rows, image, scan, state)[-1]                       # [V]
        ids, values, probs, margin = [], [], [], math.inf
        while True:
            best = int((last == last.max()).nonzero()[0])                   # the lowest id on ties
            two = last.topk(2).values
            ids.append(best)
            values.append(float(last[best]))
            probs.append(float(last.softmax(-1)[best]))
            margin = min(margin, float(two[0] - two[1]))
            if best in stops or len(ids) == max_new:                        # the stop id is part of the result
                return {"ids": ids, "logits": values, "probs": probs, "min_margin": margin}
            row = self.rwkv.embed([best])                                   # [1, C]
            if stateful:
                last = self.run(row, (0, 0), scan, state)[-1]
            else:
                rows = torch.cat([rows, row])
                if ctx_len:
                    rows = rows[-ctx_len:]
                last = self.run(rows, image, scan)[-1]


def answer_text(text):
    """What of the decoded ids is the answer (original manner)."""
    return text.split("\n\n", 1)[0].strip()
