"""What models write is shown as it is, and cannot play tricks."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.items import _json
from pipelines.report.text import html, visible

ANY = st.text(st.characters(codec=None))  # half characters too


@given(ANY)
def test_text_becomes_harmless_html_that_utf8_can_hold(text):
    shown = html(text)
    assert not set("<>\"'\0") & set(shown)
    shown.encode()
    assert all(
        unicodedata.bidirectional(character) not in ("RLO", "LRO", "RLE", "LRE", "RLI") for character in shown
    )


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_ordinary_text_stays_as_it_is(text):
    assert visible(text) == text


@given(ANY)
def test_json_in_a_page_ends_no_element_and_reads_back(text):
    packed = _json({"reply": visible(text)})
    assert "<" not in packed
    assert json.loads(packed.encode()) == {"reply": visible(text)}


@pytest.mark.parametrize(
    ("hidden", "spelt"),
    [("a\0b", "a⟨U+0000⟩b"), ("a\u202eb", "a⟨U+202E⟩b"), ("\ud800", "⟨U+D800⟩"), ("a\r\nb\tc", "a\nb\tc")],
)
def test_what_would_not_show_is_spelt_out(hidden, spelt):
    assert visible(hidden) == spelt
