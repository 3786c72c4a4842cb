"""Analyses: their figures, to look at and to enlarge."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report.page import Section
from pipelines.report.pictures import figure
from pipelines.report.sources import analysis_files
from pipelines.report.text import count, html
from viral.errors import DataError, ImageError

DRAWN = (".svg", ".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """One analysis: what it is called, what it says about itself, its figures as (file, caption)."""

    title: str
    settings: dict[str, Any]
    models: dict[str, Any]
    figures: list[tuple[Path, str]]


def read_analyses(folders: Mapping[str, Path]) -> list[Analysis]:
    """All analyses of the folders.

    Raises:
        DataError: a figure is not described as a file of that folder with a caption.
    """
    return [_read(path) for folder in folders.values() for path in analysis_files(folder)]


def analyses_section(analyses: list[Analysis]) -> Section:
    """A gallery per analysis; what cannot be read is counted."""
    return Section("analyses", "Analyses", "".join(map(_gallery, analyses)))


def _read(path: Path) -> Analysis:
    value = json.loads(path.read_bytes())
    figures: dict[str, tuple[Path, str]] = {}
    for entry in value["figures"]:
        name = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(DRAWN):
            raise DataError(
                f"{path} lists a figure {entry!r:.80}; expected {{'file': NAME, 'caption': TEXT}} with a picture "
                "in the same folder."
            )
        # The same drawing as vector and as pixels is one figure.
        figures.setdefault(Path(name).stem, (path.with_name(name), str(entry.get("caption", ""))))
    return Analysis(
        title=str(value.get("title") or value["analysis"]),
        settings=_mapping(value.get("settings")),
        models=_mapping(value.get("models")),
        figures=list(figures.values()),
    )


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _gallery(analysis: Analysis) -> str:
    drawn, lost = [], []
    for path, caption in analysis.figures:
        try:
            drawn.append(_figure(path, caption or analysis.title))
        except ImageError:
            lost.append(path.name)
    missing = (
        f'<p class="prose">{count(len(lost), "figure")} missing or unreadable: {html(", ".join(lost))}.</p>'
        if lost
        else ""
    )
    kind = "figures single" if len(drawn) == 1 else "figures"
    return f'<h3>{html(analysis.title)}</h3>{missing}<div class="{kind}">{"".join(drawn)}</div>'


def _figure(path: Path, caption: str) -> str:
    url, width, height = figure(path)
    return (
        f'<figure><button type="button" class="enlarge" data-caption="{html(caption)}">'
        f'<img src="{url}" width="{width}" height="{height}" decoding="async" alt="{html(caption)}">'
        f"</button><figcaption>{html(caption)}</figcaption></figure>"
    )
