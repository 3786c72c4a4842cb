"""Where the optimizer step happens. One entry per backend; the loop knows only this interface."""

from collections.abc import Callable
from typing import Protocol

import torch

from viral.errors import UnknownNameError
from viral.mllm.aligned import AlignedMllm, Argument, Losses


class Backend(Protocol):
    """What the loop needs of a process layout: its place in it, and one optimizer step."""

    rank: int
    world_size: int

    def forward(self, **batch: Argument) -> Losses:
        """Losses of one micro-batch on this rank."""

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients of one micro-batch loss, already divided by the number of micro-batches."""

    def step(self, max_grad_norm: float | None) -> None:
        """Clip if asked to, update the weights, clear the gradients."""


class SingleBackend:
    """One process, one device."""

    rank, world_size = 0, 1

    def __init__(self, module: AlignedMllm, optimizer: torch.optim.Optimizer) -> None:
        self.module, self.optimizer = module, optimizer

    def forward(self, **batch: Argument) -> Losses:
        """Run the module."""
        return self.module(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """Plain autograd."""
        loss.backward()

    def step(self, max_grad_norm: float | None) -> None:
        """Clip, AdamW, zero."""
        if max_grad_norm is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


BACKENDS: dict[str, Callable[[AlignedMllm, torch.optim.Optimizer], Backend]] = {"single": SingleBackend}


def get_backend(name: str) -> Callable[[AlignedMllm, torch.optim.Optimizer], Backend]:
    """Look a backend up by name.

    Raises:
        UnknownNameError: no such backend.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, list(BACKENDS))
    return BACKENDS[name]
