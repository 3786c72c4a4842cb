"""Attention to the image while a reply is generated, against what transformers hands out for the whole prompt."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from viral.analysis.attention import (
    AttentionTap,
    attention_layers,
    eager_attention,
    image_attention,
    upsample,
)
from viral.analysis.layers import square_pictures
from viral.data.conversation import get_template
from viral.data.images import decode_image, normalise
from viral.data.tokens import encode_prompt
from viral.errors import ConfigError
from viral.mllm.generate import Question, generate
from viral.mllm.student import Student, load_student

LAYERS = (1, 3, 4)
NEW = 5


@pytest.fixture(scope="module")
def student(llava_dir: Path) -> Student:
    student = load_student(str(llava_dir))
    with torch.no_grad():  # fresh weights attend to everything alike
        for name, weight in student.model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                weight.mul_(8)
    return student


@pytest.fixture(scope="module")
def question(tmp_path_factory) -> Question:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)).save(path)
    return Question("0", get_template("vicuna_v1").prompt("<image>\nHow many circles are there?"), path)


@pytest.fixture(scope="module")
def seen(student, question):
    return image_attention(student, question, LAYERS, max_new_tokens=NEW, image_mode="pad")


def test_one_map_for_each_step_and_head_whose_rows_sum_to_at_most_one(seen, student):
    assert list(seen.maps) == list(LAYERS)
    for maps_SHT in seen.maps.values():
        assert maps_SHT.shape[1:] == (4, student.image.count)
        assert 1 <= len(maps_SHT) <= NEW
        assert (maps_SHT >= 0).all()
        assert (maps_SHT.sum(axis=-1) > 0).all()
        assert (maps_SHT.sum(axis=-1) <= 1 + 1e-6).all()


def test_the_first_step_is_the_last_row_that_transformers_shows(seen, student, question):
    ids = encode_prompt(question.prompt, student.tokenizer, student.image)
    square = square_pictures(student, [decode_image(question.image)])
    with eager_attention(student.model.model.language_model), torch.inference_mode():
        shown = student.model(
            input_ids=torch.tensor([ids]),
            pixel_values=normalise(square, student.pixels),
            output_attentions=True,
        ).attentions
    is_image = np.array(ids) == student.image.id
    for layer, maps_SHT in seen.maps.items():
        expected = shown[layer - 1][0, :, -1].numpy()[:, is_image]
        np.testing.assert_allclose(maps_SHT[0], expected, atol=1e-6)


def test_watching_changes_neither_the_reply_nor_the_model(seen, student, question):
    core = student.model.model
    modules = (core, *(layer.self_attn for layer in core.language_model.layers))
    before = [(dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in modules]
    kind = core.language_model.config._attn_implementation
    again = image_attention(student, question, LAYERS, max_new_tokens=NEW, image_mode="pad")
    assert again.reply == seen.reply
    ((_, reply),) = generate(student, [question], max_new_tokens=NEW, image_mode="pad", batch_size=1)
    assert reply == seen.reply
    assert core.language_model.config._attn_implementation == kind != "eager"
    assert before == [(dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in modules]


def test_attention_without_maps_is_named(student, question):
    with AttentionTap(student.model.model, (2,)), pytest.raises(ConfigError, match="Block 2 computes no"):
        list(generate(student, [question], max_new_tokens=1, image_mode="pad", batch_size=1))


def test_layers_are_blocks():
    assert attention_layers(None, 3) == (1, 2, 3)
    assert attention_layers((0.5, 4), 4) == (2, 4)
    with pytest.raises(ConfigError, match="Layer 0 is the input"):
        attention_layers((0, 1), 4)
    with pytest.raises(ConfigError, match="out of range"):
        attention_layers((5,), 4)


def test_upsampling_is_bilinear_and_keeps_its_place():
    flat = upsample(np.full((4, 4), 0.25), 28)
    assert flat.shape == (28, 28)
    assert np.allclose(flat, 0.25)
    corner = np.zeros((4, 4))
    corner[0, 3] = 1
    assert (
        np.unravel_index(upsample(corner, 28).argmax(), (28, 28)) == (0, 25)
        or upsample(corner, 28)[0, 27] == 1
    )
