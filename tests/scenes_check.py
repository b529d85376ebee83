#!/usr/bin/env python3
"""Checks the files of build/scenes --describe without its code: reads the pictures, works out each answer from
what is seen in them, and looks at the balance of the answers.

Usage: scenes_check.py DIR SPLIT            checks, prints what is wrong, exits 1 where something is
       scenes_check.py DIR SPLIT --numbers  prints how often each answer stands for each kind of question

Of the description (SPLIT.scenes.jsonl) only the boxes are believed: places, sizes and relations are worked out
from them, colours and shapes are looked up in the pixels; of the first PIXELS pictures, for the others it was
then seen that the description can be believed."""
import collections
import json
import math
import re
import struct
import sys
import zlib

PIXELS = 200

COLOURS = {"red": (220, 35, 35), "orange": (250, 135, 20), "yellow": (240, 215, 20), "green": (40, 160, 60),
           "blue": (35, 80, 220), "purple": (120, 40, 170), "pink": (255, 135, 195), "black": (25, 25, 25)}
# points of an object's box (from -1 to 1) that a shape covers, and that it leaves free
PROBES = {"circle": ([(0, 0), (.6, .6), (-.6, -.6), (.6, -.6), (0, -.85)],
                     [(.77, .77), (-.77, -.77), (.77, -.77)]),
          "square": ([(0, 0), (.7, .7), (-.7, -.7), (.7, -.7)], [(0, -.97), (.97, 0)]),
          "triangle": ([(0, 0), (.8, .75), (-.8, .75), (0, -.75)], [(.6, -.6), (-.6, -.6), (0, .93)]),
          "star": ([(0, 0), (0, -.8), (.75, -.22), (-.75, -.22), (.5, .7)], [(0, .8), (.6, -.7), (-.6, -.7)]),
          "cross": ([(0, 0), (0, -.9), (.9, 0), (-.9, .2), (.2, .9)], [(.6, .6), (-.6, .6), (.6, -.6)]),
          "ring": ([(0, -.78), (.78, 0), (-.78, 0), (0, .78)], [(0, 0), (.3, .3), (.85, .85)])}
HELD_OUT = {("star", "red"), ("ring", "orange"), ("cross", "yellow"), ("circle", "green"), ("triangle", "blue"),
            ("square", "purple"), ("star", "pink"), ("ring", "black")}
CHINESE = {"圆形": "circle", "正方形": "square", "三角形": "triangle", "五角星": "star", "十字形": "cross",
           "圆环": "ring", "数字": "digit", "单词": "word", "物体": "object",
           "红色": "red", "橙色": "orange", "黄色": "yellow", "绿色": "green", "蓝色": "blue", "紫色": "purple",
           "粉色": "pink", "黑色": "black", "大": "big", "小": "small", "颜色": "colour", "形状": "shape", "大小": "size"}
PLACES = {"左上角": "top left", "上边": "top", "右上角": "top right", "左边": "left", "中间": "middle",
          "右边": "right", "左下角": "bottom left", "下边": "bottom", "右下角": "bottom right"}
DIRECTIONS = {"左边": "left", "右边": "right", "上边": "above", "下边": "below"}

problems = []


def read_png(path):
    """Rows of (r, g, b) bytes of an 8-bit RGB picture that is not interlaced."""
    data, at, packed = open(path, "rb").read(), 8, b""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0], path
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, interlace) == (8, 2, 0), path
        if kind == b"IDAT":
            packed += body
        at += 12 + size
    raw, rows, above = zlib.decompress(packed), [], bytes(3 * width)
    for y in range(height):
        start = y * (3 * width + 1)
        method, line = raw[start], bytearray(raw[start + 1:start + 1 + 3 * width])
        if method == 2:
            line = bytearray((a + b) & 255 for a, b in zip(line, above))
        elif method:
            for x in range(len(line)):
                a, b, c = line[x - 3] if x >= 3 else 0, above[x], above[x - 3] if x >= 3 else 0
                nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
                line[x] = (line[x] + (0, a, b, (a + b) // 2, nearest)[method]) & 255
        above = bytes(line)
        rows.append(above)
    return rows


def colour_of(pixel):
    """The name of the nearest colour, "ground" for a light grey."""
    if min(pixel) > 195 and max(pixel) - min(pixel) < 4:
        return "ground"
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], pixel)))


