"""A finished table: the paper's values beside ours, as plain values that Markdown, HTML and JSON are made from."""

from collections.abc import Iterator
from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One benchmark of one row. None: not printed, not measured, or nothing to compare with."""

    paper: float | None = None
    paper_delta: float | None = None
    ours: float | None = None
    interval: Interval | None = None
    delta: float | None = None
    delta_interval: Interval | None = None
    verdict: str | None = None
    """Of the difference to the baseline: `significant` or `within noise`."""
    note: str | None = None
    """What is odd about the printed value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row of the table."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    runs: tuple[str, ...]
    """Names of the training runs behind it, one for each seed."""
    settings: str
    """What sets these runs apart, as settings of `viral train`."""
    section: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All of it; `columns` are the paper's names of the benchmarks, `scores` what their headline is here."""

    name: str
    title: str
    made: str
    """Scale, profile and seeds."""
    legend: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    scores: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def footnotes(self) -> list[str]:
        """What is odd about printed values, each once, in the order of reading."""
        return list(dict.fromkeys(cell.note for line in self.lines for cell in line.cells if cell.note))

    def mark(self, cell: Cell) -> str:
        """The letter of a cell's footnote, or nothing."""
        return chr(ord("a") + self.footnotes.index(cell.note)) if cell.note else ""


def texts(table: Table, line: Line) -> Iterator[tuple[str, list[str]]]:
    """What a row says: a name of each sub-row (`paper`, `ours`, `delta`), and its text in every column."""
    if any(cell.paper is not None for cell in line.cells):
        yield "paper", [_paper(cell, table.mark(cell)) for cell in line.cells]
    if any(cell.ours is not None for cell in line.cells):
        yield "ours", [_with_interval(cell.ours, cell.interval, "{:.2f}") for cell in line.cells]
    if any(cell.delta is not None for cell in line.cells):
        yield "difference", [_difference(cell) for cell in line.cells]


def _paper(cell: Cell, mark: str) -> str:
    if cell.paper is None:
        return ""
    delta = "" if cell.paper_delta is None else f" ({cell.paper_delta:+.2f})"
    return f"{cell.paper:.2f}{delta}" + (f" [{mark}]" if mark else "")


def _difference(cell: Cell) -> str:
    noise = " ~" if cell.verdict == "within noise" else ""
    return _with_interval(cell.delta, cell.delta_interval, "{:+.2f}") + noise


def _with_interval(value: float | None, interval: Interval | None, form: str) -> str:
    if value is None:
        return "-"
    bounds = "" if interval is None else " [" + ", ".join(form.format(bound) for bound in interval) + "]"
    return form.format(value) + bounds
