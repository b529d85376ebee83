#!/bin/bash
# Benchmarks through the program: runs that are killed and go on, parts that are joined, ranking, reports,
# text ability, batches, and every fault of data that must be told with file and line.
# Usage: tests/eval.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
case $build in /*) vrwkv=$build/vrwkv ;; *) vrwkv=$PWD/$build/vrwkv ;; esac
[ -x "$vrwkv" ] || { echo "no program at $vrwkv"; exit 1; }
data=$PWD/tests/data/cases/metrics
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/frame.sh
python() { if command -v python3 >/dev/null 2>&1; then python3 "$@"; else return 77; fi; }

# ---- a small model that speaks: single bytes, words, and the blank line that ends an answer ----
awk 'BEGIN {
    for (i = 1; i < 128; i++) printf "%d \"\\x%02x\" 1\n", i, i
    n = split("yes no red blue green a the two cat dog Yes No is it not and of in on", words, " ")
    for (i = 1; i <= n; i++) printf "%d \" %s\" %d\n", 127 + i, words[i], length(words[i]) + 1
    printf "261 \"\\n\\n\" 2\n" }' >"$work/vocab.txt"
code "the model is made" 0 "$vrwkv" convert tests/data/cases/v6/p5-grid-none/model.pth --config tests/data/cases/v6/p5-grid-none/case.json \
    --vocab "$work/vocab.txt" -o "$work/model.gguf"
model=$work/model.gguf

# ---- score ----
score() { "$vrwkv" score "$1" --data "$2" --answers "$3" "${@:4}"; }
for bench in vqav2 gqa scienceqa textvqa pope mme mmbench listqa; do
    code "score $bench" 0 score $bench "$data/$bench" "$data/$bench/answers_noisy.jsonl" --json
    if [ -f "$data/$bench/expected.json" ]; then
        python - "$work/out" "$data/$bench/expected.json" <<'P'
import json, math, sys
found, expected = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))["noisy"]
def same(a, b):
    if isinstance(b, float): return math.isclose(a, b, rel_tol=1e-9)
    if isinstance(b, dict): return set(a) == set(b) and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list): return len(a) == len(b) and all(map(same, a, b))
    return a == b
sys.exit(not same(found, expected))
P
        status=$?
        [ $status -eq 77 ] || check "score $bench: the keys and values of the reference, no more" $status 0
    fi
done
code "mmvet's file to hand in" 0 score mmvet "$data/mmvet" "$data/mmvet/answers_noisy.jsonl" --submission "$work/mmvet.json"
python - "$work/mmvet.json" "$data/mmvet/expected_results_noisy.json" <<'P'
import sys; sys.exit(open(sys.argv[1]).read().strip() != open(sys.argv[2]).read().strip())
P
status=$?; [ $status -eq 77 ] || check "mmvet: byte for byte" $status 0
code "vqav2: the official figure leads" 0 score vqav2 "$data/vqav2" "$data/vqav2/answers_noisy.jsonl"
prints "vqav2: official" "* 39.60 %  VQA accuracy, official"
code "vqav2: --manner original" 0 score vqav2 "$data/vqav2" "$data/vqav2/answers_noisy.jsonl" --manner original
prints "vqav2: the original's" "* 46.80 %  VQA accuracy, VisualRWKV"
code "mmbench's table to upload" 0 score mmbench "$data/mmbench" "$data/mmbench/answers_noisy.jsonl" --submission "$work/mm.xlsx"
python - "$work/mm.xlsx" "$data/mmbench/expected.json" <<'P'
import json, re, sys, zipfile
import xml.etree.ElementTree as tree
want = json.load(open(sys.argv[2]))["noisy"]["submission"]
sheet = tree.fromstring(zipfile.ZipFile(sys.argv[1]).read("xl/worksheets/sheet1.xml"))
s = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
rows = []
for row in sheet.iter(s + "row"):
    cells = [""] * len(want["columns"])
    for cell in row.iter(s + "c"):
        column = ord(re.match("[A-Z]+", cell.get("r")).group()) - 65
        value = cell.find(s + "v")
        cells[column] = int(value.text) if value is not None else "".join(t.text or "" for t in cell.iter(s + "t"))
    rows.append(cells)
sys.exit(rows != [want["columns"]] + want["rows"])
P
status=$?; [ $status -eq 77 ] || check "mmbench: a reader finds the expected cells" $status 0

# ---- faults in answer files ----
answers=$work/answers.jsonl
spoil() { cp "$data/pope/answers_noisy.jsonl" "$answers"; "$@"; }
spoil sed -i '3s/.*/{"question_id": 3, "text": /' "$answers"
code "a broken line stops" 1 score pope "$data/pope" "$answers"
says "a broken line is named" "answers.jsonl:3: no JSON object"
code "a broken line is read over" 0 score pope "$data/pope" "$answers" --keep-going
says "and counted" "2 faults in the data were read over" # the line, and the question that has no answer now
spoil sed -i '4{p}' "$answers"
code "a duplicate id stops" 1 score pope "$data/pope" "$answers"
says "a duplicate id is named" "answers.jsonl:5: a second answer to question 4, the first is at line 4"
spoil sed -i '$d' "$answers"
code "a missing answer stops" 1 score pope "$data/pope" "$answers"
says "a missing answer is named" "1 of 35 questions have no answer, the first is id 2000012"
spoil sed -i '2s/"question_id": 2/"question_id": 999/' "$answers"
code "an unknown id stops" 1 score pope "$data/pope" "$answers"
says "an unknown id is named" "answers.jsonl:2: id 999 is no question"
spoil sed -i '2s/"text": "[^"]*"/"text": 5/' "$answers"
code "an answer that is no text stops" 1 score pope "$data/pope" "$answers"
says "and is named" "answers.jsonl:2: \"text\", the answer, is no text"
code "answers of another benchmark stop" 1 score pope "$data/pope" "$data/gqa/answers_noisy.jsonl"
code "an unknown benchmark" 2 score poe "$data/pope" "$answers"
code "an unknown split" 1 score pope "$data/pope" "$answers" --split dev
says "an unknown split: the known ones" "pope has no split 'dev' (known: coco)"

# ---- faults in data ----
folder=$work/folder
fresh() { rm -rf "$folder"; cp -r "$data/$1" "$folder"; }
fresh pope; sed -i '2{p}' "$folder/llava_pope_test.jsonl"
code "a duplicate question stops" 1 score pope "$folder" "$data/pope/answers_noisy.jsonl"
says "a duplicate question is named" "llava_pope_test.jsonl:3: id 2 was there before, at line 2"
fresh pope; sed -i '1{h;d};2{G}' "$folder/coco/coco_pope_random.json"
code "labels in another order stop" 1 score pope "$folder" "$data/pope/answers_noisy.jsonl"
says "labels in another order are named" "coco_pope_random.json:1 asks"
fresh mmbench; iconv -f UTF-8 -t UTF-16 "$data/mmbench/mmbench_dev_20230712.tsv" >"$folder/mmbench_dev_20230712.tsv"
code "a table in UTF-16 stops" 1 score mmbench "$folder" "$data/mmbench/answers_noisy.jsonl"
says "a table in UTF-16 is named" "mmbench_dev_20230712.tsv:1: no valid UTF-8"
fresh mmbench; sed -i '3s/\t.*//' "$folder/mmbench_dev_20230712.tsv"
code "a short row stops" 1 score mmbench "$folder" "$data/mmbench/answers_noisy.jsonl"
says "a short row is named" "mmbench_dev_20230712.tsv:3: 1 fields, expected 14"
fresh vqav2; sed -i 's/"answers": \[/"answers": [7, /' "$folder/v2_mscoco_val2014_annotations.json"
code "annotations of another kind stop" 1 score vqav2 "$folder" "$data/vqav2/answers_noisy.jsonl"
says "annotations: file and line" "v2_mscoco_val2014_annotations.json:1: human answer 1 is no text"
fresh gqa; sed -i '$s/}$//' "$folder/testdev_balanced_questions.json"
code "a file cut short stops" 1 score gqa "$folder" "$data/gqa/answers_noisy.jsonl"
says "a file cut short is named" "testdev_balanced_questions.json:2: found the end"
code "--check of a small folder" 1 "$vrwkv" eval pope --check "$data/pope"
prints "--check counts" "different  coco/coco_pope_random.json: 12 of 2910"
prints "--check finds the pictures" "ok         val2014: 9 of 9"
fresh pope; rm "$folder/val2014/"*439839.jpg
code "--check of a folder with a gap" 1 "$vrwkv" eval pope --check "$folder"
prints "--check names the gap" "different  val2014: 8 of 9  (missing, the first is COCO_val2014_000000439839.jpg)"

# ---- a run ----
run() { "$vrwkv" eval pope -m "$model" --data "$data/pope" --max-tokens 12 "$@"; }
code "eval pope" 0 run -o "$work/a.jsonl"
check "eval: a line per question" "$(wc -l <"$work/a.jsonl")" 35
prints "eval: the figure" "mean F1"
python - "$work/a.jsonl" "$data/pope/prompts.json" "$work/a.jsonl.result.json" "$work/a.jsonl.html" <<'P'
import html.parser, json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
prompts = json.load(open(sys.argv[2]))
result = json.load(open(sys.argv[3]))
page = open(sys.argv[4]).read()
assert [l["question_id"] for l in lines] == [p["question_id"] for p in prompts], "order"
assert [l["prompt"] for l in lines] == [p["v6_middle"] for p in prompts], "prompts"
assert list(lines[0]) == ["question_id", "prompt", "text", "avg_logit", "avg_prob", "model_id", "metadata"], "keys"
assert len(result["questions"]) == 35 and result["record"]["manner"] == "original" and len(result["record"]["fingerprint"]) == 64
class Balance(html.parser.HTMLParser):
    open = []
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "img"): self.open.append(tag)
    def handle_startendtag(self, tag, attrs): pass
    def handle_endtag(self, tag): assert self.open.pop() == tag, tag
