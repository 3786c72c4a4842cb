"""What can be wrong with a benchmark's files or with replies: the command says it in one line and exits with 2."""

import itertools
import json
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import BENCHMARKS, get_benchmark, load_items
from viral.benchmarks.files import require_images
from viral.errors import DataError, ViralError

ROOT = "MME_Benchmark_release_version"
MME_TEXT = f"{ROOT}/existence/0001.txt"
CAPTIONS = "AdaptVis/data/coco_qa_two_obj.json"
PROMPTS = "AdaptVis/prompts/COCO_QA_one_obj_with_answer_four_options.jsonl"

DEEP = "[" * 100_000
"""Deeper than Python's JSON parser can go."""


def truncate(data, file):
    content = (data / file).read_bytes()
    (data / file).write_bytes(content[: len(content) * 2 // 3])


def write(data, file, text):
    (data / file).write_text(text)


def swap(data, file, old, new):
    text = (data / file).read_text()
    assert old in text
    (data / file).write_text(text.replace(old, new, 1))


def latin(data, file):
    (data / file).write_bytes((data / file).read_bytes() + "Öl".encode("latin-1"))


def as_table(data):
    rows = [{k: v for k, v in row.items() if k != "image"} for row in worlds.cvbench_rows(6, 4)]
    worlds.write_parquet(data / "cvbench/test_2d.parquet", rows)
    (data / "cvbench/test_2d.jsonl").unlink()
    truncate(data, "cvbench/test_2d.parquet")


def as_zip(data):
    with zipfile.ZipFile(data / f"{ROOT}.zip", "w") as archive:
        for file in sorted((data / ROOT).rglob("*.txt")):
            archive.write(file, file.relative_to(data))
    shutil.rmtree(data / ROOT)


def cut_zip(data):
    as_zip(data)
    truncate(data, f"{ROOT}.zip")


def flipped_zip(data):
    as_zip(data)
    content = bytearray((data / f"{ROOT}.zip").read_bytes())
    content[content.index(b"Is there a drum")] ^= 1
    (data / f"{ROOT}.zip").write_bytes(content)


def repeated(data, file):
    lines = (data / file).read_text().splitlines(keepends=True)
    (data / file).write_text("".join([*lines[:-1], lines[1]]))


DAMAGE = {
    "truncated table": ("mmstar", lambda d: truncate(d, "MMStar/mmstar.parquet"), "cannot be read as parquet"),
    "truncated table of CV-Bench": ("cvbench", as_table, "cannot be read as parquet"),
    "truncated lines": ("pope", lambda d: truncate(d, "POPE/pope_random.jsonl"), "is not valid JSON"),
    "truncated captions": ("whatsup", lambda d: truncate(d, "AdaptVis/data/coco_qa_one_obj.json"), "not valid JSON"),
    "no zip any more": ("mme", cut_zip, "cannot be opened"),
    "flipped bit in a zip": ("mme", flipped_zip, "damaged archive"),
    "not UTF-8, csv": ("mmvp", lambda d: latin(d, "MMVP/Questions.csv"), "cannot be read as text"),
    "not UTF-8, jsonl": ("cvbench", lambda d: latin(d, "cvbench/test_2d.jsonl"), "cannot be read as text"),
    "not UTF-8, txt": ("mme", lambda d: latin(d, MME_TEXT), "cannot be read as text"),
    "csv without columns": ("mmvp", lambda d: write(d, "MMVP/Questions.csv", "1\n2\n"), "has 1 columns"),
    "csv row too short": ("mmvp", lambda d: swap(d, "MMVP/Questions.csv", ",(b)\n", "\n"), "row 2 has 3 cells"),
    "empty csv": ("mmvp", lambda d: write(d, "MMVP/Questions.csv", ""), "is empty"),
    "ids twice, csv": ("mmvp", lambda d: repeated(d, "MMVP/Questions.csv"), "1 ids occur twice"),
    "ids twice, lines": ("cvbench", lambda d: repeated(d, "cvbench/test_2d.jsonl"), "1 ids occur twice"),
    "label typo, MMVP": ("mmvp", lambda d: swap(d, "MMVP/Questions.csv", ",(b)\n", ",(c)\n"), "expected (a) or (b)"),
    "options typo, MMVP": ("mmvp", lambda d: swap(d, "MMVP/Questions.csv", "(b) Unlit", "b) Unlit"), "expected '(a)"),
    "index too long, MMVP": (
        "mmvp",
        lambda d: swap(d, "MMVP/Questions.csv", "1,Is", "9" * 5000 + ",Is"),
        "expected a number",
    ),
    "nested lines": ("cvbench", lambda d: write(d, "cvbench/test_2d.jsonl", DEEP), "nested too deep"),
    "nested captions": ("whatsup", lambda d: write(d, CAPTIONS, DEEP), "nested too deep"),
    "nested counts": ("pope", lambda d: write(d, "POPE/counts.json", DEEP), "nested too deep"),
    "index typo, MMVP": ("mmvp", lambda d: swap(d, "MMVP/Questions.csv", "1,Is", "one,Is"), "expected a number"),
    "label typo, What's Up": ("whatsup", lambda d: swap(d, PROMPTS, '"Left"', '"Lefft"'), "expected one of left"),
    "no question mark": ("whatsup", lambda d: swap(d, PROMPTS, "photo?", "photo."), "expected 'USER:"),
    "label typo, POPE": ("pope", lambda d: swap(d, "POPE/pope_random.jsonl", '"yes"', '"yess"'), "label 'yess'"),
    "label typo, CV-Bench": ("cvbench", lambda d: swap(d, "cvbench/test_2d.jsonl", "(A)", "(G)"), "line 1: answer"),
    "label typo, MME": ("mme", lambda d: swap(d, MME_TEXT, "\tYes", "\tYse"), "answer 'Yse'"),
    "no tab, MME": ("mme", lambda d: swap(d, MME_TEXT, "\t", " "), "expected question<TAB>"),
    "a line short, MME": ("mme", lambda d: write(d, MME_TEXT, "Is it?\tYes\n"), "has 1 lines"),
    "a text short, MME": ("mme", lambda d: (d / MME_TEXT).unlink(), "2 items in group 'existence', expected 4"),
    "a row short": ("whatsup", lambda d: swap(d, CAPTIONS, '[0, "right", "wrong"], ', ""), "row i of one"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files(tmp_path, case):
    name, damage, message = DAMAGE[case]
    data = worlds.WRITERS[name](tmp_path)
    load_items(get_benchmark(name), data)
    damage(data)
    with pytest.raises(DataError) as caught:
        load_items(get_benchmark(name), data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "E"}, "answer 'E'; expected A, B, C or D"),
        ({"answer": None}, "answer is NoneType"),
        ({"question": 3}, "question is int"),
        ({"index": 0}, "ids occur twice"),
        ({"category": "maths"}, "items in group"),
    ],
)
def test_damaged_rows_of_a_table(tmp_path, changes, message):
    rows = worlds.mmstar_rows(250)
    if "question" in changes:
        rows = [row | changes for row in rows]
    rows[4] |= changes
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", rows)
    with pytest.raises(DataError, match=message):
        load_items(get_benchmark("mmstar"), tmp_path)


@pytest.mark.parametrize("column", ["question", "answer", "category", "index"])
def test_a_table_without_a_column(tmp_path, column):
    rows = [{k: v for k, v in row.items() if k != column} for row in worlds.mmstar_rows(1)]
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", rows)
    with pytest.raises(DataError, match=rf"row 1 has no field '{column}'"):
        load_items(get_benchmark("mmstar"), tmp_path, partial=True)


PICTURES = {
    "cvbench": "cvbench/img/2D/1.png",
    "mmvp": "MMVP/Images/2.jpg",
    "whatsup": "AdaptVis/data/val2017/000000000001.jpg",
    "pope": "COCO2014/val2014/COCO_val2014_000000000001.jpg",
    "mme": f"{ROOT}/artwork/images/0001.png",
}


@pytest.mark.parametrize("name", PICTURES)
def test_scoring_needs_no_pictures_and_generation_all_of_them(tmp_path, name):
    data, benchmark = worlds.WRITERS[name](tmp_path), BENCHMARKS[name]
    require_images(load_items(benchmark, data))
    (data / PICTURES[name]).unlink()
    items = load_items(benchmark, data)
    with pytest.raises(DataError, match="1 images are missing, first "):
        require_images(items)
    replies = worlds.write_replies(tmp_path / "r.jsonl", {item.id: item.answer for item in items})
    assert worlds.viral_score(name, data, replies)["overall"]["accuracy"] == 100.0


def test_a_table_without_one_of_its_pictures(tmp_path):
    pictures = [worlds.png(), None, *[worlds.png()] * 4]
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", worlds.mmstar_rows(1), pictures)
    items = load_items(get_benchmark("mmstar"), tmp_path, partial=True)
    with pytest.raises(DataError, match=r"1 images are missing, first .*mmstar\.parquet row 2"):
        require_images(items)


def command(data, replies, benchmark, *options):
    """`viral score` as a process: exit code and the lines of its error."""
    line = ["score", "--benchmark", benchmark, "--data", str(data), "--replies", str(replies), *options]
    start = [sys.executable, "-c", "from cli.main import main; main()"]
    run = subprocess.run([*start, *line], capture_output=True, text=True, check=False)
    return run.returncode, run.stderr.splitlines()


@pytest.mark.parametrize(
    ("benchmark", "lines", "options", "message"),
    [
        ("pope", "", (), "is empty"),
        ("pope", '{"id": "random/1", "reply": "yes"}\n{"id": "ran', (), "line 2 is not valid JSON"),
        ("pope", '{"id": "random/1", "reply": "yes"}\n' * 2, (), "id random/1 has been answered before"),
        ("pope", '{"id": "0", "reply": "A"}\n', ("--partial",), "1 of 1 replies answer no item of POPE"),
        ("mmvp", '{"id": "1", "reply": "A"}\n', (), "5 of 6 items of MMVP have no reply, first '2'"),
        ("pope", '{"id": "random/1", "reply": ' + DEEP, (), "nested too deep"),
        ("gqa", '{"id": "1", "reply": "A"}\n', (), "Unknown benchmark 'gqa'"),
        ("mme", '{"id": "1", "reply": "A"}\n', ("--profile", "release"), "Unknown evaluation profile"),
    ],
)
def test_the_command_says_it_in_one_line(tmp_path, benchmark, lines, options, message):
    data = worlds.mme(worlds.mmvp(worlds.pope(tmp_path)))
    (tmp_path / "r.jsonl").write_text(lines)
    code, said = command(data, tmp_path / "r.jsonl", benchmark, *options)
    assert code == 2
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert message in said[0]


@pytest.mark.parametrize(("name", "other"), itertools.permutations(BENCHMARKS, 2))
def test_replies_of_another_benchmark(tmp_path, name, other):
    """CV-Bench, MMVP and MMStar all count their items; what is left is that the numbers do not fit."""
    for benchmark in (name, other):
        worlds.WRITERS[benchmark](tmp_path)
    said = {item.id: "A" for item in load_items(BENCHMARKS[other], tmp_path)}
    path = worlds.write_replies(tmp_path / "r.jsonl", said)
    with pytest.raises(DataError, match=r"answer no item of|have no reply"):
        worlds.viral_score(name, tmp_path, path)


@pytest.mark.parametrize("settings", [DEEP, '{"profile": []}', "[]", "{"])
def test_damaged_settings_beside_replies(tmp_path, settings):
    data = worlds.pope(tmp_path)
    path = worlds.write_replies(tmp_path / "replies.jsonl", {"random/1": "yes"})
    path.with_name("settings.json").write_text(settings)
    with pytest.raises(ViralError, match=r"settings\.json|Unknown evaluation profile '\[\]'"):
        worlds.viral_score("pope", data, path)


def test_partial_flags_what_is_missing_in_text_and_json(tmp_path):
    from typer.testing import CliRunner

    from cli.main import app

    data = worlds.write_mmvp(tmp_path / "MMVP", worlds.mmvp_rows(4))
    path = worlds.write_replies(tmp_path / "r.jsonl", {"1": "(b)", "2": "(a)"})
    line = ["score", "--benchmark", "mmvp", "--data", str(data), "--replies", str(path), "--partial"]
    text = CliRunner().invoke(app, line).output
    assert "PARTIAL: 2 of 4 items have no reply" in text
    assert "not the published size" in text
    found = json.loads(CliRunner().invoke(app, [*line, "--json"]).output)
    assert (found["partial"], found["published_size"], found["items"], found["scored"]) == (True, False, 4, 2)
    assert found["headline"]["value"] == 100.0
