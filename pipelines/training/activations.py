"""How much of the forward pass to recompute: as little as the GPU's memory allows."""

import logging

import torch

from viral.mllm.aligned import AlignedMllm
from viral.mllm.block_cost import bytes_per_token

log = logging.getLogger(__name__)
CHOICES = (0, 4, 3, 2, 1)
"""Checkpoint every n-th block, from none to all; the first that fits is taken."""
RESERVE = 0.15
"""Share of the free memory left for logits, the tower, the head and fragments."""


def set_checkpointing(module: AlignedMllm, setting: str | int, *, num_tokens: int) -> None:
    """Recompute activations of the LLM's blocks as `TrainConfig.gradient_checkpointing` says.

    `num_tokens`: the most a micro-batch can hold, padding included.
    """
    every = {"none": 0, "full": 1}.get(setting, setting) if isinstance(setting, str) else setting
    if every == "auto":
        every = _automatic(module, num_tokens)
    if every:
        module.core.language_model.activation_checkpointing_enable(
            {"use_reentrant": False}, every_n_layers=every
        )


def fewest(free: int, *, num_layers: int, kept: int, inputs: int) -> int:
    """The first of `CHOICES` whose activations fit into `free` bytes, else 1 (every block).

    A block that is not checkpointed keeps `kept` bytes, one that is keeps its `inputs`, and during backward one of
    them is whole again.
    """
    for every in CHOICES:
        need = activation_bytes(every, num_layers=num_layers, kept=kept, inputs=inputs)
        if need <= free * (1 - RESERVE):
            return every
    return 1


def activation_bytes(every: int, *, num_layers: int, kept: int, inputs: int) -> int:
    """Bytes that backward keeps of all blocks if every `every`-th is checkpointed, none for 0."""
    checkpointed = -(-num_layers // every) if every else 0
    return (num_layers - checkpointed + bool(every)) * kept + checkpointed * inputs


def _automatic(module: AlignedMllm, num_tokens: int) -> int:
    device = next(module.parameters()).device
    if device.type != "cuda":
        log.info("gradient checkpointing: every block (on a CPU `auto` does not choose)")
        return 1
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    free = torch.cuda.mem_get_info(device)[0] - 12 * trained  # gradients and AdamW's two moments, fp32
    model = module.core.language_model
    kept = int(bytes_per_token(model) * num_tokens)
    inputs = model.config.hidden_size * model.dtype.itemsize * num_tokens
    every = fewest(free, num_layers=len(model.layers), kept=kept, inputs=inputs)
    log.info(
        "gradient checkpointing: %s of %d (auto: a block keeps %.2f GB of %d tokens, %.1f GB are free)",
        f"every {every}. block" if every else "no block", len(model.layers), kept / 1e9, num_tokens, free / 1e9,
    )  # fmt: skip
    return every
