#!/usr/bin/env python3
"""Encoding speed beside the tokenizers of two Python packages: pyrwkv-tokenizer (Rust) and rwkv (Python).

    python3 bench/peers/tokenizer.py [--rounds 9] [--megabytes 5]

Everything is made below build/peers: a virtual environment with pyrwkv-tokenizer, the tokenizer file out of
the rwkv package (the rest of it would need PyTorch), a text of English, Chinese and code that is the same on
each run, and bench/tokenizer.c. The three encode it in turn, on one thread, so that the machine's moods meet
all alike. All must give the same ids. Prints the median MB/s (10^6 bytes) of each and the ratios.
"""
import argparse
import array
import glob
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
import venv
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOME = os.path.join(ROOT, "build", "peers")

ENGLISH = [
    "The model reads a picture once and keeps what it saw in a state of constant size.",
    "Each token costs the same after ten or after a hundred thousand tokens, because nothing grows with the conversation.",
    "To convert a checkpoint, name the source file and the output file; the type of the weights is chosen with an option.",
    "How many people are standing next to the red bicycle in the lower left corner of the photograph?",
    "In 1997, the committee published a report of 214 pages; only 3.5% of its recommendations were ever adopted.",
    "Please note that the installation requires a compiler, CMake 3.22 or later, and about 400 MB of free disk space.",
    "\"I don't think so,\" she said, looking at the old harbour, \"but we'll see what tomorrow's weather brings.\"",
    "Answer the question using a single word or phrase.",
    "Quantised matrices are stored as blocks of thirty-two values with a common scale, which the kernels read in order.",
    "A dog is running across the snowy field while two children watch from behind a wooden fence.",
    "See the section on accuracy for the measured error of every format, and the section on speed for its share of the limits.",
    "The quick brown fox jumps over the lazy dog, and the lazy dog does not care in the slightest.",
]
CHINESE = [
    "这个模型只看一次图片，然后把看到的内容保存在固定大小的状态里。",
    "无论对话有多长，每生成一个词所需要的时间都是一样的。",
    "图里有什么？请用一句话描述画面中的主要物体和背景。",
    "左下角的红色自行车旁边站着三个人，其中一个人戴着帽子。",
    "二〇二三年四月，研究人员发布了新的词表，一共包含六万五千多个词元。",
    "安装之前请先确认编译器的版本，并且留出大约四百兆字节的磁盘空间。",
    "请直接回答选项字母。",
    "天气预报说明天有雨，不过我们还是决定去海边看日出！",
    "矩阵按块量化存储，内核按照顺序读取，因此速度主要取决于内存带宽。",
    "“我不这么认为，”她望着古老的港口说，“不过明天就知道了。”",
]
CODE = [
    "static int {a}_{b}(const float *x, size_t n) {{\n    float sum = 0;\n    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];\n"
    "    return sum > {n}.0f ? -1 : 0;\n}}\n",
    "def {a}({b}, width={n}):\n    \"\"\"Return the {b} of each row.\"\"\"\n    return [row.strip() for row in {b}.split('\\n')\n"
    "            if len(row) <= width]\n",
    "{{\"{a}\": {n}, \"{b}\": [1.5, -2.25, null, true], \"path\": \"data/{a}/{b}.json\"}}\n",
    "| {a} | {b} | {n} |\n|------|------|-----:|\n| `--{a}` | sets the {b} | {n}.5 |\n",
    "if (!{a} || {b}->length != {n}) {{\n\t\treturn error(\"{a}: expected %d, found %d\", {n}, {b}->length);\n\t}}\n",
]
WORDS = ["image", "token", "state", "layer", "buffer", "index", "weight", "shape", "head", "value", "result", "offset", "config", "reader"]


def make_text(size):
    """Paragraphs of the three kinds in turn, from a fixed seed."""
    rng = random.Random(20230424)
    parts, total = [], 0
    while total < size:
        kind = rng.choice(["english", "english", "chinese", "code"])
        if kind == "english":
            part = " ".join(rng.choices(ENGLISH, k=rng.randint(3, 7))) + "\n\n"
        elif kind == "chinese":
            part = "".join(rng.choices(CHINESE, k=rng.randint(4, 9))) + "\n\n"
        else:
            part = "\n".join(rng.choice(CODE).format(a=rng.choice(WORDS), b=rng.choice(WORDS), n=rng.randint(2, 4096))
                             for _ in range(rng.randint(2, 5))) + "\n"
        parts.append(part)
        total += len(part.encode())
    return "".join(parts)


