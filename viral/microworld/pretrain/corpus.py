"""Text and pictures for pre-training, from streams that instructions and benchmarks do not use."""

from collections.abc import Iterator

import numpy as np

from viral.data.conversation import TEMPLATES, Template
from viral.data.images import to_square
from viral.microworld.descriptions import description, dialogue, global_caption, listing, page
from viral.microworld.models import IMAGE_SIZE
from viral.microworld.questions import pick
from viral.microworld.scenes import Rng, Scene, draw, sample_scene, scene_rng

PICTURE_STREAM, TEXT_STREAM = 10, 11
Turns = list[tuple[str, str]]


def pictures(seed: int, count: int, first: int = 0) -> tuple[list[Scene], np.ndarray]:
    """Scenes and their padded squares, uint8 [count, 64, 64, 3]."""
    scenes = [sample_scene(scene_rng(seed, PICTURE_STREAM, first + index)) for index in range(count)]
    squares = np.stack([to_square(draw(scene), IMAGE_SIZE) for scene in scenes])
    return scenes, squares


def web_caption(scene: Scene, rng: Rng) -> str:
    """A stage-1 caption: most tell what an alt text tells, some list what there is."""
    return listing(scene) if rng.random() < 0.5 else global_caption(scene, rng)


def conversation(index: int, seed: int) -> tuple[Template, Turns]:
    """A text-only conversation: a page about a scene, and questions about that page."""
    rng = scene_rng(seed, TEXT_STREAM, index)
    scene = sample_scene(rng)
    turns = dialogue(scene, rng, 1 + int(rng.integers(4)))
    if rng.random() < 0.1:
        turns = [("Describe the image.", description(scene, rng))]
    (question, answer), *rest = turns
    template = pick(tuple(TEMPLATES.values()), rng)
    return template, [(f"{page(scene, rng)}\n{question}", answer), *rest]


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
