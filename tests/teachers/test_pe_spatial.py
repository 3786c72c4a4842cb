"""PE-spatial: timm's model against a plain re-computation of Meta's, which no library of ours ships."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.teachers import parts
from viral.errors import WeightsError
from viral.teachers import get_teacher

TINY = {"embed_dim": 48, "depth": 2, "num_heads": 3, "mlp_ratio": 2}
LARGE = replace(get_teacher("pe-spatial-l"), name="large", kwargs=TINY, dim=48, image_size=84)
GIGANTIC = replace(get_teacher("pe-spatial-g"), name="gigantic", kwargs=TINY, dim=48, image_size=84)
HEADS, TRAINED_GRID = 3, 8


def _meta_checkpoint(class_token, layer_scale):
    """Tensors under the names of Meta's files, on the trained grid."""
    generator = torch.Generator().manual_seed(4)

    def numbers(*shape, scale=None, around=0.0):
        fan_in = torch.Size(shape[1:]).numel() ** -0.5
        return torch.randn(shape, generator=generator) * (fan_in if scale is None else scale) + around

    state = {
        "conv1.weight": numbers(48, 3, 14, 14),
        "positional_embedding": numbers(TRAINED_GRID**2 + class_token, 48, scale=0.5),
        "ln_pre.weight": numbers(48, scale=0.1, around=1.0),
        "ln_pre.bias": numbers(48, scale=0.1),
    }
    if class_token:
        state["class_embedding"] = numbers(48, scale=0.5)
    for block in range(2):
        at = f"transformer.resblocks.{block}."
        for layer, rows, columns in (
            ("attn.in_proj_", 144, 48), ("attn.out_proj.", 48, 48), ("mlp.c_fc.", 96, 48), ("mlp.c_proj.", 48, 96)
        ):  # fmt: skip
            state |= {
                f"{at}{layer}weight": numbers(rows, columns),
                f"{at}{layer}bias": numbers(rows, scale=0.1),
            }
        for norm in ("ln_1.", "ln_2."):
            state |= {
                f"{at}{norm}weight": numbers(48, scale=0.1, around=1.0),
                f"{at}{norm}bias": numbers(48, scale=0.1),
            }
        if layer_scale:
            state |= {f"{at}ls_{index}.gamma": numbers(48, scale=0.1, around=1.0) for index in (1, 2)}
    return state


def _meta_tokens(state, pixels_BCSS, grid):
    """Meta's forward pass, as the paper's appendix and the released configuration describe it."""
    x = F.conv2d(pixels_BCSS, state["conv1.weight"], stride=14).flatten(2).transpose(1, 2)
    positions = state["positional_embedding"]
    class_token = "class_embedding" in state
    patches = positions[int(class_token) :].T.reshape(1, 48, TRAINED_GRID, TRAINED_GRID)
    patches = F.interpolate(patches, size=(grid, grid), mode="bilinear").flatten(2).transpose(1, 2)[0]
    if class_token:
        x = torch.cat([state["class_embedding"].expand(len(x), 1, 48), x], dim=1)
        patches = torch.cat([positions[:1], patches])
    x = _norm(x + patches, state, "ln_pre.")
    angles = _angles(grid, class_token)
    for block in range(2):
        at = f"transformer.resblocks.{block}."
        gammas = [state.get(f"{at}ls_{index}.gamma", torch.ones(48)) for index in (1, 2)]
        qkv = F.linear(
            _norm(x, state, f"{at}ln_1."), state[f"{at}attn.in_proj_weight"], state[f"{at}attn.in_proj_bias"]
        )
        q, k, v = (part.unflatten(-1, (HEADS, 16)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        attended = (_rotate(q, angles) @ _rotate(k, angles).mT / 4.0).softmax(-1) @ v
        x = x + gammas[0] * _linear(attended.transpose(1, 2).flatten(2), state, f"{at}attn.out_proj.")
        inner = F.gelu(_linear(_norm(x, state, f"{at}ln_2."), state, f"{at}mlp.c_fc."))
        x = x + gammas[1] * _linear(inner, state, f"{at}mlp.c_proj.")
    return x[:, int(class_token) :]


def _angles(grid, class_token):
    """Half of a head's channels turn with the column, half with the row, counted from 1 beside a class token at 0."""
    speeds = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    counted = (torch.arange(grid) + int(class_token))[:, None] * speeds
    turns = counted.repeat_interleave(2, dim=-1)
    columns, rows = turns.repeat(grid, 1), turns.repeat_interleave(grid, dim=0)
    angles = torch.cat([columns, rows], dim=-1)
    return torch.cat([torch.zeros(1, 16), angles]) if class_token else angles


def _rotate(x, angles):
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * angles.cos() + turned * angles.sin()


def _linear(x, state, at):
    return F.linear(x, state[f"{at}weight"], state[f"{at}bias"])


def _norm(x, state, at):
    return F.layer_norm(x, (48,), state[f"{at}weight"], state[f"{at}bias"], eps=1e-5)


CASES = [pytest.param(LARGE, True, False, id="large"), pytest.param(GIGANTIC, False, True, id="gigantic")]


@pytest.mark.parametrize(("spec", "class_token", "layer_scale"), CASES)
@pytest.mark.parametrize("grid", [TRAINED_GRID, 6])
def test_features_equal_a_recomputation_of_metas(spec, class_token, layer_scale, grid, tmp_path):
    state, spec = _meta_checkpoint(class_token, layer_scale), replace(spec, image_size=14 * grid)
    teacher = parts.load(spec, state, tmp_path)
    squares = parts.squares(spec.image_size)
    expected = _meta_tokens(state, parts.pixels(spec, squares), grid)
    features = teacher(squares)
    assert features.shape == (2, grid * grid, 48)
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("spec", "class_token", "layer_scale"), CASES)
def test_both_layouts_give_the_same_weights(spec, class_token, layer_scale, tmp_path):
    state, trained = _meta_checkpoint(class_token, layer_scale), replace(spec, image_size=14 * TRAINED_GRID)
    own = parts.load(trained, state, tmp_path).backbone.state_dict()
    prefixed = {f"visual.{name}": tensor for name, tensor in state.items()}
    expected = parts.load(spec, state, tmp_path).fingerprint()
    assert parts.load(spec, own, tmp_path).fingerprint() == expected
    assert parts.load(spec, prefixed, tmp_path).fingerprint() == expected


def test_one_patch_is_one_token(tmp_path):
    parts.assert_one_patch_is_one_token(parts.lively_teacher(LARGE, tmp_path))


def test_another_checkpoint_is_refused(tmp_path):
    state = _meta_checkpoint(class_token=True, layer_scale=False)
    core = state | {"ln_post.weight": torch.ones(48), "ln_post.bias": torch.zeros(48)}
    for wrong in (core, _meta_checkpoint(class_token=False, layer_scale=True), {"weight": torch.zeros(3)}):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'large'"):
            parts.load(LARGE, wrong, tmp_path)
