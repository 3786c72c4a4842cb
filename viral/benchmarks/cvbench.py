"""CV-Bench 2D: counting and spatial relations, multiple choice (nyu-visionx/CV-Bench on Hugging Face).

On disk: `cvbench/test_2d.jsonl` with the pictures at `cvbench/<filename>`.
"""

from collections.abc import Sequence
from pathlib import Path

from viral.benchmarks.base import Benchmark, Item, Protocol, Verdict, accuracy, mean
from viral.benchmarks.files import field, image_path, read_jsonl
from viral.benchmarks.parsers import lenient_letter, letters, strict_letter
from viral.errors import DataError


def _files(folder: Path, groups: Sequence[str]) -> list[Path]:
    return [folder / "test_2d.jsonl"]


def _load(folder: Path, groups: Sequence[str]) -> list[Item]:
    return [_item(row, folder, groups, where) for where, row in read_jsonl(folder / "test_2d.jsonl")]


def _item(row: dict[str, object], folder: Path, groups: Sequence[str], where: str) -> Item:
    task = field(row, "task", str, where).lower()
    if task not in groups:
        raise DataError(f"{where}: task {task!r}; expected one of {', '.join(groups)}.")
    choices = field(row, "choices", list, where)
    item = Item(
        id=str(field(row, "idx", (int, str), where)),
        group=task,
        image=image_path(folder, field(row, "filename", str, where), where),
        # Options are shuffled once, in the file: `prompt` must be used as it stands.
        question=field(row, "prompt", str, where),
        answer=field(row, "answer", str, where).strip("()"),
        options=tuple(map(str, choices)),
        source=str(row.get("source", "")),
    )
    if len(item.answer) != 1 or item.answer not in letters(item):
        raise DataError(f"{where}: answer {row['answer']!r}; expected (A) to ({letters(item)[-1:] or '?'}).")
    return item


def by_source(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Accuracy in percent per picture collection."""
    sources = sorted({verdict.item.source for verdict in verdicts})
    return {
        source: accuracy([verdict for verdict in verdicts if verdict.item.source == source])
        for source in sources
    }


def source_mean(verdicts: Sequence[Verdict]) -> float | None:
    """The data card's score: plain mean over picture collections."""
    return mean(list(by_source(verdicts).values()))


CVBENCH = Benchmark(
    name="cvbench",
    title="CV-Bench 2D",
    folder="cvbench",
    counts={"count": (788,), "relation": (650,)},
    files=_files,
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
    strict=strict_letter,
    lenient=lenient_letter,
    details=lambda verdicts: {"by_source": by_source(verdicts), "source_mean": source_mean(verdicts)},
)
