"""PCA pictures of patch features: three components as colours (the release's routine, llava_llama.py:50-78)."""

from collections.abc import Sequence

import numpy as np

from viral.errors import DataError

NUM_COMPONENTS = 3


def pca_pictures(
    features: Sequence[np.ndarray], grid: tuple[int, int], *, shared_basis: bool = False
) -> list[np.ndarray]:
    """Colour pictures, uint8 [rows, columns, 3], of patch features [tokens, dim], row by row.

    Each picture gets axes and scales of its own, as in the paper's figures: colours then show what belongs
    together inside one picture and cannot be compared between two. With `shared_basis` all pictures share
    one fit, so equal colours mean equal features; they must come from one feature space.

    Raises:
        DataError: features that do not fill the grid, have fewer than three dimensions or are not finite,
            or a shared basis of features that differ in dimension.
    """
    arrays = [_checked(array, grid) for array in features]
    if not shared_basis:
        return [_colours(_project(array)).reshape(*grid, 3) for array in arrays]
    if len({array.shape[1] for array in arrays}) != 1:
        raise DataError(
            "A shared PCA basis needs features of one dimension; draw each set with its own basis."
        )
    together = np.concatenate(arrays)
    colours = _colours(_project(together))
    return [part.reshape(*grid, 3) for part in np.split(colours, len(arrays))]


def _checked(features_TD: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    features_TD = np.asarray(features_TD, dtype=np.float64)
    tokens = grid[0] * grid[1]
    if features_TD.ndim != 2 or len(features_TD) != tokens or min(features_TD.shape) < NUM_COMPONENTS:
        raise DataError(
            f"Expected patch features of shape [{tokens}, at least {NUM_COMPONENTS}] for a {grid[0]} x {grid[1]} "
            f"grid, found {list(features_TD.shape)}."
        )
    if not np.isfinite(features_TD).all():
        raise DataError("Patch features hold NaN or an infinity; nothing sensible can be drawn from them.")
    return features_TD


def _project(features_TD: np.ndarray) -> np.ndarray:
    """Coordinates [T, 3] on the leading axes; signs are fixed, for a singular vector's sign means nothing."""
    centred_TD = features_TD - features_TD.mean(axis=0)
    _, _, axes_KD = np.linalg.svd(centred_TD, full_matrices=False)
    axes_KD = axes_KD[:NUM_COMPONENTS]
    largest = np.abs(axes_KD).argmax(axis=1)
    axes_KD = axes_KD * np.sign(axes_KD[np.arange(len(axes_KD)), largest])[:, None]
    scores_TK: np.ndarray = centred_TD @ axes_KD.T
    return scores_TK


def _colours(scores_TK: np.ndarray) -> np.ndarray:
    """Centre on the median, scale by the interquartile range, squash: outliers saturate and take no range."""
    low, median, high = np.percentile(scores_TK, [25, 50, 75], axis=0)
    unit_TK: np.ndarray = 0.5 * (np.tanh((scores_TK - median) / (high - low + 1e-6)) + 1)
    colours: np.ndarray = np.rint(255 * unit_TK).astype(np.uint8)
    return colours
