"""Benchmark folders: the published layouts to the byte, and gold answers that are true of the pictures."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.microworld.solver import chosen, solve
from viral.benchmarks.cvbench import CVBENCH
from viral.benchmarks.files import load_items, require_images
from viral.benchmarks.pope import POPE
from viral.microworld import benchmarks, prompts
from viral.microworld.benchmarks import POPE_SPLITS, write_benchmarks
from viral.microworld.scenes import SHAPES, Scene, draw

SIZES = {"num_count": 40, "num_relation": 40, "num_pairs": 30, "num_pope_images": 25}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Scene]]:
    """The folder, and the scenes in the order in which they were drawn: CV-Bench, MMVP, POPE."""
    out = tmp_path_factory.mktemp("micro") / "benchmarks"
    drawn: list[Scene] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks, "draw", lambda scene: drawn.append(scene) or draw(scene))
        write_benchmarks(out, **SIZES)
    return out, drawn


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_cv_bench_rows(made: tuple[Path, list[Scene]]) -> None:
    root, drawn = made[0] / "cvbench", made[1]
    rows = _rows(root / "test_2d.jsonl")
    assert [row["idx"] for row in rows] == list(range(80))
    assert Counter(row["task"] for row in rows) == {"Count": 40, "Relation": 40}
    for row, scene in zip(rows, drawn, strict=False):
        letter = row["answer"].strip("()")
        assert row["answer"] == f"({letter})"
        assert row["prompt"].startswith(row["question"] + " Select from the following choices.\n(A) ")
        assert chosen(row["prompt"], letter) == solve(row["question"], scene)
        assert len(row["choices"]) == (2 if row["task"] == "Relation" else row["prompt"].count("\n"))
        assert (
            Image.open(root / row["filename"]).size
            == tuple(row["target_size"])
            == (scene.width, scene.height)
        )
        if row["task"] == "Count":
            assert 4 <= len(row["choices"]) <= 6
            assert str(len(row["bbox"])) == chosen(row["prompt"], letter)
    assert Counter(len(row["bbox"]) for row in rows[:40]) == dict.fromkeys(range(1, 6), 8)


def test_cv_bench_bytes(made: tuple[Path, list[Scene]]) -> None:
    first = (made[0] / "cvbench" / "test_2d.jsonl").read_text().splitlines()[0]
    assert first.startswith(
        '{"idx": 0, "type": "2D", "task": "Count", "image": "img/2D/count/micro_0.jpg", "question": "'
    )
    names = (
        "idx type task image question choices answer prompt filename source source_dataset source_filename"
    )
    assert list(json.loads(first)) == [*names.split(), "target_class", "target_size", "bbox"]


def test_mmvp_pairs_share_question_and_caption_and_differ_in_the_answer(
    made: tuple[Path, list[Scene]],
) -> None:
    root, drawn = made[0] / "MMVP", made[1][80:140]
    text = (root / "Questions.csv").read_text()
    assert text.startswith("Index,Question,Options,Correct Answer\n1,")
    _, *rows = csv.reader(text.splitlines())
    assert [row[0] for row in rows] == [str(index) for index in range(1, 61)]
    assert len({row[1] for row in rows}) == 30
    for first, second, one, two in zip(rows[::2], rows[1::2], drawn[::2], drawn[1::2], strict=True):
        assert first[1:3] == second[1:3]
        assert {first[3], second[3]} == {"(a)", "(b)"}
        for row, scene in ((first, one), (second, two)):
            options = dict(zip(("(a)", "(b)"), row[2].removeprefix("(a) ").split(" (b) "), strict=True))
            assert options[row[3]].lower() == solve(row[1], scene)
            assert Image.open(root / "Images" / f"{row[0]}.jpg").size == (96, 96)
        assert (one.ground, one.shapes) == (two.ground, two.shapes)
        assert {thing.colour for thing in one.things} == {thing.colour for thing in two.things}
    assert {row[3] for row in rows[::2]} == {"(a)", "(b)"}


def test_pope_splits(made: tuple[Path, list[Scene]]) -> None:
    root, drawn = made[0], made[1][140:]
    names = [f"COCO_val2014_{index:012d}.jpg" for index in range(25)]
    scenes = dict(zip(names, drawn, strict=True))
    assert sorted(path.name for path in (root / "COCO2014" / "val2014").iterdir()) == names
    splits = {split: _rows(root / "POPE" / f"pope_{split}.jsonl") for split in POPE_SPLITS}
    for rows in splits.values():
        assert [row["question_id"] for row in rows] == list(range(1, 151))
        assert Counter(row["label"] for row in rows) == {"yes": 75, "no": 75}
        assert len({(row["image"], row["text"]) for row in rows}) == 150
        assert all(solve(row["text"], scenes[row["image"]]) == row["label"] for row in rows)
    yes = [[row for row in rows if row["label"] == "yes"] for rows in splits.values()]
    assert yes[0] == yes[1] == yes[2]
    assert splits["random"] != splits["popular"] != splits["adversarial"]


def test_popular_asks_for_the_most_frequent_absent_shapes(made: tuple[Path, list[Scene]]) -> None:
    root, drawn = made[0], made[1][140:]
    frequency = {shape: sum(scene.count(shape) > 0 for scene in drawn) for shape in SHAPES}
    rows = [row for row in _rows(root / "POPE" / "pope_popular.jsonl") if row["label"] == "no"]
    for index, scene in enumerate(drawn):
        asked = [
            next(s for s in SHAPES if f" {s} " in row["text"]) for row in rows[3 * index : 3 * index + 3]
        ]
        others = [shape for shape in SHAPES if shape not in scene.shapes and shape not in asked]
        assert min(frequency[shape] for shape in asked) >= max(frequency[shape] for shape in others)


def test_the_benchmarks_of_the_package_read_the_folders(made: tuple[Path, list[Scene]]) -> None:
    for benchmark, size in ((CVBENCH, 80), (POPE, 450)):
        items = load_items(benchmark, made[0])
        require_images(items)
        assert len(items) == size


def test_same_arguments_same_bytes(made: tuple[Path, list[Scene]], tmp_path: Path) -> None:
    write_benchmarks(tmp_path / "again", **SIZES)
    files = [path.relative_to(made[0]) for path in made[0].rglob("*") if path.is_file()]
    assert len(files) > 150
    assert all((tmp_path / "again" / file).read_bytes() == (made[0] / file).read_bytes() for file in files)


def test_training_data_use_the_benchmarks_own_suffixes() -> None:
    assert CVBENCH.protocols["paper"].suffix == prompts.CV_BENCH_SUFFIX
    assert CVBENCH.protocols["clean"].suffix == prompts.LETTER_SUFFIX
    assert POPE.protocols["paper"].suffix == prompts.POPE_SUFFIX
    assert POPE.protocols["clean"].suffix == prompts.SHORT_SUFFIX
