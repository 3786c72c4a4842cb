"""Scores as a table to read in a terminal."""

from collections.abc import Iterable
from typing import Any

from viral.benchmarks import get_benchmark

HEADER: tuple[str, ...] = ("benchmark", "task", "correct", "accuracy", "95 % interval", "chance")


def score_table(scores: Iterable[dict[str, Any]]) -> str:
    """An aligned table of all tasks, and below it the headline and the unread replies of each benchmark."""
    scores = list(scores)
    rows, notes = [HEADER], []
    for entry in scores:
        title = get_benchmark(entry["benchmark"]).title
        tasks = entry["groups"] if len(entry["groups"]) > 1 else {}
        tasks = {**tasks, "all items": entry["overall"]}
        rows += [(title, task, *_cells(result)) for task, result in tasks.items()]
        notes.append(_note(title, entry))
    return "\n".join([*aligned(rows, left=2), "", *notes])


def aligned(
    rows: list[tuple[str, ...]], left: int, separator: str = "  ", *, keep_width: bool = False
) -> list[str]:
    """Columns padded to their widest cell, the first `left` ones flush left; blanks at the end only if kept."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        separator.join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return lines if keep_width else [line.rstrip() for line in lines]


def _cells(result: dict[str, Any]) -> tuple[str, ...]:
    if not result["total"]:
        return ("0/0", "-", "-", "-")
    low, high = result["interval"]
    return (
        f"{result['correct']}/{result['total']}",
        f"{result['accuracy']:.2f}",
        f"{low:.1f} to {high:.1f}",
        f"{result['chance']:.1f}",
    )


def _note(title: str, entry: dict[str, Any]) -> str:
    headline, unread = entry["headline"], entry["unparsed"]
    value = "not defined" if headline["value"] is None else f"{headline['value']:.2f}"
    if headline["maximum"] != 100:
        value += f" of {headline['maximum']:g}"
    parts = [
        f"{title}, profile {entry['profile']}: {headline['name']} {value}",
        f"{unread['count']} of {entry['scored']} replies unread",
        f"strict {_percent(entry['diagnostic']['strict'])}, lenient {_percent(entry['diagnostic']['lenient'])}",
    ]
    if entry["scored"] < entry["items"]:
        parts.append(f"PARTIAL: {entry['items'] - entry['scored']} of {entry['items']} items have no reply")
    if not entry["published_size"]:
        parts.append("not the published size")
    return "; ".join(parts)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
