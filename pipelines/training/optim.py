"""Optimizer groups and the learning-rate schedule of LLaVA-1.5's LoRA recipe."""

import math

import torch
from torch import nn

from pipelines.training.config import OptimConfig
from viral.mllm.lora import PROJECTOR
from viral.mllm.tiling import NEWLINE


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that get gradients, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def kept(module: nn.Module) -> dict[str, torch.Tensor]:
    """What a checkpoint holds: all that trains, and all that is beside the MLLM (a frozen head too), by name."""
    beside = {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if not name.startswith("mllm.")
    }
    return trainable(module) | beside


def is_projector(name: str) -> bool:
    """Whether the parameter of this name joins tower and LLM, and so learns at the projector's rate."""
    return PROJECTOR in name or name.endswith(f".{NEWLINE}")


def build_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with two groups: the vision-language projector (and newline of tiles), and LoRA plus alignment head.

    (Release, llava_trainer.py:150-213.) A group without parameters is left out: stage one has the first alone.
    """
    parameters = trainable(module)
    projector = [p for name, p in parameters.items() if is_projector(name)]
    rest = [p for name, p in parameters.items() if not is_projector(name)]
    groups = [
        {"params": rest, "lr": config.lr, "base_lr": config.lr},
        {"params": projector, "lr": config.projector_lr, "base_lr": config.projector_lr},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=config.weight_decay)


def lr_factor(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Linear warm-up from 0, then cosine to 0; `step` counts from 0 as in transformers' schedule."""
    num_warmup = math.ceil(warmup_ratio * num_steps)
    if step < num_warmup:
        return step / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group's base rate; returns the first group's rate, the one to log."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
