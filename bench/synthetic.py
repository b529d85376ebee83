"""A checkpoint of a released size with random weights, to try conversion on: bench/synthetic.py OUT.pth
[--layers 24 --width 2048]. Needs Debian's python3-torch. Memory: about the checkpoint's size."""
import argparse
from collections import OrderedDict

import torch


def checkpoint(layers, width, vocab=65536, head=64, tower_layers=24, tower=1024):
    mix, decay = (64, 128) if width >= 4096 else (32, 64)
    ffn = int(width * 3.5) // 32 * 32
    bf16 = lambda *shape: torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02)
    w = OrderedDict()
    w["rwkv.emb.weight"] = bf16(vocab, width)
    for i in range(layers):
        p = f"rwkv.blocks.{i}."
        for ln in (["ln0"] if i == 0 else []) + ["ln1", "ln2"]:
            w[p + ln + ".weight"], w[p + ln + ".bias"] = bf16(width), bf16(width)
        for n in "xwkvrg":
            w[p + f"att.time_maa_{n}"] = bf16(1, 1, width)
        w[p + "att.time_maa_w1"], w[p + "att.time_maa_w2"] = bf16(width, 5 * mix), bf16(5, mix, width)
        w[p + "att.time_decay"] = bf16(1, 1, width)
        w[p + "att.time_decay_w1"], w[p + "att.time_decay_w2"] = bf16(width, decay), bf16(decay, width)
        w[p + "att.time_faaaa"] = bf16(width // head, head)
        for n in ("receptance", "key", "value", "output", "gate"):
            w[p + f"att.{n}.weight"] = bf16(width, width)
        w[p + "att.ln_x.weight"], w[p + "att.ln_x.bias"] = bf16(width), bf16(width)
        w[p + "ffn.time_maa_k"], w[p + "ffn.time_maa_r"] = bf16(1, 1, width), bf16(1, 1, width)
        w[p + "ffn.key.weight"], w[p + "ffn.value.weight"] = bf16(ffn, width), bf16(width, ffn)
        w[p + "ffn.receptance.weight"] = bf16(width, width)
    w["rwkv.ln_out.weight"], w["rwkv.ln_out.bias"] = bf16(width), bf16(width)
    w["rwkv.head.weight"] = bf16(vocab, width)
    v = "vit.vision_model."
    w[v + "embeddings.class_embedding"] = bf16(tower)
    w[v + "embeddings.patch_embedding.weight"] = bf16(tower, 3, 14, 14)
    w[v + "embeddings.position_embedding.weight"] = bf16(577, tower)
    for n in ("pre_layrnorm", "post_layernorm"):
        w[v + n + ".weight"], w[v + n + ".bias"] = bf16(tower), bf16(tower)
    for i in range(tower_layers):
        p = v + f"encoder.layers.{i}."
        for n in ("layer_norm1", "layer_norm2"):
            w[p + n + ".weight"], w[p + n + ".bias"] = bf16(tower), bf16(tower)
        for n in "qkv":
            w[p + f"self_attn.{n}_proj.weight"], w[p + f"self_attn.{n}_proj.bias"] = bf16(tower, tower), bf16(tower)
        w[p + "self_attn.out_proj.weight"], w[p + "self_attn.out_proj.bias"] = bf16(tower, tower), bf16(tower)
        w[p + "mlp.fc1.weight"], w[p + "mlp.fc1.bias"] = bf16(4 * tower, tower), bf16(4 * tower)
        w[p + "mlp.fc2.weight"], w[p + "mlp.fc2.bias"] = bf16(tower, 4 * tower), bf16(tower)
    w["proj.weight"] = bf16(width, tower)
    return w


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=2048)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.save(checkpoint(args.layers, args.width), args.out)
