"""Pre-training: every script runs, writes what `parts` promises, and repeats itself to the byte."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from viral.data.tokens import IGNORE
from viral.microworld.cells import NOTHING, text_map
from viral.microworld.models import VOCABULARY
from viral.microworld.parts import PROJECTOR_FILE, TEACHER_FILE, parts
from viral.microworld.pretrain.corpus import line_exercise, pictures
from viral.microworld.pretrain.llm import train_llm
from viral.microworld.pretrain.projector import plain_batch, train_projector
from viral.microworld.pretrain.targets import patch_targets
from viral.microworld.pretrain.teacher import train_teacher
from viral.microworld.pretrain.tokenizer import FIXED, train_tokenizer
from viral.microworld.pretrain.tower import train_tower
from viral.microworld.scenes import COLOURS, SHAPES, sample_scene, scene_rng
from viral.microworld.teacher import MICRO_TEACHER
from viral.mllm.assemble import assemble_student
from viral.teachers.load import load_teacher


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(0)


def _train_all(out: Path, tokenizer) -> None:
    train_teacher(out / TEACHER_FILE, seed=0, steps=2, batch=4, num_pictures=8)
    train_tower(out / "tower", tokenizer, seed=0, lesson_steps=2, steps=2, batch=4, num_pictures=8)
    train_llm(out / "llm", tokenizer, seed=0, steps=2, batch=2)
    train_projector(out / PROJECTOR_FILE, parts(out), seed=0, steps=2, batch=2, num_pictures=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    out = tmp_path_factory.mktemp("parts")
    _train_all(out, tokenizer)
    return out


def test_the_parts_fit_together(trained: Path) -> None:
    paths = parts(trained)
    student = assemble_student(paths["llm"], paths["tower"], paths["projector"])
    teacher = load_teacher(MICRO_TEACHER, paths["teacher"])
    assert student.image.count == teacher.spec.grid[0] * teacher.spec.grid[1]
    assert teacher(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (
        1,
        student.image.count,
        MICRO_TEACHER.dim,
    )


def test_the_same_seed_gives_the_same_bytes(trained: Path, tmp_path: Path, tokenizer) -> None:
    _train_all(tmp_path, tokenizer)
    files = [path.relative_to(trained) for path in trained.rglob("*") if path.is_file()]
    assert sum(file.suffix == ".safetensors" for file in files) == 4
    assert all((tmp_path / file).read_bytes() == (trained / file).read_bytes() for file in files)


def test_stage_one_supervises_caption_and_line_end_only(trained: Path) -> None:
    paths = parts(trained)
    student = assemble_student(paths["llm"], paths["tower"], paths["projector"])
    ids, labels = plain_batch(["one red star", "two blue rings on sand"], student)
    assert ids[0, 0] == student.tokenizer.bos_token_id
    assert (ids == student.image.id).sum() == 2 * student.image.count
    spoken = [student.tokenizer.decode(row[row != IGNORE]) for row in labels]
    assert spoken == ["one red star\n", "two blue rings on sand\n"]


def test_the_tokenizer_keeps_every_fixed_text_in_one_token(tokenizer) -> None:
    assert len(tokenizer) == VOCABULARY
    assert all(len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1 for text in FIXED)


def test_patch_targets_show_what_is_drawn() -> None:
    scenes, squares = pictures(3, 20)
    targets = patch_targets(scenes)
    centres = targets["centres"].sum(axis=1)
    gold = np.array([[scene.count(shape) for shape in SHAPES] for scene in scenes])
    np.testing.assert_array_equal(centres, gold)
    covered = (targets["cover"].mean(axis=2) > 0.95) & (targets["shape"] != NOTHING)
    assert covered.sum() > 10
    pixels = squares.reshape(20, 8, 8, 8, 8, 3).swapaxes(2, 3).reshape(20, 64, 64, 3)
    # The brightest quarter of a patch: markings darken the rest.
    brightness = pixels.astype(int).sum(axis=3, keepdims=True)
    patches = np.take_along_axis(pixels, np.argsort(-brightness, axis=2), axis=2)[:, :, :16].mean(axis=2)
    palette = np.array(list(COLOURS.values()))
    nearest = np.abs(patches[covered][:, None] - palette).sum(axis=2).argmin(axis=1)
    assert (nearest == targets["colour"][covered]).mean() > 0.95


def test_offsets_lead_to_the_middle_of_a_thing() -> None:
    scenes, _ = pictures(4, 10)
    targets = patch_targets(scenes)
    rows, columns = np.divmod(np.arange(64), 8)
    for index, scene in enumerate(scenes):
        longer = max(scene.width, scene.height)
        for patch in np.flatnonzero(targets["shape"][index] != NOTHING):
            x, y = (
                (np.array([columns[patch], rows[patch]]) + 0.5 + targets["offset"][index, patch]) * longer / 8
            )
            x, y = x - (longer - scene.width) // 2, y - (longer - scene.height) // 2
            thing = min(scene.things, key=lambda thing: np.hypot(thing.x - x, thing.y - y))
            assert np.hypot(thing.x - x, thing.y - y) < 0.05
            assert SHAPES.index(thing.shape) == targets["shape"][index, patch]


def test_a_line_exercise_reads_rows_and_columns() -> None:
    scene = sample_scene(scene_rng(11, 0))
    words = re.findall(r"\[[^\]]+\]", text_map(scene))
    asked = set()
    for index in range(120):
        question, answer = line_exercise(scene, scene_rng(12, index))
        match = re.fullmatch(r"Read (row|column) (\d)\.", question)
        assert match
        start = int(match[2]) - 1
        line = words[8 * start : 8 * start + 8] if match[1] == "row" else words[start::8]
        assert answer == "".join(line)
        asked.add(question)
    assert len(asked) == 16
