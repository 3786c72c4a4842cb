"""DINOv3: timm's model and transformers' give the same tokens; every published layout gives the same weights."""

from dataclasses import replace

import pytest
import torch
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from tests.teachers import parts
from viral.errors import WeightsError
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher

TINY = {"embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 2}
SMALL = replace(get_teacher("dinov3-b"), name="small", kwargs=TINY, dim=48, image_size=96)
GATED = replace(get_teacher("dinov3-hplus"), name="gated", kwargs=TINY, dim=48, image_size=96)


def _port(spec):
    gated = spec is GATED
    config = DINOv3ViTConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=3, num_register_tokens=4,
        use_gated_mlp=gated, hidden_act="silu" if gated else "gelu",
    )  # fmt: skip
    return parts.lively(DINOv3ViTModel(config))


@pytest.mark.parametrize("spec", [SMALL, GATED], ids=lambda spec: spec.name)
@pytest.mark.parametrize("side", [96, 128])
def test_features_equal_those_of_transformers_on_any_grid(spec, side, tmp_path):
    port, spec = _port(spec), replace(spec, image_size=side)
    teacher = parts.load(spec, port.state_dict(), tmp_path)
    squares = parts.squares(side)
    with torch.no_grad():
        expected = port(pixel_values=parts.pixels(spec, squares)).last_hidden_state[:, 5:]
    features = teacher(squares)
    assert features.shape == (2, (side // 16) ** 2, 48)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def _as_meta_saves(state):
    """timm's names -> those of Meta's files, with what only training needs."""
    saved = {"storage_tokens": state["reg_token"], "mask_token": torch.zeros(1, 48)}
    saved |= {"rope_embed.periods": torch.ones(4), "cls_token": state["cls_token"]}
    names = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    names |= {"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2"}
    gated = any("fc1_g" in name for name in state)
    for name, tensor in state.items():
        if name.endswith("attn.q_bias"):
            block = name.removesuffix("q_bias")
            keys = torch.full((48,), 7.0)  # masked: they must not matter
            saved[f"{block}qkv.bias"] = torch.cat([tensor, keys, state[f"{block}v_bias"]])
            saved[f"{block}qkv.bias_mask"] = torch.cat([torch.ones(48), torch.zeros(48), torch.ones(48)])
        elif not name.endswith(("attn.v_bias", "reg_token")):
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            saved[name.replace("mlp.fc2", "mlp.w3") if gated else name] = tensor
    return saved


@pytest.mark.parametrize("spec", [SMALL, GATED], ids=lambda spec: spec.name)
def test_all_layouts_give_the_same_weights(spec, tmp_path, capsys):
    port = _port(spec).state_dict()
    teacher = parts.load(spec, port, tmp_path)
    own = teacher.backbone.state_dict()
    on_hub = {name.removeprefix("model."): tensor for name, tensor in port.items()}  # before transformers 5
    for state in (on_hub, own, _as_meta_saves(own)):
        assert parts.load(spec, state, tmp_path).fingerprint() == teacher.fingerprint()
    assert capsys.readouterr().out == ""  # timm's filter can print


def test_a_checkpoint_without_biases_has_zeros(tmp_path):
    without = replace(SMALL, architecture="vit_base_patch16_dinov3.lvd1689m")
    plain = parts.lively_teacher(replace(without, family="timm"), tmp_path)
    teacher = parts.load(SMALL, plain.backbone.state_dict(), tmp_path)
    assert not teacher.backbone.blocks[1].attn.q_bias.any()
    squares = parts.squares(96)
    torch.testing.assert_close(teacher(squares), plain(squares), rtol=0, atol=1e-6)


def test_half_precision_keeps_the_rotary_frequencies(tmp_path):
    state = parts.lively_teacher(SMALL, tmp_path).backbone.state_dict()
    exact = parts.load(SMALL, state, tmp_path)
    rough = load_teacher(SMALL, str(tmp_path / "checkpoint.safetensors"), dtype="bfloat16")
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.backbone.rope.periods, exact.backbone.rope.periods, rtol=0, atol=0)
    squares = parts.squares(96)
    cosines = torch.cosine_similarity(exact(squares), rough(squares), dim=-1)
    assert cosines.min() > 0.999


def test_one_patch_is_one_token(tmp_path):
    parts.assert_one_patch_is_one_token(parts.lively_teacher(SMALL, tmp_path))


def test_another_checkpoint_is_refused(tmp_path):
    small, gated = _port(SMALL).state_dict(), _port(GATED).state_dict()
    own = parts.load(SMALL, small, tmp_path).backbone.state_dict()
    half = {name: tensor for name, tensor in own.items() if name != "blocks.1.attn.v_bias"}
    no_keys = {name: tensor for name, tensor in small.items() if "layer.1.attention.k_proj" not in name}
    for wrong in (gated, half, no_keys, own | {"pos_embed": torch.zeros(1, 36, 48)}):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'small'"):
            parts.load(SMALL, wrong, tmp_path)
