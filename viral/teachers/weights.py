"""Teacher weights: read a checkpoint, bring it into timm's layout, refuse whatever does not fit exactly."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from viral.errors import WeightsError, one_line
from viral.hub import fetch
from viral.tensors import read_tensors

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

REMEDY = "Give a local checkpoint of this teacher with --weights FILE (.safetensors or .pth)."
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a teacher's checkpoint file; see `viral.tensors.read_tensors`.

    Raises:
        WeightsError: no such file, unknown suffix, truncated, or not a plain dictionary of tensors.
    """
    if not path.is_file():
        raise WeightsError(f"No teacher weights at {path}. {REMEDY}")
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"Teacher weights {path} have the unknown suffix {path.suffix!r}. {REMEDY}")
    try:
        return read_tensors(path)
    except WeightsError as error:
        raise WeightsError(f"{error} {REMEDY}") from error


def read_hub(timm_id: str) -> dict[str, Tensor]:
    """Tensors of timm's hub weights for a model, from the local hub cache if they are there.

    Raises:
        WeightsError: no such weights, or neither cached nor reachable.
    """
    import timm

    config = timm.get_pretrained_cfg(timm_id)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm knows no hub weights for {timm_id!r}. {REMEDY}")
    try:
        path = fetch(config.hf_hub_id, "model.safetensors", "teacher weights")
    except WeightsError as error:
        raise WeightsError(f"{error} {REMEDY}") from error
    return read_file(path)


def fit(
    model: "VisionTransformer", state: dict[str, Tensor], source: str, pos_embed: str
) -> dict[str, Tensor]:
    """The checkpoint in the layout of `model` (a timm ViT), position embeddings resampled to its grid.

    Raises:
        WeightsError: a key is missing, left over or of another shape.
    """
    from timm.models.vision_transformer import checkpoint_filter_fn

    state = dict(state)
    if pos_embed == "dinov2" and "pos_embed" in state:
        state["pos_embed"] = resample_like_dinov2(state["pos_embed"], model.patch_embed.grid_size[0])
    try:
        state = checkpoint_filter_fn(state, model)
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"{source} is not a checkpoint of this teacher: {one_line(error)}.") from error
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if wanted != found:
        raise WeightsError(
            f"{source} is not a checkpoint of this teacher: {_difference(wanted, found)}. {REMEDY}"
        )
    return state


def resample_like_dinov2(pos_embed_1LD: Tensor, side: int, offset: float = 0.1) -> Tensor:
    """DINOv2's own interpolation: bicubic, no antialias, by the factor (side + 0.1) / side of the checkpoint.

    One class token comes first and is kept. A checkpoint of the same grid is returned as it is.
    """
    patches_1ND = pos_embed_1LD[:, 1:]
    old = math.isqrt(patches_1ND.shape[1])
    if old == side or old * old != patches_1ND.shape[1]:
        return pos_embed_1LD
    grid_1DHW = patches_1ND.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    factor = (side + offset) / old
    resampled = F.interpolate(grid_1DHW, scale_factor=(factor, factor), mode="bicubic", antialias=False)
    patches = resampled.flatten(2).transpose(1, 2).to(pos_embed_1LD.dtype)
    return torch.cat([pos_embed_1LD[:, :1], patches], dim=1)


def _difference(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    parts = []
    for what, keys in (
        ("missing", wanted.keys() - found.keys()),
        ("unexpected", found.keys() - wanted.keys()),
    ):
        if keys:
            parts.append(f"{len(keys)} {what} keys (such as {min(keys)})")
    clashes = sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key])
    if clashes:
        key = clashes[0]
        parts.append(f"{len(clashes)} tensors of another shape ({key}: {found[key]}, expected {wanted[key]})")
    return ", ".join(parts)
