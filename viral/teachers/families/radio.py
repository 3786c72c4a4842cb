"""NVIDIA's RADIO, loaded into timm's vision transformer with RADIO's position embeddings and prefix tokens."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from viral.teachers.families.family import State
from viral.teachers.families.timm_vit import TimmVit
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec

_MODEL, _CONDITIONER = "radio_model.model.", "radio_model.input_conditioner."
# What the filter of timm knows how to place, and what no patch token needs.
_PLACED = ("patch_generator.embedder.weight", "patch_generator.pos_embed", "patch_generator.cls_token.token")
_UNUSED = (_CONDITIONER, "radio_model.summary_idxs", "radio_model.adaptors.")


class Radio(TimmVit):
    """Tokens are the last block's output: RADIO has no final norm. Source: arXiv 2412.07679."""

    knobs = ()
    align_corners = True
    """How position embeddings are resampled: so in the code released with v2.5 and v3."""

    def convert(self, state: State, backbone: nn.Module, spec: TeacherSpec, profile: Profile) -> State:
        """NVIDIA's safetensors checkpoint; the 128 x 128 position embeddings are resampled as RADIO's code does.

        timm's own copies are refused: their position embeddings were already resampled once, for 512 px.
        """
        strange = [key for key in state if not _is_known(key)]
        if strange or f"{_MODEL}patch_generator.pos_embed" not in state:
            raise ValueError(
                f"expected {spec.hub_file} of {spec.hub}, with keys {_MODEL}patch_generator.* and {_MODEL}blocks.* and "
                f"nothing that changes the tokens after them; found {min(strange, default='neither')}"
            )
        for name, wanted in (("norm_mean", spec.mean), ("norm_std", spec.std)):
            found = state.get(_CONDITIONER + name)
            if found is not None and not torch.allclose(
                found.float().flatten(), torch.tensor(wanted), atol=1e-3
            ):
                raise ValueError(
                    f"its pixel statistics are {name}={found.flatten().tolist()}, expected {wanted}"
                )
        timm_filter = import_module(type(backbone).__module__).checkpoint_filter_fn
        converted: State = timm_filter(
            dict(state), backbone, interpolation="bilinear", antialias=False, align_corners=self.align_corners
        )
        return converted

    def tokens(self, backbone: nn.Module, pixels_BCSS: Tensor, spec: TeacherSpec, profile: Profile) -> Tensor:
        """RADIO normalises [0, 1] itself; the published code first undoes CLIP's, which is the same, and clamps."""
        if profile.normalisation == "clip":
            mean, std = (pixels_BCSS.new_tensor(values)[:, None, None] for values in (spec.mean, spec.std))
            pixels_BCSS = ((pixels_BCSS * std + mean).clamp(0, 1) - mean) / std
        return super().tokens(backbone, pixels_BCSS, spec, profile)

    def linears(self, backbone: nn.Module) -> list[nn.Module]:
        """RADIO's patch embedding is a linear layer, too, and its loading overwrites it."""
        vit: Any = backbone
        return [vit.patch_embed.proj, *super().linears(backbone)]


def _is_known(key: str) -> bool:
    if key.startswith(_MODEL):
        inner = key.removeprefix(_MODEL)
        return inner in _PLACED or inner.startswith("blocks.")
    return key.startswith(_UNUSED)
