"""CKNNA: how alike two feature spaces see the same samples, judged by the neighbours they agree on (Huh et al. 2024).

Shapes: T samples (patches of a picture, or pictures), D features, K neighbours of each sample.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from viral.errors import ConfigError, DataError

NUM_NEIGHBOURS = 10
"""The authors' choice for their Figure 2."""
CLAMP = 0.95
"""Quantile of |x| that the reference implementation clamps features to before anything else."""
BLOCK = 4096
"""Rows of the similarity matrix in memory at once; it is never whole."""
_LEAST_SAMPLES = 4
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The K nearest of each sample by cosine, itself left out: their indices and similarities, both [T, K]."""

    index: Tensor
    similarity: Tensor


def nearest(features_TD: Tensor, k: int = NUM_NEIGHBOURS, *, clamp: float | None = None) -> Neighbours:
    """The neighbours of each sample, on the device of the features, in double precision.

    Args:
        features_TD: one row for each sample.
        k: neighbours, from 2 to T - 1. With T - 1 CKNNA is unbiased CKA.
        clamp: cut values to the range of this quantile of |x| over all of `features_TD` first; None leaves them.

    Raises:
        ConfigError: `k` or `clamp` out of range.
        DataError: fewer than four samples, or features that are not finite.
    """
    num_samples = len(features_TD)
    if features_TD.ndim != 2 or num_samples < _LEAST_SAMPLES:
        raise DataError(
            f"CKNNA needs features of at least {_LEAST_SAMPLES} samples, found shape {list(features_TD.shape)}."
        )
    if not 2 <= k < num_samples:
        raise ConfigError(f"k={k}; of {num_samples} samples each has 2 to {num_samples - 1} neighbours.")
    if not torch.isfinite(features_TD).all():
        raise DataError("Features hold NaN or an infinity; nothing can be said about their neighbours.")
    unit_TD = F.normalize(clamped(features_TD.double(), clamp), dim=-1)
    best = [_block(unit_TD, start, k) for start in range(0, num_samples, BLOCK)]
    return Neighbours(torch.cat([index for _, index in best]), torch.cat([value for value, _ in best]))


def cknna(first: Neighbours, second: Neighbours) -> float:
    """Alignment of two spaces, 1 for equal ones and about 0 for unrelated ones, from the same samples' neighbours.

    Unbiased HSIC of the two cosine kernels, each kept only where both spaces call the sample a neighbour, over the
    geometric mean of the same for each space with itself. As in the reference the masks are not symmetric, and so the
    order of the two spaces matters a little.

    Raises:
        DataError: the neighbours are of different samples, or differ in number.
    """
    if first.index.shape != second.index.shape:
        raise DataError(
            f"Neighbours of {list(first.index.shape)} and {list(second.index.shape)} [samples, k]; "
            "both spaces need the same samples and one k."
        )
    both, one, other = (_masked_hsic(a, b) for a, b in ((first, second), (first, first), (second, second)))
    return float(both / ((one * other).sqrt() + _EPSILON))


def clamped(features_TD: Tensor, quantile: float | None) -> Tensor:
    """Values cut to +-q, the given quantile of |x| over the whole tensor; as they are for None.

    Raises:
        ConfigError: no quantile.
    """
    if quantile is None:
        return features_TD
    if not 0 < quantile < 1:
        raise ConfigError(f"clamp={quantile}; expected a quantile between 0 and 1.")
    magnitudes = features_TD.abs().flatten()
    limit = float(magnitudes.kthvalue(int(quantile * len(magnitudes)) + 1).values)
    return features_TD.clamp(-limit, limit)


def _block(unit_TD: Tensor, start: int, k: int) -> tuple[Tensor, Tensor]:
    similarity_BT = unit_TD[start : start + BLOCK] @ unit_TD.T
    rows = torch.arange(len(similarity_BT), device=unit_TD.device)
    similarity_BT[rows, start + rows] = -torch.inf
    best = similarity_BT.topk(k, dim=1)
    return best.values, best.indices


def _masked_hsic(first: Neighbours, second: Neighbours) -> Tensor:
    """Unbiased HSIC of both kernels where each row's neighbours agree: at most K entries a row, so sparse."""
    size = len(first.index)
    agree_TKK = first.index[:, :, None] == second.index[:, None, :]
    row, one, other = agree_TKK.nonzero(as_tuple=True)
    places = torch.stack([row, first.index[row, one]])
    a_TT, b_TT = (
        torch.sparse_coo_tensor(places, values, (size, size), check_invariants=False).coalesce()
        for values in (first.similarity[row, one], second.similarity[row, other])
    )
    columns_T, rows_T = (torch.sparse.sum(matrix, dim).to_dense() for matrix, dim in ((a_TT, 0), (b_TT, 1)))
    trace = (a_TT * b_TT.t().coalesce()).sum()
    means = columns_T.sum() * rows_T.sum() / ((size - 1) * (size - 2))
    product: Tensor = trace + means - 2 * (columns_T @ rows_T) / (size - 2)
    return product / (size * (size - 3))
