"""Feature relations (Table 5): mean squared difference of the two cosine self-similarity matrices of an image."""

import torch
import torch.nn.functional as F

from viral.objectives.term import LossTerm, Shape, TermSettings


class Relation(LossTerm):
    """MSE over T x T cosines, of head(hidden) as in the paper or of hidden itself as in the release; positive."""

    def __init__(self, settings: TermSettings, shape: Shape) -> None:
        self.needs_head = settings.use_head
        super().__init__(settings, shape)

    def compare(self, predicted_NTC: torch.Tensor, target_NTC: torch.Tensor) -> torch.Tensor:
        """Pair of tokens by pair."""
        with torch.autocast(predicted_NTC.device.type, enabled=False):  # a difference of cosines needs fp32
            difference_NTT = similarities(predicted_NTC) - similarities(target_NTC)
        return difference_NTT.square().mean(dim=(1, 2))


def similarities(tokens_NTC: torch.Tensor) -> torch.Tensor:
    """Cosines [N, T, T] between all tokens of an image, in fp32."""
    unit_NTC = F.normalize(tokens_NTC.float(), dim=-1)
    return unit_NTC @ unit_NTC.mT
