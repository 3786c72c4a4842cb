"""Intervals and paired tests against scipy and against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from viral.benchmarks.stats import (
    format_p,
    holm,
    mcnemar,
    over_seeds,
    percentile_interval,
    sign_p,
    wilson,
)


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (1, 10), (5, 10), (10, 10), (817, 1438), (1, 1)])
def test_wilson_equals_scipy(correct, total):
    expected = scipy_stats.binomtest(correct, total).proportion_ci(method="wilson")
    assert wilson(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_by_hand():
    # 8 of 10 at z = 2: centre (0.8 + 0.2) / 1.4, half width 2 / 1.4 * sqrt(0.016 + 0.01).
    low, high = wilson(8, 10, z=2.0)
    assert (low + high) / 2 == pytest.approx(1.0 / 1.4)
    assert (high - low) / 2 == pytest.approx(2 / 1.4 * 0.026**0.5)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(correct, total):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(correct, total)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_test(fixed, broken):
    changed = fixed + broken
    expected = scipy_stats.binomtest(fixed, changed, 0.5).pvalue if changed else 1.0
    assert mcnemar(fixed, broken) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(fixed, broken) == mcnemar(broken, fixed)


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(6, 1) == pytest.approx(2 * (1 + 7) / 128)
    assert mcnemar(2000, 1000) < 1e-60


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 -> times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_values_and_bonferroni_and_keeps_their_order(p_values):
    adjusted = holm(p_values)
    for raw, mended in zip(p_values, adjusted, strict=True):
        assert raw <= mended <= min(1.0, len(p_values) * raw) + 1e-12 or mended == max(adjusted)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_one_seed_adds_no_noise_and_several_add_students():
    draws = np.random.default_rng(0).normal(size=(200_000, 3))
    rng = np.random.default_rng(1)
    assert np.array_equal(over_seeds(draws[:, :1], [5.0], rng), draws[:, 0])
    seeds = [1.0, 2.0, 6.0]
    nothing = np.zeros((200_000, 3))
    low, high = percentile_interval(over_seeds(nothing, seeds, rng))
    expected = scipy_stats.t.interval(0.95, 2, loc=0, scale=scipy_stats.sem(seeds))
    assert (low, high) == pytest.approx(expected, rel=0.03)


def test_equal_seeds_add_nothing():
    draws = np.random.default_rng(0).normal(size=(50, 2))
    moved = over_seeds(draws, [3.0, 3.0], np.random.default_rng(1))
    assert np.allclose(moved, draws.mean(axis=1))


def test_undefined_draws_do_not_count():
    draws = np.array([np.nan, *np.linspace(0, 1, 41)])
    assert percentile_interval(draws) == pytest.approx((0.025, 0.975))
    assert sign_p(draws) == pytest.approx(2 * 2 / 42)


def test_p_values_of_the_bootstrap_are_those_of_its_signs():
    assert sign_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert sign_p(np.array([-1.0, 1.0] * 50)) == 1.0
    assert sign_p(np.array([-1.0] * 10 + [1.0] * 989)) == pytest.approx(22 / 1000)
    assert sign_p(np.zeros(100)) == 1.0


def test_p_values_are_not_printed_as_zero():
    assert format_p(0.0001) == "p < 0.001"
    assert format_p(0.0312) == "p = 0.031"
