"""The demo's page: the report's parts, and what only the demo knows: cost of a step, features of its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.comparison import Row
from pipelines.report.accuracy import notes_block
from pipelines.report.browser import browser_section
from pipelines.report.items import Packed
from pipelines.report.page import Section, render_page
from pipelines.report.pictures import lossless
from pipelines.report.settings import settings_list
from pipelines.report.svg import Curve
from pipelines.report.tables import interval_table
from pipelines.report.text import html
from pipelines.report.training import curves_figure
from pipelines.report.words import caveats, evidence, verdict
from stores.publish import publish
from stores.space import format_bytes

NAMES = {"baseline": "baseline", "viral": "VIRAL"}
"""Kind of run -> what the page calls it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """Step time of VIRAL over baseline: median ratio of `pairs` alternating steps, its 95 % interval, medians in s."""

    pairs: int
    ratio: float
    low: float
    high: float
    baseline_seconds: float
    viral_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheFacts:
    """What stage one left on disk: distinct images, bytes, codec and its mean cosine to the exact features."""

    teacher: str
    images: int
    num_bytes: int
    codec: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One gallery row: a picture and PCA pictures of the teacher and of both students, all uint8 [h, w, 3]."""

    caption: str
    image: np.ndarray
    teacher: np.ndarray
    baseline: np.ndarray
    viral: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """Everything on the page. `layer` is the aligned layer; `settings` are names and values of what was run."""

    title: str
    rows: list[Row]
    items: Packed
    step_time: StepTime
    cosine: list[Curve]
    lm_loss: list[Curve]
    layer: int
    gallery: list[Panel]
    cache: CacheFacts
    settings: dict[str, str]


def write_demo_page(report: DemoReport, path: Path) -> None:
    """Publish the page as `path`."""
    with publish(path) as partial:
        partial.write_text(render(report), encoding="utf-8")


def demo_verdict(rows: Sequence[Row]) -> str:
    """What the differences on whole benchmarks amount to, in plain words."""
    return verdict(rows, "Training with alignment", "training with and without alignment")


def render(report: DemoReport) -> str:
    """The page as HTML."""
    notes = [
        *caveats(report.rows),
        "This is a micro-world: drawn scenes, models of a few hundred thousand to a few million weights. It shows "
        "that the system works from end to end; it says nothing about the paper's models or photographs.",
    ]
    names = list(NAMES.values())
    accuracy = interval_table(report.rows, *names) + notes_block(notes)
    return render_page(
        title=report.title,
        kicker="VIRAL demo, micro-world",
        lead=demo_verdict(report.rows),
        evidence=evidence(report.rows),
        sections=[
            Section("accuracy", "Accuracy", accuracy),
            Section("training", "Training", _training(report)),
            Section("features", f"Features at layer {report.layer}", _gallery(report.gallery, report.layer)),
            browser_section(report.items, names),
            Section("run", "What was run", settings_list(report.settings)),
        ],
    )


def _training(report: DemoReport) -> str:
    cosine = f"Mean cosine of projected visual tokens (layer {report.layer}) with the teacher."
    loss = "Language-model loss, both runs, same data in the same order."
    return (
        f'{_cost(report)}<div class="pair">{curves_figure(report.cosine, cosine)}'
        f"{curves_figure(report.lm_loss, loss)}</div>"
    )


def _cost(report: DemoReport) -> str:
    time, cache = report.step_time, report.cache
    if time.low <= 1 <= time.high:
        meaning = "The interval includes 1: no measurable cost."
    else:
        meaning = f"That is {100 * abs(time.ratio - 1):.1f}&#8239;% {'more' if time.ratio > 1 else 'less'}."
    return (
        f'<p class="prose">A step with alignment took <strong>{time.ratio:.3f}</strong> times the baseline step '
        f"(median of {time.pairs} alternating pairs, 95&#8239;% interval {time.low:.3f} to {time.high:.3f}; "
        f"{1000 * time.viral_seconds:.1f}&#8239;ms against {1000 * time.baseline_seconds:.1f}&#8239;ms). {meaning} "
        f"No teacher was in memory. Its features of {cache.images:,} images came from a cache of "
        f"{format_bytes(cache.num_bytes)}, written once by the teacher {html(cache.teacher)} with codec "
        f"{html(cache.codec)} (mean cosine to the exact features {cache.cosine:.5f}).</p>"
    )


def _gallery(panels: Sequence[Panel], layer: int) -> str:
    """Pictures beside the three leading components of their features."""
    rows = "".join(_panel(panel, layer) for panel in panels)
    return f"""<p class="prose">Three principal components of the patch features as red, green and blue, one square
per visual token. Within a column all pictures share one basis, so equal colours mean equal features down a column;
across columns colours cannot be compared.</p>
<div class="gallery" role="list">{rows}</div>"""


def _panel(panel: Panel, layer: int) -> str:
    pictures = (
        ("picture", panel.image, panel.caption, panel.caption),
        ("pixels", panel.teacher, "Teacher", f"Teacher's features of: {panel.caption}"),
        ("pixels", panel.baseline, f"Baseline, layer {layer}", f"Baseline's features of: {panel.caption}"),
        ("pixels", panel.viral, f"VIRAL, layer {layer}", f"VIRAL's features of: {panel.caption}"),
    )
    figures = "".join(
        f'<figure><button type="button" class="enlarge {kind}" data-caption="{html(alt)}">'
        f'<img src="{lossless(picture)}" width="{picture.shape[1]}" height="{picture.shape[0]}" alt="{html(alt)}">'
        f"</button><figcaption>{html(name)}</figcaption></figure>"
        for kind, picture, name, alt in pictures
    )
    return f'<div class="panel" role="listitem">{figures}</div>'
