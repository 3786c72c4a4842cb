"""Shuffled patches: a permutation, the same one however a picture is asked about, and gone afterwards."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from viral.analysis.layers import square_pictures
from viral.analysis.permutation import patch_order, permuted_patches, squares
from viral.data.conversation import get_template
from viral.data.images import normalise
from viral.mllm.generate import Question, generate
from viral.mllm.student import Student, load_student
from viral.mllm.towers import patch_features


@pytest.fixture(scope="module")
def student(llava_dir: Path) -> Student:
    return load_student(str(llava_dir))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (30, 44, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.fixture(scope="module")
def pixels(student, pictures) -> torch.Tensor:
    return normalise(square_pictures(student, pictures), student.pixels)


def features(student: Student, pixels: torch.Tensor, seed: int | None) -> torch.Tensor:
    if seed is None:
        return patch_features(student.model.model, pixels)
    with permuted_patches(student, seed):
        return patch_features(student.model.model, pixels)


def test_an_order_is_a_permutation_of_its_own(pixels, student):
    square, other = squares(pixels, student.pixels)[:2]
    order = patch_order(0, square, 16)
    assert sorted(order.tolist()) == list(range(16))
    assert np.array_equal(order, patch_order(0, square, 16))
    assert not np.array_equal(order, patch_order(1, square, 16))
    assert not np.array_equal(order, patch_order(0, other, 16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_square_is_found_again_in_any_precision(student, pictures, pixels, dtype):
    assert np.array_equal(squares(pixels.to(dtype), student.pixels), square_pictures(student, pictures))


def test_patches_change_places_and_nothing_else(student, pictures, pixels):
    plain, shuffled = features(student, pixels, None), features(student, pixels, 3)
    for index, square in enumerate(square_pictures(student, pictures)):
        order = torch.from_numpy(patch_order(3, square, student.image.count))
        assert torch.equal(shuffled[index], plain[index][order])
    assert not torch.equal(shuffled, plain)


def test_the_order_does_not_depend_on_the_company(student, pixels):
    together = features(student, pixels, 0)
    torch.testing.assert_close(features(student, pixels.flip(0), 0).flip(0), together)
    torch.testing.assert_close(features(student, pixels[1:2], 0), together[1:2])


def test_afterwards_the_model_is_as_before(student, pixels):
    before = features(student, pixels, None)
    with pytest.raises(RuntimeError, match="stop"), permuted_patches(student, 0):
        raise RuntimeError("stop")
    assert torch.equal(features(student, pixels, None), before)
    assert not student.model.model.vision_tower._forward_hooks


def test_batches_of_questions_get_the_replies_of_single_ones(student, pictures, tmp_path):
    asked = []
    for index in range(5):
        path = tmp_path / f"{index % 3}.png"
        pictures[index % 3].save(path)
        text = "<image>\nHow many circles" + " and cats" * index + "?"
        asked.append(Question(str(index), get_template("vicuna_v1").prompt(text), path))
    settings = {"max_new_tokens": 4, "image_mode": "pad"}
    with permuted_patches(student, 0):
        batched = dict(generate(student, asked, batch_size=3, **settings))
        alone = dict(generate(student, asked[::-1], batch_size=1, **settings))
    assert batched == alone
