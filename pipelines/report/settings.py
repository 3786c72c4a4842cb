"""Configuration and fingerprints: what differs between things of a kind first, what is the same on demand."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.text import html
from stores.spec import flatten

ABSENT = "\u2013"
_FINGERPRINT = re.compile(r"=[0-9a-f]{64}$|^(.*\.)?(teacher|codec|model)=")


def settings_list(settings: Mapping[str, str]) -> str:
    """Names and values."""
    entries = "".join(
        f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd></div>" for name, value in settings.items()
    )
    return f'<dl class="settings">{entries}</dl>'


def settings_group(title: str, columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Nested settings of several things of a kind, by their labels; fingerprints are never folded away."""
    flat = {
        label: {name: _text(value) for name, value in flatten(nested).items()}
        for label, nested in columns.items()
    }
    names = dict.fromkeys(name for values in flat.values() for name in values)
    rows = {name: {label: values.get(name, ABSENT) for label, values in flat.items()} for name in names}
    same = {name: next(iter(row.values())) for name, row in rows.items() if len(set(row.values())) == 1}
    open_ = {name: row for name, row in rows.items() if name not in same}
    open_ |= {name: {"": value} for name, value in same.items() if _FINGERPRINT.search(f"{name}={value}")}
    folded = {name: value for name, value in same.items() if name not in open_}
    return f"<h3>{html(title)}</h3>{_shown(open_)}{_folded(folded, list(columns))}"


def _shown(rows: Mapping[str, Mapping[str, str]]) -> str:
    if not rows:
        return ""
    entries = "".join(
        f"<div><dt>{html(name)}</dt><dd>"
        + "".join(f"<span><b>{html(label)}</b> {html(value)}</span>" for label, value in row.items())
        + "</dd></div>"
        for name, row in rows.items()
    )
    return f'<dl class="settings shown">{entries}</dl>'


def _folded(values: Mapping[str, str], labels: Sequence[str]) -> str:
    if not values:
        return ""
    whose = labels[0] if len(labels) == 1 else f"The same in {'both' if len(labels) == 2 else 'all'}"
    return f"<details><summary>{html(whose)} ({len(values)})</summary>{settings_list(values)}</details>"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
