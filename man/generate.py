#!/usr/bin/env python3
"""Writes man/vrwkv.1 from the program's own help texts: python3 man/generate.py build/vrwkv > man/vrwkv.1"""
import os
import re
import subprocess
import sys

program = sys.argv[1]
WIDE = {**os.environ, "LC_ALL": "C.UTF-8"}


def help_of(*args):
    return subprocess.run([program, *args], capture_output=True, text=True, check=True, env=WIDE).stdout


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in text.split("\n"))


def literal(text):
    print(".nf\n.RS 2\n" + roff(text.rstrip()) + "\n.RE\n.fi")


def options(lines):
    """An option begins at two columns, its text goes on far to the right."""
    left, right = None, []

    def flush():
        if left:
            # the option itself is bold, the value in the middle of its line is not
            names = re.match(r"((?:-\w, )?--[\w-]+)(.*)", left)
            print(".TP\n\\fB%s\\fR%s\n%s" % (roff(names[1]), roff(names[2]), roff(" ".join(right))))

    for line in lines:
        head = re.match(r"  (?:    )?(-\S.*?)(?:  +(.*))?$", line)
        if head and not line.startswith(" " * 10):
            flush()
            left, right = head[1], [head[2]] if head[2] else []
        elif line.strip():
            right.append(line.strip())
    flush()


def verb(name, line):
    blocks = help_of(name, "--help").rstrip("\n").split("\n\n")
    print(".SS %s \\- %s" % (name, roff(line)))
    usage = " ".join(part.strip() for part in blocks[0].split("\n"))
    print(".B %s\n.PP" % roff(usage.removeprefix("Usage: ")))
    print(roff(" ".join(blocks[1].split("\n"))))
    for block in blocks[2:]:
        first, _, rest = block.partition("\n")
        if first == "Example:":
            print(".PP\nExample:")
            literal("\n".join(part[2:] for part in rest.split("\n")))
        elif first.endswith(":") and re.match(r" +-", rest):
            print(".PP\n%s" % roff(first))
            options(rest.split("\n"))
        else:
            print(".PP\n%s" % roff(block))


version = help_of("--version").split()[1]
overview = help_of("--help")
verbs = re.findall(r"^  ([a-z]+)  +(.*)$", overview, re.M)
print('.\\" Made from the help texts by man/generate.py.')
print('.TH VRWKV 1 "" "vrwkv %s" "User Commands"' % version)
print(".SH NAME\nvrwkv \\- look at a picture and answer: VisualRWKV in C")
print(".SH SYNOPSIS\n.B vrwkv\n.I VERB\n[\\fIOPTION\\fR]...")
print(".SH DESCRIPTION\n"
      "Runs VisualRWKV, a vision-language model on a linear recurrent network: a token costs the same after ten or a\n"
      "hundred thousand tokens, and a conversation is a state of constant size that can be saved.\n"
      ".PP\n"
      "Results go to standard output, progress and notes to standard error. Options are written as\n"
      "\\fB\\-\\-name value\\fR or \\fB\\-\\-name=value\\fR; \\fB\\-\\-\\fR ends them.\n"
      ".SH VERBS")
for name, line in verbs:
    verb(name, line)
print(".SH ANSWERS AS JSON\n"
      ".B run \\-\\-json\nprints one object. \\fIids\\fR, \\fIlogits\\fR and \\fIlogprobs\\fR have one entry per generated token,\n"
      "the stop token included: the token, its raw logit, and the natural logarithm of its softmax probability, both\n"
      "before temperature and penalties. \\fIprompt_tokens\\fR counts the ids of text that were read,\n"
      "\\fIimage_tokens\\fR the rows of the picture (zero rows too), \\fImemory_bytes\\fR is the largest resident memory,\n"
      "\\fIstop_reason\\fR is length, token, string or interrupted.")
print(".SH ENVIRONMENT\n.TP\n.B VRWKV_CPU\nForces a kernel set: generic, avx2, avx512 or neon. An unknown set, or one that the\n"
      "processor lacks, is an error.\n.TP\n.B VRWKV_EXACT\n1: quantised weights are multiplied as f32. Without it\n"
      "activations are rounded to 8 bit for such products, which is several times as fast on x86\\-64. verify and train are\n"
      "always exact.")
print(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage; 130 after Ctrl\\-C, which ends an answer after its current token\n"
      "(a second Ctrl\\-C kills the program), 143 after a kill, which leaves no half-written file either.")
