"""Reinjection after the projector, Eq. 3: the visual tokens get the LLM's input once more."""

import torch

from viral.mllm.visual import VisualTokens
from viral.objectives.reinjection import Reinjection


class ReinjectPost(Reinjection):
    """e <- e + P(z) at image tokens; with scope `all`, as in the release, every token gets its own embedding."""

    def addition(
        self, embeds_BLD: torch.Tensor, visual: VisualTokens, features_NTV: torch.Tensor | None
    ) -> torch.Tensor:
        """The input embeddings, which at image tokens are the projected features."""
        return embeds_BLD if self.scope == "all" else embeds_BLD * visual.is_image_BL[..., None]
