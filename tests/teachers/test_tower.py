"""The student's own tower as a teacher: its features are what the student's projector gets, to the bit."""

from pathlib import Path

import pytest
import torch

from tests import families, tiny
from viral.data.images import mean_fill, normalise
from viral.errors import WeightsError
from viral.mllm.assemble import assemble_student
from viral.mllm.student import Student, load_student, tower_of
from viral.mllm.towers import needed_tensors, patch_features
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher
from viral.teachers.teacher import hash_tensors


def assert_same_features(student: Student, weights: str, dtype: str) -> None:
    teacher = load_teacher(get_teacher("tower"), weights, dtype=dtype)
    side = student.pixels.size
    squares = torch.randint(0, 256, (3, side, side, 3), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    core = student.model.model
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):  # as a training step has it
        seen = patch_features(core, normalise(squares, student.pixels))
    assert seen.dtype == getattr(torch, dtype)
    assert torch.equal(teacher(squares), seen.float())
    made = teacher.fingerprint()
    assert made["weights_sha256"] == hash_tensors(needed_tensors(core, tower_of(student.model)))
    assert (teacher.grid, teacher.fill) == (student.image.grid, mean_fill(student.pixels.mean))
    assert (made["weights"], made["layer"], made["scramble_seed"]) == ("pretrained", -2, None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", families.TOWERS)
def test_of_parts(tmp_path: Path, kind, dtype):
    llm, tower = families.save_llm(tmp_path / "llm", "llama"), families.save_tower(tmp_path / "tower", kind)
    assert_same_features(assemble_student(llm, tower, "random", dtype=dtype), tower, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_a_llava(llava_dir: Path, dtype):
    assert_same_features(load_student(str(llava_dir), dtype=dtype), str(llava_dir), dtype)


@pytest.mark.parametrize("old", ["vision_tower.vision_model.", "model.vision_tower."])
def test_of_a_llava_with_other_names(llava_dir: Path, tmp_path: Path, old):
    folder = tiny.save_llava(tmp_path / "llava")
    families.rename_weights(folder, "vision_tower.", old)
    expected = load_teacher(get_teacher("tower"), str(llava_dir)).fingerprint()
    assert load_teacher(get_teacher("tower"), str(folder)).fingerprint() == expected


def test_profiles_leave_it_alone(llava_dir: Path):
    made = [
        load_teacher(get_teacher("tower"), str(llava_dir), profile, dtype="float32").fingerprint()
        for profile in ("paper", "release", "native")
    ]
    assert len({fingerprint["weights_sha256"] for fingerprint in made}) == 1
    assert {fingerprint["normalisation"] for fingerprint in made} == {"own"}


def test_folders_without_a_tower_are_refused(tmp_path: Path):
    llm = families.save_llm(tmp_path / "llm", "llama")
    with pytest.raises(WeightsError, match=r"is a llama model, which is no vision tower we know"):
        load_teacher(get_teacher("tower"), llm)
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_teacher(get_teacher("tower"), str(tmp_path / "none"))
