"""Benchmarks of the micro-world, in the on-disk layouts of CV-Bench 2D, MMVP and POPE."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from viral.benchmarks.files import write_counts
from viral.microworld.files import new_folder, save_picture, write_lines
from viral.microworld.prompts import ORDER, choices_of, cv_bench_prompt
from viral.microworld.questions import (
    Question,
    colour_question,
    count_question,
    either_or,
    existence_question,
    pick,
    related_pairs,
    relation_question,
)
from viral.microworld.scenes import MAX_OF_A_SHAPE, SHAPES, Rng, Scene, Thing, draw, sample_scene, scene_rng

CV_BENCH_STREAM, MMVP_STREAM, POPE_STREAM = 2, 3, 4
"""Scene streams; the instruction data use another, so that no benchmark picture was trained on."""
POPE_SPLITS = ("random", "popular", "adversarial")


def write_benchmarks(
    out: Path,
    *,
    num_count: int = 600,
    num_relation: int = 600,
    num_pairs: int = 150,
    num_pope_images: int = 200,
    seed: int = 0,
) -> None:
    """Write `cvbench/`, `MMVP/`, `POPE/` and `COCO2014/val2014/` below `out`. Same arguments, same bytes.

    Raises:
        DataError: `out` exists and is not an empty folder.
    """
    with new_folder(out) as folder:
        write_cv_bench(folder / "cvbench", num_count, num_relation, seed)
        write_mmvp(folder / "MMVP", num_pairs, seed)
        write_pope(folder, num_pope_images, seed)


def write_cv_bench(root: Path, num_count: int, num_relation: int, seed: int) -> None:
    """`test_2d.jsonl` and `img/2D/<task>/*.jpg`; counts from 1 to 5 occur equally often."""
    rows = []
    for index in range(num_count + num_relation):
        rng = scene_rng(seed, CV_BENCH_STREAM, index)
        scene, question, targets = _count_item(rng, index) if index < num_count else _relation_item(rng)
        choices = choices_of(question)
        filename = f"img/2D/{question.skill}/micro_{index}.jpg"
        save_picture(draw(scene), root / filename)
        rows.append(
            {
                "idx": index,
                "type": "2D",
                "task": question.skill.capitalize(),
                "image": filename,
                "question": question.text,
                "choices": list(choices.options),
                "answer": f"({choices.letter})",
                "prompt": cv_bench_prompt(question.text, choices.options),
                "filename": filename,
                "source": "MicroSquare" if scene.width == scene.height else "MicroOblong",
                "source_dataset": "micro-world",
                "source_filename": f"{scene.texture}.jpg",
                "target_class": list(question.about),
                "target_size": [scene.width, scene.height],
                "bbox": [_box(thing) for thing in targets],
            }
        )
    write_lines(root / "test_2d.jsonl", rows)
    write_counts(root, {"count": num_count, "relation": num_relation})


def write_mmvp(root: Path, num_pairs: int, seed: int) -> None:
    """`Questions.csv` and `Images/<Index>.jpg`: pairs with one caption, one question and opposite answers."""
    root.mkdir(parents=True)
    with (root / "Questions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Index", "Question", "Options", "Correct Answer"])
        asked: set[str] = set()
        for pair in range(num_pairs):
            rng = scene_rng(seed, MMVP_STREAM, pair)
            text, options, scenes = _blind_pair(rng, pair, asked)
            asked.add(text)
            # Which picture comes first is drawn too, or the odd rows would all be answered by (a).
            for row, position in enumerate(rng.permutation(2).tolist()):
                index, scene = 2 * pair + row + 1, scenes[position]
                save_picture(draw(scene), root / "Images" / f"{index}.jpg")
                table.writerow([index, text, f"(a) {options[0]} (b) {options[1]}", f"({'ab'[position]})"])


def write_pope(root: Path, num_images: int, seed: int) -> None:
    """`POPE/pope_<split>.jsonl` and `COCO2014/val2014/`: three present and three absent shapes per picture.

    Present shapes are the same in the three splits. Absent ones are drawn at random, by how often a shape
    occurs in the pictures (popular), or by how often it occurs together with a present one (adversarial).
    """
    (root / "POPE").mkdir(parents=True)
    streams = [scene_rng(seed, POPE_STREAM, index) for index in range(num_images)]
    scenes = [sample_scene(rng, num_shapes=3) for rng in streams]
    names = [f"COCO_val2014_{index:012d}.jpg" for index in range(num_images)]
    for scene, name in zip(scenes, names, strict=True):
        save_picture(draw(scene), root / "COCO2014" / "val2014" / name)
    orders = [[str(shape) for shape in rng.permutation(SHAPES)] for rng in streams]
    for split in POPE_SPLITS:
        rows: list[dict[str, Any]] = []
        for scene, name, order in zip(scenes, names, orders, strict=True):
            absent = _absent_shapes(split, scene, scenes, order)
            for present, missing in zip(scene.shapes, absent, strict=True):
                rows += _pope_rows(len(rows) + 1, name, present, missing)
        write_lines(root / "POPE" / f"pope_{split}.jsonl", rows)
    write_counts(root / "POPE", dict.fromkeys(POPE_SPLITS, len(rows)))


def _count_item(rng: Rng, index: int) -> tuple[Scene, Question, list[Thing]]:
    wanted = 1 + index % MAX_OF_A_SHAPE
    while True:
        scene = sample_scene(rng)
        shapes = [shape for shape in scene.shapes if scene.count(shape) == wanted]
        if shapes:
            shape = pick(shapes, rng)
            targets = [thing for thing in scene.things if thing.shape == shape]
            return scene, count_question(shape, wanted), targets


def _relation_item(rng: Rng) -> tuple[Scene, Question, list[Thing]]:
    while True:
        scene = sample_scene(rng)
        pairs = related_pairs(scene)
        if pairs:
            first, second, relation = pick(pairs, rng)
            return scene, relation_question(scene, first, second, relation), [first, second]


def _box(thing: Thing) -> list[float]:
    """x, y, width, height in px."""
    r = thing.radius
    return [round(value, 1) for value in (thing.x - r, thing.y - r, 2 * r, 2 * r)]


def _blind_pair(rng: Rng, pair: int, asked: set[str]) -> tuple[str, list[str], list[Scene]]:
    """(question, options, [scene answered by the first option, scene answered by the second]).

    As in MMVP no two pairs share a question, which the published scorer groups by.
    """
    make = _PAIR_KINDS[pair % len(_PAIR_KINDS)]
    while True:
        scene = sample_scene(rng, square=True)
        made = make(scene, rng)
        if made is None:
            continue
        question, other_answer, other_scene = made
        text = either_or(question, other_answer, rng).text
        if text not in asked:
            sides = sorted(
                [(question.answer, scene), (other_answer, other_scene)], key=lambda side: ORDER.index(side[0])
            )
            return text, [answer.capitalize() for answer, _ in sides], [scene for _, scene in sides]


def _swapped_places(scene: Scene, rng: Rng) -> tuple[Question, str, Scene] | None:
    pairs = related_pairs(scene)
    if not pairs:
        return None
    first, second, relation = pick(pairs, rng)
    moved = replace(first, x=second.x, y=second.y, radius=second.radius)
    other = replace(second, x=first.x, y=first.y, radius=first.radius)
    question = relation_question(scene, first, second, relation)
    return question, question.wrong[0], _exchange(scene, {first: moved, second: other})


def _swapped_colours(scene: Scene, rng: Rng) -> tuple[Question, str, Scene] | None:
    single = [thing for thing in scene.things if scene.count(thing.shape) == 1]
    pairs = [(one, two) for one in single for two in single if one.colour != two.colour]
    if not pairs:
        return None
    first, second = pick(pairs, rng)
    exchange = {first: replace(first, colour=second.colour), second: replace(second, colour=first.colour)}
    return colour_question(first), second.colour, _exchange(scene, exchange)


def _one_fewer(scene: Scene, rng: Rng) -> tuple[Question, str, Scene] | None:
    colours = [thing.colour for thing in scene.things]
    spare = [t for t in scene.things if scene.count(t.shape) > 1 and colours.count(t.colour) > 1]
    if not spare:
        return None
    thing = pick(spare, rng)
    number = scene.count(thing.shape)
    fewer = replace(scene, things=tuple(other for other in scene.things if other is not thing))
    return count_question(thing.shape, number), str(number - 1), fewer


_PAIR_KINDS = (_swapped_places, _swapped_colours, _swapped_places, _swapped_colours, _one_fewer)
"""Ways to change a scene that leave its global caption as it is."""


def _exchange(scene: Scene, new: dict[Thing, Thing]) -> Scene:
    return replace(scene, things=tuple(new.get(thing, thing) for thing in scene.things))


def _absent_shapes(split: str, scene: Scene, scenes: list[Scene], order: list[str]) -> list[str]:
    """Three shapes that are not in the scene; `order` breaks ties, and alone decides the random split."""
    absent = [shape for shape in order if shape not in scene.shapes]
    if split == "popular":
        counts = Counter(shape for other in scenes for shape in other.shapes)
    elif split == "adversarial":
        counts = Counter(
            shape
            for other in scenes
            for seen in other.shapes
            if seen in scene.shapes
            for shape in other.shapes
        )
    else:
        counts = Counter()
    return sorted(absent, key=lambda shape: -counts[shape])[: len(scene.shapes)]


def _pope_rows(first_id: int, image: str, present: str, absent: str) -> list[dict[str, Any]]:
    questions = (existence_question(present, True), existence_question(absent, False))
    return [
        {"question_id": first_id + offset, "image": image, "text": question.text, "label": question.answer}
        for offset, question in enumerate(questions)
    ]
