"""From stored replies to the finished table: every row against its baseline, on the same questions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines import comparison
from pipelines.reproduce.graph import Graph, Request, Row
from pipelines.reproduce.paper import BENCHMARKS
from pipelines.reproduce.paper_notes import TABLE_NOTES, misfit
from pipelines.reproduce.runs import Run
from pipelines.reproduce.table import Cell, Line, Table
from viral.benchmarks import get_benchmark

HEADLINE = "headline"
LEGEND = (
    "Brackets: 95 % bootstrap intervals. A difference is to the baseline of the same model, on the same questions; "
    "~ marks those within noise."
)
HOUSEKEEPING = ("save_every", "keep_last")


def read_table(request: Request, graph: Graph) -> Table:
    """The table of a target whose steps are done.

    Raises:
        DataError: replies that are damaged, incomplete, or of other data.
    """
    table, columns = request.target.table, request.target.benchmarks
    assert table is not None
    protocols = [get_benchmark(name).protocols[request.profile] for name in columns]
    return Table(
        name=request.target.name,
        title=table.title,
        made=made_with(request),
        legend=LEGEND,
        heads=table.labels,
        columns=tuple(BENCHMARKS[name] for name in columns),
        scores=tuple(f"{protocol.headline_name}; {protocol.rule}" for protocol in protocols),
        lines=tuple(_line(request, row) for row in graph.rows),
        notes=TABLE_NOTES.get(request.target.name, ()),
        left_out=graph.left_out,
    )


def made_with(request: Request) -> str:
    """Scale, profile and seeds, for a reader."""
    seeds = "one training seed" if request.seeds == 1 else f"{request.seeds} training seeds"
    said = f"Scale {request.scale.name}, evaluation profile {request.profile}, {seeds} a model."
    if request.scale.draws_world:
        said += " Models are the micro-world's counterparts of the paper's: they show that all steps work, no more."
    return said


def _line(request: Request, row: Row) -> Line:
    baselines, others = (
        [request.place.replies(run, request.profile) for run in runs] for runs in (row.baselines, row.runs)
    )
    measured = measure(
        baselines, others, request.place.benchmarks, request.target.benchmarks, request.profile
    )
    return Line(
        labels=row.labels,
        cells=tuple(
            _cell(row, index, name, measured.get(name))
            for index, name in enumerate(request.target.benchmarks)
        ),
        runs=tuple(run.name for run in row.runs),
        settings=_settings(row.runs[0]),
        section=row.printed.section if row.printed else "",
    )


def measure(
    baselines: Sequence[Path], others: Sequence[Path], data: Path, benchmarks: Sequence[str], profile: str
) -> dict[str, comparison.Row]:
    """Headlines of two sides, and their difference, by benchmark."""
    rows = comparison.compare_runs(baselines, others, data, benchmarks, profile)
    return {row.benchmark: row for row in rows if row.task == HEADLINE}


def _cell(row: Row, index: int, name: str, found: comparison.Row | None) -> Cell:
    """`found` is None where a headline is not defined on this side or the other."""
    printed = row.printed
    paper = printed.values[index] if printed else None
    cell = Cell(
        paper=paper,
        paper_delta=printed.deltas[index] if printed and printed.deltas else None,
        note=None if paper is None else misfit(name, paper),
    )
    if found is None:
        return cell
    cell = replace(cell, ours=found.other.value, interval=found.other.interval)
    if row.is_baseline:
        return cell
    return replace(cell, delta=found.delta, delta_interval=found.interval, verdict=found.verdict)


def _settings(run: Run) -> str:
    changed = [
        f"{name}={json.dumps(value)}" for name, value in run.settings.items() if name not in HOUSEKEEPING
    ]
    return " ".join([f"recipe {run.recipe}", *changed])
