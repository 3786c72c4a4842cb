"""The plot of bench/codecs.py: bytes against fidelity and against gradient error, on logarithmic axes."""

import math
from html import escape

from pipelines.svg import Scale

DIM = 768
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 400.0, 330.0, 56.0, 34.0, 292.0, 20.0
BYTES = {"lm2": 192, "lm3": 288, "lm4": 384, "int8": 768, "bf16, fp16": 1536}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Distinguishable without full colour vision."""
PANELS = (
    ("loss_of_cosine", "1 - mean cosine of decoded and exact target", (-8, 0)),
    ("gradient_error", "relative error of the gradient, at cosine 0.8", (-4, 0)),
)
LADDER = ("lm2", "lm3", "lm4", "int8")
MARKS = {"fp16": "circle", "bf16": "square", "fp8 e4m3, token scale": "cross", "int4, token scale": "cross"}


def plot(result: dict[str, dict]) -> str:
    """SVG of two panels, a colour per kind of data."""
    panels = "".join(_panel(result, number, *panel) for number, panel in enumerate(PANELS))
    legend = "".join(
        f'<circle cx="{LEFT + 8}" cy="{HEIGHT + 22 + 19 * row}" r="4" fill="{COLOURS[row]}"/>'
        f'<text x="{LEFT + 20}" y="{HEIGHT + 26 + 19 * row}">{escape(name)}</text>'
        for row, name in enumerate(result)
    )
    notes = (
        "line: lm2, lm3, lm4, int8 (rotated)",
        "circle: fp16, square: bf16",
        "cross: int4 and fp8 e4m3 without rotation",
    )
    legend += "".join(
        f'<text x="{WIDTH + LEFT}" y="{HEIGHT + 26 + 19 * row}">{note}</text>'
        for row, note in enumerate(notes)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH:.0f} {HEIGHT + 100:.0f}" '
        'font-family="sans-serif" font-size="12" fill="#222"><rect width="100%" height="100%" fill="#fff"/>'
        f"{panels}{legend}</svg>\n"
    )


def _panel(result: dict[str, dict], number: int, figure: str, title: str, powers: tuple[int, int]) -> str:
    x = Scale(math.log2(150), math.log2(1900), number * WIDTH + LEFT, (number + 1) * WIDTH - GAP)
    y = Scale(*powers, BOTTOM, TOP)
    parts = [f'<text x="{x.start}" y="{TOP - 14}" font-weight="bold">{title}</text>', _axes(x, y)]
    for colour, kind in zip(COLOURS, result.values(), strict=True):
        points = {
            name: (x(math.log2(way["bits"] * DIM / 8)), y(math.log10(way[figure])))
            for name, way in kind["ways"].items()
        }
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (points[name] for name in LADDER))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [_mark("circle", *points[name], colour) for name in LADDER]
        parts += [_mark(shape, *points[name], colour) for name, shape in MARKS.items()]
    return "".join(parts)


def _axes(x: Scale, y: Scale) -> str:
    rows = "".join(
        f'<line x1="{x.start}" x2="{x.end}" y1="{y(power):.1f}" y2="{y(power):.1f}" stroke="#ddd"/>'
        f'<text x="{x.start - 6}" y="{y(power) + 4:.1f}" text-anchor="end">1e{power}</text>'
        for power in range(int(y.low), int(y.high) + 1)
    )
    columns = "".join(
        f'<line x1="{x(math.log2(size)):.1f}" x2="{x(math.log2(size)):.1f}" y1="{TOP}" y2="{BOTTOM}" stroke="#eee"/>'
        f'<text x="{x(math.log2(size)):.1f}" y="{BOTTOM + 16}" text-anchor="middle">{name}</text>'
        f'<text x="{x(math.log2(size)):.1f}" y="{BOTTOM + 30}" text-anchor="middle" fill="#777">{size}</text>'
        for name, size in BYTES.items()
    )
    label = f'<text x="{x.start}" y="{BOTTOM + 46}" fill="#777">bytes of a token of {DIM} channels</text>'
    return rows + columns + label


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    if shape == "square":
        return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{colour}"/>'
    path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return f'<path d="{path}" stroke="{colour}" stroke-width="1.8" fill="none"/>'
