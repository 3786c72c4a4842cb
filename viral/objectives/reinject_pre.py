"""Reinjection before the projector, Eq. 7: the tower's own features, through an adapter of their own."""

import torch
from torch import nn

from viral.mllm.visual import VisualTokens
from viral.objectives.reinjection import Reinjection
from viral.objectives.term import Shape, TermSettings


class ReinjectPre(Reinjection):
    """e <- e + A(z) at image tokens, A a single linear layer: the paper only calls it lightweight.

    It starts at zero, so that training starts from the model as it was, or at N(0, 0.02) (`adapter_init=random`).
    """

    def __init__(self, settings: TermSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        self.adapter = nn.Linear(shape.tower_dim, shape.hidden_dim)
        nn.init.zeros_(self.adapter.bias)
        if settings.adapter_init == "zero":
            nn.init.zeros_(self.adapter.weight)
        else:
            generator = torch.Generator().manual_seed(settings.seed)
            nn.init.normal_(self.adapter.weight, std=0.02, generator=generator)

    def addition(
        self, embeds_BLD: torch.Tensor, visual: VisualTokens, features_NTV: torch.Tensor | None
    ) -> torch.Tensor:
        """The adapted features in the images' places, zero elsewhere, and everywhere once the prompt is over."""
        zeros_BLD = torch.zeros_like(embeds_BLD)
        return zeros_BLD if features_NTV is None else visual.scatter(zeros_BLD, self.adapter(features_NTV))
