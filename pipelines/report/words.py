"""What the differences amount to, in plain words, and the same table as Markdown."""

from collections.abc import Sequence

from pipelines.comparison import ALL, HEADLINE, Row
from pipelines.score_table import aligned
from viral.benchmarks.stats import SIGNIFICANCE, format_p


def verdict(rows: Sequence[Row], subject: str, contrast: str) -> str:
    """What the differences on whole benchmarks amount to: did `subject` score higher or lower, after Holm's correction?

    `contrast` ends the sentence "No significant difference between ...".
    """
    found = significant(rows)
    better = [row.title for row in found if row.delta > 0]
    worse = [row.title for row in found if row.delta < 0]
    sentences = [
        f"{subject} scored significantly {direction} on {' and '.join(names)}."
        for direction, names in (("higher", better), ("lower", worse))
        if names
    ]
    return " ".join(sentences) or f"No significant difference between {contrast}."


def evidence(rows: Sequence[Row]) -> list[str]:
    """One statement per whole benchmark: difference, interval, p-value, significant or not."""
    return [row.statement(row.title) for row in whole_benchmarks(rows)]


def significant(rows: Sequence[Row]) -> list[Row]:
    """Of whole benchmarks those that differ significantly, after Holm's correction."""
    return [row for row in whole_benchmarks(rows) if row.significant and (row.adjusted or 0) < SIGNIFICANCE]


def whole_benchmarks(rows: Sequence[Row]) -> list[Row]:
    """One row per benchmark: its headline, or all its items where that is not defined."""
    chosen: dict[str, Row] = {}
    for row in rows:
        if row.task == HEADLINE or (row.task == ALL and row.benchmark not in chosen):
            chosen[row.benchmark] = row
    return list(chosen.values())


def caveats(rows: Sequence[Row]) -> list[str]:
    """What a table of differences between two trained models cannot say."""
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
        "One training seed each. The tests ask whether these two trained models differ on such questions, not "
        "whether the method would win again when trained anew.",
        f"{len(rows)} comparisons are made. If nothing differed at all, one would be called significant at "
        f"{100 * SIGNIFICANCE:.0f} % in about {100 * (1 - (1 - SIGNIFICANCE) ** len(rows)):.0f} % of such tables, "
        "were they independent.",
    ]


def markdown_table(rows: Sequence[Row]) -> str:
    """The accuracy table as aligned Markdown, for a terminal or a pull request."""
    cells: list[tuple[str, ...]] = [
        ("benchmark", "score", "chance", "baseline", "VIRAL", "difference", "p", "verdict"),
        *(_markdown_cells(row) for row in rows),
    ]
    header, *body = [f"| {line} |" for line in aligned(cells, left=2, separator=" | ", keep_width=True)]
    rule = "".join(character if character == "|" else "-" for character in header)
    return "\n".join([header, rule, *body])


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