def read_letters(at):
    """The colour that covers most of a box with letters; which letters they are is not looked up."""
    seen = collections.Counter(at(x / 25, y / 25) for x in range(-24, 25) for y in range(-24, 25))
    del seen["ground"]
    return seen.most_common(1)[0][0]


def read_shape(at):
    """Shape and colour of which every probe is right."""
    fits = [(shape, at(*on[0])) for shape, (on, off) in PROBES.items()
            if len({at(*p) for p in on}) == 1 and at(*on[0]) != "ground" and {at(*p) for p in off} == {"ground"}]
    return fits[0] if len(fits) == 1 else (str(fits), None)


def third(value):
    return 0 if value < .29 else 1 if .43 < value < .57 else 2 if value > .71 else None


class Thing:
    def __init__(self, box, rows, span):
        self.x, self.y, self.wide, self.high = (box[key] for key in ("x", "y", "wide", "high"))
        self.text, self.size, self.place = box.get("text"), None, None
        self.shape, self.colour = box["shape"], box["colour"]
        if self.text:
            self.shape = "digit" if self.text.isdigit() else "word"
        else:
            self.size = "big" if self.wide > .15 * span else "small" if self.wide < .105 * span else None
        if rows:
            def at(px, py):
                y, x = (self.y + py * self.high) / span, (self.x + px * self.wide) / span
                return colour_of(rows[int(y * len(rows))][3 * int(x * len(rows)):][:3])
            if self.text:
                self.colour = read_letters(at)
            else:
                self.shape, self.colour = read_shape(at)
        row, column = third(self.y / span), third(self.x / span)
        if None not in (row, column) and self.shape != "word":
            words = ("top", "", "bottom")[row], ("left", "", "right")[column]
            self.place = " ".join(filter(None, words)) or "middle"

    def lies(self, direction, other):
        dx, dy, wide, high = self.x - other.x, self.y - other.y, self.wide + other.wide, self.high + other.high
        return {"left": dx <= -wide, "right": dx >= wide, "above": dy <= -high, "below": dy >= high}[direction]


def check_scene(scene, things, split):
    span = scene["span"]
    for i, a in enumerate(things):
        for key in ("colour", "shape", "size", "place"):
            if scene["objects"][i].get(key) != getattr(a, key):
                problems.append("%s: object %d: %s is drawn %s, told %s" % (
                    scene["image"], i, key, getattr(a, key), scene["objects"][i].get(key)))
        if min(a.x - a.wide, a.y - a.high) < 15 or max(a.x + a.wide, a.y + a.high) > span - 15:
            problems.append("%s: object %d leaves the picture" % (scene["image"], i))
        for b in things[:i]:
            if math.hypot(a.x - b.x, a.y - b.y) < max(a.wide, a.high) + max(b.wide, b.high) + .05 * span:
                problems.append("%s: objects are too near" % scene["image"])
    if split == "train" and any((a.shape, a.colour) in HELD_OUT for a in things):
        problems.append("%s: a held-out combination in train" % scene["image"])


# ---- understanding questions ----

NOUN = r"(?:(?P<c%d>%s)%s)?(?P<n%d>%s)"


def noun(number, chinese):
    colours = "|".join(k for k, v in CHINESE.items() if v in COLOURS) if chinese else "|".join(COLOURS)
    things = list(PROBES) + ["digit", "word", "object"]
    names = "|".join((k for k, v in CHINESE.items() if v in things) if chinese else things)
    return NOUN % (number, colours, "" if chinese else " ", number, names)


def compile_patterns(rules, chinese):
    """Rules with A and B for references, V for a value and N for a number, as [(name, pattern)]."""
    values = {"V": r"(?P<v>.+?)", "A": noun(1, chinese), "B": noun(2, chinese), "N": r"(?P<k>\d)"}
    slot = r"([ABVN])" if chinese else r"\b([ABVN])\b"
    return [(name, re.compile("".join(values.get(part, part) for part in re.split(slot, rule)) + r"\Z"))
            for name, rule in rules]


