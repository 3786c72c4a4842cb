"""What is trained: the projector alone (LLaVA's stage one), or LoRA on the language model and the projector."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from viral.errors import ConfigError
from viral.mllm.tiling import TILED

if TYPE_CHECKING:
    from peft import PeftModel

    from viral.mllm.student import Llava

PROJECTOR = "multi_modal_projector"

# A list of suffixes would match the vision tower's q_proj too, hence the full path.
LORA_TARGETS = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


def add_lora(model: "Llava", *, rank: int, alpha: int, dropout: float, seed: int) -> "PeftModel":
    """Freeze the model, then train LoRA on the LLM's seven linears of every block and the whole projector.

    With tiles the token that ends their rows is trained, too; PEFT knows modules only, so it is no part of the adapter.

    Trainable tensors are fp32 whatever the base dtype: AdamW at 2e-5 would lose its updates in bf16.

    Raises:
        ConfigError: a rank that a linear cannot have.
    """
    from peft import LoraConfig, get_peft_model

    _check_rank(model, rank)
    torch.manual_seed(seed)  # LoRA's A matrices
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=LORA_TARGETS,
        modules_to_save=[PROJECTOR],
    )
    with quiet_peft():
        adapted = get_peft_model(model, config)
    if model.config.model_type == TILED:
        model.model.image_newline.requires_grad_(True)
    _in_full_precision(adapted)
    return adapted


def train_projector_only(model: "Llava") -> None:
    """Freeze the model but for its projector (release, pretrain.sh); trained in fp32 whatever the base dtype."""
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    _in_full_precision(model)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that PEFT asks transformers for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield


def _check_rank(model: nn.Module, rank: int) -> None:
    sides = [
        min(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(LORA_TARGETS, name)
    ]
    if rank > min(sides):
        raise ConfigError(
            f"lora.rank={rank} is more than the smallest linear of this LLM has; set lora.rank={min(sides)} or less."
        )


def _in_full_precision(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
