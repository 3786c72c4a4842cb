"""Bands of means: around the mean, the same every time, and honest about what was not measured."""

import numpy as np

from viral.analysis.bootstrap import mean_band, nan_mean


def test_the_band_holds_the_mean_and_has_the_normal_width():
    values = np.random.default_rng(0).normal(size=(400, 3))
    low, high = mean_band(values)
    assert (low < values.mean(axis=0)).all()
    assert (values.mean(axis=0) < high).all()
    np.testing.assert_allclose(high - low, 2 * 1.96 / 20, rtol=0.15)
    assert np.array_equal(mean_band(values), (low, high))


def test_one_row_has_no_width():
    low, high = mean_band(np.array([[2.0, 3.0]]))
    assert low.tolist() == high.tolist() == [2.0, 3.0]


def test_what_was_not_measured_is_left_out():
    values = np.array([[1.0, np.nan, 4.0], [3.0, np.nan, np.nan], [2.0, np.nan, np.inf]])
    assert np.array_equal(nan_mean(values, axis=0), [2.0, np.nan, 4.0], equal_nan=True)
    low, high = mean_band(values)
    assert np.isnan([low[1], high[1]]).all()
    assert low[2] == high[2] == 4.0