b = Balance(); b.feed(page); assert not b.open
assert "data:image/jpeg;base64," in page and "said yes" in page
assert page.count('class="bar"') == 3 and "</i></span><span class=\"n\">" in page, "a bar for each kind of questions"
P
status=$?; [ $status -eq 77 ] || check "eval: lines, prompts, result and page are as they should be" $status 0
code "the same command again asks nothing" 0 run -o "$work/a.jsonl"
says "the same command again" "35 answers were there already"
code "one at a time" 0 run -o "$work/b.jsonl" --batch 1 --threads 1
same "answers do not depend on the batch" "$work/a.jsonl" "$work/b.jsonl"
code "another setting with the same file stops" 1 run -o "$work/a.jsonl" --manner friendly
says "another setting is named" "was begun with manner \"original\", now it is \"friendly\""
echo '["yes"' >"$work/broken.json"
code "a list of candidates that is broken" 1 run -o "$work/begun.jsonl" --rank "$work/broken.json"
code "what was begun without an answer may begin otherwise" 0 run -o "$work/begun.jsonl"
cp "$work/a.jsonl" "$work/lonely.jsonl"
code "a file without its record stops" 1 run -o "$work/lonely.jsonl"
says "a file without its record" "but not its record"

# killed at any point, again and again, until it is done
rm -f "$work/k.jsonl"*
midway=0
for i in $(seq 200); do
    "$vrwkv" eval pope -m "$model" --data "$data/pope" --max-tokens 12 -o "$work/k.jsonl" --batch 3 >"$work/out" 2>"$work/err" &
    pid=$!
    ms=$(((i % 7 + 1) * (10 + 3 * i))) # longer and longer, where the machine is slow
    sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? -eq 137 ] || break
    lines=$({ wc -l <"$work/k.jsonl" || echo 0; } 2>/dev/null)
    [ "$lines" -gt 0 ] && [ "$lines" -lt 35 ] && midway=$((midway + 1))
