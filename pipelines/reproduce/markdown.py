"""A finished table or figure as Markdown."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.report.figures import Analysis
from pipelines.reproduce.table import Table, texts
from pipelines.score_table import aligned


def markdown(table: Table) -> str:
    """Title, what was run, the table, its footnotes, notes and runs."""
    heads = (*table.heads, "", *table.columns)
    rows: list[tuple[str, ...]] = [heads]
    section = ""
    for line in table.lines:
        if line.section != section:
            section = line.section
            rows.append((f"*{section}*", *[""] * (len(heads) - 1)))
        for number, (name, cells) in enumerate(texts(table, line)):
            labels = line.labels if number == 0 else ("",) * len(line.labels)
            padding = ("",) * (len(table.heads) - len(labels))
            rows.append((*labels, *padding, name, *cells))
    header, *body = [
        f"| {text} |" for text in aligned(rows, left=len(table.heads) + 1, separator=" | ", keep_width=True)
    ]
    rule = "".join(letter if letter == "|" else "-" for letter in header)
    parts = [
        f"# {table.title}",
        f"{table.made} {table.legend}",
        "\n".join([header, rule, *body]),
        "\n".join(f"[{chr(ord('a') + index)}] {note}" for index, note in enumerate(table.footnotes)),
        _list("Columns", [f"{c}: {s}" for c, s in zip(table.columns, table.scores, strict=True)]),
        _list("About the printed numbers", table.notes),
        _list("Not at this scale", table.left_out),
        _list("Runs", [f"{', '.join(line.runs)}: {line.settings}" for line in table.lines]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def figures_markdown(analyses: Sequence[Analysis], folder: Path, shows: str) -> str:
    """The figures of analyses, for a file in `folder`; `shows` says what the paper reports there."""
    if not analyses:
        return ""
    figures = [
        f"![{path.stem}]({Path(os.path.relpath(path, folder)).as_posix()})\n\n{' '.join(caption.split())}"
        for analysis in analyses
        for path, caption in analysis.figures
    ]
    return "\n" + "\n\n".join([f"The paper: {shows}", *figures]) + "\n"


def _list(title: str, lines: tuple[str, ...] | list[str]) -> str:
    return "\n".join([f"{title}:", "", *(f"- {line}" for line in dict.fromkeys(lines))]) if lines else ""
