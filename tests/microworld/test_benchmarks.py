"""Benchmark folders: the published layouts to the byte, and gold answers that are true of the pictures."""

import csv
import io
import json
import math
from collections import Counter
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.microworld.solver import chosen, holds, only, solve, true_of, where, yes
from viral.benchmarks.cvbench import CVBENCH
from viral.benchmarks.files import load_items, require_images
from viral.benchmarks.pope import POPE
from viral.microworld import prompts
from viral.microworld.benchmarks import cvbench, mme, mmstar, mmvp, pope, whatsup, write_benchmarks
from viral.microworld.questions import OPPOSITE
from viral.microworld.scenes import SHAPES, Scene, draw

SIZES = {
    "num_count": 40,
    "num_relation": 40,
    "num_pairs": 30,
    "num_pope_images": 25,
    "num_coco": 21,
    "num_sets": 10,
    "num_per_category": 24,
    "num_mme_images": 12,
}
NUM_DRAWN = {cvbench: 80, mmvp: 60, pope: 25, whatsup: 2 * 11 + 2 * 40, mmstar: 6 * 24, mme: 11 * 12}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[ModuleType, list[Scene]]]:
    """The folder, and the scenes of each benchmark in the order in which they were drawn."""
    out = tmp_path_factory.mktemp("micro") / "benchmarks"
    drawn: dict[ModuleType, list[Scene]] = {module: [] for module in NUM_DRAWN}
    with pytest.MonkeyPatch.context() as patch:
        for module, scenes in drawn.items():
            patch.setattr(module, "draw", lambda scene, scenes=scenes: scenes.append(scene) or draw(scene))
        write_benchmarks(out, **SIZES)
    assert {module: len(scenes) for module, scenes in drawn.items()} == NUM_DRAWN
    return out, drawn


@pytest.fixture(scope="module")
def made(world: tuple[Path, dict[ModuleType, list[Scene]]]) -> tuple[Path, list[Scene]]:
    """The folder, and all scenes: CV-Bench, MMVP, POPE, ..."""
    return world[0], [scene for scenes in world[1].values() for scene in scenes]


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
    root, drawn = made[0], made[1][140:165]
    names = [f"COCO_val2014_{index:012d}.jpg" for index in range(25)]
    scenes = dict(zip(names, drawn, strict=True))
    assert sorted(path.name for path in (root / "COCO2014" / "val2014").iterdir()) == names
    splits = {split: _rows(root / "POPE" / f"pope_{split}.jsonl") for split in pope.SPLITS}
    for rows in splits.values():
        assert [row["question_id"] for row in rows] == list(range(1, 151))
        assert Counter(row["label"] for row in rows) == {"yes": 75, "no": 75}
        assert len({(row["image"], row["text"]) for row in rows}) == 150
        assert all(solve(row["text"], scenes[row["image"]]) == row["label"] for row in rows)
    yes = [[row for row in rows if row["label"] == "yes"] for rows in splits.values()]
    assert yes[0] == yes[1] == yes[2]
    assert splits["random"] != splits["popular"] != splits["adversarial"]


def test_popular_asks_for_the_most_frequent_absent_shapes(made: tuple[Path, list[Scene]]) -> None:
    root, drawn = made[0], made[1][140:165]
    frequency = {shape: sum(scene.count(shape) > 0 for scene in drawn) for shape in SHAPES}
    rows = [row for row in _rows(root / "POPE" / "pope_popular.jsonl") if row["label"] == "no"]
    for index, scene in enumerate(drawn):
        asked = [
            next(s for s in SHAPES if f" {s} " in row["text"]) for row in rows[3 * index : 3 * index + 3]
        ]
        others = [shape for shape in SHAPES if shape not in scene.shapes and shape not in asked]
        assert min(frequency[shape] for shape in asked) >= max(frequency[shape] for shape in others)


