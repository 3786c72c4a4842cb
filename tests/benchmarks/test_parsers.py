"""Each rule on the replies that tell it from its neighbours."""

from pathlib import Path

import pytest

from viral.benchmarks import Item
from viral.benchmarks.parsers import (
    lenient_letter,
    lenient_yes_no,
    official_yes_no,
    release_yes_no,
    strict_letter,
    strict_yes_no,
)

POPE = Item(id="0", group="random", image=Path("x"), question="?", answer="yes", options=("yes", "no"))


def choice(*options: str) -> Item:
    return Item(id="0", group="count", image=Path("x"), question="?", answer="A", options=options)


FOUR = choice("a red kite", "two drums", "a blue kite", "none of these")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("a", "A"),
        (" A\n", "A"),
        ("(A)", None),
        ("A.", None),
        ("A) left", None),
        ("The answer is A", None),
        ("", None),
    ],
)
def test_release_takes_the_bare_letter_only(reply, letter):
    assert strict_letter(reply, choice("left", "right")) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("b.", "B"),  # L1: lone letter amid punctuation, any case
        ("**d**", "D"),
        ("(c) because it is blue", "C"),  # L2: leading (x), any case
        ("C: a blue kite", "C"),
        ("c: a red kite", "A"),  # L2 wants a capital without parentheses; L4 finds the option text
        ("Not option A but choice d", "D"),  # L3: the last announced letter
        ("I think the answer is (b).", "B"),
        ("optional", None),
        ("Two drums.", "B"),  # L4: the text of one option
        ("There are two drums in it", "B"),
        ("two drumsticks", None),
        ("It must be B, surely", "B"),  # L5: one stand-alone capital
        ("A lamp is shown, so C", "C"),
        ("A lamp is shown", None),
        ("B or C", None),
        ("E", None),
        ("", None),
    ],
)
def test_lenient_letter(reply, letter):
    assert lenient_letter(reply, FOUR) == letter


def test_lenient_prefers_an_option_that_is_the_whole_reply():
    assert lenient_letter("left side", choice("left", "left side")) == "B"


YES_NO = [
    # reply, release, official, strict, lenient
    ("Yes", "yes", "yes", "yes", "yes"),
    ("no.", "no", "no", None, "no"),
    ("NO", "no", "yes", "no", "no"),
    ("No, there is not.", "no", "no", None, "no"),
    ("Incorrect.", "yes", "yes", None, None),
    ("Not visible", "no", "yes", None, None),
    ("It is not visible", "no", "no", None, None),
    ("", None, "yes", None, None),
    ("maybe", None, "yes", None, None),
    ("yes and no", "yes", "no", None, None),
    ("Sure. No doubt", "no", "yes", None, "no"),
    ("The picture. That is right", None, "yes", None, None),
    ("Nope", "no", "yes", None, None),
    ("Yesterday", "yes", "yes", None, None),
]


@pytest.mark.parametrize(("reply", "release", "official", "strict", "lenient"), YES_NO)
def test_yes_no_rules(reply, release, official, strict, lenient):
    assert release_yes_no(reply, POPE) == release
    assert official_yes_no(reply, POPE) == official
    assert strict_yes_no(reply, POPE) == strict
    assert lenient_yes_no(reply, POPE) == lenient
