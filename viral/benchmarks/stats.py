"""Is a difference real? Intervals for one score, tests and intervals for two models on the same items."""

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

SIGNIFICANCE = 0.05


def wilson(correct: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927), as fractions; sound near 0, near 1 and for few items.

    Raises:
        ValueError: not 0 <= correct <= total with total > 0.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} of {total} is no proportion")
    share, z2 = correct / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    # Rounding must not push a bound past the ends, where it is exact.
    return (0.0 if correct == 0 else centre - half, 1.0 if correct == total else centre + half)


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided p-value of "a changed answer is as likely fixed as broken" (McNemar 1947, binomial)."""
    changed = fixed + broken
    tail = sum(math.comb(changed, k) for k in range(min(fixed, broken) + 1))
    return min(1.0, 2 * tail / (1 << changed))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979): comparable with 5 % each, whatever their dependence."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def over_seeds(draws_BS: np.ndarray, values_S: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """What the mean over training seeds could have been with other items [B] and, of several seeds, with others.

    The items' part is a bootstrap: `draws` are scores on items drawn anew. The seeds' part is Student's: too few
    are trained to draw from. A seed's own luck with the items is in both, which errs on the safe side.
    """
    mean_B, number = draws_BS.mean(axis=1), len(values_S)
    if number == 1:
        return mean_B
    error = np.std(values_S, ddof=1) / math.sqrt(number)
    moved: np.ndarray = mean_B + error * rng.standard_t(number - 1, size=len(mean_B))
    return moved


def percentile_interval(draws_B: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws; undefined ones (NaN) do not count."""
    low, high = np.nanquantile(draws_B, [0.025, 0.975])
    return float(low), float(high)


def sign_p(draws_B: np.ndarray) -> float:
    """Two-sided p-value of "no difference" from bootstrap draws of a difference, at least 2 / (draws + 1)."""
    known = draws_B[np.isfinite(draws_B)]
    least = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(known) + 1))


def format_p(p_value: float) -> str:
    """`p = 0.031`, or `p < 0.001` where more digits would say nothing."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
