"""What one block of the LLM costs a training step: bytes kept for backward, and floating-point operations.

Measured, not tabled, for it depends on LoRA, its dropout, precision and attention; on the device at hand, or on tensors
without data (`as_fake`).
"""

from typing import Any

import torch
from torch import nn

PROBES = (128, 256)
"""Tokens of the two runs whose difference is taken: what does not grow with tokens, such as weights cast by autocast,
must not be counted for each."""


def bytes_per_token(model: Any) -> float:  # noqa: ANN401 - a decoder of transformers
    """Bytes that backward keeps of one block for each token, its input included and weights not."""
    short, long = PROBES
    return (_kept(model, long) - _kept(model, short)) / (long - short)


def count_flops(model: Any, num_tokens: int) -> tuple[int, int]:  # noqa: ANN401
    """Operations of one block's forward and backward pass, for a sequence of `num_tokens`."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = _run(model, num_tokens)
        forward = counter.get_total_flops()
        output.float().sum().backward()
        return forward, counter.get_total_flops() - forward


def as_fake(module: nn.Module) -> None:
    """Give a module on the meta device tensors that claim to be on the CPU; call it inside a `FakeTensorMode`."""
    for part in module.modules():
        for name, tensor in part._parameters.items():
            if tensor is not None:
                fake = torch.empty(tensor.shape, dtype=tensor.dtype)
                part._parameters[name] = nn.Parameter(fake, requires_grad=tensor.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _kept(model: Any, num_tokens: int) -> int:  # noqa: ANN401
    # Storages are told apart by their object: tensors without data have no address.
    weights = {parameter.untyped_storage()._cdata for parameter in model.layers[-1].parameters()}
    seen: dict[int, torch.UntypedStorage] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            seen[storage._cdata] = storage  # held, so that no object is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        _run(model, num_tokens)
    return sum(storage.nbytes() for storage in seen.values())


def _run(model: Any, num_tokens: int) -> torch.Tensor:  # noqa: ANN401
    block = model.layers[-1]
    weight = next(block.parameters())
    hidden = torch.zeros(
        1, num_tokens, model.config.hidden_size, device=weight.device, dtype=weight.dtype, requires_grad=True
    )
    position = torch.arange(num_tokens, device=weight.device)[None]
    with torch.autocast(weight.device.type, torch.bfloat16, enabled=weight.dtype == torch.bfloat16):
        output: torch.Tensor = block(
            hidden,
            position_embeddings=model.rotary_emb(hidden, position),
            position_ids=position,
            use_cache=False,
        )
    return output
