"""Teacher weights: read a checkpoint, bring it into timm's layout, refuse whatever does not fit exactly."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from viral.errors import WeightsError
from viral.hub import require_source

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

REMEDY = "Give a local checkpoint of this teacher with --weights FILE (.safetensors or .pth)."
_PICKLED = (".pth", ".pt", ".bin")


def read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, or of a `.pth` file read without executing any of its code.

    Raises:
        WeightsError: no such file, unknown suffix, truncated, or not a plain dictionary of tensors.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"No teacher weights at {path}. {REMEDY}")
    if path.suffix != ".safetensors" and path.suffix not in _PICKLED:
        raise WeightsError(f"Teacher weights {path} have the unknown suffix {path.suffix!r}. {REMEDY}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # on arbitrary bytes torch's unpickler raises what it pleases, KeyError included
        reason = f"{type(error).__name__}: {_one_line(error)}"
        raise WeightsError(f"Cannot read teacher weights {path} ({reason}). {REMEDY}") from error
    return _unwrap(checkpoint, path)


def read_hub(timm_id: str) -> dict[str, Tensor]:
    """Tensors of timm's hub weights for a model, from the local hub cache if they are there.

    Raises:
        WeightsError: no such weights, or neither cached nor reachable.
    """
    import timm
    from huggingface_hub import hf_hub_download

    config = timm.get_pretrained_cfg(timm_id)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm knows no hub weights for {timm_id!r}. {REMEDY}")
    try:
        require_source(config.hf_hub_id, "teacher weights")
        path = hf_hub_download(config.hf_hub_id, "model.safetensors")
    except (WeightsError, OSError) as error:
        raise WeightsError(f"{_one_line(error)}. {REMEDY}") from error
    return read_file(Path(path))


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
        raise WeightsError(f"{source} is not a checkpoint of this teacher: {_one_line(error)}.") from error
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


def _unwrap(checkpoint: object, path: Path) -> dict[str, Tensor]:
    for wrapper in ("model", "state_dict"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    if not isinstance(checkpoint, dict) or not all(
        isinstance(value, Tensor) for value in checkpoint.values()
    ):
        raise WeightsError(f"Teacher weights {path} are not a plain dictionary of tensors. {REMEDY}")
    return checkpoint


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
