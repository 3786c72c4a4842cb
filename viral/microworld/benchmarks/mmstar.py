"""MMStar in the micro-world: six categories of four-way multiple choice, pictures inside the table."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from viral.benchmarks.files import write_counts
from viral.microworld.files import encode_picture
from viral.microworld.questions import (
    Question,
    ask_colour,
    ask_count,
    ask_relation,
    ask_shape,
    name_of,
    pick,
    plural,
)
from viral.microworld.scenes import GROUNDS, MAX_THINGS, SHAPES, Rng, Scene, draw, sample_scene, scene_rng

STREAM = 6
"""Scene stream of these pictures."""
LETTERS = "ABCD"
CORNERS = {"triangle": 3, "square": 4, "star": 10, "cross": 12}
MIN_STEP = 0.06
"""What is compared by place or size has to differ by this fraction of the picture's longer side."""


def write_mmstar(root: Path, num_per_category: int, seed: int) -> None:
    """`mmstar.parquet`: each category's axes in turn, the right answer equally often behind each letter."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for category, axes in AXES.items():
        for number in range(num_per_category):
            index = len(rows)
            axis = list(axes)[number // len(LETTERS) % len(axes)]
            scene, question = _ask(axes[axis], scene_rng(seed, STREAM, index))
            letter = LETTERS[number % len(LETTERS)]
            name = f"images/{index}.jpg"
            rows.append(
                {
                    "index": index,
                    "question": _prompt(question, letter, scene_rng(seed, STREAM, index, 1)),
                    "image": {"bytes": encode_picture(draw(scene)), "path": None},
                    "answer": letter,
                    "category": category,
                    "l2_category": axis,
                    "meta_info": {"source": "micro-world", "split": "val", "image_path": name},
                }
            )
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    meta = pa.struct([("source", pa.string()), ("split", pa.string()), ("image_path", pa.string())])
    texts = [(name, pa.string()) for name in ("answer", "category", "l2_category")]
    schema = pa.schema(
        [("index", pa.int64()), ("question", pa.string()), ("image", image), *texts, ("meta_info", meta)]
    )
    # As `datasets` writes it: readers then know that the column holds pictures.
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    schema = schema.with_metadata({"huggingface": json.dumps(features)})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / "mmstar.parquet")
    write_counts(root, dict.fromkeys(AXES, num_per_category))


def _ask(ask: "Asker", rng: Rng) -> tuple[Scene, Question]:
    while True:
        scene = sample_scene(rng)
        if question := ask(scene, rng):
            return scene, question


def _prompt(question: Question, letter: str, rng: Rng) -> str:
    """The question with three wrong options in their own order, and the right one put at `letter`."""
    kept = sorted(rng.permutation(len(question.wrong))[: len(LETTERS) - 1].tolist())
    options = [question.wrong[index] for index in kept]
    options.insert(LETTERS.index(letter), question.answer)
    listed = ", ".join(f"{each}: {option}" for each, option in zip(LETTERS, options, strict=True))
    return f"{question.text}\nOptions: {listed}"


Asker = Callable[[Scene, Rng], Question | None]
"""A question with at least three wrong answers; None where the scene allows none without ambiguity."""


def _ground(scene: Scene, rng: Rng) -> Question:
    return _named("What is the ground in the image?", scene.ground, GROUNDS)


def _most_frequent(scene: Scene, rng: Rng) -> Question | None:
    counts = sorted(scene.count(shape) for shape in scene.shapes)
    if len(counts) < 2 or counts[-1] == counts[-2]:
        return None
    shape = max(scene.shapes, key=scene.count)
    return _named("Which shape occurs most often in the image?", shape, SHAPES)


def _corner(scene: Scene, rng: Rng) -> Question | None:
    """In which quarter of the picture a thing is."""
    step = MIN_STEP * max(scene.width, scene.height)
    clear = [
        thing
        for thing in scene.things
        if name_of(thing, scene)
        and min(abs(thing.x - scene.width / 2), abs(thing.y - scene.height / 2)) > step
    ]
    if not clear:
        return None
    thing = pick(clear, rng)
    quarters = [f"{row} {column}" for row in ("top", "bottom") for column in ("left", "right")]
    answer = quarters[2 * (thing.y > scene.height / 2) + (thing.x > scene.width / 2)]
    return _named(f"In which corner of the image is the {name_of(thing, scene)}?", answer, quarters)


def _four_way_relation(scene: Scene, rng: Rng) -> Question | None:
    question = ask_relation(scene, rng)
    if question is None:
        return None
    return _named(question.text, question.answer, ("left", "right", "above", "below"))


def _same_colour(scene: Scene, rng: Rng) -> Question | None:
    """Which shape has the colour of another one; both occur once."""
    single = [thing for thing in scene.things if scene.count(thing.shape) == 1]
    for thing in single:
        twins = [other for other in scene.things if other.colour == thing.colour and other is not thing]
        if len(twins) == 1 and twins[0] in single:
            wrong = [shape for shape in SHAPES if shape not in (thing.shape, twins[0].shape)]
            text = f"Which shape has the same colour as the {thing.shape}?"
            return Question("same", (thing.shape,), text, twins[0].shape, tuple(wrong))
    return None


def _leftmost(scene: Scene, rng: Rng) -> Question | None:
    return _first(
        scene, [thing.x for thing in scene.things], "Reading from left to right, which shape is first?"
    )


def _absent(scene: Scene, rng: Rng) -> Question | None:
    if len(scene.shapes) < len(LETTERS) - 1:
        return None
    absent = pick([shape for shape in SHAPES if shape not in scene.shapes], rng)
    return Question("absent", (), "Which of these shapes is missing in the image?", absent, scene.shapes)


def _falls_first(scene: Scene, rng: Rng) -> Question | None:
    gaps = [scene.height - thing.y - thing.radius for thing in scene.things]
    return _first(
        scene, gaps, "If all things fell straight down, which shape would reach the lower edge first?"
    )


def _corners(scene: Scene, rng: Rng) -> Question | None:
    known = [shape for shape in scene.shapes if shape in CORNERS]
    if not known:
        return None
    shape = pick(known, rng)
    return _named(
        f"How many corners does the {shape} in the image have?", str(CORNERS[shape]), _words(CORNERS)
    )


def _total(scene: Scene, rng: Rng) -> Question:
    numbers = [str(number) for number in range(1, MAX_THINGS + 1)]
    return _named("How many things are in the image?", str(len(scene.things)), numbers)


def _sum(scene: Scene, rng: Rng) -> Question | None:
    if len(scene.shapes) < 2:
        return None
    first, second = (scene.shapes[index] for index in rng.permutation(len(scene.shapes))[:2].tolist())
    total = scene.count(first) + scene.count(second)
    text = f"How many {plural(first)} and {plural(second)} are in the image together?"
    return _named(text, str(total), [str(number) for number in range(2, MAX_THINGS + 1)])


def _first(scene: Scene, values: list[float], text: str) -> Question | None:
    """Which shape has the least value, if it leads clearly."""
    order = sorted(range(len(values)), key=values.__getitem__)
    step = MIN_STEP * max(scene.width, scene.height)
    if len(order) < 2 or values[order[1]] - values[order[0]] < step:
        return None
    return _named(text, scene.things[order[0]].shape, SHAPES)


def _named(text: str, answer: str, options: Iterable[str]) -> Question:
    return Question("mmstar", (), text, answer, tuple(option for option in options if option != answer))


def _words(numbers: dict[str, int]) -> list[str]:
    return [str(number) for number in numbers.values()]


AXES: dict[str, dict[str, Asker]] = {
    "coarse perception": {"image scene and topic": _ground, "image style & quality": _most_frequent},
    "fine-grained perception": {
        "attribute & celebrity recognition": ask_colour,
        "localization": _corner,
        "object counting": ask_count,
    },
    "instance reasoning": {
        "single-instance reasoning": ask_shape,
        "cross-instance attribute reasoning": _same_colour,
        "cross-instance relation reasoning": _four_way_relation,
    },
    "logical reasoning": {"code & sequence reasoning": _leftmost, "common reasoning": _absent},
    "science & technology": {"biology & chemistry & physics": _falls_first},
    "math": {
        "geometry": _corners,
        "numeric commonsense and calculation": _sum,
        "statistical reasoning": _total,
    },
}
"""Category -> axis -> what the micro-world asks under that name."""
