"""Text and pictures for pre-training, from streams that instructions and benchmarks do not use."""

from collections.abc import Callable, Iterator

import numpy as np

from viral.data.conversation import TEMPLATES, Template
from viral.data.images import to_square
from viral.microworld.descriptions import (
    description,
    dialogue,
    global_caption,
    in_reading_order,
    listing,
    page,
    place_of,
)
from viral.microworld.models import IMAGE_SIZE
from viral.microworld.prompts import LETTERS, Choices, cv_bench_prompt
from viral.microworld.questions import OPPOSITE, name_of, pick, plural
from viral.microworld.scenes import COLOURS, SHAPES, Rng, Scene, draw, sample_scene, scene_rng

PICTURE_STREAM, TEXT_STREAM = 10, 11
NUM_QUESTIONS = 3
Turns = list[tuple[str, str]]


def pictures(
    seed: int, count: int, first: int = 0, sample: Callable[[Rng], Scene] = sample_scene
) -> tuple[list[Scene], np.ndarray]:
    """Scenes and their padded squares, uint8 [count, 64, 64, 3]."""
    scenes = [sample(scene_rng(seed, PICTURE_STREAM, first + index)) for index in range(count)]
    squares = np.stack([to_square(draw(scene), IMAGE_SIZE) for scene in scenes])
    return scenes, squares


def web_caption(scene: Scene, rng: Rng) -> str:
    """A stage-1 caption: most tell what an alt text tells, some list what there is."""
    return listing(scene) if rng.random() < 0.5 else global_caption(scene, rng)


def conversation(index: int, seed: int) -> tuple[Template, Turns]:
    """A text-only conversation: a page about a scene, questions about that page, and reading exercises."""
    rng = scene_rng(seed, TEXT_STREAM, index)
    scene = sample_scene(rng)
    text = page(scene, rng)
    turns = dialogue(scene, rng, NUM_QUESTIONS) + lookups(scene, rng) + [letter_exercise(rng)]
    if rng.random() < 0.2:
        turns.append(("Repeat the page.", text))
    (question, answer), *rest = [turns[i] for i in rng.permutation(len(turns))]
    template = pick(tuple(TEMPLATES.values()), rng)
    return template, [(f"{text}\n{question}", answer), *rest]


def letter_exercise(rng: Rng) -> tuple[str, str]:
    """Which letter stands before a word."""
    words = pick((tuple(COLOURS), SHAPES, tuple(OPPOSITE), ("0", "1", "2", "3", "4", "5", "6")), rng)
    number = int(rng.integers(2, min(len(words), len(LETTERS)) + 1))
    options = tuple(words[i] for i in rng.permutation(len(words))[:number])
    choices = Choices(options, int(rng.integers(number)))
    return cv_bench_prompt(f"Which is {options[choices.answer]}?", options), choices.letter


def lookups(scene: Scene, rng: Rng) -> Turns:
    """Where a thing is, what is at a place, all things of a shape, a description.

    Counting and comparing rest on these; a small model learns them far sooner when they are asked for.
    """
    thing = pick(scene.things, rng)
    place = place_of(thing, scene)
    shape = pick(scene.shapes, rng)
    same = [other for other in in_reading_order(scene) if other.shape == shape]
    turns = [
        (f"What is at {place}?", f"{thing.colour} {thing.shape}"),
        (f"List the {plural(shape)}.", " ".join(f"{t.colour} {place_of(t, scene)}." for t in same)),
    ]
    if name := name_of(thing, scene):
        turns.append((f"Where is the {name}?", place))
    if rng.random() < 0.2:
        turns.append(("Describe the image.", description(scene, rng)))
    return turns


def texts(seed: int, count: int) -> Iterator[str]:
    """Plain text for the tokenizer: captions, listings and whole conversations."""
    for index in range(count):
        rng = scene_rng(seed, TEXT_STREAM, index)
        scene = sample_scene(rng)
        yield global_caption(scene, rng)
        yield listing(scene)
        template, turns = conversation(index, seed)
        yield "".join(
            template.question(question, first=position == 0)
            + template.answer(answer).removesuffix(template.end)
            for position, (question, answer) in enumerate(turns)
        )
