"""Position embeddings of one grid brought to another."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resample_like_dinov2(
    pos_embed_1LD: Tensor, side: int, offset: float = 0.1, *, antialias: bool = False
) -> Tensor:
    """DINOv2's own interpolation: bicubic, by the factor (side + offset) / side of the checkpoint.

    Its plain models have offset 0.1 and no antialias, its register models no offset and antialias. A class token
    may come first and is kept. A checkpoint of the same grid is returned as it is.
    """
    num_tokens = pos_embed_1LD.shape[1]
    old = math.isqrt(num_tokens)
    num_prefix = num_tokens - old * old
    if old == side or num_prefix > 1:
        return pos_embed_1LD
    patches_1ND = pos_embed_1LD[:, num_prefix:]
    grid_1DHW = patches_1ND.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    if offset:
        factor = (side + offset) / old
        resampled = F.interpolate(
            grid_1DHW, scale_factor=(factor, factor), mode="bicubic", antialias=antialias
        )
    else:
        resampled = F.interpolate(grid_1DHW, size=(side, side), mode="bicubic", antialias=antialias)
    patches = resampled.flatten(2).transpose(1, 2).to(pos_embed_1LD.dtype)
    return torch.cat([pos_embed_1LD[:, :num_prefix], patches], dim=1)
