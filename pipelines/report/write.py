"""`viral report`: read the folders, make the sections, publish the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.report.accuracy import accuracy_section, lead, statements
from pipelines.report.browser import browser_section
from pipelines.report.configuration import configuration_section
from pipelines.report.evaluations import differences, read_evaluations
from pipelines.report.figures import analyses_section, read_analyses
from pipelines.report.items import answered_items, pack
from pipelines.report.page import render_page
from pipelines.report.sources import recognise
from pipelines.report.text import count
from pipelines.report.training import read_runs, training_section
from stores.publish import publish
from viral.errors import ConfigError

MAX_ITEMS = 2_000
MAX_BYTES = 24_000_000
"""Of the page, unless its figures alone need more; a phone still opens it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was written: the page, its bytes, the folders it shows in words, items on it and in all."""

    path: Path
    num_bytes: int
    summary: str
    num_items: int
    total_items: int


def write_report(
    folders: Sequence[str | Path],
    out: Path,
    data_dir: Path,
    *,
    title: str = "What visual alignment changed",
    max_items: int = MAX_ITEMS,
) -> Report:
    """Publish one HTML page about folders; the first evaluation among them is the baseline.

    Args:
        folders: of `viral eval`, `viral train`, `viral analyze`, or feature caches, each `FOLDER` or `LABEL=FOLDER`.
        out: the page.
        data_dir: benchmark files and pictures; read if there are evaluations.
        title: its heading.
        max_items: how many items the browser holds at most, those first that changed.

    Raises:
        ConfigError: a folder is nothing a report knows, evaluations of different profiles, or `out` is no HTML file.
        DataError: replies or analyses are damaged, incomplete, or of other data.
        StoreError: a cache is damaged.
    """
    if out.suffix not in (".html", ".htm") or out.is_dir() or max_items < 0:
        raise ConfigError(
            f"--out {out} --max-items {max_items}: expected the name of an .html file, and a number from 0 on."
        )
    found = recognise(folders)
    evaluations = read_evaluations(found["evaluation"], data_dir)
    rows = {other.label: differences(evaluations[0], other, data_dir) for other in evaluations[1:]}
    analyses = read_analyses(found["analysis"])
    labels = list(dict.fromkeys([*found["evaluation"], *found["run"]]))
    sections = [
        *([accuracy_section(evaluations, rows)] if evaluations else []),
        *([training_section(read_runs(found["run"]), labels)] if found["run"] else []),
        *([analyses_section(analyses)] if analyses else []),
        configuration_section(found, evaluations, analyses),
    ]
    num_items = total_items = 0
    if evaluations:
        names = [evaluation.label for evaluation in evaluations]
        room = MAX_BYTES - sum(len(section.body.encode()) for section in sections)
        packed = pack(answered_items(evaluations, data_dir), names, max_items=max_items, max_bytes=room)
        sections.insert(-1, browser_section(packed, names))
        num_items, total_items = packed.held, packed.total
    page = render_page(
        title=title,
        kicker="VIRAL report",
        lead=lead(evaluations, rows),
        evidence=statements(rows),
        sections=sections,
    ).encode()
    with publish(out) as partial:
        partial.write_bytes(page)
    return Report(
        path=out,
        num_bytes=len(page),
        summary=", ".join(count(len(members), kind) for kind, members in found.items() if members),
        num_items=num_items,
        total_items=total_items,
    )
