"""Features: the right tokens, in the right order, from the right pixels."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from viral.data.images import CLIP_MEAN, CLIP_STD, PixelSpec, normalise
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher
from viral.teachers.spec import TeacherSpec

SMALL = TeacherSpec(
    name="small",
    architecture="vit_small_patch14_dinov2.lvd142m",
    kwargs={"embed_dim": 48, "depth": 3, "num_heads": 3},
    dim=48,
    image_size=84,
)


def _shake(module, scale=0.1):
    """Every parameter away from its initial value: layer scales start at 1e-5 and would hide the blocks."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)


@pytest.fixture(scope="module")
def squares():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 84, 84, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    made = load_teacher(SMALL, "random")
    _shake(made.backbone)
    path = tmp_path_factory.mktemp("teacher") / "model.safetensors"
    save_file(made.backbone.state_dict(), path)
    return load_teacher(SMALL, str(path))


def test_features_are_the_normalised_patch_tokens_of_timm(teacher, squares):
    pixels = normalise(squares.numpy(), PixelSpec(size=84, mean=SMALL.mean, std=SMALL.std))
    with torch.no_grad():
        expected = teacher.backbone.forward_intermediates(
            pixels, indices=[-1], norm=True, output_fmt="NLC", intermediates_only=True
        )[0]
    features = teacher(squares)
    assert features.shape == (2, 36, 48)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_features_equal_the_transformers_port_of_dinov2(teacher, squares):
    port = Dinov2Model(
        Dinov2Config(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, image_size=84, patch_size=14)
    ).eval()
    port.load_state_dict(_as_port(teacher.backbone.state_dict()))
    pixels = normalise(squares.numpy(), PixelSpec(size=84, mean=SMALL.mean, std=SMALL.std))
    with torch.no_grad():
        expected = port(pixel_values=pixels).last_hidden_state[:, 1:]
    torch.testing.assert_close(teacher(squares), expected, rtol=1e-3, atol=1e-3)


def _as_port(state):
    """timm's names -> transformers' names."""
    renamed = {
        "embeddings.mask_token": torch.zeros(1, 48),
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    parts = {"attn.proj": "attention.o_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    parts |= {"norm1": "norm1", "norm2": "norm2"}
    for block in range(3):
        ours, theirs = f"blocks.{block}.", f"encoder.layer.{block}."
        for kind in ("weight", "bias"):
            for name, value in zip("qkv", state[f"{ours}attn.qkv.{kind}"].chunk(3), strict=True):
                renamed[f"{theirs}attention.{name}_proj.{kind}"] = value
            for from_name, to_name in parts.items():
                renamed[f"{theirs}{to_name}.{kind}"] = state[f"{ours}{from_name}.{kind}"]
        for scale in (1, 2):
            renamed[f"{theirs}layer_scale{scale}.lambda1"] = state[f"{ours}ls{scale}.gamma"]
    return renamed


def test_release_pixels_are_clip_normalised_in_bfloat16(squares):
    release = load_teacher(SMALL, "random", profile="release")
    naive = (squares.numpy() / 255.0 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    pixels = torch.from_numpy(naive).permute(0, 3, 1, 2).float().bfloat16()
    with torch.no_grad():
        expected = release.backbone.forward_features(pixels)[:, 1:].float()
    assert expected.dtype == torch.float32
    torch.testing.assert_close(release(squares), expected, rtol=0, atol=0.03)  # a few bfloat16 steps


def test_one_patch_to_the_right_is_one_token_to_the_right():
    """Real DINOv2-S; equal position embeddings make the transformer blind to where a patch lies."""
    teacher = load_teacher(get_teacher("dinov2-s"), "random")
    teacher.backbone.pos_embed.data.zero_()
    for block in teacher.backbone.blocks:
        block.ls1.gamma.data.fill_(0.1)
        block.ls2.gamma.data.fill_(0.1)
    picture = np.random.default_rng(1).integers(0, 256, (1, 336, 336, 3), dtype=np.uint8)
    moved = [picture, np.roll(picture, 14, axis=2), np.roll(picture, 14, axis=1)]
    grid_BRCD = teacher(torch.from_numpy(np.concatenate(moved))).reshape(3, 24, 24, 384)
    torch.testing.assert_close(grid_BRCD[1], grid_BRCD[0].roll(1, dims=1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(grid_BRCD[2], grid_BRCD[0].roll(1, dims=0), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(grid_BRCD[0], grid_BRCD[0].roll(1, dims=1), atol=0.1)


def test_dinov2_b_is_the_paper_architecture():
    with torch.device("meta"):
        model = timm.create_model(get_teacher("dinov2").architecture, num_classes=0, img_size=336)
    # The published file: 86,580,480 numbers, with a mask token and 37 x 37 position embeddings.
    fewer = 768 + (37 * 37 - 24 * 24) * 768
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_580_480 - fewer