done
[ "$midway" -gt 0 ] && ok "$midway kills in the middle of a run" || bad "no kill came in the middle of a run"
code "a killed run is finished" 0 run -o "$work/k.jsonl" --batch 3
same "a killed run has the same answers" "$work/a.jsonl" "$work/k.jsonl"
rm -f "$work/k.jsonl"; head -c 1000 "$work/a.jsonl" >"$work/k.jsonl" # a line cut in its middle
code "a line cut short is asked again" 0 run -o "$work/k.jsonl"
same "after a line cut short" "$work/a.jsonl" "$work/k.jsonl"

# parts
for k in 0 1 2; do code "part $k of 3" 0 run -o "$work/part.$k" --chunk $k/3; done
code "parts are joined" 0 "$vrwkv" eval merge --data "$data/pope" -o "$work/m.jsonl" "$work/part.1" "$work/part.2" "$work/part.0"
same "joined parts are the whole" "$work/a.jsonl" "$work/m.jsonl"
code "a part is missing" 1 "$vrwkv" eval merge --data "$data/pope" -o "$work/m2.jsonl" "$work/part.2" "$work/part.0"
says "the missing part is named" "begins at question 24, expected 12"
code "a chunk beyond" 2 run -o "$work/part.9" --chunk 3/3
code "only the first five" 0 run -o "$work/five.jsonl" --limit 5
check "only five lines" "$(wc -l <"$work/five.jsonl")" 5

