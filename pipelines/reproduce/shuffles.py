"""Table 3: the printed counts of right answers beside those of our permutation analysis, by task."""

import json
from collections.abc import Iterator
from typing import Any

from pipelines.reproduce.graph import Graph, Request
from pipelines.reproduce.paper import TABLE3, TABLE3_LABELS, TABLE3_TITLE, TABLE3_TOTAL, Shuffle
from pipelines.reproduce.paper_notes import TABLE_NOTES
from pipelines.reproduce.result import made_with
from pipelines.reproduce.runs import Run
from pipelines.reproduce.scales import NoCounterpartError
from pipelines.reproduce.table import Cell, Line, Table

PERMUTATION = "permutation"
LEGEND = (
    "Brackets behind shuffled counts: smallest and largest over the permutations; behind changes: 95 % bootstrap "
    "interval over questions, ~ if it holds 0."
)


def read_shuffles(request: Request, graph: Graph) -> Table | None:
    """The table of a finished permutation analysis; None if the target has none."""
    jobs = [job for job in graph.jobs if job.analysis.name == PERMUTATION]
    if not jobs:
        return None
    path = request.place.analysis(jobs[0].folder) / f"{PERMUTATION}.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["data"]
    return Table(
        name=request.target.name,
        title=TABLE3_TITLE,
        made=made_with(request),
        legend=LEGEND,
        heads=(*TABLE3_LABELS, "Task"),
        columns=("in order", "shuffled", "change", "change, %"),
        scores=("right answers", "right answers, mean", "right answers", "of those in order"),
        lines=tuple(_lines(request, data)),
        notes=TABLE_NOTES[request.target.name],
        left_out=graph.left_out,
        digits=1,
    )


def _lines(request: Request, data: dict[str, Any]) -> Iterator[Line]:
    for shuffle in TABLE3:
        try:
            run = request.scale.run_of(shuffle.recipe)
        except NoCounterpartError:
            continue
        yield _printed(shuffle, run)
        for task, found in data[run.name].items():
            yield _measured(shuffle, run, f"{task}, of {found['total']}", found)


def _printed(shuffle: Shuffle, run: Run) -> Line:
    values = (shuffle.original, shuffle.shuffled, -shuffle.drop, -shuffle.drop_percent)
    return Line(
        labels=(*shuffle.labels, f"printed, of {TABLE3_TOTAL}"),
        cells=tuple(Cell(paper=value) for value in values),
        runs=(run.name,),
        settings=f"recipe {run.recipe}",
    )


def _measured(shuffle: Shuffle, run: Run, task: str, found: dict[str, Any]) -> Line:
    low, high = found["change_interval"]
    smallest, largest = found["range"]
    return Line(
        labels=(*shuffle.labels, task),
        cells=(
            Cell(ours=found["original"]),
            Cell(ours=found["mean"], interval=(smallest, largest)),
            Cell(
                ours=found["change"],
                interval=(low, high),
                verdict="within noise" if low <= 0 <= high else "significant",
            ),
            Cell(ours=found["change_percent"]),
        ),
        runs=(run.name,),
        settings=f"recipe {run.recipe}",
    )
