"""Weights to disk: half precision in the files, since three more digits would double the repository's share."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_model(model: "PreTrainedModel", out: Path) -> None:
    """A Hugging Face folder with fp16 weights whose config asks for fp32, so that a CPU computes in fp32."""
    model.half().save_pretrained(out)
    model.config.dtype = torch.float32
    model.config.save_pretrained(out)


def save_state(module: nn.Module, path: Path) -> None:
    """One safetensors file of a module's fp16 weights."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.half().contiguous() for key, tensor in module.state_dict().items()}, path)