ENGLISH_RULES = compile_patterns([
    ("exist", r"(?:Is there|Can you see) an? A(?: in the picture)?\?"),
    ("count", r"How many V (?:are there|are in the picture|can you see)\?"),
    ("number?", r"Are there N V(?: in the picture)?\?"),
    ("side", r"Is the A (?:left or right of|above or below) the B\?"),
    ("direction?", r"Is the A (?P<d>left of|right of|above|below) the B\?"),
    ("neighbour", r"What is (?P<d>left of|right of|above|below) the A\?"),
    ("same?", r"(?:Do the two objects have|Are both objects) the same V\?"),
    ("more", r"(?:Which|What) is (?P<m>bigger|smaller), the A or the B\?"),
    ("more?", r"Is the A (?P<m>bigger|smaller) than the B\?"),
    ("digit?", r"Is (?:the digit|it the digit) N\?"),
    ("text", r"Which digit is it\?|What digit do you see\?|Which number is written there\?|"
             r"What word is written there\?|Which word do you see\?|What does it say\?"),
    ("caption", r"Describe the picture\.|What do you see\?|What is in the picture\?"),
    ("size", r"Is the A big or small\?|(?:What size|How big) is the {}\?".format(noun(3, False))),
    ("colour", r"What colou?r is the A\?"), ("colour", r"Which colour does the A have\?"),
    ("shape", r"What shape is the A\?"), ("shape", r"What is the shape of the A\?"),
    ("shape", r"Which shape does the A have\?"),
    ("place", r"(?:Where is|Where in the picture is|In which part of the picture is) the A\?"),
    ("it colour", r"And its colour\?|(?:What colour|And what color) is it\?"),
    ("it shape", r"And its shape\?|(?:What shape|And what shape) is it\?"),
    ("it size", r"And its size\?|Is it big or small\?|How big is it\?"),
    ("it place", r"Where is it\?|And where is it\?|And its position\?"),
    ("colour?", r"Is the colour of the A V\?"), ("shape?", r"Is the shape of the A an? V\?"),
    ("shape?", r"Is the A an? V\?"), ("place?", r"Is the A (?:at|on|in) the V(?: of the picture)?\?"),
    ("value?", r"Is the A V\?"),
], False)
CHINESE_RULES = compile_patterns([
    ("exist", r"(?:图中有A吗|图?里?有没有{})？".format(noun(3, True))),
    ("number?", r"(?:图中有|有没有)N个(?P<v>[^吗]+?)吗?？"),
    ("count", r"(?:图中有几|有多少|图中一共有多少)个V？"),
    ("side", r"A在B的(?:左边还是右边|上边还是下边)？"),
    ("direction?", r"A是不是在B的(?P<d>左边|右边|上边|下边)？"), ("direction?", r"A在B的(?P<d>左边|右边|上边|下边)吗？"),
    ("neighbour", r"A的(?P<d>左边|右边|上边|下边)(?:是|有)什么？"),
    ("same?", r"(?:两个物体的V一样吗)？"), ("same?", r"这两个物体V相同吗？"),
    ("more", r"A和B哪个更(?P<m>大|小)？"), ("more", r"哪个更(?P<m>大|小)，A还是B？"),
    ("more?", r"A比B(?P<m>大|小)吗？"), ("more?", r"A是不是比B(?P<m>大|小)？"),
    ("digit?", r"(?:图中的|这个)数字(?:是|是不是)N吗?？"),
    ("text", r"图中是什么数字？|这是数字几？|写的是哪个数字？|图中写的是什么单词？|这个单词是什么？|上面写着什么？"),
    ("caption", r"描述这张图片。|你看到了什么？|图中有什么？"),
    ("it colour", r"它是什么颜色的?？|那颜色呢？"), ("it shape", r"它是什么形状的?？|那形状呢？"),
    ("it size", r"它是大还是小？|它有多大？|那大小呢？"), ("it place", r"它在哪里？|它在什么位置？|那位置呢？"),
    ("colour", r"A(?:是什么颜色的?|的颜色是什么)？"), ("shape", r"A(?:是什么形状的?|的形状是什么)？"),
    ("size", r"A(?:是大还是小|有多大|的大小如何)？"), ("place", r"A在(?:哪里|图中的什么位置|什么地方)？"),
    ("place?", r"A(?:是不是)在V？"), ("place?", r"A在V吗？"),
    ("value?", r"A是不是V？"), ("value?", r"A是V吗？"),
], True)


