"""C-RADIO v4: NVIDIA's checkpoint in timm's model and in transformers' gives the same tokens on any grid."""

from dataclasses import replace

import pytest
import torch
from transformers import RadioConfig, RadioModel

from tests.teachers import parts
from viral.errors import WeightsError
from viral.teachers import get_teacher

SMALL = replace(
    get_teacher("c-radio-v4-so400m"),
    name="small",
    kwargs={"embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 2},
    dim=48,
    image_size=96,
)
TRAINED_GRID = 16


@pytest.fixture(scope="module")
def port():
    config = RadioConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=3, mlp_ratio=2.0, max_img_size=16 * TRAINED_GRID
    )  # fmt: skip
    model = parts.lively(RadioModel(config))
    for layer in model.encoder.layer:  # the published models have none
        layer.layer_scale1.lambda1.data.fill_(1)
        layer.layer_scale2.lambda1.data.fill_(1)
    return model


def _as_nvidia_saves(state):
    names = (
        ("embeddings.patch_projection", "patch_generator.embedder"),
        ("embeddings.position_embedding", "patch_generator.pos_embed"),
        ("embeddings.cls_register_token", "patch_generator.cls_token.token"),
        ("encoder.layer.", "blocks."), ("attention.o_proj", "attn.proj"),
    )  # fmt: skip
    saved = {}
    for name, tensor in state.items():
        if name.startswith(("input_conditioner", "summary_idxs")):
            saved[f"radio_model.{name}"] = tensor
            continue
        if "attention.q_proj" in name:
            three = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            name, tensor = name.replace("attention.q_proj", "attn.qkv"), torch.cat(three)
        if not any(part in name for part in ("k_proj", "v_proj", "layer_scale")):
            for ours, theirs in names:
                name = name.replace(ours, theirs)
            saved[f"radio_model.model.{name}"] = tensor
    return saved


@pytest.mark.parametrize("grid", [TRAINED_GRID, 6])
def test_features_equal_those_of_transformers_on_any_grid(port, grid, tmp_path):
    spec = replace(SMALL, image_size=16 * grid)
    teacher = parts.load(spec, _as_nvidia_saves(port.state_dict()), tmp_path)
    squares = parts.squares(spec.image_size)
    with torch.no_grad():
        expected = port(pixel_values=squares.movedim(-1, 1) / 255).features  # it normalises by itself
    features = teacher(squares)
    assert features.shape == (2, grid * grid, 48)
    torch.testing.assert_close(features, expected, rtol=0, atol=5e-5)


def test_one_patch_is_one_token(port, tmp_path):
    teacher = parts.load(SMALL, _as_nvidia_saves(port.state_dict()), tmp_path)
    parts.assert_one_patch_is_one_token(teacher)


def test_another_checkpoint_is_refused(port, tmp_path):
    state = _as_nvidia_saves(port.state_dict())
    scaled = state | {"radio_model.model.blocks.0.ls1.grandma": torch.ones(48)}
    v3 = state | {"radio_model.model.patch_generator.cls_token.token": torch.zeros(8, 48)}
    for wrong in (scaled, v3, port.state_dict()):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'small'"):
            parts.load(SMALL, wrong, tmp_path)
