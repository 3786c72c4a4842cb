"""What's Up in the micro-world: where a thing is in a picture (COCO) or beside another (COCO, controlled A and B).

In AdaptVis' layout: `data/` holds captions and pictures, `prompts/` the questions, row by row.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viral.benchmarks.files import write_counts
from viral.microworld.files import save_picture, write_lines
from viral.microworld.questions import OPPOSITE, PHRASE, name_of, related_pairs, relation_question
from viral.microworld.scenes import COLOURS, GROUNDS, SHAPES, Rng, Scene, Thing, draw, sample_scene, scene_rng

STREAM = 5
"""Scene stream of these pictures."""
SIDES = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
"""Where a thing can be in a picture, and the opposite."""
MIN_OFFSET = 0.15
"""A thing is at a side if it is off the middle by this share of the picture, and half as far along the other axis."""
SIDE, RADIUS = 96, 13.0
"""Side of a controlled picture and radius of its things, in px."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question about a photo, the answer word, and a right and a wrong caption."""

    question: str
    answer: str
    captions: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Controlled:
    """One controlled split: its names on disk, and how its four pictures of a pair of things differ.

    `places`: answer word -> (preposition in file names, caption, place of the first thing from the second in
    radii, whether the first hides part of the second).
    """

    name: str
    prompts: str
    words: str
    places: dict[str, tuple[str, str, tuple[float, float], bool]]


_SIDEWAYS = {
    "Left": ("left_of", "to the left of", (-2.3, 0.0), True),
    "Right": ("right_of", "to the right of", (2.3, 0.0), True),
}
A = _Controlled(
    "controlled_images",
    "Controlled_Images_A",
    "left, right, on or under",
    _SIDEWAYS | {"On": ("on", "on", (0.0, -2.05), True), "Under": ("under", "under", (0.0, 2.05), True)},
)
B = _Controlled(
    "controlled_clevr",
    "Controlled_Images_B",
    "left, right, front or behind",
    _SIDEWAYS
    | {
        "Front": ("in-front_of", "in front of", (0.6, 0.6), True),
        "Behind": ("behind", "behind", (0.6, 0.6), False),
    },
)


def write_whatsup(root: Path, num_coco: int, num_sets: int, seed: int) -> None:
    """`data/{coco_qa_*_obj,controlled_*_dataset}.json` with their pictures, and `prompts/*.jsonl`."""
    write_coco(root, "one", num_coco, seed)
    write_coco(root, "two", num_coco, seed)
    for index, split in enumerate((A, B)):
        write_controlled(root, split, num_sets, scene_rng(seed, STREAM, 2 + index))
    sizes = {"coco_one": num_coco, "coco_two": num_coco}
    write_counts(root, sizes | {"controlled_a": 4 * num_sets, "controlled_b": 4 * num_sets})


