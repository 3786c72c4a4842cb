"""SigLIP 2: timm's model and transformers' give the same tokens, from either's checkpoint."""

from dataclasses import replace

import pytest
import torch
from transformers import SiglipModel, SiglipTextConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.configuration_siglip import SiglipConfig

from tests.teachers import parts
from viral.errors import WeightsError
from viral.teachers import get_teacher

SMALL = replace(
    get_teacher("siglip2-so400m"),
    name="small",
    kwargs={"global_pool": "", "embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 2},
    dim=48,
    image_size=96,
)
VISION = SiglipVisionConfig(
    hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=3,
    image_size=96, patch_size=16, hidden_act="gelu_pytorch_tanh",
)  # fmt: skip


@pytest.fixture(scope="module")
def port():
    return parts.lively(SiglipVisionModel(VISION))


def test_features_equal_those_of_transformers(port, tmp_path):
    teacher = parts.load(SMALL, port.state_dict(), tmp_path)
    squares = parts.squares(96)
    with torch.no_grad():
        expected = port(pixel_values=parts.pixels(SMALL, squares)).last_hidden_state
    features = teacher(squares)
    assert features.shape == (2, 36, 48)
    assert features.std() > 0.5
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_all_layouts_give_the_same_weights(port, tmp_path):
    text = SiglipTextConfig(
        vocab_size=9, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    both = SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=VISION.to_dict()))
    both.vision_model.load_state_dict(port.state_dict())
    from_vision = parts.load(SMALL, port.state_dict(), tmp_path)
    own = from_vision.backbone.state_dict()
    with_head = own | {"attn_pool.latent": torch.zeros(1, 1, 48), "attn_pool.q.weight": torch.zeros(48, 48)}
    for state in (both.state_dict(), own, with_head):
        assert parts.load(SMALL, state, tmp_path).fingerprint() == from_vision.fingerprint()


def test_one_patch_is_one_token(tmp_path):
    parts.assert_one_patch_is_one_token(parts.lively_teacher(SMALL, tmp_path))


def test_another_checkpoint_is_refused(port, tmp_path):
    state = port.state_dict()
    incomplete = {key: value for key, value in state.items() if "layers.1.self_attn.k_proj" not in key}
    for wrong in (incomplete, state | {"embeddings.class_embedding": torch.zeros(48)}):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'small'"):
            parts.load(SMALL, wrong, tmp_path)
    with pytest.raises(WeightsError, match="tensors of another shape"):
        parts.load(replace(SMALL, kwargs=SMALL.kwargs | {"mlp_ratio": 3}), state, tmp_path)
