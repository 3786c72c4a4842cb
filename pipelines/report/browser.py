"""The per-item browser: its controls, and the items it shows as JSON; `browser.js` brings it to life."""

from collections.abc import Sequence

from pipelines.report.items import Packed
from pipelines.report.page import Section
from pipelines.report.text import count, html

ONE = {"all": "All", "right": "Right", "wrong": "Wrong", "unread": "Unread"}
SEVERAL = {
    "all": "All",
    "fixed": "Fixed by alignment",
    "broken": "Broken by alignment",
    "right": "Both right",
    "wrong": "Both wrong",
    "unread": "Unread",
}


def browser_section(packed: Packed, labels: Sequence[str]) -> Section:
    """The browser of packed items; the first label is the baseline's."""
    filters = ONE if len(labels) == 1 else SEVERAL
    outcomes = "".join(
        f'<label><input type="radio" name="filter" value="{value}"{" checked" * (value == "all")}>'
        f"<span>{name} <b></b></span></label>"
        for value, name in filters.items()
    )
    others = "".join(
        f'<option value="{index}">{html(label)}</option>' for index, label in enumerate(labels) if index
    )
    hidden = "" if len(labels) > 2 else " hidden"
    body = f"""<p class="prose">{html(_holds(packed, len(labels)))}</p>
<noscript><p class="prose">This part of the page needs JavaScript; tables and figures do not.</p></noscript>
<div id="browser" hidden>
<div class="filters" role="search" aria-label="Filter the items">
<fieldset><legend>Outcome</legend>{outcomes}</fieldset>
<label{hidden}>{html(labels[0])} against <select name="other">{others}</select></label>
<label>Benchmark <select name="benchmark"><option value="">all</option></select></label>
<label>Task <select name="task"><option value="">all</option></select></label>
<label>Text <input type="search" name="text" autocomplete="off" spellcheck="false"></label>
</div>
<p class="found"><span role="status"></span><span class="keys"><kbd>j</kbd> <kbd>k</kbd> next, previous;
<kbd>Enter</kbd> enlarge; <kbd>/</kbd> search</span></p>
<ol class="items" aria-label="Items"></ol>
<nav class="pages" aria-label="Pages of items"><button type="button" name="back">Previous</button>
<span></span><button type="button" name="on">Next</button></nav>
</div>
<script type="application/json" id="item-data">{packed.json}</script>"""
    return Section("items", "Items", body)


def _holds(packed: Packed, num_models: int) -> str:
    """How many of how many items are on the page, and why not all."""
    parts = [f"The page holds {packed.held:,} of {count(packed.total, 'item')}"]
    if num_models > 1:
        parts.append(
            f", among them {packed.changed_held:,} of the {packed.changed_total:,} that one model answered rightly "
            "and another wrongly"
        )
    if packed.held < packed.total:
        parts.append("; the others are a sample in which all tasks take turns")
        parts.append(" (as many as the page's limit of bytes allows)" if packed.full else "")
    parts.append(". Scores and tables count all items.")
    if packed.unreadable:
        parts.append(
            f" {count(packed.unreadable, 'item')} without picture: the file is missing or cannot be read."
        )
    return "".join(parts)