class Reader:
    """Answers a question from the things of a picture; every answer in English."""

    def __init__(self, things, chinese):
        self.things, self.chinese = things, chinese
        self.last, self.named = None, set()

    def word(self, text):
        return CHINESE.get(text, text) if self.chinese else text

    def find(self, colour, name):
        return [t for t in self.things if (not colour or t.colour == colour) and (name == "object" or t.shape == name)]

    def one(self, match, number):
        found = self.find(self.word(match["c%d" % number]), self.word(match["n%d" % number]))
        if len(found) != 1:
            raise ValueError("%s is not one object" % match[0])
        self.named.add((found[0].shape, found[0].colour))
        return found[0]

    def many(self, text):
        """The objects of "red objects", "circles"."""
        if self.chinese:
            match = re.fullmatch(noun(1, True), text)
            return self.find(self.word(match["c1"]), self.word(match["n1"]))
        words = text.split()
        name = {"crosses": "cross"}.get(words[-1], words[-1][:-1])
        return self.find(words[0] if len(words) > 1 else None, name)

    def answer(self, text):
        for name, pattern in CHINESE_RULES if self.chinese else ENGLISH_RULES:
            match = pattern.match(text)
            if match:
                self.rule = name + (" " + self.word(match["v"]) if name == "same?" else "")
                return getattr(self, "do_" + name.replace("?", "_is").replace(" ", "_"))(match)
        raise ValueError("not understood")

    def value(self, thing, attribute):
        self.last = thing
        found = getattr(thing, attribute)
        if found is None:
            raise ValueError("the %s is not clear" % attribute)
        return found

    def first(self, match):
        for number in (1, 3):
            if match.groupdict().get("n%d" % number):
                return number
        raise ValueError("no object named")

    def do_colour(self, match): return self.value(self.one(match, 1), "colour")
    def do_shape(self, match): return self.value(self.one(match, 1), "shape")
    def do_size(self, match): return self.value(self.one(match, self.first(match)), "size")
    def do_place(self, match): return self.value(self.one(match, 1), "place")
    def it(self, attribute):
        self.named.add((self.last.shape, self.last.colour))
        return self.value(self.last, attribute)
    def do_it_colour(self, match): return self.it("colour")
    def do_it_shape(self, match): return self.it("shape")
    def do_it_size(self, match): return self.it("size")
    def do_it_place(self, match): return self.it("place")

    def do_text(self, match):
        self.last = self.things[0]
        return self.last.text

    def do_digit_is(self, match):
        self.last = self.things[0]
        return self.last.text == match["k"]

    def do_exist(self, match):
        number = self.first(match)
        colour, name = self.word(match["c%d" % number]), self.word(match["n%d" % number])
        found = self.find(colour, name)
        if colour and name in PROBES:
            self.named |= {(t.shape, t.colour) for t in self.things}
            if (name, colour) in HELD_OUT and not found:
                raise ValueError("denies a held-out combination")
        return len(found) > 0

    def do_count(self, match): return str(len(self.many(match["v"])))
    def do_number_is(self, match): return len(self.many(match["v"])) == int(match["k"])

    def do_value_is(self, match):
        thing, value = self.one(match, 1), match["v"]
        if self.chinese:
            value = self.word(re.sub("的$", "", value))
        attribute = "colour" if value in COLOURS else "shape" if value in PROBES else "size"
        claimed = (thing.shape, value) if attribute == "colour" else (value, thing.colour) if attribute == "shape" else None
        if claimed in HELD_OUT and claimed != (thing.shape, thing.colour):
            raise ValueError("denies a held-out combination")
        return self.value(thing, attribute) == value
    do_colour_is = do_shape_is = do_value_is

    def do_place_is(self, match):
        place = PLACES[match["v"]] if self.chinese else match["v"]
        own = self.value(self.one(match, 1), "place")
        if own != place and (set(own.split()) < set(place.split()) or set(place.split()) < set(own.split())):
            raise ValueError("%s could be called %s" % (own, place))
        return own == place

    def do_side(self, match):
        a, b = self.one(match, 1), self.one(match, 2)
        horizontal = "左" in match[0] or " left " in match[0]
        found = [d for d in (("left", "right") if horizontal else ("above", "below")) if a.lies(d, b)]
        if not found:
            raise ValueError("neither is")
        return found[0]

    def direction(self, match):
        return DIRECTIONS[match["d"]] if self.chinese else match["d"].split()[0]

    def do_direction_is(self, match):
        a, b, direction = self.one(match, 1), self.one(match, 2), self.direction(match)
        opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}[direction]
        if not a.lies(direction, b) and not a.lies(opposite, b):
            raise ValueError("neither is")
        return a.lies(direction, b)

    def do_neighbour(self, match):
        b, direction = self.one(match, 1), self.direction(match)
        found = [t for t in self.things if t.lies(direction, b)]
        if len(found) != 1 or len(self.things) != 2:
            raise ValueError("not one neighbour")
        self.last = found[0]
        self.named.add((found[0].shape, found[0].colour))
        return found[0].colour + " " + found[0].shape

    def do_same_is(self, match):
        a, b = self.things
        self.named |= {(a.shape, a.colour), (b.shape, b.colour)}
        return getattr(a, self.word(match["v"])) == getattr(b, self.word(match["v"]))

    def more(self, match):
        a, b = self.one(match, 1), self.one(match, 2)
        if a.size == b.size:
            raise ValueError("equally big")
        return a, b, a if (a.size == "big") == (match["m"] in ("bigger", "大")) else b

    def do_more(self, match): return self.more(match)[2].shape

    def do_more_is(self, match):
        a, _, more = self.more(match)
        return more is a

    def do_caption(self, match):
        for t in self.things:
            self.named.add((t.shape, t.colour))
        return None


