"""The demo's report: one HTML file that carries its pictures and style with it, and the same table as Markdown."""

import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from pipelines.comparison import ALL, HEADLINE, Row
from pipelines.report_parts import Panel, curves_figure, gallery, interval_table, settings_list
from pipelines.score_table import aligned
from pipelines.svg import Curve
from stores.publish import publish
from stores.space import format_bytes
from viral.benchmarks.stats import SIGNIFICANCE, format_p


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
class DemoReport:
    """Everything on the page. `layer` is the aligned layer; `settings` are names and values of what was run."""

    title: str
    rows: list[Row]
    step_time: StepTime
    cosine: list[Curve]
    lm_loss: list[Curve]
    layer: int
    gallery: list[Panel]
    shared_basis: bool
    cache: CacheFacts
    settings: dict[str, str]
    notes: list[str] = field(default_factory=list)


def write_report(report: DemoReport, path: Path) -> None:
    """Publish the page as `path`."""
    with publish(path) as partial:
        partial.write_text(render(report), encoding="utf-8")


def verdict(rows: list[Row]) -> str:
    """What the differences on whole benchmarks amount to, in plain words."""
    totals = [row for row in rows if row.task == ALL and row.significant]
    better = [row.title for row in totals if row.delta > 0]
    worse = [row.title for row in totals if row.delta < 0]
    sentences = [
        f"Training with alignment scored significantly {direction} on {' and '.join(names)}."
        for direction, names in (("higher", better), ("lower", worse))
        if names
    ]
    return " ".join(sentences) or "No significant difference between training with and without alignment."


def evidence(rows: list[Row]) -> list[str]:
    """One statement per whole benchmark: difference, interval, p-value, significant or not."""
    return [row.statement(row.title) for row in rows if row.task == ALL]


def caveats(rows: list[Row]) -> list[str]:
    """What the numbers cannot say, for every report of one pair of runs on the micro-world."""
    tasks = [row for row in rows if row.task not in (ALL, HEADLINE)]
    blind = [
        f"{row.title} {row.task}"
        for row in tasks
        if row.chance is not None and row.baseline.interval[0] <= row.chance
    ]
    guessing = [
        f"On {len(blind)} of {len(tasks)} tasks the baseline cannot be told from guessing ({', '.join(blind)}); a "
        "comparison there says nothing about seeing."
    ]
    return (guessing if blind else []) + [
        "This is a micro-world: drawn scenes, models of a few hundred thousand to a few million weights. It shows "
        "that the system works from end to end; it says nothing about the paper's models or photographs.",
        "One training seed each. The tests ask whether these two trained models differ on such questions, not "
        "whether the method would win again when trained anew.",
        f"{len(rows)} comparisons are made. If nothing differed at all, one would be called significant at "
        f"{100 * SIGNIFICANCE:.0f} % in about {100 * (1 - (1 - SIGNIFICANCE) ** len(rows)):.0f} % of such tables, "
        "were they independent.",
    ]


def markdown_table(rows: list[Row]) -> str:
    """The accuracy table as aligned Markdown, for a terminal or a pull request."""
    cells: list[tuple[str, ...]] = [
        ("benchmark", "score", "chance", "baseline", "VIRAL", "difference", "p", "verdict"),
        *(_markdown_cells(row) for row in rows),
    ]
    header, *body = [f"| {line} |" for line in aligned(cells, left=2, separator=" | ", keep_width=True)]
    rule = "".join(character if character == "|" else "-" for character in header)
    return "\n".join([header, rule, *body])


def render(report: DemoReport) -> str:
    """The page as HTML."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#accuracy">Skip to the results</a>
<header>
<p class="kicker">VIRAL demo, micro-world</p>
<h1>{escape(report.title)}</h1>
<p class="standfirst">{escape(verdict(report.rows))}</p>
<ul class="evidence">{"".join(f"<li>{_minus(escape(line))}</li>" for line in evidence(report.rows))}</ul>
<nav aria-label="Sections"><a href="#accuracy">Accuracy</a> <a href="#training">Training</a>
<a href="#features">Features</a> <a href="#run">What was run</a></nav>
</header>
<main>
<section id="accuracy">
<h2>Accuracy</h2>
{interval_table(report.rows)}
<div class="notes">{"".join(f"<p>{escape(note)}</p>" for note in caveats(report.rows) + report.notes)}</div>
</section>
<section id="training">
<h2>Training</h2>
{_cost(report)}
<div class="pair">
{curves_figure(report.cosine, f"Mean cosine of projected visual tokens (layer {report.layer}) with the teacher.")}
{curves_figure(report.lm_loss, "Language-model loss, both runs, same data in the same order.")}
</div>
</section>
<section id="features">
<h2>Features at layer {report.layer}</h2>
{gallery(report.gallery, shared_basis=report.shared_basis, layer=report.layer)}
</section>
<section id="run">
<h2>What was run</h2>
{settings_list(report.settings)}
</section>
</main>
</body>
</html>
"""


def _minus(text: str) -> str:
    """Hyphens in front of a digit become minus signs."""
    return re.sub(r"-(?=\d)", "\u2212", text)


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
        f"{format_bytes(cache.num_bytes)}, written once by the teacher {escape(cache.teacher)} with codec "
        f"{escape(cache.codec)} (mean cosine to the exact features {cache.cosine:.5f}).</p>"
    )


def _markdown_cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    return (
        row.title,
        row.task,
        "-" if row.chance is None else f"{row.chance:.1f}",
        *(
            f"{side.value:.1f} [{side.interval[0]:.1f}, {side.interval[1]:.1f}]"
            for side in (row.baseline, row.other)
        ),
        f"{row.delta:+.1f} [{low:+.1f}, {high:+.1f}]",
        format_p(row.p_value).removeprefix("p ").removeprefix("= "),
        row.verdict,
    )
