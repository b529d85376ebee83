#!/usr/bin/env python3
"""Memory of `vrwkv convert` on a checkpoint of a released size.

    /usr/bin/python3 bench/streaming.py [--program build/vrwkv] [--folder /tmp] [--type q8_0 --type q4_0]

Makes the synthetic checkpoint of bench/synthetic.py (RWKV-6 1.6B and CLIP ViT-L/14-336 in bf16, 3.8 GB;
needs python3-torch), converts it to each type while it reads /proc/PID/status every 5 ms, and removes all
that it made. Prints the largest seen of: anonymous memory (RssAnon, what the program itself holds), mapped
pages of the input (RssFile), both together. Fails where the anonymous memory reaches --limit MB.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def status_of(pid):
    """{field: MB} of a running process, {} once it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as lines:
            return {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(("Rss", "VmRSS"))}
    except (OSError, IndexError):
        return {}


def convert(program, source, out, kind):
    """Seconds and the largest value of each field while it ran."""
    began, largest = time.monotonic(), {}
    process = subprocess.Popen([program, "convert", source, "-o", out, "--type", kind], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for field, value in status_of(process.pid).items():
            largest[field] = max(largest.get(field, 0), value)
        time.sleep(0.005)
    if process.returncode:
        sys.exit(f"vrwkv convert failed ({process.returncode})")
    return time.monotonic() - began, largest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "vrwkv"))
    parser.add_argument("--folder", default=None, help="where the files go: 8 GB (default: the system's temporary folder)")
    parser.add_argument("--type", action="append", help="a type to convert to; several (default: q8_0, q4_0)")
    parser.add_argument("--checkpoint", help="a checkpoint to convert instead of the synthetic one")
    parser.add_argument("--limit", type=float, default=600, help="MB of anonymous memory that are too much")
    args = parser.parse_args()
    too_much = False
    with tempfile.TemporaryDirectory(prefix="vrwkv-streaming-", dir=args.folder) as folder:
        source = args.checkpoint
        if not source:
            source = os.path.join(folder, "model.pth")
            subprocess.run([sys.executable, os.path.join(ROOT, "bench", "synthetic.py"), source], check=True)
        print(f"{'type':6} {'source':>8} {'result':>8} {'seconds':>8} {'own MB':>8} {'mapped MB':>10} {'together':>9}")
        for kind in args.type or ["q8_0", "q4_0"]:
            out = os.path.join(folder, kind + ".gguf")
            seconds, largest = convert(args.program, source, out, kind)
            print(f"{kind:6} {os.path.getsize(source) / 1e6:8.0f} {os.path.getsize(out) / 1e6:8.0f} {seconds:8.1f} "
                  f"{largest['RssAnon']:8.0f} {largest['RssFile']:10.0f} {largest['VmRSS']:9.0f}", flush=True)
            os.remove(out)
            too_much |= largest["RssAnon"] >= args.limit
    if too_much:
        sys.exit(f"more than {args.limit:g} MB of anonymous memory")


if __name__ == "__main__":
    main()
