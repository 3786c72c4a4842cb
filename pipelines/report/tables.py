"""Scores of each model, and the differences between two of them drawn on one axis."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pipelines.comparison import ALL, Row
from pipelines.report.svg import interval, interval_axis, signed, symmetric_range
from pipelines.report.text import html
from viral.benchmarks import get_benchmark
from viral.benchmarks.stats import format_p


def score_table(scores: Mapping[str, Mapping[str, dict[str, Any]]], *, tasks: bool) -> str:
    """Headline and diagnostics of every benchmark, a column a model; with `tasks` their accuracies too.

    Args:
        scores: model's label -> benchmark's name -> scores as `viral score --json` prints them.
        tasks: whether to list groups and all items with their Wilson intervals.
    """
    names = list(dict.fromkeys(name for entries in scores.values() for name in entries))
    columns = "".join(f'<th scope="col" class="label">{html(label)}</th>' for label in scores)
    bodies = "".join(_benchmark_scores(name, scores, tasks) for name in names)
    key = "Intervals are 95&#8239;% Wilson intervals. " if tasks else ""
    return f"""<div class="wide" tabindex="0" role="region" aria-label="Headlines"><table class="results scores">
<thead><tr><th scope="col">Headline</th>{columns}</tr></thead>
{bodies}
</table></div>
<p class="key">{key}Headline: the benchmark's score by the rule of the profile. A reply that could not be read
counts as wrong; <em>strict</em> takes the bare answer only, <em>lenient</em> looks for it in free text: a wide gap
between them means a problem of format, not of sight.</p>"""


def interval_table(rows: Sequence[Row], baseline: str, other: str) -> str:
    """Scores of two models with their intervals, and the paired differences."""
    span = symmetric_range([100 * bound / row.maximum for row in rows for bound in row.interval])
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.title, []).append(row)
    bodies = "".join(
        _head(name) + "".join(_row(row, span, baseline, other) for row in members) + "</tbody>"
        for name, members in groups.items()
    )
    first, second = html(baseline), html(other)
    return f"""<table class="results">
<thead><tr><th scope="col">Task</th><th scope="col">Questions</th><th scope="col">Chance</th>
<th scope="col" class="label">{first}</th><th scope="col" class="label">{second}</th><th scope="col">Difference</th>
<td class="plot sides"><span>&#8592; {first} better</span><span>{second} better &#8594;</span></td>
<th scope="col">Test</th></tr></thead>
{bodies}
<tfoot><tr><td colspan="6"></td><td class="plot">{interval_axis(span)}</td><td></td></tr></tfoot>
</table>
<p class="key">Scores with their 95&#8239;% intervals: Wilson's for accuracies, the bootstrap's for headlines.
Difference: {second} minus {first} on the same questions, with a 95&#8239;% paired bootstrap interval, drawn in percent
of the score's maximum; <span class="dot solid"></span> significant: 0 is outside, and the test (McNemar's for
accuracies, the bootstrap's for headlines) rejects "no difference" at 5&#8239;%; <span class="dot hollow"></span> within
noise.</p>"""


def _head(title: str) -> str:
    return f'<tbody><tr class="benchmark"><th scope="rowgroup" colspan="8">{html(title)}</th></tr>'


def _row(row: Row, span: tuple[float, float], baseline: str, other: str) -> str:
    low, high = row.interval
    unit = row.maximum / 100
    drawing = interval(
        row.delta / unit, low / unit, high / unit, span, solid=row.significant, label=row.statement(row.task)
    )
    kinds = ["total"] * (row.task == ALL) + ["noise"] * (not row.significant)
    chance = "&#8211;" if row.chance is None else f"{row.chance:.1f}"
    return f"""<tr class="{" ".join(kinds)}"><th scope="row">{html(row.task)}</th>
<td data-label="Questions">{row.total:,}</td><td data-label="Chance">{chance}</td>
<td data-label="{html(baseline)}">{_score(row.baseline.value, row.baseline.interval)}</td>
<td data-label="{html(other)}">{_score(row.other.value, row.other.interval)}</td>
<td class="delta" data-label="Difference">{signed(row.delta, 1)}
<small>{signed(low, 1)} to {signed(high, 1)}</small></td><td class="plot">{drawing}</td>
<td data-label="Test">{html(format_p(row.p_value))}{_holm(row)}<small>{row.verdict}</small></td></tr>"""


def _holm(row: Row) -> str:
    """The p-value of a headline among several, corrected for their number."""
    return "" if row.adjusted is None else f"<small>Holm {html(format_p(row.adjusted))}</small>"


def _score(value: float, bounds: Sequence[float]) -> str:
    return f"{value:.1f}<small>{bounds[0]:.1f}&#8211;{bounds[1]:.1f}</small>"


def _benchmark_scores(name: str, scores: Mapping[str, Mapping[str, dict[str, Any]]], tasks: bool) -> str:
    entries = {label: benchmarks.get(name) for label, benchmarks in scores.items()}
    first = next(entry for entry in entries.values() if entry)
    title = get_benchmark(name).title
    rows = [_cells(f"{html(title)}<small>{html(first['headline']['name'])}</small>", entries, _headline)]
    if tasks:
        rows += [_cells(html(group), entries, partial(_group, group=group)) for group in first["groups"]]
        rows.append(_cells(ALL, entries, lambda entry: _tally(entry["overall"])))
    return f"<tbody>{''.join(rows)}</tbody>"


def _cells(head: str, entries: Mapping[str, Any], show: Callable[[dict[str, Any]], str]) -> str:
    cells = "".join(
        f'<td data-label="{html(label)}">{show(entry) if entry else "&#8211;"}</td>'
        for label, entry in entries.items()
    )
    return f'<tr><th scope="row">{head}</th>{cells}</tr>'


def _headline(entry: dict[str, Any]) -> str:
    headline, unread, other = entry["headline"], entry["unparsed"]["count"], entry["diagnostic"]
    value, maximum = headline["value"], headline["maximum"]
    shown = "not defined" if value is None else f"<strong>{value:.1f}</strong>"
    return (
        f"{shown}{'' if maximum == 100 else f' of {maximum:,.0f}'}"
        f"<small>{unread:,} of {entry['scored']:,} unread</small>"
        f"<small>strict {other['strict']:.1f}, lenient {other['lenient']:.1f}</small>"
    )


def _group(entry: dict[str, Any], group: str) -> str:
    return _tally(entry["groups"].get(group))


def _tally(tally: dict[str, Any] | None) -> str:
    return _score(tally["accuracy"], tally["interval"]) if tally else "&#8211;"
