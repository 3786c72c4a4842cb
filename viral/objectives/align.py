"""Visual representation alignment, Eq. 4 and 6: minus the mean cosine to the teacher's patch features."""

import torch
import torch.nn.functional as F

from viral.objectives.term import LossTerm


class Align(LossTerm):
    """-mean over T tokens of cos(head(hidden), target), for each image; in [-1, 1]."""

    needs_head = True

    def compare(self, predicted_NTC: torch.Tensor, target_NTC: torch.Tensor) -> torch.Tensor:
        """Token by token."""
        return negative_cosine(predicted_NTC, target_NTC)


def negative_cosine(predicted_NTC: torch.Tensor, target_NTC: torch.Tensor) -> torch.Tensor:
    """-mean over T tokens of the cosine, [N], in fp32."""
    return -F.cosine_similarity(predicted_NTC.float(), target_NTC.float(), dim=-1).mean(dim=-1)
