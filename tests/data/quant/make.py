"""Writes reference.safetensors beside this script: what other programs make of GGML's blocks.

Needs the packages gguf (decodes every type, encodes some) and llama-cpp-python (its library encodes all). For each
type T: `T.blocks` are random bytes with sane half-float factors and `T.numbers` what gguf decodes them to; of the
numbers `x`, drawn from several distributions, `T.coded` are gguf's blocks where it has an encoder, and `T.error`
is the root mean square error, part by part, of the blocks that GGML's own encoder makes."""
import ctypes, glob, json, os, struct

import gguf
import llama_cpp
import numpy as np
from gguf import quants

TYPES = {"q8_0": [0], "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208]}
WRITTEN = ["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"]
BLOCKS, PART = 4, 2048
rng = np.random.default_rng(2024)
library = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))[0])
library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]

parts = [rng.normal(0, 1, PART), rng.normal(0, 0.02, PART), rng.uniform(-1, 1, PART), rng.uniform(0, 1, PART), rng.standard_t(3, PART)]
x = np.concatenate(parts).astype(np.float32)
tensors = {"x": x}
for name, factors in TYPES.items():
    code = gguf.GGMLQuantizationType[name.upper()]
    block, size = gguf.GGML_QUANT_SIZES[code]
    blocks = rng.integers(0, 256, (BLOCKS * 256 // block, size), dtype=np.uint8)
    for at in factors:
        blocks[:, at:at + 2] = rng.normal(0, 1, len(blocks)).astype(np.float16).view(np.uint8).reshape(-1, 2)
    tensors[name + ".blocks"] = blocks
    tensors[name + ".numbers"] = quants.dequantize(blocks.reshape(-1), code).reshape(-1)
    if name not in WRITTEN:
        continue
    try:
        tensors[name + ".coded"] = quants.quantize(x, code)
    except NotImplementedError:
        pass
    coded = np.zeros(x.size // block * size, np.uint8)
    library.ggml_quantize_chunk(code, x.ctypes.data, coded.ctypes.data, 0, x.size // 256, 256, None)
    off = (quants.dequantize(coded, code).reshape(-1) - x).reshape(-1, PART)
    tensors[name + ".error"] = np.sqrt((off.astype(np.float64) ** 2).mean(axis=1)).astype(np.float32)

header, data = {}, b""
for name, value in tensors.items():
    raw = np.ascontiguousarray(value).tobytes()
    header[name] = {"dtype": "U8" if value.dtype == np.uint8 else "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
head = json.dumps(header).encode()
head += b" " * (-len(head) % 8)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference.safetensors"), "wb") as out:
    out.write(struct.pack("<Q", len(head)) + head + data)
