"""CV-Bench 2D in the micro-world: counting and two-way relations as multiple choice."""

from pathlib import Path

from viral.benchmarks.files import write_counts
from viral.microworld.files import save_picture, write_lines
from viral.microworld.prompts import choices_of, cv_bench_prompt
from viral.microworld.questions import Question, count_question, pick, related_pairs, relation_question
from viral.microworld.scenes import MAX_OF_A_SHAPE, Rng, Scene, Thing, draw, sample_scene, scene_rng

STREAM = 2
"""Scene stream, another for each benchmark and for the instruction data: no benchmark picture was trained on."""


def write_cv_bench(root: Path, num_count: int, num_relation: int, seed: int) -> None:
    """`test_2d.jsonl` and `img/2D/<task>/*.jpg`; counts from 1 to 5 occur equally often."""
    rows = []
    for index in range(num_count + num_relation):
        rng = scene_rng(seed, STREAM, index)
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
