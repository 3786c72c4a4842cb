"""Reads a page as a browser would, as far as tests ask."""

import re
from html.parser import HTMLParser

VOID = ("meta", "link", "img", "input")
LOADING = ("src", "href", "srcset", "action", "data", "poster")


class Page(HTMLParser):
    """Collects tags and text; `open` must be empty in the end, or tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            return
        self.text += data

    def all(self, tag: str) -> list[dict]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def check_self_contained(html: str) -> Page:
    """Nothing in the page comes from outside, and all its links lead somewhere in it."""
    page = Page(html)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "form", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in LOADING:
            value = attributes.get(name, "data:")
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
            assert not value.startswith("#") or value[1:] in ids
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert not re.search(r"@import|url\(|https?:", style)
    policy = next(tag["content"] for tag in page.all("meta") if tag.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    return page
