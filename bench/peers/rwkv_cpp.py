#!/usr/bin/env python3
"""The tiny models of a checkout of rwkv.cpp, run here, beside the logits that project expects.

    python3 bench/peers/rwkv_cpp.py CHECKOUT        (github.com/RWKV/rwkv.cpp; its folder tests/ is read)

Each .bin is run as it is and converted to GGUF; both must give the same bits. For FP32 every logit must be
within 1e-3 of the expected one, for FP16 within 2e-2 (the file's rounding); of quantised files the difference is
reported, with the sum of signed differences that is the project's own measure (tests/test_tiny_rwkv.c). Files
of RWKV 4v0 and 5v1 must be refused by name. Needs nothing but Python; without a checkout it says so and
exits 77.
"""
import glob
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VRWKV = os.path.join(ROOT, "build", "vrwkv")
os.environ["VRWKV_EXACT"] = "1"  # the numbers of files are compared, not ways to multiply them
PROMPT = b'"in'
BOUNDS = {"FP32": 1e-3, "FP16": 2e-2}


def last_logits(model, folder):
    trace = os.path.join(folder, "trace.safetensors")
    ids = ",".join(map(str, PROMPT))
    subprocess.run([VRWKV, "trace", "-m", model, "--tokens", ids, "-o", trace], check=True, capture_output=True)
    with open(trace, "rb") as data:
        data = data.read()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + size])["logits"]
    first, last = (8 + size + offset for offset in entry["data_offsets"])
    return struct.unpack(f"<{(last - first) // 4}f", data[first:last])[-entry["shape"][-1]:]


def check(path, folder):
    """One line; False where something is wrong."""
    version, kind = re.match(r"tiny-rwkv-(.*)-(\w+)\.bin$", os.path.basename(path)).groups()
    label = f"{version} {kind}"
    if version.startswith(("4v0", "5v1")):
        result = subprocess.run([VRWKV, "inspect", path], capture_output=True, text=True)
        good = os.path.basename(path) in result.stdout and f"RWKV {version[:3]}" in result.stdout
        print(f"{label:16} {'refused by name' if good else 'NOT REFUSED: ' + result.stdout}")
        return good
    with open(os.path.join(os.path.dirname(path), f"expected-logits-{version}.bin"), "rb") as data:
        expected = struct.unpack("<256f", data.read())
    converted = os.path.join(folder, "model.gguf")
    subprocess.run([VRWKV, "convert", path, "-o", converted], check=True, capture_output=True)
    found = last_logits(path, folder)
    worst = max(abs(a - b) for a, b in zip(found, expected))
    total = sum(a - b for a, b in zip(found, expected))
    same = found == last_logits(converted, folder)
    good = same and worst <= BOUNDS.get(kind, float("inf"))
    print(f"{label:16} worst logit off by {worst:8.1e} (bound {BOUNDS.get(kind, 'none')}) of {max(map(abs, expected)):.1f}, "
          f"sum of differences {total:+.6f}; converted: {'the same bits' if same else 'OTHER BITS'}{'' if good else '  <-- WRONG'}")
    return good


def main():
    checkout = sys.argv[1] if len(sys.argv) == 2 else os.environ.get("RWKV_CPP", "")
    files = sorted(glob.glob(os.path.join(checkout, "tests", "tiny-rwkv-*.bin"))) if checkout else []
    if not files:
        print("no checkout of rwkv.cpp (name it, or set RWKV_CPP): its tiny models are not run")
        return 77
    with tempfile.TemporaryDirectory() as work:
        results = [check(path, work) for path in files]
    print(f"{len(results)} files, {'all as they should be' if all(results) else 'SOMETHING IS WRONG'}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
