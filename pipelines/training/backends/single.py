"""One process, one device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from pipelines.training.backends.base import MOMENTS
from pipelines.training.config import TrainConfig
from pipelines.training.optim import kept, trainable
from viral.mllm.aligned import AlignedMllm, Argument, Losses


class SingleBackend:
    """Plain autograd and AdamW."""

    optimizer: Any

    def __init__(self, module: AlignedMllm, optimizer: torch.optim.AdamW, config: TrainConfig) -> None:
        self.module, self.optimizer = module, optimizer
        self._max_grad_norm = config.optim.max_grad_norm

    def accumulate(self, *, last: bool) -> AbstractContextManager[None]:
        """Nobody to agree with."""
        return nullcontext()

    def forward(self, **batch: Argument) -> Losses:
        """Run the module."""
        return self.module(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """Plain autograd."""
        loss.backward()

    def step(self) -> None:
        """Clip, AdamW, zero."""
        if self._max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(trainable(self.module).values()), self._max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def weights(self) -> dict[str, torch.Tensor]:
        """The tensors themselves."""
        return {name: tensor.detach() for name, tensor in kept(self.module).items()}

    def moments(self) -> dict[str, torch.Tensor]:
        """The tensors themselves."""
        state = self.optimizer.state
        return {
            f"{name}.{moment}": state[parameter][moment].detach()
            for name, parameter in trainable(self.module).items()
            for moment in MOMENTS
        }

    def load_moments(self, moments: dict[str, torch.Tensor]) -> None:
        """Into AdamW's state; its step counters stay on the CPU, where torch keeps them."""
        for name, parameter in trainable(self.module).items():
            self.optimizer.state[parameter] = {
                moment: moments[f"{name}.{moment}"].to("cpu" if moment == "step" else parameter.device)
                for moment in MOMENTS
            }
