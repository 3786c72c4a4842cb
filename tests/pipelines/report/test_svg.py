"""Drawings: intervals on one axis, curves that stay inside and keep their spikes."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.svg import (
    CHART_HEIGHT,
    MAX_POINTS,
    ROLES,
    Curve,
    interval,
    line_chart,
    role_of,
    running_mean,
    signed,
    symmetric_range,
    ticks,
)


def curve(name: str, role: str) -> Curve:
    return Curve(name, role, list(range(1, 91)), [1 / step for step in range(1, 91)])


def numbers(pattern: str, svg: str) -> list[float]:
    return [float(value) for value in re.findall(pattern, svg)]


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(0, 20))
def test_intervals_share_one_zero_and_stay_inside(value, below, above):
    span = symmetric_range([-60.0, 12.0, value - below, value + above])
    svg = interval(value, value - below, value + above, span, solid=False, label="x")
    assert numbers(r'class="zero" x1="([\d.]+)"', svg) == [120.0]
    (left,) = numbers(r'class="whisker" x1="([\d.]+)"', svg)
    (right,) = numbers(r'class="whisker" x1="[\d.]+" x2="([\d.]+)"', svg)
    (point,) = numbers(r'cx="([\d.]+)"', svg)
    assert 0 <= left <= point <= right <= 240
    if abs(value) > span[1] / 100:
        assert (point > 120) == (value > 0)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_round_few_and_inside(low, width):
    marks = ticks(low, low + width)
    assert 2 <= len(marks) <= 9
    assert all(low - 1e-6 * width <= mark <= low + width + 1e-6 * width for mark in marks)
    steps = {f"{second - first:.3e}" for first, second in itertools.pairwise(marks)}
    assert all(step[:5] in ("1.000", "2.000", "5.000") for step in steps)


def test_labels_of_curves_that_end_together_do_not_overlap():
    svg = line_chart([curve("baseline", "baseline"), curve("VIRAL", "viral")], "loss")
    places = sorted(numbers(r'class="name \w+" x="[\d.]+" y="([\d.]+)"', svg))
    assert places[1] - places[0] >= 14
    assert places[1] <= CHART_HEIGHT


def test_curves_stay_inside_the_chart():
    wild = Curve("w", "viral", list(range(100)), [1.0] * 50 + [1e6] + [1.0] * 49)
    svg = line_chart([wild], "spike")
    heights = [
        float(pair.split(",")[1])
        for points in re.findall(r'points="([^"]+)"', svg)
        for pair in points.split()
    ]
    assert min(heights) >= 0
    assert max(heights) <= CHART_HEIGHT


def test_running_mean_is_centred():
    line = [float(value) for value in range(300)]
    assert running_mean(line) == pytest.approx(line)
    assert running_mean([1.0, 5.0]) == [1.0, 5.0]


def test_signed():
    assert [signed(v, 1) for v in (1.24, -1.24, 0.0, -0.01)] == ["+1.2", "\u22121.2", "0.0", "0.0"]


def test_long_curves_are_thinned_and_keep_their_spike():
    values = [1.0] * 20_000
    values[12_345] = 3.0
    svg = line_chart([Curve("w", "viral", list(range(20_000)), values)], "long")
    raw, smooth = re.findall(r'points="([^"]+)"', svg)
    assert max(len(raw.split()), len(smooth.split())) <= MAX_POINTS + 2
    heights = [float(pair.split(",")[1]) for pair in raw.split()]
    assert min(heights) < sorted(heights)[len(heights) // 2] - 10


def test_names_of_any_length_fit_and_roles_come_round():
    svg = line_chart([curve("x" * 200, "baseline"), curve("b<", role_of(1))], "loss")
    (place,) = {float(value) for value in re.findall(r'class="name \w+" x="([\d.]+)"', svg)}
    assert place > 100
    assert "\u2026" in svg
    assert "b&lt;" in svg
    assert role_of(0) == role_of(len(ROLES)) == "baseline"


def test_runs_that_differ_in_their_seed_have_names_of_their_own():
    svg = line_chart([curve(f"micro-baseline-seed{seed}", role_of(seed)) for seed in (43, 44)], "loss")
    assert "-seed43</text>" in svg
    assert "-seed44</text>" in svg


def test_large_numbers_on_the_axis_are_short():
    svg = line_chart([Curve("w", "viral", [1, 2], [20_000.0, 60_000.0])], "tokens")
    assert ">40k</text>" in svg
