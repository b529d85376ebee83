#!/usr/bin/env python3
"""easy-VQA (Victor Zhou, MIT licence, PyPI `easy-vqa`) as LLaVA data.

Installs the package into a folder of its own below DIR (nothing else on the machine is touched) and writes

  DIR/images/train/N.png, DIR/images/test/N.png    4,000 and 1,000 pictures of 64 x 64
  DIR/train.json, DIR/test.json                    LLaVA: 38,575 and 9,673 questions
  DIR/test.questions.jsonl                         {"question_id", "image", "text", "answer", "kind"}

Pictures are named from DIR, so DIR is the folder of images. The test questions are single ones; --turns N puts
up to N questions about a picture into one training sample, in the order of the data: fewer pictures to look at,
but "what is the blue shape?" then tells the answer to "is there a blue shape?"."""
import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys

PACKAGE = "easy-vqa==1.0"
SHAPES = ("circle", "rectangle", "triangle")
EXPECTED = {"train": (4000, 38575), "test": (1000, 9673)}


def install(folder):
    """The package's data folder; pip runs only where it is not there yet."""
    package = os.path.join(folder, "package")
    data = os.path.join(package, "easy_vqa", "data")
    if not os.path.isdir(data):
        os.environ["PIP_ROOT_USER_ACTION"] = "ignore"  # its warning is about the machine's own packages
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps",
                   "--target", package, PACKAGE]
        if subprocess.run(command).returncode != 0:
            sys.exit("convert.py: pip could not install %s (its reason stands above)" % PACKAGE)
    return data


def write_whole(path, text):
    """Appears whole or not at all."""
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".tmp", path)


def read_questions(data, split):
    """[(question, answer, picture)] in the data's order, which has a picture's questions together."""
    with open(os.path.join(data, split, "questions.json"), encoding="utf-8") as file:
        questions = json.load(file)
    found = len({picture for _, _, picture in questions}), len(questions)
    if found != EXPECTED[split]:
        sys.exit("convert.py: %s has %d pictures and %d questions, expected %d and %d" % (
            (split,) + found + EXPECTED[split]))
    return questions


def kind_of(answer):
    return "exist" if answer in ("yes", "no") else "shape" if answer in SHAPES else "colour"


def make_samples(questions, split, turns):
    """LLaVA samples of up to `turns` questions each."""
    samples = []
    for picture, group in itertools.groupby(questions, key=lambda q: q[2]):
        group = list(group)
        for start in range(0, len(group), turns):
            conversation = []
            for i, (question, answer, _) in enumerate(group[start:start + turns]):
                conversation.append({"from": "human", "value": ("" if i else "<image>\n") + question})
                conversation.append({"from": "gpt", "value": answer})
            samples.append({"id": "%s-%d-%d" % (split, picture, start), "image": "images/%s/%d.png" % (split, picture),
                            "kinds": [kind_of(answer) for _, answer, _ in group[start:start + turns]],
                            "conversations": conversation})
    return samples


def copy_pictures(data, folder, split):
    target = os.path.join(folder, "images", split)
    shutil.copytree(os.path.join(data, split, "images"), target, dirs_exist_ok=True)
    found = sum(name.endswith(".png") for name in os.listdir(target))
    if found != EXPECTED[split][0]:
        sys.exit("convert.py: %s has %d pictures, expected %d" % (target, found, EXPECTED[split][0]))


def convert(folder, turns):
    os.makedirs(folder, exist_ok=True)
    data = install(folder)
    for split in EXPECTED:
        questions = read_questions(data, split)
        copy_pictures(data, folder, split)
        if split == "test":
            lines = [json.dumps({"question_id": i, "image": "images/test/%d.png" % picture, "text": question,
                                 "answer": answer, "kind": kind_of(answer)})
                     for i, (question, answer, picture) in enumerate(questions)]
            write_whole(os.path.join(folder, "test.questions.jsonl"), "\n".join(lines) + "\n")
        samples = make_samples(questions, split, turns if split == "train" else 1)
        write_whole(os.path.join(folder, split + ".json"), "[\n" + ",\n".join(map(json.dumps, samples)) + "\n]\n")
        print("%s/%s.json: %d pictures, %d questions in %d samples" % ((folder, split) + EXPECTED[split] + (len(samples),)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Example:\n  python3 examples/easyvqa/convert.py -o build/easyvqa")
    parser.add_argument("-o", "--output", default="build/easyvqa", metavar="DIR", help="default: build/easyvqa")
    parser.add_argument("--turns", type=int, default=1, metavar="N",
                        help="questions in a training sample, at most (default 1)")
    args = parser.parse_args()
    if args.turns < 1:
        parser.error("--turns takes a number from 1 on, found %d" % args.turns)
    try:
        convert(args.output, args.turns)
    except OSError as error:
        sys.exit("convert.py: %s" % error)


if __name__ == "__main__":
    main()
