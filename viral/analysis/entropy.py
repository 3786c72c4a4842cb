"""Spatial entropy of attention maps: how scattered over the picture attention is (Batty 1974; Kang et al. 2025)."""

import numpy as np
import numpy.typing as npt

from viral.errors import DataError

Floats = npt.NDArray[np.float64]

THRESHOLD = 0.001
"""Of attention above its mean, absolute: a map must not be rescaled first."""


def spatial_entropy(
    maps_MRC: npt.ArrayLike, threshold: float = THRESHOLD
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Entropy in nats [M] of each map's mass over its blobs, and the number of blobs [M].

    A blob is a set of touching cells, corners included, that exceed the map's mean by more than `threshold`. Its
    probability is its share of all that exceeds the mean; what lies between mean and threshold is nobody's, so that
    probabilities may not sum to one. A map without anything above its mean has entropy infinity; one that has, but no
    blob, has entropy 0 like a single blob.

    Raises:
        DataError: not a stack of maps, or values that are not finite.
    """
    from scipy import ndimage

    maps_MRC = np.asarray(maps_MRC, dtype=np.float64)
    if maps_MRC.ndim != 3 or not np.isfinite(maps_MRC).all():
        raise DataError(f"Expected finite maps [maps, rows, columns], found shape {list(maps_MRC.shape)}.")
    excess_MRC = np.maximum(maps_MRC - maps_MRC.mean(axis=(1, 2), keepdims=True), 0)
    within_a_map = np.zeros((3, 3, 3))
    within_a_map[1] = 1
    blobs_MRC, num_blobs = ndimage.label(excess_MRC > threshold, structure=within_a_map)
    mass = np.bincount(blobs_MRC.ravel(), weights=excess_MRC.ravel(), minlength=num_blobs + 1)[1:]
    map_of_blob = np.zeros(num_blobs + 1, dtype=np.int64)
    map_of_blob[blobs_MRC] = np.arange(len(maps_MRC))[:, None, None]
    map_of_blob = map_of_blob[1:]
    total_M = excess_MRC.sum(axis=(1, 2))
    share = mass / total_M[map_of_blob]
    entropy_M = np.zeros(len(maps_MRC))
    np.subtract.at(entropy_M, map_of_blob, share * np.log(share))
    entropy_M[total_M <= 0] = np.inf
    blobs_M = np.bincount(map_of_blob, minlength=len(maps_MRC)).astype(np.int64)
    return np.abs(entropy_M), blobs_M  # one blob gives -0.0
