"""One look for all figures: colours that the colour-blind can tell apart, and the same bytes of the same data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stores.publish import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, RULE = "#1a1a1a", "#5d5d5a", "#d9d8d3"
COLOURS = ("#6a6a67", "#0b5f9e", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Grey for the first model, blue for the second as in the reports; then Okabe and Ito's."""
DASHES: tuple[Any, ...] = ("--", "-", (0, (5, 1, 1, 1)), "-.", ":", (0, (1, 1)))
"""A style of its own for each line, so that print without colour will do."""
PNG_DPI = 200
PAGE = 6.8
"""Width in inches of a text block, which the fonts are made for."""

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "viral",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "image.interpolation": "nearest",
    "text.parse_math": False,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw inside: matplotlib reads its settings when parts of a figure are made."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure in inches, without pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", stem: Path) -> None:
    """Publish `<stem>.svg` and `<stem>.png`; nothing in them tells when they were made."""
    with figure_style():
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with publish(stem.with_name(stem.name + suffix)) as partial:
                figure.savefig(partial, format=suffix[1:], dpi=PNG_DPI, metadata=metadata)


def line(
    axes: "Axes",
    x: Sequence[float],
    y: Sequence[float],
    place: int,
    label: str,
    dashes: str | None = None,
) -> None:
    """A model's line; `place` in the list of models gives its look, `dashes` another style of line."""
    marker = "o" if len(x) <= 12 else None
    axes.plot(
        x,
        y,
        color=COLOURS[place % len(COLOURS)],
        linestyle=dashes or DASHES[place % len(DASHES)],
        marker=marker,
        markersize=3.5,
        label=label,
    )


def band(axes: "Axes", x: Sequence[float], low: Sequence[float], high: Sequence[float], place: int) -> None:
    """The interval around a line."""
    axes.fill_between(
        x, np.array(low, float), np.array(high, float), color=COLOURS[place % len(COLOURS)], alpha=0.18, lw=0
    )


def picture(axes: "Axes", pixels: np.ndarray, title: str = "") -> None:
    """An image without axes."""
    axes.imshow(pixels)
    bare(axes)
    axes.set_title(title, fontsize=7.5, loc="center", pad=3)


def bare(axes: "Axes") -> None:
    """Take ticks and frame off."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def plain(values: np.ndarray) -> Any:  # noqa: ANN401 - nested lists
    """Nested lists for JSON, six digits, None for what is not a finite number."""
    if values.ndim:
        return [plain(value) for value in values]
    return round(float(values), 6) if np.isfinite(values) else None
