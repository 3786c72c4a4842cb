"""Visual representation alignment, Eq. 4 and 6: minus the mean cosine to the teacher's patch features."""

import torch
import torch.nn.functional as F
from torch import nn

from viral.errors import CacheMismatchError


def align(hidden_NTD: torch.Tensor, target_NTC: torch.Tensor, head: nn.Module) -> torch.Tensor:
    """-mean over N images and T tokens of cos(head(hidden), target), in fp32; in [-1, 1].

    No gradient flows into the target (Eq. 4).

    Raises:
        CacheMismatchError: token counts differ (the release would skip the sample silently).
    """
    if hidden_NTD.shape[:2] != target_NTC.shape[:2]:
        raise CacheMismatchError(
            f"{tuple(hidden_NTD.shape[:2])} visual tokens (images, tokens), {tuple(target_NTC.shape[:2])} cached "
            "features; rebuild the cache for this tower's grid."
        )
    predicted_NTC = head(hidden_NTD).float()
    return -F.cosine_similarity(predicted_NTC, target_NTC.detach().float(), dim=-1).mean()
