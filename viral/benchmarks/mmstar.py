"""MMStar: multiple choice that needs the picture, six categories of 250 (Lin-Chen/MMStar on Hugging Face).

On disk: `MMStar/mmstar.parquet`, the hub's parts of the split `val`, or `MMStar.tsv`; pictures are inside.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from viral.benchmarks.base import Benchmark, Item, Protocol, Verdict, accuracy, by, mean
from viral.benchmarks.files import required_files
from viral.benchmarks.parsers import lenient_letter, letters, strict_letter
from viral.benchmarks.tables import field, read_rows
from viral.errors import DataError

LETTERS = "ABCD"
LAYOUTS = (
    "mmstar.parquet",
    "val/*.parquet",
    "val-*.parquet",
    "data/val-*.parquet",
    "MMStar.tsv",
    "mmstar.tsv",
)
CATEGORIES = (
    "coarse perception",
    "fine-grained perception",
    "instance reasoning",
    "logical reasoning",
    "science & technology",
    "math",
)

_OPTIONS = re.compile(r"Options:\s*A: (.*?),\s+B: (.*?),\s+C: (.*?),\s+D: (.*)", re.DOTALL)


def _load(folder: Path, groups: Sequence[str]) -> list[Item]:
    return [_item(row, where) for path in required_files(folder, LAYOUTS) for where, row in read_rows(path)]


def _item(row: dict[str, Any], where: str) -> Item:
    question = field(row, "question", str, where)
    # The TSV has its options in columns of their own.
    if "Options:" not in question and all(isinstance(row.get(letter), str) for letter in LETTERS):
        question += "\nOptions: " + ", ".join(f"{letter}: {row[letter]}" for letter in LETTERS)
    options = _OPTIONS.search(question)
    if "image" not in row:
        raise DataError(f"{where} has no field 'image'; it holds {', '.join(row)}.")
    item = Item(
        id=str(field(row, "index", (int, str), where)),
        group=field(row, "category", str, where),
        subgroup=str(row.get("l2_category", "")),
        image=row["image"],
        question=question,
        answer=field(row, "answer", str, where).strip(),
        options=options.groups() if options else ("",) * len(LETTERS),
    )
    if len(item.answer) != 1 or item.answer not in LETTERS:
        raise DataError(f"{where}: answer {row['answer']!r}; expected A, B, C or D.")
    return item


def release_letter(reply: str, item: Item) -> str | None:
    """The first of a, b, c, d, in this order, that is a word: "A lamp is shown, so C" reads as A."""
    text = reply.lower()
    return next((letter for letter in LETTERS if re.search(rf"\b{letter.lower()}\b", text)), None)


def official_letter(reply: str, item: Item) -> str | None:
    """MMStar's own rule: the letter at a fixed place; "Because" reads as B.

    Right if the gold letter is the first character, or follows "(", "option " or "the answer is ". Places are
    tried for the gold letter first, so that a reply is read as wrong only if none of them holds it.
    """
    text = reply.lower().strip()
    starts = [len(opening) for opening in ("", "(", "option ", "the answer is ") if text.startswith(opening)]
    found = [text[start : start + 1].upper() for start in starts]
    return next((letter for letter in (item.answer, *letters(item)) if letter in found), None)


def axis_mean(verdicts: Sequence[Verdict]) -> float | None:
    """lmms-eval's score: plain mean over the 18 axes, which differ in size."""
    return mean([accuracy(members) for members in by(verdicts, lambda item: item.subgroup).values()])


def _details(verdicts: Sequence[Verdict]) -> dict[str, object]:
    axes = by(verdicts, lambda item: item.subgroup)
    categories = by(verdicts, lambda item: item.group)
    return {
        "overall_micro": accuracy(verdicts),
        "by_category": {name: accuracy(members) for name, members in categories.items()},
        "by_axis": {name: accuracy(members) for name, members in axes.items()},
        "axis_mean": axis_mean(verdicts),
    }


MMSTAR = Benchmark(
    name="mmstar",
    title="MMStar",
    folder="MMStar",
    counts=dict.fromkeys(CATEGORIES, (250,)),
    free_groups=True,
    layouts=lambda group: LAYOUTS,
    load=_load,
    protocols={
        "paper": Protocol(
            suffix="\nBase your answer on reasoning. "
            "Your final answer must be only the single capital letter corresponding to the correct choice.",
            max_new_tokens=10,
            parse=release_letter,
            rule="the first of a, b, c, d that is a word, in this order; all items pooled",
            headline_name="accuracy",
            headline=accuracy,
        ),
        "clean": Protocol(
            suffix="\nAnswer with the option's letter from the given choices directly.",
            max_new_tokens=10,
            parse=official_letter,
            rule="the gold letter stands first, or after (, option, the answer is; all items pooled",
            headline_name="accuracy",
            headline=accuracy,
        ),
    },
    rules={
        "viral": release_letter,
        "official": official_letter,
        "strict": strict_letter,
        "lenient": lenient_letter,
    },
    details=_details,
)
