"""A finished table or figure as one HTML file, in the dress of the report."""

from collections.abc import Iterator, Sequence

from pipelines.report.figures import Analysis, analyses_section
from pipelines.report.page import Section, render_page
from pipelines.report.text import html, minus
from pipelines.reproduce.table import Line, Table, texts

MIDDLE_DOT = " \u00b7 "


def page(
    title: str,
    *,
    made: str,
    shows: str,
    table: Table | None,
    analyses: list[Analysis],
    notes: Sequence[str],
    left_out: Sequence[str],
) -> str:
    """The document.

    Args:
        title: heading.
        made: scale, profile and seeds.
        shows: what the paper reports there.
        table: ours beside the paper's, if there is one.
        analyses: those whose figures belong to it.
        notes: what to know of the printed numbers.
        left_out: what is not run at this scale, and why.
    """
    sections = [Section("table", "Ours and the paper's", _table(table))] if table else []
    sections += [analyses_section(analyses)] if analyses else []
    lists = {
        "About the printed numbers": notes,
        "Not at this scale": left_out,
        "Columns": [f"{name}: {score}" for name, score in zip(table.columns, table.scores, strict=True)]
        if table
        else (),
        "Runs": [f"{', '.join(line.runs)}: {line.settings}" for line in table.lines] if table else (),
    }
    if any(lists.values()):
        body = "".join(_list(name, lines) for name, lines in lists.items() if lines)
        sections.append(Section("notes", "Notes", body))
    lead = f"{made} The paper: {shows}" if shows else made
    return render_page(title=title, kicker="The paper again", lead=lead, evidence=(), sections=sections)


def _table(table: Table) -> str:
    span = 1 + len(table.columns)
    heads = "".join(f'<th scope="col">{html(text)}</th>' for text in ("", *table.columns))
    footnotes = "".join(f"<li>{html(note)}</li>" for note in table.footnotes)
    legend, labels = html(table.legend), html(MIDDLE_DOT.join(table.heads))
    listed = f'<ol class="footnotes prose">{footnotes}</ol>' if footnotes else ""
    return f"""<p class="prose">{legend}</p>
<table class="results plain">
<thead><tr><th colspan="{span}">{labels}</th></tr><tr>{heads}</tr></thead>
{"".join(_groups(table, span))}</table>
{listed}"""


def _groups(table: Table, span: int) -> Iterator[str]:
    """A group of rows for each line, with a heading where a section begins."""
    section = ""
    for line in table.lines:
        if line.section != section:
            section = line.section
            yield f'<tbody><tr class="benchmark"><th colspan="{span}">{html(section)}</th></tr></tbody>\n'
        labels = html(MIDDLE_DOT.join(filter(None, line.labels)))
        yield f'<tbody><tr class="row"><th colspan="{span}" scope="rowgroup">{labels}</th></tr>\n'
        yield from _rows(table, line)
        yield "</tbody>\n"


def _rows(table: Table, line: Line) -> Iterator[str]:
    for name, said in texts(table, line):
        cells = "".join(map(_cell, table.columns, said))
        yield f'<tr class="{name}"><th scope="row">{name}</th>{cells}</tr>\n'


def _cell(column: str, said: str) -> str:
    """The value, and below it what else is said of it: interval, printed difference, footnote."""
    value, _, more = minus(html(said)).partition(" ")
    kind = ' class="noise"' if said.endswith("~") else ""
    return f'<td{kind} data-label="{html(column)}">{value}<small>{more}</small></td>'


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html(line)}</li>" for line in dict.fromkeys(lines))
    return f'<h3>{html(title)}</h3>\n<ul class="prose">{items}</ul>'
