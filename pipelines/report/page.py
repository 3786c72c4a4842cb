"""The page around the sections: head, style, script, and a policy that lets nothing in from outside."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from pipelines.report.text import html, minus

SCRIPTS = ("viewer.js", "browser.js")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; `body` is HTML."""

    id: str
    title: str
    body: str


def render_page(
    *, title: str, kicker: str, lead: str, evidence: Sequence[str], sections: Sequence[Section]
) -> str:
    """A whole HTML document; texts are plain, sections are HTML."""
    script = "".join(_asset(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    links = "\n".join(f'<a href="#{section.id}">{html(section.title)}</a>' for section in sections)
    points = "".join(f"<li>{minus(html(line))}</li>" for line in evidence)
    listed = f'<ul class="evidence">{points}</ul>' if points else ""
    bodies = "\n".join(
        f'<section id="{section.id}">\n<h2>{html(section.title)}</h2>\n{section.body}\n</section>'
        for section in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{html(title)}</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<a class="skip" href="#{sections[0].id}">Skip to the results</a>
<header>
<p class="kicker">{html(kicker)}</p>
<h1>{html(title)}</h1>
<p class="standfirst">{html(lead)}</p>
{listed}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{bodies}
</main>
<dialog id="viewer" aria-label="Enlarged picture"><img alt=""><p></p>
<button type="button" class="close">Close</button></dialog>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (files("pipelines.report") / name).read_text(encoding="utf-8")