def set_up():
    """The environment's Python, and the folder with the rwkv package's tokenizer."""
    python = os.path.join(HOME, "venv", "bin", "python")
    package = os.path.join(HOME, "rwkv")
    os.makedirs(HOME, exist_ok=True)
    if not os.path.exists(python):
        venv.create(os.path.join(HOME, "venv"), with_pip=True)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([python, "-c", "import pyrwkv_tokenizer"], capture_output=True).returncode:
        subprocess.run(pip + ["install", "pyrwkv-tokenizer"], check=True)
    if not os.path.exists(os.path.join(package, "rwkv_tokenizer.py")):
        subprocess.run(pip + ["download", "--no-deps", "-d", HOME, "rwkv"], check=True)
        with zipfile.ZipFile(sorted(glob.glob(os.path.join(HOME, "rwkv-*.whl")))[-1]) as wheel:
            os.makedirs(package, exist_ok=True)
            for name in ["rwkv_tokenizer.py", "rwkv_vocab_v20230424.txt"]:
                with open(os.path.join(package, name), "wb") as out:
                    out.write(wheel.read("rwkv/" + name))
    return python, package


def build_ours():
    program = os.path.join(HOME, "tokenizer")
    sources = ["bench/tokenizer.c", "src/base/memory.c", "src/base/status.c"] + sorted(glob.glob("src/text/*.c", root_dir=ROOT))
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O3", "-D_GNU_SOURCE", "-Iinclude", "-Isrc", "-Isrc/text/data",
                    "-Wa,-Isrc/text/data", *sources, "-lpthread", "-o", program], cwd=ROOT, check=True)
    return program


def compare(args):
    """Runs inside the environment."""
    import pyrwkv_tokenizer
    spec = importlib.util.spec_from_file_location("rwkv_tokenizer", os.path.join(args.package, "rwkv_tokenizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    python_tokenizer = module.TRIE_TOKENIZER(os.path.join(args.package, "rwkv_vocab_v20230424.txt"))
    rust_tokenizer = pyrwkv_tokenizer.RWKVTokenizer()
    path, ids_path = os.path.join(HOME, "text.txt"), os.path.join(HOME, "ids.bin")
    text = make_text(int(args.megabytes * 1e6))
    size = len(text.encode())
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(text)

    def ours():
        return json.loads(subprocess.run([args.program, path, "1", ids_path], check=True, capture_output=True, text=True).stdout)["mb_per_s"]

    def peer(tokenizer, keep):
        start = time.perf_counter()
        ids = tokenizer.encode(text)
        speed = size / 1e6 / (time.perf_counter() - start)
        keep[:] = ids
        return speed

    rust_ids, python_ids, speeds = [], [], {"vrwkv": [], "pyrwkv-tokenizer": [], "rwkv": []}
    for _ in range(args.rounds):
        speeds["vrwkv"].append(ours())
        speeds["pyrwkv-tokenizer"].append(peer(rust_tokenizer, rust_ids))
        speeds["rwkv"].append(peer(python_tokenizer, python_ids))
    ids = array.array("i")
    with open(ids_path, "rb") as data:
        ids.frombytes(data.read())
    same = ids.tolist() == rust_ids == python_ids
    print(f"{size} bytes, {len(ids)} ids, {args.rounds} rounds; ids {'equal' if same else 'DIFFER'}")
    median = {name: statistics.median(values) for name, values in speeds.items()}
    for name, values in speeds.items():
        print(f"{name:17} {median[name]:8.2f} MB/s  ({min(values):.2f} .. {max(values):.2f})  vrwkv is {median['vrwkv'] / median[name]:.1f} x")
    return 0 if same else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=float, default=5)
    parser.add_argument("--package", help=argparse.SUPPRESS)
    parser.add_argument("--program", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.package:
        return compare(args)
    python, package = set_up()
    program = build_ours()
    return subprocess.run([python, os.path.abspath(__file__), "--package", package, "--program", program, "--rounds",
                           str(args.rounds), "--megabytes", str(args.megabytes)]).returncode


if __name__ == "__main__":
    sys.exit(main())
