"""A finished table or figure as one HTML file that asks nothing of the network."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipelines.reproduce.table import Line, Table, texts

STYLE = Path(__file__).with_name("page.css")
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A picture of an analysis."""

    path: Path
    caption: str


def page(
    title: str, *, shows: str, table: Table | None, figures: Sequence[Figure], facts: Sequence[str]
) -> str:
    """The document; `shows` says what the paper reports there, `facts` what else a reader should know."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>The paper: {escape(shows)}</p>" if shows else "",
        _table(table) if table else "",
        *map(_figure, figures),
        _list("Notes", facts),
    ]
    body = "\n".join(part for part in parts if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in (*table.heads, "", *table.columns))
    footnotes = "".join(f"<li>{escape(note)}</li>" for note in table.footnotes)
    return f"""<p>{escape(table.made)} {escape(table.legend)}</p>
<div class="wide" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>
<thead><tr>{heads}</tr></thead>
<tbody>
{"".join(_rows(table))}</tbody>
</table></div>
{f'<ol class="footnotes">{footnotes}</ol>' if footnotes else ""}
{_list("Columns", [f"{name}: {score}" for name, score in zip(table.columns, table.scores, strict=True)])}
{_list("Runs", [f"{', '.join(line.runs)}: {line.settings}" for line in table.lines])}"""


def _rows(table: Table) -> Iterable[str]:
    section = ""
    for line in table.lines:
        if line.section != section:
            section = line.section
            span = len(table.heads) + 1 + len(table.columns)
            yield f'<tr class="section"><th colspan="{span}" scope="rowgroup">{escape(section)}</th></tr>\n'
        yield from _lines(table, line)


def _lines(table: Table, line: Line) -> Iterable[str]:
    said = list(texts(table, line))
    for number, (name, cells) in enumerate(said):
        labels = ""
        if number == 0:
            padded = (*line.labels, *[""] * (len(table.heads) - len(line.labels)))
            labels = "".join(
                f'<th scope="rowgroup" rowspan="{len(said)}">{escape(text)}</th>' for text in padded
            )
        values = "".join(f"<td>{escape(text)}</td>" for text in cells)
        first = " first" if number == 0 else ""
        yield f'<tr class="{name}{first}">{labels}<th scope="row">{name}</th>{values}</tr>\n'


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.path.read_bytes()).decode()
    source = f"data:{MEDIA[figure.path.suffix]};base64,{data}"
    caption = escape(figure.caption)
    return f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in dict.fromkeys(lines))
    return f"<h2>{escape(title)}</h2>\n<ul>{items}</ul>" if lines else ""
