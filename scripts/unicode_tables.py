#!/usr/bin/env python3
"""Writes src/text/unicode_tables.h from the Unicode data of this Python: what str.lower, str.capitalize
and str.isdecimal do, character by character. Run again for a newer Unicode:

    python3 scripts/unicode_tables.py > src/text/unicode_tables.h
"""
import sys
import unicodedata

CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
SIGMA, FINAL = "\u03a3", "\u03c2"


def mapping(convert):
    """One-to-one changes as runs {first, last, step, delta}, others as (code, string)."""
    single = [(c, ord(convert(chr(c))) - c) for c in CODES if len(convert(chr(c))) == 1 and convert(chr(c)) != chr(c)]
    many = [(c, convert(chr(c))) for c in CODES if len(convert(chr(c))) != 1]
    runs = []
    for code, delta in single:
        if runs and runs[-1][3] == delta:
            first, last, step, _ = runs[-1]
            if code - last in (1, 2) and (first == last or code - last == step):
                runs[-1] = (first, code, code - last, delta)
                continue
        runs.append((code, code, 1, delta))
    return runs, many


def ranges(test):
    out = []
    for code in filter(test, CODES):
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def cased(code):  # and not ignorable: a capital sigma behind it is a final one
    return (chr(code) + SIGMA).lower()[-1] == FINAL


def ignorable(code):
    return not cased(code) and ("A" + chr(code) + SIGMA).lower()[-1] == FINAL


def table(kind, name, rows):
    print(f"\nstatic const {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) > 118:
            print(line)
            line = "   "
        line += " " + row + ","
    print(line + "\n};")


def write_mapping(name, convert):
    runs, many = mapping(convert)
    table("vr_case_run", name, [f"{{{a:#x}, {b:#x}, {step}, {delta}}}" for a, b, step, delta in runs])
    if len(many) > 1:
        table("vr_case_many", name + "_many",
              [f"{{{c:#x}, {{{', '.join(f'{ord(x):#x}' for x in text)}}}}}" for c, text in many])
    else:
        assert [c for c, _ in many] in ([], [0x130]), many


def main():
    print(f"/* Unicode {unicodedata.unidata_version}, made by scripts/unicode_tables.py. */")
    print("#ifndef VR_TEXT_UNICODE_TABLES_H\n#define VR_TEXT_UNICODE_TABLES_H\n#include <stdint.h>\n")
    print("/* Codes first, first + step, .. last become themselves plus delta. */")
    print("typedef struct vr_case_run { uint32_t first, last, step; int32_t delta; } vr_case_run;")
    print("/* A code that becomes several, closed by 0. */")
    print("typedef struct vr_case_many { uint32_t code, to[3]; } vr_case_many;")
    print("typedef struct vr_code_range { uint32_t first, last; } vr_code_range;")
    write_mapping("lower_runs", str.lower)
    write_mapping("title_runs", str.title)
    for name, test in (("decimal", lambda c: chr(c).isdecimal()), ("cased", cased), ("ignorable", ignorable)):
        table("vr_code_range", name + "_ranges", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(test)])
    print("#endif")


if __name__ == "__main__":
    sys.exit(main())
