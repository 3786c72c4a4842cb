"""Is a difference real? Intervals for one score and paired tests for two models on the same items."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from viral.errors import DataError

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

SIGNIFICANCE = 0.05
BOOTSTRAP_DRAWS = 10_000


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items. `fixed`: only the second is right; `broken`: only the first.

    `delta`, `low`, `high`: accuracy difference in percentage points with its 95 % paired bootstrap interval;
    `p_value` by McNemar's exact test.
    """

    total: int
    fixed: int
    broken: int
    delta: float
    low: float
    high: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether McNemar's test rejects "no difference" at 5 %."""
        return self.p_value < SIGNIFICANCE

    def statement(self, name: str = "difference") -> str:
        """The comparison as a sentence part."""
        verdict = "significant" if self.significant else "not significant"
        return (
            f"{name} {self.delta:+.1f} points [{self.low:+.1f}, {self.high:+.1f}], "
            f"{format_p(self.p_value)}, {verdict} at 5 %"
        )


def compare(
    first: Mapping[str, bool], second: Mapping[str, bool], *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS
) -> Comparison:
    """Compare item-level correctness (item id -> right?) of two models, item by item.

    Raises:
        DataError: the two do not cover the same items, or there are none.
    """
    if first.keys() != second.keys() or not first:
        raise DataError(
            f"A paired comparison needs the same items on both sides; found {len(first)} and {len(second)}, "
            f"{len(first.keys() & second.keys())} in common. Score both models on the same data."
        )
    total = len(first)
    fixed = sum(second[key] and not first[key] for key in first)
    broken = sum(first[key] and not second[key] for key in first)
    low, high = bootstrap(total, fixed, broken, seed=seed, draws=draws)
    return Comparison(
        total=total,
        fixed=fixed,
        broken=broken,
        delta=100 * (fixed - broken) / total,
        low=100 * low,
        high=100 * high,
        p_value=mcnemar(fixed, broken),
    )


def bootstrap(total: int, fixed: int, broken: int, *, seed: int, draws: int) -> tuple[float, float]:
    """95 % percentile interval of (fixed - broken) / total when items are drawn anew with replacement.

    Resampled counts of fixed, broken and unchanged items are multinomial, so no item is drawn one by one.
    """
    shares = [fixed / total, broken / total, (total - fixed - broken) / total]
    counts = np.random.default_rng(seed).multinomial(total, shares, size=draws)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / total, [0.025, 0.975])
    return float(low), float(high)


def format_p(p_value: float) -> str:
    """`p = 0.031`, or `p < 0.001` where more digits would say nothing."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
