"""The parts of the report's page, each a function from values to HTML."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from pipelines.comparison import ALL, Row, Side
from pipelines.svg import Curve, interval, interval_axis, line_chart, signed, symmetric_range
from viral.benchmarks.stats import format_p


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One gallery row: a picture and PCA pictures of the teacher and of both students, all uint8 [h, w, 3]."""

    caption: str
    image: np.ndarray
    teacher: np.ndarray
    baseline: np.ndarray
    viral: np.ndarray


def interval_table(rows: Sequence[Row]) -> str:
    """Accuracies with their intervals, and the paired differences drawn on one axis."""
    span = symmetric_range([bound for row in rows for bound in row.interval])
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.title, []).append(row)
    bodies = "".join(_benchmark_rows(name, members, span) for name, members in groups.items())
    return f"""<table class="results">
<thead><tr><th scope="col">Task</th><th scope="col">Questions</th><th scope="col">Chance</th>
<th scope="col">Baseline</th><th scope="col">VIRAL</th><th scope="col">Difference</th>
<td class="plot sides"><span>&#8592; baseline better</span><span>VIRAL better &#8594;</span></td>
<th scope="col">Test</th></tr></thead>
{bodies}
<tfoot><tr><td colspan="6"></td><td class="plot">{interval_axis(span)}</td><td></td></tr></tfoot>
</table>
<p class="key">Scores with their 95&#8239;% intervals: Wilson's for accuracies, the bootstrap's for headlines.
Difference: VIRAL minus baseline on the same questions, with a 95&#8239;% paired bootstrap interval;
<span class="dot solid"></span> significant: 0 is outside, and the test (McNemar's for accuracies, the bootstrap's for
headlines) rejects "no difference" at 5&#8239;%; <span class="dot hollow"></span> within noise.</p>"""


def curves_figure(curves: Sequence[Curve], caption: str) -> str:
    """A line chart with its caption."""
    final = ", ".join(f"{curve.name} ends at {curve.values[-1]:.3f}" for curve in curves)
    return (
        f"<figure>{line_chart(curves, f'{caption} {final}.')}"
        f"<figcaption>{escape(caption)} Faint: every step; full: running mean.</figcaption></figure>"
    )


def gallery(panels: Sequence[Panel], *, shared_basis: bool, layer: int) -> str:
    """Pictures beside the three leading components of their features."""
    basis = (
        "Within a column all pictures share one basis, so equal colours mean equal features down a column; across "
        "columns colours cannot be compared."
        if shared_basis
        else "Every picture has a basis of its own: look at which patches share a colour inside a picture; colours "
        "cannot be compared between pictures."
    )
    rows = "".join(_panel(panel, layer) for panel in panels)
    return f"""<p class="prose">Three principal components of the patch features as red, green and blue, one square
per visual token. {basis}</p>
<div class="gallery" role="list">{rows}</div>"""


def settings_list(settings: Mapping[str, str]) -> str:
    """Names and values of what was run."""
    entries = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in settings.items()
    )
    return f'<dl class="settings">{entries}</dl>'


def data_uri(picture: np.ndarray) -> str:
    """uint8 [h, w, 3] as a PNG inside a URL."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _benchmark_rows(name: str, rows: Sequence[Row], span: tuple[float, float]) -> str:
    body = "".join(_row(row, span) for row in rows)
    return f'<tbody><tr class="benchmark"><th scope="rowgroup" colspan="8">{escape(name)}</th></tr>{body}</tbody>'


def _row(row: Row, span: tuple[float, float]) -> str:
    low, high = row.interval
    drawing = interval(row.delta, low, high, span, solid=row.significant, label=row.statement(row.task))
    chance = "&#8211;" if row.chance is None else f"{row.chance:.1f}"
    return f"""<tr{' class="total"' if row.task == ALL else ""}><th scope="row">{escape(row.task)}</th>
<td data-label="Questions">{row.total:,}</td><td data-label="Chance">{chance}</td>
<td data-label="Baseline">{_score(row.baseline)}</td>
<td data-label="VIRAL">{_score(row.other)}</td>
<td data-label="Difference">{signed(row.delta, 1)}
<small>{signed(low, 1)} to {signed(high, 1)}</small></td><td class="plot">{drawing}</td>
<td data-label="Test">{escape(format_p(row.p_value))}<small>{row.verdict}</small></td></tr>"""


def _score(side: Side) -> str:
    low, high = side.interval
    return f"{side.value:.1f}<small>{low:.1f}&#8211;{high:.1f}</small>"


def _panel(panel: Panel, layer: int) -> str:
    pictures = (
        ("picture", panel.image, panel.caption, panel.caption),
        ("grid", panel.teacher, "Teacher", f"Teacher's features of: {panel.caption}"),
        ("grid", panel.baseline, f"Baseline, layer {layer}", f"Baseline's features of: {panel.caption}"),
        ("grid", panel.viral, f"VIRAL, layer {layer}", f"VIRAL's features of: {panel.caption}"),
    )
    figures = "".join(
        f'<figure><img class="{kind}" src="{data_uri(picture)}" width="{picture.shape[1]}" '
        f'height="{picture.shape[0]}" alt="{escape(alt)}"><figcaption>{escape(name)}</figcaption></figure>'
        for kind, picture, name, alt in pictures
    )
    return f'<div class="panel" role="listitem">{figures}</div>'
