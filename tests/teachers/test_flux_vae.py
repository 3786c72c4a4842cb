"""FLUX's latents: folded as ROSS folds them, from diffusers' checkpoint and the original one."""

import sys
from dataclasses import replace

import pytest
import torch

from pipelines.cache_request import CacheRequest
from tests.teachers import parts
from viral.errors import ConfigError, WeightsError
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher

SMALL = replace(
    get_teacher("flux-vae"),
    name="small",
    kwargs=get_teacher("flux-vae").kwargs | {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4},
    image_size=96,
)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"needs diffusers.*pip install 'viral\[diffusers\]'"):
        load_teacher(SMALL, "random")


def test_codecs_that_lose_the_length_are_refused():
    with pytest.raises(ConfigError, match=r"whose length matters.*Use --codec fp16"):
        CacheRequest(vfm="flux-vae", weights="random", codec="int8").load_teacher()


@pytest.fixture(scope="module")
def vae():
    diffusers = pytest.importorskip("diffusers")
    return parts.lively(diffusers.AutoencoderKL(**SMALL.kwargs))


def test_tokens_are_windows_of_latents(vae, tmp_path):
    teacher = parts.load(SMALL, vae.state_dict(), tmp_path)
    squares = parts.squares(96)
    with torch.no_grad():
        latents = vae.encode(parts.pixels(SMALL, squares)).latent_dist.mean
    latents = (latents - 0.1159) * 0.3611
    tokens = teacher(squares)
    assert (latents.shape, tokens.shape) == ((2, 16, 12, 12), (2, 36, 64))
    for row, column, channel, down, right in ((0, 0, 0, 0, 0), (2, 5, 3, 0, 1), (5, 1, 15, 1, 0)):
        expected = latents[:, channel, 2 * row + down, 2 * column + right]
        found = tokens[:, 6 * row + column, 4 * channel + 2 * down + right]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_changed_patch_changes_its_own_token_most(vae, tmp_path):
    """The padding of convolutions tells where the edge is, so nothing can be moved exactly."""
    teacher = parts.load(SMALL, vae.state_dict(), tmp_path)
    plain = torch.full((1, 96, 96, 3), 128, dtype=torch.uint8)
    for row, column in ((1, 4), (4, 2)):
        changed = plain.clone()
        changed[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 255
        change = (teacher(changed) - teacher(plain)).norm(dim=-1)
        assert change.argmax() == 6 * row + column


def _as_original(state):
    """diffusers' names -> those of `ae.safetensors`."""
    saved = {}
    for name, tensor in state.items():
        half, _, inner = name.partition(".")
        if half == "encoder":
            for down in range(4):
                inner = inner.replace(f"down_blocks.{down}.resnets.", f"down.{down}.block.")
                inner = inner.replace(f"down_blocks.{down}.downsamplers.0.", f"down.{down}.downsample.")
            for ours, theirs in (
                ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
                ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
                ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
                ("mid_block.attentions.0.to_", "mid.attn_1."),
                ("conv_shortcut", "nin_shortcut"), ("conv_norm_out", "norm_out"),
            ):  # fmt: skip
                inner = inner.replace(ours, theirs)
            if "attn_1" in inner and tensor.ndim == 2:
                tensor = tensor[:, :, None, None]
        saved[f"{half}.{inner}"] = tensor
    return saved


def test_both_layouts_give_the_same_weights(vae, tmp_path):
    original = _as_original(vae.state_dict())
    expected = parts.load(SMALL, vae.state_dict(), tmp_path).fingerprint()
    assert parts.load(SMALL, original, tmp_path).fingerprint() == expected


def test_the_original_layout_is_read_as_diffusers_reads_it(vae, tmp_path):
    single_file = pytest.importorskip("diffusers.loaders.single_file_utils")
    original = _as_original(vae.state_dict())
    theirs = single_file.convert_ldm_vae_checkpoint(original, SMALL.kwargs)
    ours = parts.load(SMALL, original, tmp_path).backbone.state_dict()
    assert ours.keys() == {name.removeprefix("encoder.") for name in theirs if name.startswith("encoder.")}
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[f"encoder.{name}"].reshape(tensor.shape)), name


def test_another_checkpoint_is_refused(vae, tmp_path):
    state = _as_original(vae.state_dict())
    shallow = {name: tensor for name, tensor in state.items() if "mid.block_2" not in name}
    for wrong in (shallow, state | {"quant_conv.weight": torch.zeros(3)}, {"weight": torch.zeros(3)}):
        with pytest.raises(WeightsError, match="is not a checkpoint of teacher 'small'"):
            parts.load(SMALL, wrong, tmp_path)
