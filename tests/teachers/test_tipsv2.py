"""TIPSv2: timm's model and transformers' give the same tokens on any grid, from Google's checkpoint and timm's."""

from dataclasses import replace

import pytest
import torch
from transformers import Tipsv2VisionConfig, Tipsv2VisionModel

from tests.teachers import parts
from viral.errors import WeightsError
from viral.teachers import get_teacher

SMALL = replace(
    get_teacher("tipsv2-b"),
    name="small",
    kwargs={"embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 2},
    dim=48,
    image_size=84,
)
TRAINED_GRID = 8


@pytest.fixture(scope="module")
def port():
    config = Tipsv2VisionConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=3, mlp_ratio=2,
        image_size=14 * TRAINED_GRID, patch_size=14,
    )  # fmt: skip
    return parts.lively(Tipsv2VisionModel(config))


def _as_google_saves(state):
    """transformers' names -> those of Google's files, which hold the text half, too."""
    names = (
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.position_embeddings", "pos_embed"), ("embeddings.", ""),
        ("layernorm", "norm"), ("encoder.layer.", "blocks."), ("attention.o_proj", "attn.proj"),
        ("layer_scale1.lambda1", "ls1.gamma"), ("layer_scale2.lambda1", "ls2.gamma"),
    )  # fmt: skip
    saved = {"text_encoder.ln_final.weight": torch.zeros(3), "temperature": torch.zeros(1)}
    for name, tensor in state.items():
        if "attention.q_proj" in name:
            three = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            name, tensor = name.replace("attention.q_proj", "attn.qkv"), torch.cat(three)
        if "attention.k_proj" not in name and "attention.v_proj" not in name:
            for ours, theirs in names:
                name = name.replace(ours, theirs)
            saved[f"vision_encoder.{name}"] = tensor
    return saved


@pytest.mark.parametrize("grid", [TRAINED_GRID, 6])
def test_features_equal_those_of_transformers_on_any_grid(port, grid, tmp_path):
    spec = replace(SMALL, image_size=14 * grid)
    teacher = parts.load(spec, _as_google_saves(port.state_dict()), tmp_path)
    squares = parts.squares(spec.image_size)
    with torch.no_grad():
        expected = port(pixel_values=parts.pixels(spec, squares)).last_hidden_state[:, 2:]
    features = teacher(squares)
    assert features.shape == (2, grid * grid, 48)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_pixels_stay_between_0_and_1():
    squares = parts.squares(84)
    torch.testing.assert_close(parts.pixels(SMALL, squares), squares.movedim(-1, 1) / 255, rtol=0, atol=1e-6)


def test_both_layouts_give_the_same_weights(port, tmp_path):
    spec = replace(SMALL, image_size=14 * TRAINED_GRID)
    teacher = parts.load(spec, _as_google_saves(port.state_dict()), tmp_path)
    own = teacher.backbone.state_dict()
    assert parts.load(spec, own, tmp_path).fingerprint() == teacher.fingerprint()
    smaller = parts.load(SMALL, _as_google_saves(port.state_dict()), tmp_path)
    assert parts.load(SMALL, own, tmp_path).fingerprint() == smaller.fingerprint()


def test_one_patch_is_one_token(tmp_path):
    parts.assert_one_patch_is_one_token(parts.lively_teacher(SMALL, tmp_path))


def test_another_checkpoint_is_refused(port, tmp_path):
    state = _as_google_saves(port.state_dict())
    no_register = {name: tensor for name, tensor in state.items() if "register" not in name}
    for wrong in (no_register, state | {"vision_encoder.head.weight": torch.zeros(3)}):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'small'"):
            parts.load(SMALL, wrong, tmp_path)
