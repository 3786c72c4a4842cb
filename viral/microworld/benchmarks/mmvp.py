"""MMVP in the micro-world: pairs of pictures with one caption, one question and opposite answers."""

import csv
from dataclasses import replace
from pathlib import Path

from viral.benchmarks.files import write_counts
from viral.microworld.files import save_picture
from viral.microworld.prompts import ORDER
from viral.microworld.questions import (
    Question,
    colour_question,
    count_question,
    either_or,
    pick,
    related_pairs,
    relation_question,
)
from viral.microworld.scenes import Rng, Scene, Thing, draw, sample_scene, scene_rng

STREAM = 3
"""Scene stream of these pictures."""


def write_mmvp(root: Path, num_pairs: int, seed: int) -> None:
    """`Questions.csv` and `Images/<Index>.jpg`: pairs with one caption, one question and opposite answers."""
    root.mkdir(parents=True)
    with (root / "Questions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Index", "Question", "Options", "Correct Answer"])
        asked: set[str] = set()
        for pair in range(num_pairs):
            rng = scene_rng(seed, STREAM, pair)
            text, options, scenes = _blind_pair(rng, pair, asked)
            asked.add(text)
            # Which picture comes first is drawn too, or the odd rows would all be answered by (a).
            for row, position in enumerate(rng.permutation(2).tolist()):
                index, scene = 2 * pair + row + 1, scenes[position]
                save_picture(draw(scene), root / "Images" / f"{index}.jpg")
                table.writerow([index, text, f"(a) {options[0]} (b) {options[1]}", f"({'ab'[position]})"])
    write_counts(root, {"pairs": 2 * num_pairs})


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
