"""Rules that read an answer out of a reply. Each is the rule of somebody's evaluator, quirks included.

`release` is the paper's published evaluation code, `official` the benchmark's own, `strict` takes the bare
answer and nothing else, `lenient` is a diagnostic that shows how much a score owes to format.
"""

import re
from string import ascii_uppercase

from viral.benchmarks.base import Item

_AFFIRMATIVE = ("yes", "yeah", "correct", "right", "true", "indeed", "affirmative")
_NEGATIVE = ("no", "nope", "not", "negative", "incorrect", "false")

_ONE_LETTER = re.compile(r"[\W_]*([^\W\d_])[\W_]*")
_LEADING_LETTER = re.compile(r"\(([^\W\d_])\)|([A-Z])[.:),]")
_ANNOUNCED_LETTER = re.compile(
    r"(?:\banswer is\b|\banswer:|\boption\b|\bchoice\b)[\s:('\"*]*([a-z])(?!\w)", re.IGNORECASE
)
_CAPITAL = re.compile(r"(?<!\w)(?!A\s+[a-z])([A-Z])(?!\w)")


def letters(item: Item) -> str:
    """The letters of an item's options: "ABCD" for four."""
    return ascii_uppercase[: len(item.options)]


def strict_letter(reply: str, item: Item) -> str | None:
    """The reply is one letter of any case and nothing else; also the release's CV-Bench rule."""
    letter = reply.strip().upper()
    return letter if len(letter) == 1 and letter in letters(item) else None


def lenient_letter(reply: str, item: Item) -> str | None:
    """First of five rules that finds a letter of the options.

    A lone letter amid punctuation; a leading `(x)` or `X.`; the last letter announced by "answer is",
    "answer:", "option" or "choice"; exactly one option's text; exactly one stand-alone capital, articles
    aside.
    """
    text = reply.strip()
    for rule in (_lone, _leading, _announced, _option_text, _only_capital):
        letter = rule(text, item)
        if letter is not None and letter.upper() in letters(item):
            return letter.upper()
    return None


def leading_letter(reply: str, item: Item) -> str | None:
    """lmms-eval's CV-Bench rule: the first character, opening parentheses aside; "The answer is A" reads as T."""
    match = re.match(r"[(\s]*([a-z])", reply.strip(), re.IGNORECASE)
    return match[1].upper() if match else None


def release_yes_no(reply: str, item: Item) -> str | None:
    """Word yes, else word no, else a listed syllable in the first sentence, affirmative ones first.

    Substrings count, so "Incorrect." reads as yes (it contains "correct").
    """
    text = reply.lower()
    for word in ("yes", "no"):
        if re.search(rf"\b{word}\b", text):
            return word
    sentence = text.split(".")[0]
    if any(word in sentence for word in _AFFIRMATIVE):
        return "yes"
    return "no" if any(word in sentence for word in _NEGATIVE) else None


def official_yes_no(reply: str, item: Item) -> str | None:
    """POPE's own rule: a token No, no or not before the first full stop is no, all else yes."""
    tokens = reply.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(tokens) else "yes"


def mme_yes_no(reply: str, item: Item) -> str | None:
    """MME's own tool: yes, else no, among the first four characters; "None" reads as no, "Eyes" as yes."""
    start = reply.lower()[:4]
    return next((word for word in ("yes", "no") if word in start), None)


def lmms_mme_yes_no(reply: str, item: Item) -> str | None:
    """lmms-eval's MME rule: as the tool's, without full stops and blanks around; y and n alone count."""
    text = reply.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(text) or mme_yes_no(text, item)


def strict_yes_no(reply: str, item: Item) -> str | None:
    """The reply is the word yes or no and nothing else; also lmms-eval's POPE rule."""
    word = reply.strip().lower()
    return word if word in ("yes", "no") else None


def lenient_yes_no(reply: str, item: Item) -> str | None:
    """Exactly one of the words yes and no occurs; also VLMEvalKit's rule."""
    found = {"yes", "no"} & set(re.findall(r"\w+", reply.lower()))
    return found.pop() if len(found) == 1 else None


def _lone(text: str, item: Item) -> str | None:
    match = _ONE_LETTER.fullmatch(text)
    return match[1] if match else None


def _leading(text: str, item: Item) -> str | None:
    match = _LEADING_LETTER.match(text)
    return match[1] or match[2] if match else None


def _announced(text: str, item: Item) -> str | None:
    found = _ANNOUNCED_LETTER.findall(text)
    return found[-1] if found else None


def _option_text(text: str, item: Item) -> str | None:
    said = _plain(text)
    options = {letter: _plain(option) for letter, option in zip(letters(item), item.options, strict=True)}
    equal = [letter for letter, option in options.items() if option and option == said]
    inside = [
        letter
        for letter, option in options.items()
        if option and re.search(rf"(?<!\w){re.escape(option)}(?!\w)", said)
    ]
    for hits in (equal, inside):
        if len(hits) == 1:
            return hits[0]
    return None


def _only_capital(text: str, item: Item) -> str | None:
    found = set(_CAPITAL.findall(text)) & set(letters(item))
    return found.pop() if len(found) == 1 else None


def _plain(text: str) -> str:
    return text.strip().rstrip(".").strip().casefold()
