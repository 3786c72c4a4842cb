"""Intervals and paired tests against scipy and against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from viral.benchmarks.stats import bootstrap, compare, format_p, mcnemar, wilson
from viral.errors import DataError


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


def rights(pattern: str) -> dict[str, bool]:
    return {str(index): mark == "1" for index, mark in enumerate(pattern)}


def test_compare_counts_pairs():
    result = compare(rights("1100110000"), rights("1111100000"))
    assert (result.total, result.fixed, result.broken) == (10, 2, 1)
    assert result.delta == pytest.approx(10.0)
    assert result.low <= result.delta <= result.high
    assert result.p_value == 1.0
    assert not result.significant


def test_the_bootstrap_is_that_of_drawing_items():
    marks = np.array([1] * 60 + [-1] * 30 + [0] * 110)
    drawn = np.random.default_rng(1).choice(marks, size=(20_000, 200)).mean(axis=1)
    low, high = bootstrap(200, 60, 30, seed=0, draws=20_000)
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.006)


def test_equal_models_have_an_interval_of_width_zero():
    result = compare(rights("1010"), rights("1010"))
    assert (result.delta, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


@given(st.permutations(range(12)))
def test_the_order_of_items_does_not_matter(order):
    first, second = rights("110010101011"), rights("011010111001")
    keys = [str(index) for index in order]
    assert compare(
        {key: first[key] for key in keys}, {key: second[key] for key in reversed(keys)}
    ) == compare(first, second)


def test_only_the_same_items_can_be_compared():
    with pytest.raises(DataError, match="found 3 and 4, 3 in common"):
        compare(rights("110"), rights("1101"))
    with pytest.raises(DataError, match="same items"):
        compare({}, {})


def test_statements_say_whether_it_is_noise():
    better = compare(rights("0" * 40 + "1" * 60), rights("1" * 100))
    assert (
        better.statement("Count")
        == f"Count +40.0 points [+{better.low:.1f}, +{better.high:.1f}], p < 0.001, significant at 5 %"
    )
    noise = compare(rights("0" * 4 + "1" * 96), rights("1" * 98 + "00"))
    assert noise.statement().endswith("p = 0.688, not significant at 5 %")
    assert noise.statement().startswith("difference +2.0 points [-")


def test_p_values_are_not_printed_as_zero():
    assert format_p(0.0001) == "p < 0.001"
    assert format_p(0.0312) == "p = 0.031"
