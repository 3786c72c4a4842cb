"""How much of the forward pass to recompute: as little as the GPU's memory allows.

What backward keeps of one block is measured, not tabled: it depends on LoRA, its dropout, precision and attention.
"""

import logging
from typing import Any

import torch

from viral.mllm.aligned import AlignedMllm

log = logging.getLogger(__name__)
CHOICES = (0, 4, 3, 2, 1)
"""Checkpoint every n-th block, from none to all; the first that fits is taken."""
RESERVE = 0.15
"""Share of the free memory left for logits, the tower, the head and fragments."""
PROBE_TOKENS = 256


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
        checkpointed = -(-num_layers // every) if every else 0
        need = (num_layers - checkpointed + bool(every)) * kept + checkpointed * inputs
        if need <= free * (1 - RESERVE):
            return every
    return 1


def bytes_kept(module: AlignedMllm, num_tokens: int) -> int:
    """Bytes that backward keeps of one block of the LLM for a sequence, its input included and weights not."""
    model = module.core.language_model
    width, device = model.config.hidden_size, next(model.parameters()).device
    seen: dict[int, torch.UntypedStorage] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    hidden = torch.zeros(1, num_tokens, width, device=device, dtype=model.dtype, requires_grad=True)
    position = torch.arange(num_tokens, device=device)[None]
    arguments: dict[str, Any] = {
        "position_embeddings": model.rotary_emb(hidden, position), "position_ids": position, "use_cache": False
    }  # fmt: skip
    with (
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        torch.autocast(device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16),
    ):
        model.layers[-1](hidden, **arguments)
    return sum(storage.nbytes() for storage in seen.values())


def _automatic(module: AlignedMllm, num_tokens: int) -> int:
    device = next(module.parameters()).device
    if device.type != "cuda":
        log.info("gradient checkpointing: every block (on a CPU `auto` does not choose)")
        return 1
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    free = torch.cuda.mem_get_info(device)[0] - 12 * trained  # gradients and AdamW's two moments, fp32
    model = module.core.language_model
    kept = bytes_kept(module, PROBE_TOKENS) * num_tokens // PROBE_TOKENS
    inputs = model.config.hidden_size * model.dtype.itemsize * num_tokens
    every = fewest(free, num_layers=len(model.layers), kept=kept, inputs=inputs)
    log.info(
        "gradient checkpointing: %s of %d (auto: a block keeps %.2f GB of %d tokens, %.1f GB are free)",
        f"every {every}. block" if every else "no block", len(model.layers), kept / 1e9, num_tokens, free / 1e9,
    )  # fmt: skip
    return every
