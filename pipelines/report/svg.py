"""Small inline SVG drawings: intervals on a common axis, and curves labelled where they end.

Colours and line styles come from classes in page.css, so a drawing follows the page's theme. Sizes are
in CSS px of the view box.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.text import html


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from data to px; `start` may lie right of or below `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Position of `value` in px."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line; `role` picks colour and dash."""

    name: str
    role: str
    steps: Sequence[float]
    values: Sequence[float]


ROLES = ("baseline", "viral", "third", "fourth", "fifth", "sixth")
"""Told apart by lightness and dashes too, not by hue alone."""


def role_of(place: int) -> str:
    """The role of the line at a place among all; roles come round again."""
    return ROLES[place % len(ROLES)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) inside [low, high]."""
    wanted = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(wanted))
    step = min(
        (factor * magnitude for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / wanted))
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def symmetric_range(bounds: Sequence[float]) -> tuple[float, float]:
    """(-r, r) that holds all bounds with a little air, at least one unit wide either way."""
    reach = max(1.0, *(abs(bound) for bound in bounds)) * 1.06
    return -reach, reach


WIDTH, ROW, INSET = 240.0, 34.0, 10.0
"""Size of one interval drawing; all drawings of a table share width and range, so their zeros line up."""


def interval(
    value: float, low: float, high: float, span: tuple[float, float], *, solid: bool, label: str
) -> str:
    """A point with its interval over the zero line; a hollow point marks a difference that may be none."""
    x = Scale(*span, INSET, WIDTH - INSET)
    middle = ROW / 2
    # Lines run past the drawing, so that they join those of the rows above and below.
    grid = "".join(
        f'<line class="{"zero" if tick == 0 else "grid"}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="-22" y2="43"/>'
        for tick in ticks(*span, count=4)
    )
    return (
        f'<svg class="interval" viewBox="0 0 {WIDTH:.0f} {ROW:.0f}" role="img" aria-label="{html(label)}">{grid}'
        f'<line class="whisker" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="{"solid" if solid else "hollow"}" cx="{x(value):.1f}" cy="{middle}" r="4.5"/></svg>'
    )


def interval_axis(span: tuple[float, float]) -> str:
    """Tick labels that belong under a column of `interval` drawings."""
    x = Scale(*span, INSET, WIDTH - INSET)
    marks = "".join(
        f'<text x="{x(tick):.1f}" y="13" text-anchor="middle">{signed(tick)}</text>'
        for tick in ticks(*span, count=4)
    )
    return f'<svg class="interval" viewBox="0 0 {WIDTH:.0f} 18" aria-hidden="true">{marks}</svg>'


def signed(value: float, digits: int = 0) -> str:
    """`+1.5`, `−1.5` with a real minus, and a bare zero."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else chr(0x2212)}{text}"


CHART_WIDTH, CHART_HEIGHT = 380.0, 236.0
LEFT, TOP, BOTTOM = 40.0, 10.0, 40.0
LABEL_GAP, CHARACTER = 15.0, 6.4
MAX_NAME, MAX_POINTS = 15, 400
"""Characters of a name beside its line, points of a line; what is longer is cut, or thinned."""


def line_chart(curves: Sequence[Curve], label: str) -> str:
    """Curves over steps: each step faint, a running mean in full; names stand at the ends of the lines."""
    names = [_short(curve.name) for curve in curves]
    smooth = [running_mean(curve.values) for curve in curves]
    low, high = _padded_range([value for values in smooth for value in values])
    right = 14 + CHARACTER * max(map(len, names))
    x = Scale(0, max(max(curve.steps) for curve in curves), LEFT, CHART_WIDTH - right)
    y = Scale(low, high, CHART_HEIGHT - BOTTOM, TOP)
    parts = [_chart_grid(x, y)]
    parts += [_path(curve.steps, curve.values, x, y, f"raw {curve.role}") for curve in curves]
    parts += [
        _path(curve.steps, values, x, y, f"line {curve.role}")
        for curve, values in zip(curves, smooth, strict=True)
    ]
    ends = _spread([y(values[-1]) for values in smooth])
    parts += [
        f'<text class="name {curve.role}" x="{x.end + 6:.1f}" y="{end + 4:.1f}">{html(name)}</text>'
        for curve, name, end in zip(curves, names, ends, strict=True)
    ]
    return (
        f'<svg class="chart" viewBox="0 0 {CHART_WIDTH:.0f} {CHART_HEIGHT:.0f}" role="img" '
        f'aria-label="{html(label)}">{"".join(parts)}</svg>'
    )


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over the nearest values, one part in fifteen of all; fewer towards both ends, never shifted."""
    reach = len(values) // 30
    sums = [0.0, *itertools.accumulate(values)]
    means = []
    for index in range(len(values)):
        side = min(reach, index, len(values) - 1 - index)
        means.append((sums[index + side + 1] - sums[index - side]) / (2 * side + 1))
    return means


def _chart_grid(x: Scale, y: Scale) -> str:
    steps, levels = ticks(x.low, x.high, 4), ticks(y.low, y.high, 4)
    digits = max(0, -math.floor(math.log10(levels[1] - levels[0]) + 1e-9)) if len(levels) > 1 else 2
    rows = "".join(
        f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>'
        f'<text x="{x.start - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{_level(level, digits)}</text>'
        for level in levels
    )
    columns = "".join(
        f'<text x="{x(step):.1f}" y="{y.start + 17:.1f}" text-anchor="middle">{step:g}</text>'
        for step in steps
    )
    return f'{rows}{columns}<text x="{x.end}" y="{y.start + 33:.1f}" text-anchor="end">optimizer step</text>'


def _level(level: float, digits: int) -> str:
    return f"{level / 1000:g}k" if abs(level) >= 10_000 else f"{level:.{digits}f}"


def _short(name: str) -> str:
    """Both ends of a long name: runs of several seeds differ in the last letters."""
    head = MAX_NAME // 2
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1 - head]}\u2026{name[-head:]}"


def _path(steps: Sequence[float], values: Sequence[float], x: Scale, y: Scale, style: str) -> str:
    top, bottom = TOP, CHART_HEIGHT - BOTTOM
    points = " ".join(
        f"{x(steps[index]):.1f},{min(max(y(values[index]), top), bottom):.1f}" for index in _kept(values)
    )
    return f'<polyline class="{style}" points="{points}"/>'


def _kept(values: Sequence[float]) -> list[int]:
    """Positions to draw: lowest and highest of every stretch, so that no spike is lost, and both ends."""
    if len(values) <= MAX_POINTS:
        return list(range(len(values)))
    stretch = -(-2 * len(values) // MAX_POINTS)
    kept = {0, len(values) - 1}
    for start in range(0, len(values), stretch):
        places = range(start, min(start + stretch, len(values)))
        kept |= {min(places, key=values.__getitem__), max(places, key=values.__getitem__)}
    return sorted(kept)


def _padded_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = 0.05 * (high - low) or 0.5
    return low - air, high + air


def _spread(positions: Sequence[float]) -> list[float]:
    """Move label positions apart, order kept, until none overlap."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = [0.0] * len(positions)
    previous = -math.inf
    for index in order:
        placed[index] = previous = max(positions[index], previous + LABEL_GAP)
    overshoot = max(0.0, previous - (CHART_HEIGHT - BOTTOM))
    return [position - overshoot for position in placed]
