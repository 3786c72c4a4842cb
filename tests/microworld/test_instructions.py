"""Instruction data: LLaVA's layout, right answers, the same bytes every time, nothing left of a failed run."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.microworld.solver import chosen, solve
from viral.data.annotations import read_annotations
from viral.errors import DataError
from viral.microworld import instructions
from viral.microworld.instructions import ANNOTATIONS, IMAGES, write_instructions
from viral.microworld.prompts import LETTERS, SHORT_SUFFIX
from viral.microworld.scenes import Scene, draw

NUM_SAMPLES = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("micro") / "train"
    assert write_instructions(out, num_samples=NUM_SAMPLES) == out / ANNOTATIONS
    return out


def test_layout_is_llavas(folder: Path) -> None:
    entries = json.loads((folder / ANNOTATIONS).read_text())
    samples = read_annotations(folder / ANNOTATIONS)
    assert len(entries) == len(samples) == NUM_SAMPLES
    text_only = [entry for entry in entries if "image" not in entry]
    assert 0 < len(text_only) < 0.2 * NUM_SAMPLES
    assert all(entry["model"] == "" for entry in text_only)
    assert {len(sample.turns) for sample in samples} >= {1, 2, 3, 4}
    tagged = [sample.turns[0][0] for sample in samples if sample.images]
    assert {question.startswith("<image>\n") for question in tagged} == {True, False}
    assert any(SHORT_SUFFIX in question for question in tagged)


def test_pictures_are_there_and_none_is_left_over(folder: Path) -> None:
    named = {sample.images[0] for sample in read_annotations(folder / ANNOTATIONS) if sample.images}
    found = {str(path.relative_to(folder / IMAGES)) for path in (folder / IMAGES).rglob("*.jpg")}
    assert named == found
    sizes = {Image.open(folder / IMAGES / name).size for name in named}
    assert len(sizes) == 3


def test_same_arguments_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_instructions(again, num_samples=NUM_SAMPLES)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((folder / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_answers_are_true_of_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Scene] = []
    monkeypatch.setattr(instructions, "draw", lambda scene: drawn.append(scene) or draw(scene))
    path = write_instructions(tmp_path / "train", num_samples=60)
    samples = [sample for sample in read_annotations(path) if sample.images]
    checked = 0
    for sample, scene in zip(samples, drawn, strict=True):
        for question, answer in sample.turns:
            if "Describe" not in question:
                assert solve(question, scene) == (chosen(question, answer) if answer in LETTERS else answer)
                checked += 1
    assert checked > 100


def test_an_occupied_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        write_instructions(tmp_path, num_samples=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scene: Scene) -> Image.Image:
        raise OSError("no space left on device")

    monkeypatch.setattr(instructions, "draw", fail)
    with pytest.raises(OSError, match="no space"):
        write_instructions(tmp_path / "train", num_samples=5)
    assert list(tmp_path.iterdir()) == []
