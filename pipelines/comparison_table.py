"""A comparison to read in a terminal, and as plain values."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipelines.comparison import HEADLINE, Row, Side
from pipelines.score_table import aligned
from viral.benchmarks.stats import format_p

HEADER = ("benchmark", "score", "baseline", "other", "difference", "95 % interval", "p", "verdict")


def comparison_table(rows: Sequence[Row]) -> str:
    """An aligned table, and below it what the numbers can and cannot say."""
    return "\n".join([*aligned([HEADER, *map(_cells, rows)], left=2), "", *_notes(rows)])


def plain_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as values that JSON can hold, with their verdicts."""
    return [asdict(row) | {"verdict": row.verdict} for row in rows]


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    return (
        row.title,
        row.task,
        _side(row.baseline),
        _side(row.other),
        f"{row.delta:+.2f}",
        f"{low:+.2f} to {high:+.2f}",
        format_p(row.p_value).removeprefix("p ").removeprefix("= "),
        row.verdict,
    )


def _side(side: Side) -> str:
    return f"{side.value:.2f} [{side.interval[0]:.1f}, {side.interval[1]:.1f}]"


def _notes(rows: Sequence[Row]) -> list[str]:
    headlines = [row for row in rows if row.task == HEADLINE]
    adjusted = ", ".join(
        f"{row.title} {format_p(row.adjusted)}" for row in headlines if row.adjusted is not None
    )
    seeds = rows[0].seeds if rows else 0
    return [
        "One training seed: intervals are over questions, and training noise is not in them."
        if seeds == 1
        else f"{seeds} training seeds: values are means over them, intervals are over questions and seeds.",
        f"Headlines, adjusted for {len(headlines)} comparisons (Holm): {adjusted}.",
    ]
