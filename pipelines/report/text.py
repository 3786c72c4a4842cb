"""Text that users and models wrote, made safe to show."""

import re
from html import escape

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of the text around it
    "\u200b\u2060\ufeff\ufffe\uffff"  # of no width, or no character at all
    "\ud800-\udfff]"  # half a character, which UTF-8 cannot hold
)


def visible(text: object) -> str:
    """`str(text)` with every character spelt out that would not show, or would reorder its neighbours."""
    return _HIDDEN.sub(lambda found: f"\u27e8U+{ord(found[0]):04X}\u27e9", str(text).replace("\r\n", "\n"))


def html(text: object) -> str:
    """`visible` text as HTML, for elements and for quoted attributes."""
    return escape(visible(text))


def minus(text: str) -> str:
    """Hyphens in front of a digit become minus signs."""
    return re.sub(r"-(?=\d)", "\u2212", text)


def count(number: int, noun: str) -> str:
    """`1 item`, `2,000 items`, `2 analyses`."""
    plural = f"{noun[:-2]}es" if noun.endswith("sis") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
