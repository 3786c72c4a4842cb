"""What happened during training: curves of every run, and what its steps cost."""

import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.report.page import Section
from pipelines.report.svg import Curve, line_chart, role_of
from pipelines.report.text import html
from pipelines.training.folder import METRICS, read_metrics
from stores.space import format_bytes

Line = Mapping[str, Any]
Runs = Mapping[str, Sequence[Line]]
"""Label of a run -> its lines of `metrics.jsonl`."""


def read_runs(folders: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """The metrics of each run; of one that has not finished a step, none.

    Raises:
        ConfigError: a damaged line.
    """
    return {
        label: read_metrics(folder) if (folder / METRICS).is_file() else []
        for label, folder in folders.items()
    }


def training_section(runs: Runs, labels: Sequence[str]) -> Section:
    """Curves of all runs over one another, and a table of costs; a label's place among `labels` is its colour."""
    roles = {label: role_of(labels.index(label)) for label in runs}
    charts = [
        curves_figure(curves, caption)
        for caption, value in _charts(runs).items()
        if (curves := _curves(runs, roles, value))
    ]
    silent = [label for label, lines in runs.items() if not lines]
    note = f'<p class="prose">No finished step yet: {html(", ".join(silent))}.</p>' if silent else ""
    return Section(
        "training", "Training", f'{note}<div class="pair">{"".join(charts)}</div>{_cost_table(runs)}'
    )


def curves_figure(curves: Sequence[Curve], caption: str) -> str:
    """A line chart with its caption."""
    final = ", ".join(f"{curve.name} ends at {curve.values[-1]:.4g}" for curve in curves)
    return (
        f"<figure>{line_chart(curves, f'{caption} {final}.')}"
        f"<figcaption>{html(caption)} Faint: every step; full: running mean.</figcaption></figure>"
    )


def _charts(runs: Runs) -> dict[str, Callable[[Line], float | None]]:
    """Caption -> value of a step: the losses, every objective's own curve, and how fast it went."""
    names = dict.fromkeys(name for lines in runs.values() for line in lines[:1] for name in line)
    objectives = [name for name in names if name.endswith(("/cosine", "/loss")) and name != "loss/lm"]
    return {
        "Language-model loss.": operator.methodcaller("get", "loss/lm"),
        **{_caption(name): operator.methodcaller("get", name) for name in objectives},
        "Tokens per second, padding not counted; without the first step.": _speed,
        "Seconds per step; without the first step.": lambda line: _later(line, line["step_time"]),
    }


def _caption(name: str) -> str:
    if name.endswith("/cosine"):
        return f"{name}: mean cosine of projected visual tokens with the teacher."
    return f"{name}: loss of this objective."


def _later(line: Line, value: float) -> float | None:
    """A first step pays for starting up, and would set the scale."""
    return None if line["step"] == 1 else value


def _speed(line: Line) -> float | None:
    return _later(line, line["tokens"] / line["step_time"]) if line["step_time"] else None


def _curves(runs: Runs, roles: Mapping[str, str], value: Callable[[Line], float | None]) -> list[Curve]:
    """One curve per run that has any such value."""
    curves = []
    for label, lines in runs.items():
        points = [(line["step"], value(line)) for line in lines]
        known = [(step, number) for step, number in points if number is not None and math.isfinite(number)]
        if known:
            curves.append(Curve(label, roles[label], *map(list, zip(*known, strict=True))))
    return curves


def _cost_table(runs: Runs) -> str:
    rows = "".join(_cost_row(label, lines) for label, lines in runs.items() if len(lines) > 1)
    if not rows:
        return ""
    heads = ("Steps", "Median step", "Quartiles", "Tokens/s", "Waiting for data", "Peak memory")
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"""<table class="results plain">
<thead><tr><th scope="col">Run</th>{cells}</tr></thead><tbody>{rows}</tbody></table>
<p class="key">Of all steps but the first. Times are rank 0's; memory is that of the device, or of the process on a
CPU, on the rank that needed most.</p>"""


def _cost_row(label: str, lines: Sequence[Line]) -> str:
    later = lines[1:]
    times = [line["step_time"] for line in later]
    low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    total = sum(times) or math.nan
    cells = {
        "Steps": f"{lines[-1]['step']:,}",
        "Median step": f"{middle:.3g}&#8239;s",
        "Quartiles": f"{low:.3g}&#8211;{high:.3g}&#8239;s",
        "Tokens/s": f"{sum(line['tokens'] for line in later) / total:,.0f}",
        "Waiting for data": f"{100 * sum(line['data_wait'] for line in later) / total:.1f}&#8239;%",
        "Peak memory": format_bytes(max(line["peak_memory"] for line in lines)),
    }
    body = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in cells.items())
    return f'<tr><th scope="row" class="label">{html(label)}</th>{body}</tr>'