def write_coco(root: Path, kind: str, number: int, seed: int) -> None:
    """One COCO split (`one` or `two` objects): two questions about each photo."""
    ask, stream, words = {
        "one": (_one_object, 0, "left, right, top or bottom"),
        "two": (_two_objects, 1, "left, right, above or below"),
    }[kind]
    captions: list[list[Any]] = []
    asked: list[_Asked] = []
    for photo in range((number + 1) // 2):
        scene, (first, second) = ask(scene_rng(seed, STREAM, stream, photo))
        image_id = 100_000 * (1 + stream) + photo
        save_picture(draw(scene), root / "data" / "val2017" / f"{image_id:012d}.jpg")
        for question in (first, second)[: number - 2 * photo]:
            captions.append([image_id, *question.captions])
            asked.append(question)
    (root / "data" / f"coco_qa_{kind}_obj.json").write_text(json.dumps(captions) + "\n", encoding="utf-8")
    _write_prompts(root, f"COCO_QA_{kind}_obj", words, [(each.question, each.answer) for each in asked])


def write_controlled(root: Path, split: _Controlled, num_sets: int, rng: Rng) -> None:
    """One controlled split: sets of four pictures of the same two things, `<thing>_<preposition>_<other>.jpeg`.

    Raises:
        ValueError: more sets than there are pairs of shapes.
    """
    pairs = list(itertools.permutations(SHAPES, 2))
    if num_sets > len(pairs):
        raise ValueError(f"{num_sets} sets asked for; {len(SHAPES)} shapes make {len(pairs)} pairs.")
    rows, prompts = [], []
    for number in rng.permutation(len(pairs))[:num_sets].tolist():
        first, second = pairs[number]
        colours = [str(colour) for colour in rng.permutation(list(COLOURS))[:2]]
        ground = str(rng.choice(list(GROUNDS)))
        phrases = [phrase for _, phrase, _, _ in split.places.values()]
        for answer, (preposition, phrase, place, in_front) in split.places.items():
            scene = _staged((first, second), colours, ground, place, in_front, rng)
            path = f"{split.name}/{first}_{preposition}_{second}.jpeg"
            save_picture(draw(scene), root / "data" / path)
            others = [other for other in phrases if other != phrase]
            options = [f"A {first} {each} a {second}" for each in (phrase, *others)]
            rows.append({"image_path": f"data/{path}", "caption_options": options})
            prompts.append((f"Where is the {first} in relation to the {second}?", answer))
    (root / "data" / f"{split.name}_dataset.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    _write_prompts(root, split.prompts, split.words, prompts)


def side_of(thing: Thing, scene: Scene) -> str | None:
    """The side of the picture on which a thing is, or None if that could be disputed."""
    across, down = thing.x / scene.width - 0.5, thing.y / scene.height - 0.5
    if (
        max(abs(across), abs(down)) < MIN_OFFSET
        or min(abs(across), abs(down)) > max(abs(across), abs(down)) / 2
    ):
        return None
    if abs(across) > abs(down):
        return "left" if across < 0 else "right"
    return "top" if down < 0 else "bottom"


def _one_object(rng: Rng) -> tuple[Scene, list[_Asked]]:
    while True:
        scene = sample_scene(rng)
        asked = [
            _Asked(
                f"Where is the {name} in the photo?",
                side.capitalize(),
                (f"A photo of a {name} on the {side}", f"A photo of a {name} on the {SIDES[side]}"),
            )
            for thing in scene.things
            if (name := name_of(thing, scene)) and (side := side_of(thing, scene))
        ]
        if len(asked) >= 2:
            return scene, asked[:2]


def _two_objects(rng: Rng) -> tuple[Scene, list[_Asked]]:
    while True:
        scene = sample_scene(rng)
        pairs = related_pairs(scene)
        if len(pairs) < 2:
            continue
        asked = []
        for index in rng.permutation(len(pairs))[:2].tolist():
            first, second, relation = pairs[index]
            name, other = name_of(first, scene), name_of(second, scene)
            # The words of the instruction data rather than AdaptVis': only what stands before the `?` is read.
            question = relation_question(scene, first, second, relation).text
            right, wrong = (
                f"A photo of a {name} {PHRASE[each]} a {other}" for each in (relation, OPPOSITE[relation])
            )
            asked.append(_Asked(question, relation.capitalize(), (right, wrong)))
        return scene, asked


def _staged(
    shapes: tuple[str, str],
    colours: list[str],
    ground: str,
    place: tuple[float, float],
    in_front: bool,
    rng: Rng,
) -> Scene:
    """Two things around the middle of a square picture, the first at `place` (in radii) from the second."""
    x, y = (RADIUS * offset / 2 for offset in place)
    first = Thing(shapes[0], colours[0], SIDE / 2 + x, SIDE / 2 + y, RADIUS, float(rng.uniform(-12, 12)))
    second = Thing(shapes[1], colours[1], SIDE / 2 - x, SIDE / 2 - y, RADIUS, float(rng.uniform(-12, 12)))
    # What is drawn last hides what is drawn before.
    things = (second, first) if in_front else (first, second)
    return Scene(SIDE, SIDE, ground, int(rng.integers(2**31)), things)


def _write_prompts(root: Path, name: str, words: str, asked: list[tuple[str, str]]) -> None:
    path = root / "prompts" / f"{name}_with_answer_four_options.jsonl"
    path.parent.mkdir(exist_ok=True)
    write_lines(
        path,
        (
            {
                "id": index,
                "question": f"<image>\nUSER: {question} Answer with {words}.\nASSISTANT:",
                "answer": [answer],
            }
            for index, (question, answer) in enumerate(asked)
        ),
    )
