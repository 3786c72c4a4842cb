"""Cross-entropy of the language model, its logits never all in memory at once.

Shapes: N positions with a label, D width of the LLM, V tokens of its vocabulary.
"""

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

POSITION_BYTES = 14
"""Of each token of the vocabulary while a position is worked on, at most: bf16 logits, their fp32 copy, its
log-softmax and the gradient of that."""
SHARE = 1 / 64
"""Of the device's memory, which logits may take unless a run says otherwise."""


def positions_at_once(setting: str | int, vocab_size: int, device: torch.device) -> int:
    """How many positions may have logits at a time; `auto` follows the memory of the device.

    Of all of it, not of what is free now: a run that is resumed adds up in the same order.
    """
    if isinstance(setting, int):
        return setting
    return max(1, int(SHARE * memory_of(device)) // (POSITION_BYTES * vocab_size))


def memory_of(device: torch.device) -> int:
    """Bytes of a GPU, or of this machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def language_loss(
    hidden_ND: torch.Tensor, labels_N: torch.Tensor, head: nn.Module, at_once: int
) -> torch.Tensor:
    """Mean cross-entropy over N positions, in fp32; `head` [.., D] -> [.., V] is frozen.

    Beyond `at_once` positions, each part's gradient is taken right behind its logits, which are then dropped: no more
    arithmetic than without parts, and the same numbers up to the order of their sums.
    """
    if len(hidden_ND) <= at_once:
        return F.cross_entropy(head(hidden_ND).float(), labels_N)
    loss: torch.Tensor = _InParts.apply(hidden_ND, labels_N, head, at_once)
    return loss


class _InParts(torch.autograd.Function):
    """The loss with its gradient by the hidden states; the head has none, so backward does not need it."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's
        hidden_ND: torch.Tensor,
        labels_N: torch.Tensor,
        head: nn.Module,
        at_once: int,
    ) -> torch.Tensor:
        gradient_ND = torch.empty_like(hidden_ND)
        total = hidden_ND.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden_ND), at_once):
            part = slice(start, start + at_once)
            with torch.enable_grad():
                hidden = hidden_ND[part].detach().requires_grad_()
                loss = F.cross_entropy(head(hidden).float(), labels_N[part], reduction="sum") / len(hidden_ND)
                (gradient_ND[part],) = torch.autograd.grad(loss, hidden)
            total += loss.detach()
        ctx.save_for_backward(gradient_ND)
        return total

    @staticmethod
    def backward(ctx: Any, by_loss: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # noqa: ANN401
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * by_loss, None, None, None
