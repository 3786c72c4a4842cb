"""PCA pictures against scikit-learn, and what the two kinds of basis promise."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from viral.analysis.pca import pca_pictures
from viral.errors import DataError

GRID = (4, 6)


def features(seed: int = 0, dim: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(24, 4)) @ rng.normal(size=(4, dim)) + 5


def test_it_is_the_published_routine_up_to_signs():
    array = features()
    scores = PCA(3).fit_transform(array)
    spread = np.percentile(scores, 75, axis=0) - np.percentile(scores, 25, axis=0)
    expected = 0.5 * (np.tanh((scores - np.median(scores, axis=0)) / (spread + 1e-6)) + 1)
    (picture,) = pca_pictures([array], GRID)
    drawn = picture.reshape(-1, 3) / 255
    for component in range(3):
        same = np.abs(drawn[:, component] - expected[:, component]).max()
        mirrored = np.abs(drawn[:, component] - (1 - expected[:, component])).max()
        assert min(same, mirrored) < 0.5 / 255 + 1e-9


def test_pictures_have_the_grid_and_full_range():
    (picture,) = pca_pictures([features()], GRID)
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    assert (np.ptp(picture.reshape(-1, 3), axis=0) > 150).all()


def test_rows_come_before_columns():
    array = np.zeros((24, 3))
    array[:6] = [9.0, 1.0, 0.5]  # the first row of the grid
    array += np.random.default_rng(0).normal(scale=0.01, size=array.shape)
    (picture,) = pca_pictures([array], GRID)
    assert np.abs(picture[0, :, 0].astype(int).mean() - picture[1:, :, 0].astype(int).mean()) > 80


def test_own_bases_do_not_depend_on_the_company():
    one, two = features(0), features(1)
    assert np.array_equal(pca_pictures([one, two], GRID)[0], pca_pictures([one], GRID)[0])


def test_a_shared_basis_gives_equal_features_equal_colours():
    one, two = features(0), features(1)
    two[5] = one[7]
    first, second = pca_pictures([one, two], GRID, shared_basis=True)
    assert np.array_equal(second.reshape(-1, 3)[5], first.reshape(-1, 3)[7])
    own = pca_pictures([one, two], GRID)
    assert not np.array_equal(own[1].reshape(-1, 3)[5], own[0].reshape(-1, 3)[7])


def test_constant_features_are_grey():
    (picture,) = pca_pictures([np.ones((24, 5))], GRID)
    assert np.unique(picture).tolist() == [128]


@pytest.mark.parametrize(
    ("arrays", "shared", "message"),
    [
        ([np.ones((23, 5))], False, r"shape \[24, at least 3\] for a 4 x 6 grid, found \[23, 5\]"),
        ([np.ones((24, 2))], False, "at least 3"),
        ([np.full((24, 5), np.nan)], False, "NaN"),
        ([features(0, 8), features(1, 9)], True, "one dimension"),
    ],
)
def test_what_cannot_be_drawn(arrays, shared, message):
    with pytest.raises(DataError, match=message):
        pca_pictures(arrays, GRID, shared_basis=shared)
