"""MMVP: pairs of pictures that CLIP confuses, one question each with opposite answers (MMVP/MMVP on Hugging Face).

On disk: `MMVP/Questions.csv` and the pictures `<Index>.jpg` in `Images/`, or `MMVP Images/` as it is downloaded.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from viral.benchmarks.base import Benchmark, Item, Protocol, Verdict, accuracy, all_correct, by, percent
from viral.benchmarks.files import required_files
from viral.benchmarks.parsers import lenient_letter, strict_letter
from viral.benchmarks.tables import read_csv
from viral.errors import DataError

LAYOUTS = ("Questions.csv", "questions.csv")
COLUMNS = 4
SWAPPED = ("99", "100", "279", "280")
"""Rows whose labels are the wrong way round in the published file (issues 14 and 30 of tsb0601/MMVP)."""

_FIRST = ("first", "former", "a)", "a.", "option a", "choice a")
_SECOND = ("second", "latter", "b)", "b.", "option b", "choice b")


def _load(folder: Path, groups: Sequence[str]) -> list[Item]:
    (path, *_) = required_files(folder, LAYOUTS)
    pictures = next(
        (folder / name for name in ("Images", "MMVP Images") if (folder / name).is_dir()), folder / "Images"
    )
    return [_item(row, pictures, where) for where, row in read_csv(path, COLUMNS)]


def _item(row: Sequence[str], pictures: Path, where: str) -> Item:
    # By position: the first header has been published as "Index" and, misread, as "lndex".
    index, question, options, answer = row[:COLUMNS]
    if not re.fullmatch(r"\s*\d{1,9}\s*", index):
        raise DataError(f"{where}: index {index!r:.40}; expected a number.")
    answer = answer.strip()
    if answer not in ("(a)", "(b)"):
        raise DataError(f"{where}: answer {answer!r}; expected (a) or (b).")
    first, between, second = options.strip().removeprefix("(a)").partition("(b)")
    if not options.strip().startswith("(a)") or not between:
        raise DataError(f"{where}: options {options!r}; expected '(a) ... (b) ...'.")
    listed = options.replace("(a)", "A.").replace("(b)", "\nB.").replace(" \n", "\n")
    return Item(
        id=str(int(index)),
        group="pairs",
        subgroup=question,
        cluster=f"pair {(int(index) + 1) // 2}",
        image=pictures / f"{int(index)}.jpg",
        question=f"{question}\n{listed}",
        answer=answer[1].upper(),
        options=(first.strip(), second.strip()),
    )


def release_choice(reply: str, item: Item) -> str | None:
    """The release's cascade; its second step makes free text unreliable: "Standing" reads as A.

    Word a xor word b; letter a xor letter b before the first full stop; the option text found, or found first;
    phrases for the first, then for the second option; more words a than b or the reverse.
    """
    text = reply.lower()
    words = [len(re.findall(rf"\b{letter}\b", text)) for letter in "ab"]
    sentence = text.split(".")[0]
    letter = _either(words[0] > 0, words[1] > 0) or _either("a" in sentence, "b" in sentence)
    if letter or (letter := _option_text(text, item)):
        return letter
    for letter, phrases in (("A", _FIRST), ("B", _SECOND)):
        if any(phrase in text for phrase in phrases):
            return letter
    return _either(words[0] > words[1], words[1] > words[0])


def _either(first: bool, second: bool) -> str | None:
    return None if first == second else "A" if first else "B"


def _option_text(text: str, item: Item) -> str | None:
    """The option whose text begins earlier; None if neither is found, or both in one place.

    The release reads an option up to a parenthesis, and none at all if the first one has one.
    """
    options = [option.lower() for option in item.options]
    options[1] = re.split(r"[()]", options[1])[0].strip()
    if not all(options) or set(options[0]) & set("()"):
        return None
    first, second = (text.find(option) for option in options)
    if first < 0 or second < 0:
        return _either(first >= 0, second >= 0)
    return _either(first < second, second < first)


def pair_accuracy(verdicts: Sequence[Verdict]) -> float | None:
    """Pairs with both answers right, in percent of all pairs; a pair with an item missing is wrong."""
    pairs = by(verdicts, lambda item: item.cluster)
    return percent(all_correct(pairs.values(), 2), len(pairs))


def by_question(verdicts: Sequence[Verdict]) -> float | None:
    """The release's pairs: rows of one question text; groups of other than two rows leave the denominator."""
    pairs = [members for members in by(verdicts, lambda item: item.subgroup).values() if len(members) == 2]
    return percent(all_correct(pairs, 2), len(pairs))


def in_lexicographic_order(verdicts: Sequence[Verdict]) -> float | None:
    """What a loader gets that pairs neighbours of the file names in lexicographic order: 1, 10, 100, 101, ..."""
    order = sorted(verdicts, key=lambda verdict: verdict.item.id)
    pairs = [order[start : start + 2] for start in range(0, len(order), 2)]
    return percent(all_correct(pairs, 2), len(pairs))


def corrected(verdict: Verdict) -> Verdict:
    """The verdict with the label turned where the published file has it the wrong way round."""
    item = verdict.item
    if item.id not in SWAPPED:
        return verdict
    return replace(verdict, item=replace(item, answer={"A": "B", "B": "A"}[item.answer]))


def _details(verdicts: Sequence[Verdict]) -> dict[str, object]:
    pairs = by(verdicts, lambda item: item.cluster).values()
    fixed = [corrected(verdict) for verdict in verdicts]
    return {
        "pairs": [all_correct(pairs, 2), len(pairs)],
        "pair_accuracy": pair_accuracy(verdicts),
        "item_accuracy": accuracy(verdicts),
        "group_by_question": by_question(verdicts),
        "lexicographic_order": in_lexicographic_order(verdicts),
        "swapped_labels_corrected": {
            "rows": [int(id_) for id_ in SWAPPED],
            "pair_accuracy": pair_accuracy(fixed),
            "item_accuracy": accuracy(fixed),
        },
    }


def _protocol(suffix: str, max_new_tokens: int) -> Protocol:
    return Protocol(
        suffix=suffix,
        max_new_tokens=max_new_tokens,
        parse=release_choice,
        rule="the release's cascade reads a or b; rows 2k-1 and 2k are a pair, right if both are; all pairs count",
        headline_name="pair accuracy",
        headline=pair_accuracy,
    )


MMVP = Benchmark(
    name="mmvp",
    title="MMVP",
    folder="MMVP",
    counts={"pairs": (300,)},
    layouts=lambda group: LAYOUTS,
    load=_load,
    protocols={
        "paper": _protocol(
            "\nBase your answer on reasoning, "
            "but answer with the option's letter from the given choices directly.",
            10,
        ),
        # MMVP's own judge is a language model behind an interface; replies are read by the same cascade.
        "clean": _protocol("\nAnswer with the option's letter from the given choices directly.", 16),
    },
    rules={"viral": release_choice, "strict": strict_letter, "lenient": lenient_letter},
    details=_details,
)
