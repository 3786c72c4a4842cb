"""AIMv2: timm's model and transformers' give the same tokens, from Apple's, timm's and transformers' checkpoints."""

from dataclasses import replace

import pytest
import torch
from transformers import Aimv2VisionConfig, Aimv2VisionModel

from tests.teachers import parts
from viral.errors import WeightsError
from viral.teachers import get_teacher

SMALL = replace(
    get_teacher("aimv2-l"),
    name="small",
    kwargs={"embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 2},
    dim=48,
    image_size=84,
)


@pytest.fixture(scope="module")
def port():
    config = Aimv2VisionConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=3,
        image_size=84, patch_size=14, use_head=False,
    )  # fmt: skip
    return parts.lively(Aimv2VisionModel(config))


def test_features_equal_those_of_transformers(port, tmp_path):
    teacher = parts.load(SMALL, port.state_dict(), tmp_path)
    squares = parts.squares(84)
    with torch.no_grad():
        expected = port(pixel_values=parts.pixels(SMALL, squares)).last_hidden_state
    features = teacher(squares)
    assert features.shape == (2, 36, 48)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def _as_apple_saves(state):
    names = (
        ("patch_embed.", "preprocessor.patchifier."), ("pos_embed", "preprocessor.pos_embed"),
        ("blocks.", "trunk.blocks."), ("norm1", "norm_1"), ("norm2", "norm_2"),
        ("mlp.fc1_g", "mlp.fc1"), ("mlp.fc1_x", "mlp.fc3"),
    )  # fmt: skip
    saved = {}
    for name, tensor in state.items():
        new = "trunk.post_trunk_norm.weight" if name == "norm.weight" else name
        for ours, theirs in names:
            new = new.replace(ours, theirs)
        saved[new] = tensor
    return saved


def test_all_layouts_give_the_same_weights(port, tmp_path):
    teacher = parts.load(SMALL, port.state_dict(), tmp_path)
    own = teacher.backbone.state_dict()
    for state in (own, _as_apple_saves(own)):
        assert parts.load(SMALL, state, tmp_path).fingerprint() == teacher.fingerprint()


def test_one_patch_is_one_token(tmp_path):
    parts.assert_one_patch_is_one_token(parts.lively_teacher(SMALL, tmp_path))


def test_another_checkpoint_is_refused(port, tmp_path):
    state = port.state_dict()
    other_norm = {name: tensor for name, tensor in state.items() if name != "rms_norm.weight"}
    for wrong in (other_norm, state | {"head.probe": torch.zeros(3)}):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'small'"):
            parts.load(SMALL, wrong, tmp_path)
