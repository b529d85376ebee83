"""RWKV-5 (x052) and RWKV-7 (x070) in plain PyTorch, with the scans of VisualRWKV v5.1: what differs from
visualrwkv.py, as an executable specification; docs/MODEL.md says the same in words.

Job:        rows [T, C] -> residual stream [T, C], layer by layer, state by state.
Invariants: those of visualrwkv.py. A state tensor is in the order in which the recurrence is written:
            [head, key j, value i] in RWKV-5 and RWKV-6, [head, value i, key j] in RWKV-7.
Sources:    Peng et al., "Eagle and Finch" (RWKV-5); Peng et al., "RWKV-7 Goose"; the behaviour of the
            released programs v5.1 and v7.00.

Letters:    as in visualrwkv.py; R, S, Q, G ranks of RWKV-7's decay, learning rate, value mixing, gate
"""
import math

import torch
from torch.nn.functional import group_norm, normalize, silu

from visualrwkv import IMAGE, INPUT_SCANS, SCANS, Rwkv6, before, row_order


# ---- RWKV-5 ----------------------------------------------------------------------------------------

class Rwkv5(Rwkv6):
    """Keys `rwkv.*` as RWKV-6, but time_mix_* for time_maa_*, and no low-rank terms."""

    def time_mix(self, a, i, state):
        """a = ln1(x) [T, C] -> [T, C]."""
        w = lambda name: self.w[f"blocks.{i}.att.{name}"]
        T, H, N = len(a), self.H, self.N
        p = before(a, state.att_x)                                          # [T, C]
        state.att_x = a[-1]
        # the share is that of the row itself: where RWKV-6 stores m, RWKV-5 stores 1 - m
        a_k, a_v, a_r, a_g = (a * w("time_mix_" + c).reshape(-1) + p * (1 - w("time_mix_" + c).reshape(-1)) for c in "kvrg")
        r = (a_r @ w("receptance.weight").T).reshape(T, H, N)
        k = (a_k @ w("key.weight").T).reshape(T, H, N)
        v = (a_v @ w("value.weight").T).reshape(T, H, N)
        g = silu(a_g @ w("gate.weight").T)                                  # [T, A]
        decay = torch.exp(-torch.exp(w("time_decay").reshape(H, N, 1)))     # the same in every row
        u = w("time_faaaa").reshape(H, N, 1)
        S, y = state.S, []                                                  # [H, j, i]
        for t in range(T):
            kv = k[t][:, :, None] * v[t][:, None, :]                        # [H, j, i]
            y.append((r[t][:, :, None] * (S + u * kv)).sum(1))              # sum over j: [H, i]
            S = decay * S + kv
        state.S = S
        y = torch.stack(y).reshape(T, H * N)
        y = group_norm(y, H, w("ln_x.weight"), w("ln_x.bias"), self.group_eps)
        return (y * g) @ w("output.weight").T                               # [T, C]

    def channel_mix(self, b, i, state):
        """b = ln2(x) [T, C] -> [T, C]."""
        w = lambda name: self.w[f"blocks.{i}.ffn.{name}"]
        p = before(b, state.ffn_x)
        state.ffn_x = b[-1]
        b_k, b_r = (b * w("time_mix_" + c).reshape(-1) + p * (1 - w("time_mix_" + c).reshape(-1)) for c in "kr")
        return torch.sigmoid(b_r @ w("receptance.weight").T) * (torch.relu(b_k @ w("key.weight").T) ** 2 @ w("value.weight").T)


# ---- RWKV-7 ----------------------------------------------------------------------------------------

