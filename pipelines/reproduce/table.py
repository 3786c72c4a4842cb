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
    """Of the difference to the baseline, or of ours if that is one: `significant` or `within noise`."""
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
    digits: int = 2
    """Behind the point, as the paper prints them."""

    @property
    def footnotes(self) -> list[str]:
        """What is odd about printed values, each once, in the order of reading."""
        return list(dict.fromkeys(cell.note for line in self.lines for cell in line.cells if cell.note))

    def mark(self, cell: Cell) -> str:
        """The letter of a cell's footnote, or nothing."""
        return chr(ord("a") + self.footnotes.index(cell.note)) if cell.note else ""


def texts(table: Table, line: Line) -> Iterator[tuple[str, list[str]]]:
    """What a row says: a name of each sub-row (`paper`, `ours`, `delta`), and its text in every column."""
    plain, signed = f"{{:.{table.digits}f}}", f"{{:+.{table.digits}f}}"
    if any(cell.paper is not None for cell in line.cells):
        yield "paper", [_paper(cell, table.mark(cell), plain, signed) for cell in line.cells]
    if any(cell.ours is not None for cell in line.cells):
        yield (
            "ours",
            [
                _with_interval(cell.ours, cell.interval, plain) + (_noise(cell) if cell.delta is None else "")
                for cell in line.cells
            ],
        )
    if any(cell.delta is not None for cell in line.cells):
        yield (
            "difference",
            [_with_interval(cell.delta, cell.delta_interval, signed) + _noise(cell) for cell in line.cells],
        )


def _paper(cell: Cell, mark: str, plain: str, signed: str) -> str:
    if cell.paper is None:
        return ""
    delta = "" if cell.paper_delta is None else f" ({signed.format(cell.paper_delta)})"
    return f"{plain.format(cell.paper)}{delta}" + (f" [{mark}]" if mark else "")


def _noise(cell: Cell) -> str:
    return " ~" if cell.verdict == "within noise" else ""


def _with_interval(value: float | None, interval: Interval | None, form: str) -> str:
    if value is None:
        return "-"
    bounds = "" if interval is None else " [" + ", ".join(form.format(bound) for bound in interval) + "]"
    return form.format(value) + bounds
