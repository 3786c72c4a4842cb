"""How far a mean over pictures or questions would move had others been drawn."""

import numpy as np

DRAWS = 2_000


def mean_band(values_NL: np.ndarray, *, seed: int = 0, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile bootstrap band of the mean over the first axis: (low [L], high [L]).

    NaN marks what has not been measured, and is left out of the means; all columns are drawn together.
    """
    known_NL = np.isfinite(values_NL)
    filled_NL = np.where(known_NL, values_NL, 0.0)
    counts_SN = np.random.default_rng(seed).multinomial(
        len(values_NL), np.full(len(values_NL), 1 / len(values_NL)), size=draws
    )
    with np.errstate(invalid="ignore"):
        means_SL = (counts_SN @ filled_NL) / (counts_SN @ known_NL)
    low, high = np.nanquantile(means_SL, [0.025, 0.975], axis=0)
    return low, high
