"""POPE in the micro-world: is a shape there? Three splits that differ in the absent shapes they ask about."""

from collections import Counter
from pathlib import Path
from typing import Any

from viral.benchmarks.files import write_counts
from viral.microworld.files import save_picture, write_lines
from viral.microworld.questions import existence_question
from viral.microworld.scenes import SHAPES, Scene, draw, sample_scene, scene_rng

STREAM = 4
"""Scene stream of these pictures."""
SPLITS = ("random", "popular", "adversarial")


def write_pope(root: Path, num_images: int, seed: int) -> None:
    """`POPE/pope_<split>.jsonl` and `COCO2014/val2014/`: three present and three absent shapes per picture.

    Present shapes are the same in the three splits. Absent ones are drawn at random, by how often a shape
    occurs in the pictures (popular), or by how often it occurs together with a present one (adversarial).
    """
    (root / "POPE").mkdir(parents=True)
    streams = [scene_rng(seed, STREAM, index) for index in range(num_images)]
    scenes = [sample_scene(rng, num_shapes=3) for rng in streams]
    names = [f"COCO_val2014_{index:012d}.jpg" for index in range(num_images)]
    for scene, name in zip(scenes, names, strict=True):
        save_picture(draw(scene), root / "COCO2014" / "val2014" / name)
    orders = [[str(shape) for shape in rng.permutation(SHAPES)] for rng in streams]
    for split in SPLITS:
        rows: list[dict[str, Any]] = []
        for scene, name, order in zip(scenes, names, orders, strict=True):
            absent = _absent_shapes(split, scene, scenes, order)
            for present, missing in zip(scene.shapes, absent, strict=True):
                rows += _pope_rows(len(rows) + 1, name, present, missing)
        write_lines(root / "POPE" / f"pope_{split}.jsonl", rows)
    write_counts(root / "POPE", dict.fromkeys(SPLITS, len(rows)))


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
