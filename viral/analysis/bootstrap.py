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
    with np.errstate(invalid="ignore"):  # a draw may hold nothing of a column that was seldom measured
        means_SL = (counts_SN @ filled_NL) / (counts_SN @ known_NL)
    measured_L = known_NL.any(axis=0)
    bounds_2L = np.full((2, values_NL.shape[1]), np.nan)
    bounds_2L[:, measured_L] = np.nanquantile(means_SL[:, measured_L], [0.025, 0.975], axis=0)
    return bounds_2L[0], bounds_2L[1]


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what has been measured; NaN where nothing has."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total: np.ndarray = np.where(known, values, 0).sum(axis=axis) / np.maximum(count, 1)
    return np.where(count > 0, total, np.nan)
