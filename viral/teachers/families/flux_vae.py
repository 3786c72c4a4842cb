"""FLUX.1's image autoencoder (Black Forest Labs, 2024): the latents that ROSS reconstructs, 2 x 2 to a token.

Shapes: B images, S square side in px, N tokens (row-major), D = 4 x 16 channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from viral.errors import ConfigError
from viral.teachers.families.family import Family, State
from viral.teachers.families.layout import rename, without
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

FOLD = 2
"""Side of the window of latents that becomes one token."""

_ORIGINAL = (
    (r"^down\.(\d+)\.block\.", r"down_blocks.\1.resnets."),
    (r"^down\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0."),
    (r"^mid\.block_1\.", "mid_block.resnets.0."),
    (r"^mid\.block_2\.", "mid_block.resnets.1."),
    (r"^mid\.attn_1\.norm\.", "mid_block.attentions.0.group_norm."),
    (r"^mid\.attn_1\.([qkv])\.", r"mid_block.attentions.0.to_\1."),
    (r"^mid\.attn_1\.proj_out\.", "mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^norm_out\.", "conv_norm_out."),
)


class FluxVae(Family):
    """The encoder of diffusers' `AutoencoderKL`; reads its files and the original `ae.safetensors`.

    A target has to be the same each time it is read, so tokens are the posterior's mean; ROSS draws a sample.
    """

    library = "diffusers"

    def create(self, spec: TeacherSpec) -> nn.Module:
        """The encoding half.

        Raises:
            ConfigError: diffusers is not installed.
        """
        try:
            from diffusers import AutoencoderKL
        except ImportError as error:
            raise ConfigError(
                f"Teacher {spec.name!r} needs diffusers, which is not installed: pip install 'viral[diffusers]'."
            ) from error
        encoder: nn.Module = AutoencoderKL(**spec.kwargs).encoder
        return encoder

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """The encoder's tensors in diffusers' names; in the original file its attention is made of convolutions."""
        encoder = {
            name.removeprefix("encoder."): tensor for name, tensor in without(state, ("decoder.",)).items()
        }
        if "mid.attn_1.q.weight" not in encoder:
            return encoder
        return {
            name: tensor[:, :, 0, 0] if ".attentions." in name and tensor.ndim == 4 else tensor
            for name, tensor in rename(encoder, _ORIGINAL).items()
        }

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """Shifted and scaled latents, windows folded into channels in the order channel, row, column."""
        mean, _ = backbone(pixels_BCSS).chunk(2, dim=1)
        latents = (mean - spec.kwargs["shift_factor"]) * spec.kwargs["scaling_factor"]
        return F.pixel_unshuffle(latents, FOLD).flatten(2).transpose(1, 2)
