"""What a loss on visual tokens is: a module that owns its heads and costs each image something.

Shapes: N images, T visual tokens per image, D width of the LLM, C width of the target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from viral.errors import CacheMismatchError
from viral.mllm.head import alignment_head

Source = Literal["teacher", "tower", "projected"]
"""Where targets come from: cached features, the student's own tower, or its features after the projector."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The sizes a term is built for."""

    hidden_dim: int
    """Width of the LLM."""
    tower_dim: int
    """Width of the vision tower's features."""
    target_dim: int
    """Width of the term's target."""
    grid: tuple[int, int]
    """Rows and columns of an image's visual tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TermSettings:
    """How a term is made; each objective reads the fields that concern it. `AlignConfig` says what they mean."""

    layers: tuple[int, ...]
    weight: float = 0.5
    source: Source = "teacher"
    head_width: int = 2048
    separate_heads: bool = False
    train_head: bool = True
    use_head: bool = True
    stop_gradient: bool = True
    scope: Literal["image", "all"] = "image"
    adapter_init: Literal["zero", "random"] = "zero"
    denoiser_width: int = 1024
    denoiser_depth: int = 3
    seed: int = 0


class LossTerm(nn.Module):
    """Loss of each image, averaged over `layers`; `forward` is the same for all, `compare` is the objective."""

    needs_head = False
    """Whether it has a trainable head for every layer, or one for all."""

    def __init__(self, settings: TermSettings, shape: Shape) -> None:
        super().__init__()
        self.layers, self.weight, self.source = settings.layers, settings.weight, settings.source
        self.target_dim, self.stop_gradient = shape.target_dim, settings.stop_gradient
        self.heads = nn.ModuleList()
        if self.needs_head:
            count = len(settings.layers) if settings.separate_heads else 1
            self.heads.extend(
                alignment_head(shape.hidden_dim, shape.target_dim, settings.head_width, settings.seed + index)
                for index in range(count)
            )
        self.heads.requires_grad_(settings.train_head)

    def forward(
        self,
        hidden: Mapping[int, torch.Tensor],
        target_NTC: torch.Tensor,
        lengths: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Hidden states [N, T, D] by layer, and the target -> loss [N] of each image, in fp32.

        Images of different `lengths` come in one row, [1, sum of lengths, D]: one call of a head whatever their number,
        for ranks that share out its weights (ZeRO-3) gather them together.

        Raises:
            CacheMismatchError: token counts differ (the release would skip the sample silently).
        """
        counts = tuple(hidden[self.layers[0]].shape[:2])
        if counts != tuple(target_NTC.shape[:2]):
            raise CacheMismatchError(
                f"{counts} visual tokens (images, tokens), {tuple(target_NTC.shape[:2])} target features; "
                "give a cache of these images, on this tower's grid."
            )
        target_NTC = (target_NTC.detach() if self.stop_gradient else target_NTC).float()
        losses = [
            self.layer_loss(index, hidden[layer], target_NTC, lengths)
            for index, layer in enumerate(self.layers)
        ]
        return torch.stack(losses).mean(dim=0)

    def layer_loss(
        self,
        index: int,
        hidden_NTD: torch.Tensor,
        target_NTC: torch.Tensor,
        lengths: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Loss [N] of the `index`-th layer."""
        predicted_NTC = self.predict(index, hidden_NTD)
        if lengths is None:
            return self.compare(predicted_NTC, target_NTC)
        images = zip(predicted_NTC.split(list(lengths), 1), target_NTC.split(list(lengths), 1), strict=True)
        return torch.cat([self.compare(predicted, target) for predicted, target in images])

    def predict(self, index: int, hidden_NTD: torch.Tensor) -> torch.Tensor:
        """What is compared with the target: hidden states behind the head of the `index`-th layer, if there is one."""
        return self.head(index)(hidden_NTD) if self.needs_head else hidden_NTD

    def compare(self, predicted_NTC: torch.Tensor, target_NTC: torch.Tensor) -> torch.Tensor:
        """Loss [N] of each image."""
        raise NotImplementedError

    def head(self, index: int) -> nn.Module:
        """The head of the `index`-th layer: its own, or the one they share."""
        return self.heads[index % len(self.heads)]
