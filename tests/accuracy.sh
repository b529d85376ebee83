#!/bin/sh
# Stored types against f32, on the small reference checkpoints: within the bounds of docs/ACCURACY.md.
# Usage: tests/accuracy.sh BUILD_DIR
cd "$(dirname "$0")/.." || exit 1
command -v python3 >/dev/null || { echo "accuracy: skipped, no python3"; exit 77; }
python3 bench/accuracy.py types --check --program "${1:-build}/vrwkv"
