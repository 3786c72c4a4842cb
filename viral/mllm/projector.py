"""The vision-language projector as a file of its own: what stage one trains and stage two starts from."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from viral.errors import WeightsError
from viral.hub import fetch
from viral.tensors import load_exactly, read_tensors

if TYPE_CHECKING:
    from transformers import LlavaConfig

PROJECTOR_FILE = "projector.safetensors"
"""Keys `linear_1.{weight,bias}` and `linear_2.{weight,bias}`, Hugging Face's names."""

RANDOM = "random"
"""In place of a path: an untrained projector, where stage one starts."""

_FILES = (PROJECTOR_FILE, "model.safetensors", "mm_projector.bin")
# LLaVA's own names (`mm_projector.bin`) beside Hugging Face's.
_LLAVA_NAMES = {"mm_projector.0.": "linear_1.", "mm_projector.2.": "linear_2."}


def build_projector(config: "LlavaConfig", source: str, *, dtype: str, seed: int) -> nn.Module:
    """Linear-GELU-Linear from the tower's width to the LLM's, weights from a file, a folder, a hub id or `random`.

    Random weights are torch's own for linear layers, as in the release, drawn from `seed` alone.

    Raises:
        WeightsError: nothing there, or weights of another projector.
    """
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projector: nn.Module = LlavaMultiModalProjector(config)
    if source != RANDOM:
        load_projector(projector, source)
    return projector.to(getattr(torch, dtype))


def load_projector(projector: nn.Module, source: str) -> None:
    """Fill `projector` with the weights of a file, a folder or a hub repository.

    Raises:
        WeightsError: nothing there, or keys missing, unexpected or of another shape.
    """
    state = {_rename(key): tensor for key, tensor in read_tensors(_file(source)).items()}
    load_exactly(projector, state, source, "the projector between this tower and LLM")


def _rename(key: str) -> str:
    key = key.removeprefix("model.").removeprefix("multi_modal_projector.")
    for theirs, ours in _LLAVA_NAMES.items():
        key = key.replace(theirs, ours)
    return key


def _file(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if not path.exists() and path.suffix in (".safetensors", ".bin"):
        raise WeightsError(
            f"No projector at {path}; `viral pretrain` (stage one) makes one, or give another path."
        )
    if not path.exists():
        return fetch(source, "mm_projector.bin", "projector")
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"No projector in {path}: expected {', '.join(_FILES[:-1])} or {_FILES[-1]}.")