def plain(answer, reader):
    """The answer as given, in the words that Reader answers in."""
    if answer in ("yes", "no"):
        return answer == "yes"
    if reader.chinese:
        if answer in ("是", "有", "不是", "没有"):
            return answer in ("是", "有")
        match = re.fullmatch(noun(1, True), answer)
        if match and match["c1"]:
            return CHINESE[match["c1"]] + " " + CHINESE[match["n1"]]
        return CHINESE.get(answer, answer)
    return answer


def check_caption(question, things, chinese):
    """A caption names what is there: as many colours and shapes, in its own words."""
    words = CHINESE if chinese else {w: w for w in list(COLOURS) + list(PROBES)}
    text = question["answer"] if chinese else question["answer"].replace("crosses", "cross")
    told = collections.Counter()
    for word, meaning in words.items():
        if meaning in COLOURS or meaning in PROBES:
            told[meaning] += len(re.findall(word, text))
    shapes = collections.Counter(t.shape for t in things if t.shape in PROBES)
    numbers = re.findall(r"(\d)(?: |个)", text)
    if numbers and not any(t.text for t in things):
        counted = [str(shapes[s]) for s in PROBES if shapes[s]]
        return numbers == counted and {w for w in PROBES if told[w]} == set(shapes)
    expected = shapes + collections.Counter(t.colour for t in things)
    return {w: n for w, n in told.items() if n} == dict(expected) and all(t.text in text for t in things if t.text)


def check_question(question, things, previous, split):
    chinese = question["language"] == "zh"
    reader = Reader(things, chinese)
    where = "%s: %s -> %s" % (question["question_id"], question["text"], question["answer"])
    try:
        for text in question["history"][::2]:
            reader.answer(text)
        reader.named.clear()
        found, given = reader.answer(question["text"]), plain(question["answer"], reader)
        question["rule"] = reader.rule
        if chinese and question["kind"] == "position" and not isinstance(given, bool):
            given = PLACES[question["answer"]]
        if chinese and question["answer"] in DIRECTIONS and question["kind"] == "relation":
            given = DIRECTIONS[question["answer"]]
    except ValueError as error:
        problems.append("%s: %s" % (where, error))
        return
    if found is None:
        if not check_caption(question, things, chinese):
            problems.append("%s: the caption does not fit" % where)
    elif found != given:
        problems.append("%s: expected %s" % (where, found))
    if (question["form"] == "follow") != bool(question["history"]):
        problems.append("%s: history and form disagree" % where)
    if question["novel"] != bool(reader.named & HELD_OUT):
        problems.append("%s: novel is %s" % (where, question["novel"]))
    if split == "train" and question["novel"]:
        problems.append("%s: is about a held-out combination" % where)
    if question["text"] in previous:
        problems.append("%s: asked before" % where)


def check_sample(sample, questions):
    turns = sample["conversations"]
    expected = [(t["from"], t["value"]) for t in turns]
    told = []
    for i, q in enumerate(questions):
        told += [("human", ("" if i else "<image>\n") + q["text"]), ("gpt", q["answer"])]
    if expected != told or sample["kinds"] != [q["kind"] for q in questions]:
        problems.append("%s: the two lists differ" % sample["id"])


def answers_by_kind(questions):
    """{(kind, form): Counter of answers}, Chinese and English apart."""
    table = collections.defaultdict(collections.Counter)
    for q in questions:
        table[q["kind"], "yesno" if q["form"] == "yesno" else "value", q["language"]][q["answer"]] += 1
    return table