# state kept behind the picture
code "picture first" 0 run -o "$work/f.jsonl" --image-position first
says "picture first: the state is kept" "kept of a picture: state"
code "picture first, whole prompts" 0 run -o "$work/g.jsonl" --image-position first --no-reuse
same "a kept state changes no answer" "$work/f.jsonl" "$work/g.jsonl"
code "comparison" 0 "$vrwkv" eval compare "$work/a.jsonl.result.json" "$work/f.jsonl.result.json"
prints "comparison" "McNemar p ="
code "comparison with itself" 0 "$vrwkv" eval compare "$work/a.jsonl.result.json" "$work/a.jsonl.result.json" --json
prints "comparison with itself: no difference" '"p": 1.0'
code "comparison of different questions" 1 "$vrwkv" eval compare "$work/a.jsonl.result.json" "$work/five.jsonl.result.json"

# a picture that is not there
fresh pope; rm "$folder/val2014/"*439839.jpg
code "a missing picture stops" 1 "$vrwkv" eval pope -m "$model" --data "$folder" --max-tokens 2 -o "$work/p.jsonl"
says "a missing picture is named" "picture of question"
code "a missing picture is read over" 1 "$vrwkv" eval pope -m "$model" --data "$folder" --max-tokens 2 -o "$work/p2.jsonl"
rm -f "$work/p2.jsonl"*
code "with --keep-going" 0 "$vrwkv" eval pope -m "$model" --data "$folder" --max-tokens 2 -o "$work/p2.jsonl" --keep-going
says "its questions are counted" "questions were left out"

# pictures inside the table
code "eval mmbench" 0 "$vrwkv" eval mmbench -m "$model" --data "$data/mmbench" --max-tokens 3 -o "$work/mm.jsonl"
check "mmbench: a line per row" "$(wc -l <"$work/mm.jsonl")" 38

# ranking
echo '["yes", "no", "red cat", "two dogs", "a green dog", "blue"]' >"$work/candidates.json"
code "ranking" 0 run -o "$work/r.jsonl" --rank "$work/candidates.json"
check "ranking: only candidates" "$(grep -cE '"text": "(Yes|No|Red cat|Two dogs|A green dog|Blue)", "loss": [0-9]' "$work/r.jsonl")" 35
echo '["yes", "no"]' >"$work/few.json"
code "too few candidates" 1 run -o "$work/r2.jsonl" --rank "$work/few.json"
says "too few candidates: how many" "2 candidates, expected at least 5"

# ---- text ----
code "text tasks" 0 "$vrwkv" eval text -m "$model" --data "$data/text" --task lambada --task piqa -o "$work/t.json"
prints "text tasks: lambada" "lambada_openai"
code "text tasks compared" 0 "$vrwkv" eval compare "$work/t.json" "$work/t.json"
printf 'the cat is not red and the dog is in it\n' >"$work/text.txt"
code "perplexity" 0 "$vrwkv" eval perplexity -m "$model" "$work/text.txt" --json
prints "perplexity: tokens and bytes" '"bytes": 40'

# ---- batch ----
batch() { "$vrwkv" batch -m "$model" "$data/pope/val2014" -q "is it red" -q "is it a cat" -n 8 "$@"; }
code "batch" 0 batch -o "$work/batch.jsonl"
check "batch: a line per picture and question" "$(wc -l <"$work/batch.jsonl")" 18
cp "$work/batch.jsonl" "$work/whole.jsonl"
head -c 500 "$work/whole.jsonl" >"$work/batch.jsonl"
code "batch goes on" 0 batch -o "$work/batch.jsonl"
same "batch: the same lines" "$work/batch.jsonl" "$work/whole.jsonl"
mkdir "$work/pictures"; cp "$data/pope/val2014/"*14515.jpg "$work/pictures/"; echo no picture >"$work/pictures/broken.png"
code "a broken picture stops a batch" 1 "$vrwkv" batch -m "$model" "$work/pictures" -q "is it" -o "$work/x.jsonl" -n 2
says "a broken picture is named" "broken.png"
code "a broken picture is read over" 0 "$vrwkv" batch -m "$model" "$work/pictures" -q "is it" -o "$work/x2.jsonl" -n 2 -k
check "the other one is answered" "$(wc -l <"$work/x2.jsonl")" 1
code "a question twice" 1 "$vrwkv" batch -m "$model" "$work/pictures" -q "is it" -q "is it" -o "$work/x3.jsonl"
says "a question twice is named" '"is it" is asked twice'
code "no question" 2 "$vrwkv" batch -m "$model" "$work/pictures" -o "$work/x3.jsonl"

echo "$count checks, $failed failed"
[ "$failed" -eq 0 ]
