"""MME in the micro-world: two yes/no questions about each picture, one of either answer.

OCR, text_translation and code_reasoning have no counterpart in a world without writing; their folders are left out,
as `counts.json` says.
"""

from collections.abc import Callable
from pathlib import Path

from viral.benchmarks.files import write_counts
from viral.microworld.descriptions import listing
from viral.microworld.files import save_picture
from viral.microworld.questions import (
    Question,
    ask_colour,
    ask_count,
    ask_relation,
    ask_shape,
    claim,
    existence_question,
    pick,
    plural,
)
from viral.microworld.scenes import COLOURS, GROUNDS, SHAPES, Rng, Scene, draw, sample_scene, scene_rng

STREAM = 7
"""Scene stream of these pictures."""
ENDING = "Please answer yes or no."
APART = ("artwork", "celebrity", "landmark", "posters", "scene")
"""Subtasks that keep pictures and questions in folders of their own."""
CLEARLY_LARGER = 1.15

Pair = tuple[str, str]
"""A question answered by yes, and one answered by no."""


def write_mme(root: Path, num_images: int, seed: int) -> None:
    """`<subtask>/`: pictures `0001.jpg`, ..., each with a `.txt` of two lines `question<TAB>Yes|No`."""
    for number, (subtask, ask) in enumerate(SUBTASKS.items()):
        pictures, texts = root / subtask, root / subtask
        if subtask in APART:
            pictures, texts = pictures / "images", texts / "questions_answers_YN"
        texts.mkdir(parents=True)
        for index in range(num_images):
            scene, pair = _ask(ask, scene_rng(seed, STREAM, number, index))
            save_picture(draw(scene), pictures / f"{index + 1:04d}.jpg")
            lines = [f"{text} {ENDING}\t{answer}\n" for text, answer in zip(pair, ("Yes", "No"), strict=True)]
            (texts / f"{index + 1:04d}.txt").write_text("".join(lines), encoding="utf-8")
    write_counts(root, dict.fromkeys(SUBTASKS, 2 * num_images))


def _ask(ask: "Asker", rng: Rng) -> tuple[Scene, Pair]:
    while True:
        scene = sample_scene(rng)
        if pair := ask(scene, rng):
            return scene, pair


Asker = Callable[[Scene, Rng], Pair | None]
"""None where the scene allows no question without ambiguity."""


def _existence(scene: Scene, rng: Rng) -> Pair:
    absent = [shape for shape in SHAPES if shape not in scene.shapes]
    yes, no = (existence_question(pick(shapes, rng), True).text for shapes in (scene.shapes, absent))
    return yes, no


def _claims(ask: Callable[[Scene, Rng], Question | None]) -> Asker:
    """The right and a wrong answer of a question as claims, in the words of the instruction data."""

    def asker(scene: Scene, rng: Rng) -> Pair | None:
        question = ask(scene, rng)
        if question is None:
            return None
        return claim(question, question.answer), claim(question, pick(question.wrong, rng))

    return asker


def _identity(scene: Scene, rng: Rng) -> Pair | None:
    question = ask_shape(scene, rng)
    if question is None:
        return None
    return _either("Is the {0} thing a {1}?", question.about[0], question.answer, pick(question.wrong, rng))


def _title(scene: Scene, rng: Rng) -> Pair | None:
    other = listing(sample_scene(rng))
    right = listing(scene)
    return _either("Is this a picture of {1}?", "", right, other) if other != right else None


def _ground(scene: Scene, rng: Rng) -> Pair:
    wrong = pick([ground for ground in GROUNDS if ground != scene.ground], rng)
    return _either("Is this a scene on {1}?", "", scene.ground, wrong)


def _largest(scene: Scene, rng: Rng) -> Pair | None:
    things = sorted(scene.things, key=lambda thing: -thing.radius)
    if len(scene.shapes) < 2 or things[0].radius < CLEARLY_LARGER * things[1].radius:
        return None
    wrong = pick([shape for shape in scene.shapes if shape != things[0].shape], rng)
    return _either("Is the largest thing in the image a {1}?", "", things[0].shape, wrong)


def _palette(scene: Scene, rng: Rng) -> Pair | None:
    used = {thing.colour for thing in scene.things}
    right, wrong = (pick([c for c in COLOURS if (c in used) == present], rng) for present in (True, False))
    return _either("Does this artwork use the colour {1}?", "", right, wrong)


def _wet(scene: Scene, rng: Rng) -> Pair:
    words = ("wet", "dry") if scene.ground == "water" else ("dry", "wet")
    return _either("Would feet be {1} here?", "", *words)


def _sum(scene: Scene, rng: Rng) -> Pair | None:
    if len(scene.shapes) < 2:
        return None
    first, second = (scene.shapes[index] for index in rng.permutation(len(scene.shapes))[:2].tolist())
    total = scene.count(first) + scene.count(second)
    subject = f"{plural(first)} and {plural(second)}"
    wrong = total + pick((-1, 1), rng)
    return _either("Is the number of {0} in the image together {1}?", subject, str(total), str(wrong))


def _either(text: str, subject: str, right: str, wrong: str) -> Pair:
    return text.format(subject, right), text.format(subject, wrong)


SUBTASKS: dict[str, Asker] = {
    "existence": _existence,
    "count": _claims(ask_count),
    "position": _claims(ask_relation),
    "color": _claims(ask_colour),
    "posters": _title,
    "celebrity": _identity,
    "scene": _ground,
    "landmark": _largest,
    "artwork": _palette,
    "commonsense_reasoning": _wet,
    "numerical_calculation": _sum,
}
"""MME's subtask -> what the micro-world asks under that name."""
