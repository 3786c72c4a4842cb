"""Instruction data of the micro-world in LLaVA's layout: one JSON list and a folder of pictures."""

import json
from pathlib import Path
from typing import Any

from viral.data.conversation import IMAGE_TAG
from viral.microworld.cells import text_map
from viral.microworld.descriptions import description, dialogue
from viral.microworld.files import new_folder, save_picture
from viral.microworld.scenes import Rng, Scene, draw, sample_scene, scene_rng

ANNOTATIONS = "micro_instruct.json"
IMAGES = "images"
TEXT_ONLY_SHARE = 0.06
"""LLaVA-665K holds 6.1 % text-only conversations."""
DESCRIBE_SHARE = 0.08
MAX_TURNS = 5
TRAIN_STREAM = 1
"""Scene stream of the instruction data; benchmarks and pre-training draw from others."""


def write_instructions(out: Path, *, num_samples: int, seed: int = 0) -> Path:
    """Write `num_samples` conversations below `out`, returning the path of the annotation file.

    Pictures go to `out/images`. The same arguments give the same bytes.

    Raises:
        DataError: `out` exists and is not an empty folder.
    """
    with new_folder(out) as folder:
        entries = []
        for index in range(num_samples):
            rng = scene_rng(seed, TRAIN_STREAM, index)
            scene = sample_scene(rng)
            if rng.random() < TEXT_ONLY_SHARE:
                entries.append(_entry(f"text_{index:06d}", None, _text_turns(scene, rng)))
                continue
            image = f"train/{index:06d}.jpg"
            save_picture(draw(scene), folder / IMAGES / image)
            entries.append(_entry(f"{index:06d}", image, _image_turns(scene, rng)))
        (folder / ANNOTATIONS).write_text(json.dumps(entries, indent=0), encoding="utf-8")
    return out / ANNOTATIONS


def _image_turns(scene: Scene, rng: Rng) -> list[tuple[str, str]]:
    if rng.random() < DESCRIBE_SHARE:
        turns = [("Describe the image.", description(scene, rng))]
    else:
        turns = dialogue(scene, rng, 1 + int(rng.integers(MAX_TURNS)))
    question, answer = turns[0]
    # LLaVA puts the tag before or after the first question; readers move it to the front.
    first = f"{IMAGE_TAG}\n{question}" if rng.random() < 0.5 else f"{question}\n{IMAGE_TAG}"
    return [(first, answer), *turns[1:]]


def _text_turns(scene: Scene, rng: Rng) -> list[tuple[str, str]]:
    (question, answer), *rest = dialogue(scene, rng, 2)
    return [(f"{text_map(scene)}\n{question}", answer), *rest]


def _entry(name: str, image: str | None, turns: list[tuple[str, str]]) -> dict[str, Any]:
    messages = [
        {"from": speaker, "value": value}
        for turn in turns
        for speaker, value in zip(("human", "gpt"), turn, strict=True)
    ]
    # LLaVA-665K's text-only entries carry an empty `model` field and no `image`.
    extra = {"image": image} if image is not None else {"model": ""}
    return {"id": name, **extra, "conversations": messages}
