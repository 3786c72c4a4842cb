"""Text and pictures for pre-training, from streams that instructions and benchmarks do not use."""

from collections.abc import Callable, Iterator

import numpy as np

from viral.data.conversation import Template, get_template
from viral.data.images import to_square
from viral.microworld.cells import CELL_WORDS, place_of, text_map
from viral.microworld.descriptions import description, dialogue, global_caption, listing
from viral.microworld.models import GRID, IMAGE_SIZE
from viral.microworld.questions import name_of, pick
from viral.microworld.scenes import Rng, Scene, draw, sample_scene, scene_rng

PICTURE_STREAM, TEXT_STREAM = 10, 11
NUM_QUESTIONS = 8
NUM_PLACES = 2
NUM_WORDS = 2
MAP_SHARE = 0.7
DESCRIBE_SHARE = 0.2
TOLD = ("count", "existence", "colour", "shape")
"""Skills whose questions a description answers."""
Turns = list[tuple[str, str]]

TALK = (get_template("vicuna_v1"), get_template("llava_v1"))
"""The templates that the LLM has read conversations in."""


def pictures(
    seed: int, count: int, first: int = 0, sample: Callable[[Rng], Scene] = sample_scene
) -> tuple[list[Scene], np.ndarray]:
    """Scenes and their padded squares, uint8 [count, 64, 64, 3]."""
    scenes = [sample(scene_rng(seed, PICTURE_STREAM, first + index)) for index in range(count)]
    squares = np.stack([to_square(draw(scene), IMAGE_SIZE) for scene in scenes])
    return scenes, squares


def web_caption(scene: Scene, rng: Rng) -> str:
    """A stage-1 caption: some tell what an alt text tells, some list what there is, some say where."""
    kind = rng.random()
    if kind < 0.2:
        return global_caption(scene, rng)
    return listing(scene) if kind < 0.6 else description(scene, rng)


def conversation(index: int, seed: int) -> tuple[Template, Turns]:
    """A text-only conversation about a map, or about a description that holds the answers in words."""
    rng = scene_rng(seed, TEXT_STREAM, index)
    scene = sample_scene(rng)
    if rng.random() < MAP_SHARE:
        text = text_map(scene)
        turns = [*dialogue(scene, rng, NUM_QUESTIONS), *places(scene, rng), line_exercise(scene, rng)]
        if rng.random() < DESCRIBE_SHARE:
            turns.append(("Describe the image.", description(scene, rng)))
    else:
        text = description(scene, rng)
        turns = dialogue(scene, rng, NUM_QUESTIONS, TOLD)
    turns.append(word_exercise(rng))
    (question, answer), *rest = [turns[i] for i in rng.permutation(len(turns))]
    return pick(TALK, rng), [(f"{text}\n{question}", answer), *rest]


def places(scene: Scene, rng: Rng) -> Turns:
    """Where things are. Comparing places rests on this; a small model learns it far sooner when it is asked for."""
    named = [(thing, name) for thing in scene.things if (name := name_of(thing, scene))]
    return [
        (f"Where is the {named[i][1]}?", place_of(named[i][0], scene))
        for i in rng.permutation(len(named))[:NUM_PLACES]
    ]


def word_exercise(rng: Rng) -> tuple[str, str]:
    """What the words of maps stand for."""
    words = [pick(CELL_WORDS, rng) for _ in range(NUM_WORDS)]
    return "Spell " + "".join(words), ", ".join(word.strip("[]") for word in words)


def line_exercise(scene: Scene, rng: Rng) -> tuple[str, str]:
    """One row or one column of the map again: what lies beside what, and below what."""
    words = np.array([f"[{word}" for word in text_map(scene).split("[")[1:]]).reshape(GRID, GRID)
    index = int(rng.integers(GRID))
    name, lines = ("row", words) if rng.random() < 0.5 else ("column", words.T)
    return f"Read {name} {index + 1}.", "".join(lines[index])


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
