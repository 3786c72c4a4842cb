"""CV-Bench 2D: counting and spatial relations, multiple choice (nyu-visionx/CV-Bench on Hugging Face).

On disk: `cvbench/test_2d.jsonl` with the pictures at `cvbench/<filename>`, or `test_2d.parquet` that holds them.
"""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from viral.benchmarks.base import Benchmark, Item, Protocol, Verdict, accuracy, by, mean
from viral.benchmarks.files import image_path, required_files
from viral.benchmarks.parsers import leading_letter, lenient_letter, letters, strict_letter
from viral.benchmarks.tables import field, read_rows
from viral.data.image_source import ParquetCell
from viral.errors import DataError

LAYOUTS = ("test_2d.jsonl", "test_2d.parquet")


def _load(folder: Path, groups: Sequence[str]) -> list[Item]:
    (path,) = required_files(folder, LAYOUTS)
    return [_item(row, folder, groups, where) for where, row in read_rows(path)]


def _item(row: dict[str, Any], folder: Path, groups: Sequence[str], where: str) -> Item:
    task = field(row, "task", str, where).lower()
    if task not in groups:
        raise DataError(f"{where}: task {task!r}; expected one of {', '.join(groups)}.")
    choices = field(row, "choices", list, where)
    if len(choices) > len(ascii_uppercase):
        raise DataError(f"{where}: {len(choices)} choices; expected no more than there are letters.")
    embedded = row.get("image")
    item = Item(
        id=str(field(row, "idx", (int, str), where)),
        group=task,
        image=embedded
        if isinstance(embedded, ParquetCell)
        else image_path(folder, field(row, "filename", str, where), where),
        # Options are shuffled once, in the file: `prompt` must be used as it stands.
        question=field(row, "prompt", str, where),
        answer=field(row, "answer", str, where).strip().strip("()"),
        options=tuple(map(str, choices)),
        source=str(row.get("source") or ""),
    )
    if len(item.answer) != 1 or item.answer not in letters(item):
        raise DataError(f"{where}: answer {row['answer']!r}; expected (A) to ({letters(item)[-1:] or '?'}).")
    return item


def by_source(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Accuracy in percent per picture collection."""
    return {source: accuracy(members) for source, members in by(verdicts, lambda item: item.source).items()}


def source_mean(verdicts: Sequence[Verdict]) -> float | None:
    """The data card's score: plain mean over picture collections; None if an item does not name its own."""
    found = by_source(verdicts)
    return None if "" in found else mean(list(found.values()))


def _details(verdicts: Sequence[Verdict]) -> dict[str, object]:
    return {
        "overall_micro": accuracy(verdicts),
        **{
            task: [sum(v.correct for v in members), len(members)]
            for task, members in by(verdicts, lambda item: item.group).items()
        },
        "by_source": by_source(verdicts),
        "source_mean": source_mean(verdicts),
    }


CVBENCH = Benchmark(
    name="cvbench",
    title="CV-Bench 2D",
    folder="cvbench",
    spellings=("CV-Bench 2D",),
    counts={"count": (788,), "relation": (650,)},
    layouts=lambda group: LAYOUTS,
    load=_load,
    protocols={
        "paper": Protocol(
            suffix="\nBase your answer on reasoning. "
            "Your final answer must be only the single capital letter corresponding to the correct choice.",
            max_new_tokens=10,
            parse=strict_letter,
            rule="the reply is the letter and nothing else; all items pooled",
            headline_name="accuracy",
            headline=accuracy,
        ),
        # The data card names the prompt and the mean, not a parser; the prompt asks for the bare letter.
        "clean": Protocol(
            suffix="\nAnswer with the option's letter from the given choices directly.",
            max_new_tokens=10,
            parse=strict_letter,
            rule="the reply is the letter and nothing else; mean over sources",
            headline_name="source mean",
            headline=source_mean,
        ),
    },
    rules={
        "viral": strict_letter,
        "strict": strict_letter,
        "lenient": lenient_letter,
        "lmms_eval": leading_letter,
    },
    details=_details,
)
