"""What a backend owes the loop: gradients of micro-batches, one update, and its state under plain names."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from viral.mllm.aligned import Argument, Losses

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of one parameter, as torch names it."""


class Backend(Protocol):
    """Made from a module that holds its final weights (those of a checkpoint too) and its AdamW.

    `weights`, `moments` and `load_moments` are called by all ranks together, and speak of whole tensors by
    parameter name whatever a rank holds of them: so a checkpoint of one backend is one of every other.
    """

    optimizer: Any
    """Has AdamW's `param_groups`, whose `lr` the loop sets."""

    def accumulate(self, *, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one micro-batch; ranks need to agree on gradients only after the last."""

    def forward(self, **batch: Argument) -> Losses:
        """Losses of one micro-batch on this rank."""

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients of one micro-batch loss, already divided by this rank's number of micro-batches."""

    def step(self) -> None:
        """Average gradients over ranks, clip if asked to, update the weights, clear the gradients."""

    def weights(self) -> dict[str, torch.Tensor]:
        """`optim.kept` of the module, whole."""

    def moments(self) -> dict[str, torch.Tensor]:
        """`<parameter>.<moment>` for every trainable parameter, whole."""

    def load_moments(self, moments: dict[str, torch.Tensor]) -> None:
        """Continue from what `moments` of any backend returned."""
