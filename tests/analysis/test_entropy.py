"""Spatial entropy: blobs, their touching corners, the threshold, and maps that have nothing to say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from viral.analysis.entropy import spatial_entropy
from viral.errors import DataError


def grid(*cells: tuple[int, int, float]) -> np.ndarray:
    made = np.zeros((6, 6))
    for row, column, mass in cells:
        made[row, column] = mass
    return made


def one(map_RC: np.ndarray, threshold: float = 0.001) -> tuple[float, int]:
    entropy, blobs = spatial_entropy(map_RC[None], threshold)
    return float(entropy[0]), int(blobs[0])


def test_one_blob_is_certain():
    assert one(grid((0, 0, 1), (0, 1, 1))) == (0.0, 1)


def test_corners_touch():
    assert one(grid((2, 2, 1), (3, 3, 1))) == (0.0, 1)


def test_two_equal_blobs():
    entropy, blobs = one(grid((0, 0, 1), (5, 5, 1)))
    assert blobs == 2
    assert entropy == pytest.approx(math.log(2))


def test_unequal_blobs_weigh_by_what_exceeds_the_mean():
    first, second = 3 - 4 / 36, 1 - 4 / 36
    shares = np.array([first, second]) / (first + second)
    assert one(grid((0, 0, 3), (5, 5, 1)))[0] == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_uniform_map_is_infinite():
    assert one(np.full((6, 6), 0.5)) == (math.inf, 0)


def test_what_lies_below_the_threshold_stays_in_the_denominator():
    map_RC = grid((0, 0, 0.9), (5, 5, 0.05))
    entropy, blobs = one(map_RC, threshold=0.2)
    share = (0.9 - 0.95 / 36) / (0.95 - 2 * 0.95 / 36)
    assert blobs == 1
    assert entropy == pytest.approx(-share * math.log(share))


def test_nothing_above_the_threshold_is_no_blob_but_finite():
    assert one(grid((0, 0, 1e-4), (5, 5, 1e-4))) == (0.0, 0)


MAPS = arrays.arrays(np.float64, (3, 5, 5), elements=st.sampled_from([0.0, 0.1, 0.4, 1.0]))


@settings(deadline=None, max_examples=50)
@given(maps=MAPS)
def test_each_map_of_a_stack_is_judged_alone_and_turning_it_changes_nothing(maps):
    together = spatial_entropy(maps)
    turned = spatial_entropy(np.rot90(maps, axes=(1, 2)))
    for index, map_RC in enumerate(maps):
        entropy, blobs = one(map_RC)
        assert (together[0][index], together[1][index]) == (entropy, blobs)
        assert turned[0][index] == pytest.approx(entropy)
        assert turned[1][index] == blobs


@pytest.mark.parametrize("maps", [np.zeros((6, 6)), np.full((1, 6, 6), np.nan)])
def test_what_is_no_stack_of_maps(maps):
    with pytest.raises(DataError, match="Expected finite maps"):
        spatial_entropy(maps)