def check_yes_no(questions):
    """For each way of asking, in both languages together, and for what a "same" asks after."""
    rules = collections.defaultdict(list)
    for q in questions:
        if q["form"] == "yesno":
            yes = q["answer"] in ("yes", "是", "有")
            rules[q["rule"]].append(yes)
            rules["novel" if q["novel"] else "not novel"].append(yes)
    for rule, answers in rules.items():
        n, yes = len(answers), sum(answers)
        if abs(yes - n / 2) > 4 * .5 * n ** .5:
            problems.append("%s: %d of %d are yes" % (rule, yes, n))


def check_balance(questions):
    for (kind, form, language), answers in answers_by_kind(questions).items():
        n, several = sum(answers.values()), len(answers)
        if form == "yesno":
            share, spread = answers.most_common(1)[0][1] / n, 4 * .5 / n ** .5
            if several != 2 or share > .5 + spread:
                problems.append("%s in %s: yes and no are %s" % (kind, language, dict(answers)))
        elif kind not in ("caption", "relation") and n > 40 * several:
            most, least = answers.most_common()[0], answers.most_common()[-1]
            if most[1] > 2.2 * least[1]:
                problems.append("%s in %s: %s against %s" % (kind, language, most, least))


def print_numbers(questions):
    kinds = list(dict.fromkeys(q["kind"] for q in questions))
    print("| kind | questions | of these yes/no | of these follow-ups | yes | values, most and least frequent |")
    print("|---|---|---|---|---|---|")
    table = answers_by_kind([dict(q, language="") for q in questions if q["language"] == "en"])
    for kind in kinds:
        own = [q for q in questions if q["kind"] == kind]
        yes_no, follow = [q for q in own if q["form"] == "yesno"], [q for q in own if q["form"] == "follow"]
        yes = sum(q["answer"] in ("yes", "是", "有") for q in yes_no)
        values = table[kind, "value", ""].most_common()
        n = sum(v for _, v in values)
        ends = ", ".join("%s %.0f%%" % (answer, 100 * times / n) for answer, times in values[:1] + values[-1:])
        text = "%d: %s" % (len(values), ends) if values else ""
        if kind == "caption":
            text = "%d different ones" % len(values)
        print("| %s | %d (%.0f%%) | %d | %d | %s | %s |" % (kind, len(own), 100 * len(own) / len(questions), len(yes_no),
              len(follow), "%.1f%%" % (100 * yes / len(yes_no)) if yes_no else "", text))


def main():
    folder, split = sys.argv[1:3]
    lines = lambda name: [json.loads(line) for line in open("%s/%s.%s" % (folder, split, name), encoding="utf-8")]
    questions, samples = lines("questions.jsonl"), json.load(open("%s/%s.json" % (folder, split), encoding="utf-8"))
    if "--numbers" in sys.argv:
        return print_numbers(questions)
    by_image = collections.defaultdict(list)
    for q in questions:
        by_image[q["image"]].append(q)
    scenes = lines("scenes.jsonl")
    if not len(scenes) == len(samples) == len(by_image) or len({q["question_id"] for q in questions}) != len(questions):
        problems.append("%d scenes, %d samples, %d pictures with questions" % (len(scenes), len(samples), len(by_image)))
    novel = 0
    for number, (scene, sample) in enumerate(zip(scenes, samples)):
        own = by_image[sample["image"]]
        if scene["image"] != sample["image"]:
            problems.append("the lists are not in one order")
        rows = read_png(folder + "/" + scene["image"]) if number < PIXELS else None
        things = [Thing(box, rows, scene["span"]) for box in scene["objects"]]
        check_scene(scene, things, split)
        for i, question in enumerate(own):
            check_question(question, things, [q["text"] for q in own[:i]], split)
        check_sample(sample, own)
        novel += any((t.shape, t.colour) in HELD_OUT for t in things)
    if split == "test" and not .3 < novel / len(scenes) < .6:
        problems.append("%d of %d test pictures show a held-out combination" % (novel, len(scenes)))
    if not problems:
        check_yes_no(questions)
        check_balance(questions)
    for problem in problems[:40]:
        print(problem)
    print("%d pictures, %d questions, %d problems" % (len(scenes), len(questions), len(problems)))
    return 1 if problems else 0


sys.exit(main())