class Rwkv7(Rwkv6):
    """Keys `rwkv.*`; low-rank matrices multiply from the right, [C, R] then [R, C]."""
    heads_key = "blocks.0.att.r_k"

    def time_mix(self, z, i, state, v_first):
        """z = ln1(x) [T, C], v of layer 0 [T, C] (None in layer 0) -> [T, C], v of layer 0."""
        w = lambda name: self.w[f"blocks.{i}.att.{name}"]
        T, C, H, N = len(z), self.C, self.H, self.N
        heads = lambda y: y.reshape(T, H, N)
        s = before(z, state.att_x) - z                                      # [T, C]
        state.att_x = z[-1]
        z_r, z_w, z_k, z_v, z_a, z_g = (z + s * w("x_" + c).reshape(C) for c in "rwkvag")
        r, k, v = z_r @ w("receptance.weight").T, z_k @ w("key.weight").T, z_v @ w("value.weight").T
        low_rank = w("w0").reshape(C) + torch.tanh(z_w @ w("w1")) @ w("w2")
        d = torch.exp(-math.exp(-0.5) * torch.sigmoid(low_rank))            # = exp(-exp(-softplus(-low_rank) - 0.5))
        a = torch.sigmoid(w("a0").reshape(C) + z_a @ w("a1") @ w("a2"))     # in-context learning rate
        g = torch.sigmoid(z_g @ w("g1")) @ w("g2")
        if v_first is None:
            v_first = v
        else:
            v = v + (v_first - v) * torch.sigmoid(w("v0").reshape(C) + z_v @ w("v1") @ w("v2"))
        kk = normalize(heads(k * w("k_k").reshape(C)), dim=-1, eps=1e-12)   # [T, H, N], length 1
        k = k * (1 + (a - 1) * w("k_a").reshape(C))
        r, d, a, k, v = heads(r), heads(d), heads(a), heads(k), heads(v)

        S, y = state.S, []                                                  # [H, i, j]
        for t in range(T):
            removed = (S @ -kk[t][:, :, None]) @ (kk[t] * a[t])[:, None, :]     # what the key reads now, times its rate
            S = S * d[t][:, None, :] + removed + v[t][:, :, None] * k[t][:, None, :]
            y.append((S @ r[t][:, :, None])[:, :, 0])                       # [H, i], of the state after the row
        state.S = S
        y = torch.stack(y).reshape(T, H * N)
        y = group_norm(y, H, w("ln_x.weight"), w("ln_x.bias"), self.group_eps)
        y = y + ((r * k * w("r_k")).sum(-1, keepdim=True) * v).reshape(T, H * N)
        return (y * g) @ w("output.weight").T, v_first

    def channel_mix(self, z, i, state):
        """z = ln2(x) [T, C] -> [T, C]; no receptance."""
        w = lambda name: self.w[f"blocks.{i}.ffn.{name}"]
        s = before(z, state.ffn_x) - z
        state.ffn_x = z[-1]
        return torch.relu((z + s * w("x_k").reshape(-1)) @ w("key.weight").T) ** 2 @ w("value.weight").T

    def forward(self, x, state, scan="unidirection", image=(0, 0), watch=None):
        """As Rwkv6.forward; a layer that reads its rows in another order reads v of layer 0 in that order."""
        watch = watch or (lambda name, value: None)
        watch("x.in", x)
        x = self.norm(x, "blocks.0.ln0")
        v_first = None
        for i in range(self.L):
            order = row_order(scan, i, len(x), image)
            back, x = order.argsort(), x[order]
            y, v = self.time_mix(self.norm(x, f"blocks.{i}.ln1"), i, state[i], None if i == 0 else v_first[order])
            v_first = v[back] if i == 0 else v_first
            x = x + y
            x = (x + self.channel_mix(self.norm(x, f"blocks.{i}.ln2"), i, state[i]))[back]
            watch(f"x.{i}", x)
        return x


# ---- scans of v5.1 ---------------------------------------------------------------------------------

def scan_multidirection(n, layer):
    """By layer mod 4: rows, rows backwards, columns, columns backwards."""
    side = math.isqrt(n)
    order = [k % side * side + k // side for k in range(n)] if layer % 4 >= 2 else list(range(n))
    return order[::-1] if layer % 2 else order


def scan_spiral(n):
    """Clockwise from the top left: the first row, then the rest turned left."""
    side = math.isqrt(n)
    rest, order = [list(range(r * side, (r + 1) * side)) for r in range(side)], []
    while rest:
        order += rest.pop(0)
        rest = [list(column) for column in zip(*rest)][::-1]
    return order


def scan_snake(n):
    side = math.isqrt(n)
    return [r * side + (side - 1 - c if r % 2 else c) for r in range(side) for c in range(side)]


def scan_zigzag(n):
    """Along the anti-diagonals, even ones upwards."""
    side = math.isqrt(n)
    cells = [(r, c) for r in range(side) for c in range(side)]
    cells.sort(key=lambda rc: (sum(rc), rc[0] if sum(rc) % 2 else -rc[0]))
    return [r * side + c for r, c in cells]


SCANS.update({"multidirection": scan_multidirection, "rotation": SCANS["unidirection"]})
INPUT_SCANS.update({"spiral": scan_spiral, "snake": scan_snake, "zigzag": scan_zigzag})


# ---- batches ---------------------------------------------------------------------------------------

def assemble_batch(model, samples, images):
    """Samples of ids, image rows [n, C] each -> rows [B, T, C], image range: every picture begins at the
    same row (token 0 fills up on the left, zero rows on the right)."""
    places = [ids.index(IMAGE) if IMAGE in ids else 0 for ids in samples]
    start, rows = max(places), []
    for ids, place, image in zip(samples, places, images):
        own, _, _ = model.assemble(ids, image)                              # [T_b, C]
        rows.append(torch.cat([model.rwkv.embed([0] * (start - place)), own]))
    T = max(map(len, rows))
    rows = [torch.cat([r, torch.zeros(T - len(r), r.shape[1], dtype=r.dtype)]) for r in rows]
    return torch.stack(rows), (start, start + len(images[0]) - 1)


def forward_batch(rwkv, rows, scan, image, watch):
    """rows [B, T, C] -> [B, T, C]. With scan `rotation` the image rows of sample b become, after each
    block, those of sample (b - a third of the rows) mod B: the original rolls the wrong axis."""
    watch("x.in", rows)
    start, end = image
    states = [rwkv.new_state() for _ in rows]
    x = rwkv.norm(rows, "blocks.0.ln0")
    for i in range(rwkv.L):
        order = row_order(scan, i, x.shape[1], image)
        out = []
        for b, state in enumerate(states):
            y = x[b][order]
            y = y + rwkv.time_mix(rwkv.norm(y, f"blocks.{i}.ln1"), i, state[i])
            y = y + rwkv.channel_mix(rwkv.norm(y, f"blocks.{i}.ln2"), i, state[i])
            out.append(y[order.argsort()])
        x = torch.stack(out)
        if scan == "rotation":
            x[:, start:end] = x[:, start:end].roll((end - start) // 3, 0)
        watch(f"x.{i}", x)
    return x
