"""Curves over layers: means over pictures or questions, their bands, and paired differences to the first model."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.analyses.figures import INK, band, line, plain
from viral.analysis.bootstrap import mean_band, nan_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = "Bands: 95 % bootstrap."
PAIRED = (
    "Below: difference to the first model on the same {0}, which says more than whether bands overlap; it tells these "
    "trained models apart, not methods."
)
Curve = dict[str, Any]


def curves(layers: Mapping[str, Sequence[int]], values: Mapping[str, np.ndarray]) -> dict[str, Curve]:
    """By model the layers, the mean of its values [N, layers] and a band; and the difference to the first model.

    Rows of all models are the same pictures or questions. Models of other layers than the first's have no difference.
    """
    first = next(iter(values))
    found: dict[str, Curve] = {}
    for label, values_NL in values.items():
        found[label] = {"layers": list(layers[label]), **_mean(values_NL)}
        if label != first and layers[label] == layers[first]:
            found[label]["difference"] = {"to": first, **_mean(values_NL - values[first])}
    return found


def draw_curves(axes: "Axes", below: "Axes | None", found: Mapping[str, Curve]) -> None:
    """Draw the curves, and in another panel `below` the differences."""
    depths = {curve["layers"][-1] for curve in found.values()}
    for place, (label, curve) in enumerate(found.items()):
        # Models of different depth meet where they are equally deep.
        x = [layer / (curve["layers"][-1] if len(depths) > 1 else 1) for layer in curve["layers"]]
        _draw(axes, x, curve, place, label)
        if below is not None and "difference" in curve:
            _draw(below, x, curve["difference"], place, label)
    if below is not None:
        below.axhline(0, color=INK, lw=0.6)
    for panel in filter(None, (axes, below)):
        panel.grid(axis="y")
        panel.locator_params(axis="x", integer=len(depths) == 1)
    (below or axes).set_xlabel("layer" if len(depths) == 1 else "layer / depth")


def has_differences(found: Mapping[str, Curve]) -> bool:
    """Whether there is anything to draw below."""
    return any("difference" in curve for curve in found.values())


def _mean(values_NL: np.ndarray) -> Curve:
    low, high = mean_band(values_NL)
    return {"mean": plain(nan_mean(values_NL, axis=0)), "low": plain(low), "high": plain(high)}


def _draw(axes: "Axes", x: Sequence[float], curve: Curve, place: int, label: str) -> None:
    line(axes, x, curve["mean"], place, label)
    if "low" in curve:
        band(axes, x, curve["low"], curve["high"], place)