def test_whats_up_coco_rows_belong_together_and_are_true(
    world: tuple[Path, dict[ModuleType, list[Scene]]],
) -> None:
    root, scenes = world[0] / "AdaptVis", iter(world[1][whatsup])
    for kind, opposite in (("one", whatsup.SIDES), ("two", OPPOSITE)):
        captions = json.loads((root / f"data/coco_qa_{kind}_obj.json").read_text())
        asked = _rows(root / f"prompts/COCO_QA_{kind}_obj_with_answer_four_options.jsonl")
        assert [row["id"] for row in asked] == list(range(21))
        shown = {}
        for (image_id, right, wrong), row in zip(captions, asked, strict=True):
            scene = shown.setdefault(image_id, None) or next(scenes)
            shown[image_id] = scene
            assert Image.open(root / f"data/val2017/{image_id:012d}.jpg").size == (scene.width, scene.height)
            head, question = row["question"].split("USER: ")
            assert head == "<image>\n"
            assert question.endswith("\nASSISTANT:")
            answer = solve(question.split("?")[0] + "?", scene)
            assert row["answer"] == [answer.capitalize()]
            assert answer in right
            assert wrong == right.replace(f" {answer}", f" {opposite[answer]}")
        assert len(shown) == 11


def test_whats_up_controlled_sets_show_what_their_names_say(
    world: tuple[Path, dict[ModuleType, list[Scene]]],
) -> None:
    root, scenes = world[0] / "AdaptVis", world[1][whatsup][22:]
    for split, prompts_, shown in (
        ("images", "Controlled_Images_A", scenes[:40]),
        ("clevr", "Controlled_Images_B", scenes[40:]),
    ):
        rows = json.loads((root / f"data/controlled_{split}_dataset.json").read_text())
        asked = _rows(root / f"prompts/{prompts_}_with_answer_four_options.jsonl")
        sets = Counter()
        for row, question, scene in zip(rows, asked, shown, strict=True):
            assert (root / row["image_path"]).is_file()
            first, *preposition, second = Path(row["image_path"]).stem.split("_")
            one, two = (only(name, scene) for name in (first, second))
            (answer,) = question["answer"]
            assert answer.lower() in preposition[0]
            sets[first, second] += 1
            touching = math.dist((one.x, one.y), (two.x, two.y)) < 2.1 * one.radius
            hidden = {"In-front": "Front", "Behind": "Behind"}.get(preposition[0].capitalize())
            place = where(one, two)
            if hidden:  # what is drawn later covers what is drawn before
                assert touching
                assert (scene.things.index(one) > scene.things.index(two)) == (answer == "Front")
            else:
                assert answer.lower() == {"above": "on", "below": "under"}.get(place, place)
                assert touching == (answer in ("On", "Under"))
            assert len(set(row["caption_options"])) == 4
            assert preposition[0].replace("-", " ") in row["caption_options"][0]
        assert sets == dict.fromkeys(sets, 4)
        assert len(sets) == 10


def test_mmstar_answers_are_true_and_their_letters_balanced(
    world: tuple[Path, dict[ModuleType, list[Scene]]],
) -> None:
    rows = pq.read_table(world[0] / "MMStar/mmstar.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(144))
    assert Counter((row["category"], row["answer"]) for row in rows) == {
        (category, letter): 6 for category in mmstar.AXES for letter in "ABCD"
    }
    assert {row["l2_category"] for row in rows} == {axis for axes in mmstar.AXES.values() for axis in axes}
    for row, scene in zip(rows, world[1][mmstar], strict=True):
        text, listed = row["question"].split("\nOptions: ")
        options = dict(option.split(": ") for option in listed.split(", "))
        assert list(options) == list("ABCD")
        assert len(set(options.values())) == 4
        answers = [letter for letter, option in options.items() if holds(text, option, scene)]
        assert answers == [row["answer"]], (row["question"], scene)
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (scene.width, scene.height)


def test_mme_asks_one_true_and_one_false_question_of_each_picture(
    world: tuple[Path, dict[ModuleType, list[Scene]]],
) -> None:
    root, scenes = world[0] / "MME_Benchmark_release_version", iter(world[1][mme])
    for subtask in mme.SUBTASKS:
        apart = subtask in ("artwork", "celebrity", "landmark", "posters", "scene")
        pictures, texts = ("images", "questions_answers_YN") if apart else ("", "")
        for index in range(1, 13):
            scene = next(scenes)
            assert Image.open(root / subtask / pictures / f"{index:04d}.jpg").size[0] == scene.width
            lines = (root / subtask / texts / f"{index:04d}.txt").read_text().splitlines()
            assert [line.split("\t")[1] for line in lines] == ["Yes", "No"]
            for line in lines:
                question, answer = line.split(" Please answer yes or no.\t")
                assert yes(true_of(question, scene)) == answer.lower(), (question, scene)
    assert set(json.loads((root / "counts.json").read_text()).values()) == {24}


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
