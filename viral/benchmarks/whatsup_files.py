"""What's Up on disk: `data/*.json` with captions and pictures, `prompts/*_with_answer_four_options.jsonl`.

The prompts hold the questions and the answers; row i of one file belongs to row i of the other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viral.benchmarks.base import Item, squash
from viral.benchmarks.files import image_path, question_files, required_files
from viral.benchmarks.tables import field, read_json, read_jsonl
from viral.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Where a split lies: its questions and its captions by stem; and its answer words, opposites beside each other."""

    prompts: str
    data: str
    words: tuple[str, str, str, str]


SPLITS = {
    "coco_one": Split("COCO_QA_one_obj", "coco_qa_one_obj", ("left", "right", "top", "bottom")),
    "coco_two": Split("COCO_QA_two_obj", "coco_qa_two_obj", ("left", "right", "above", "below")),
    "controlled_a": Split(
        "Controlled_Images_A", "controlled_images_dataset", ("left", "right", "on", "under")
    ),
    "controlled_b": Split(
        "Controlled_Images_B", "controlled_clevr_dataset", ("left", "right", "front", "behind")
    ),
}
COCO, CONTROLLED = ("coco_one", "coco_two"), ("controlled_a", "controlled_b")
SPELLINGS = {squash(name): name for name in SPLITS} | {
    squash(spelling): name
    for (name, split), short in zip(SPLITS.items(), ("one", "two", "a", "b"), strict=True)
    for spelling in (short, split.prompts, split.data, split.data.removesuffix("_dataset"))
}
"""What a split may be called in an item's id."""
_QUESTION = re.compile(r"USER:\s*(.*?)\s*(?:ASSISTANT:|$)", re.DOTALL)
_STEM = re.compile(
    r"(.+?)_(?:to_the_)?(left|right|on|under|in[-_]front|front|behind)_(?:of_)?(?:the_)?(.+)", re.IGNORECASE
)


def prompt_files(group: str) -> tuple[str, ...]:
    """Patterns of a split's questions."""
    split = SPLITS[group]
    names = (split.prompts, split.prompts.lower(), split.data, split.data.removesuffix("_dataset"))
    return tuple(
        f"{folder}{name}_with_answer_*_options.jsonl" for folder in ("prompts/", "") for name in names
    )


def caption_files(group: str) -> tuple[str, ...]:
    """Patterns of a split's captions."""
    return tuple(
        f"{folder}{SPLITS[group].data}.{suffix}" for folder in ("data/", "") for suffix in ("json", "jsonl")
    )


def load_splits(folder: Path, groups: Sequence[str]) -> list[Item]:
    """The items of these splits.

    Raises:
        DataError: a file is missing or damaged, or a row is not of AdaptVis' format.
    """
    return [item for group in groups for item in _split(folder, group)]


def _split(folder: Path, group: str) -> list[Item]:
    prompts = question_files(folder, prompt_files(group))
    (captions, *_) = required_files(folder, caption_files(group))
    shown = read_json(captions)
    if prompts:
        asked = list(read_jsonl(prompts[0]))
    elif group in CONTROLLED:
        asked = [_asked(group, *row) for row in shown]
    else:
        raise DataError(
            f"{captions} holds only captions; the questions of {group} are in {folder / prompt_files(group)[0]}, fetch "
            "the folder prompts of AdaptVis."
        )
    if len(asked) != len(shown):
        raise DataError(
            f"{prompts[0]} has {len(asked)} rows, {captions} has {len(shown)}; row i of one must belong to row i of "
            "the other, fetch both again."
        )
    return [_item(folder, group, row, asked[row], shown[row]) for row in range(len(asked))]


def _asked(group: str, where: str, row: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - what JSON holds
    """AdaptVis' question about a controlled picture, made from its name where the prompts are not there."""
    first, preposition, second = _things(where, row)
    listed = f"{', '.join(SPLITS[group].words[:-1])} or {SPLITS[group].words[-1]}"
    question = f"USER: Where is the {first} in relation to the {second}? Answer with {listed}."
    return where, {
        "question": question,
        "answer": preposition.lower().removeprefix("in-").removeprefix("in_"),
    }


def _item(
    folder: Path, group: str, row: int, asked: tuple[str, dict[str, Any]], shown: tuple[str, Any]
) -> Item:
    (where, prompt), words = asked, SPLITS[group].words
    text = _QUESTION.search(field(prompt, "question", str, where))
    if text is None or "?" not in text[1]:
        raise DataError(
            f"{where}: question {prompt['question']!r:.80}; expected 'USER: ...? ... ASSISTANT:'."
        )
    answer = field(prompt, "answer", (list, str), where)
    word = str(answer[0] if isinstance(answer, list) and len(answer) == 1 else answer).strip().lower()
    if word not in words:
        raise DataError(f"{where}: answer {prompt['answer']!r}; expected one of {', '.join(words)}.")
    image, cluster = _photo(folder, *shown) if group in COCO else _staged(folder, group, *shown)
    return Item(
        id=f"{group}/{row}",
        group=group,
        cluster=cluster,
        image=image,
        question=text[1],
        answer=word,
        options=words,
    )


def _photo(folder: Path, where: str, row: Any) -> tuple[Path, str]:  # noqa: ANN401 - what JSON holds
    """Picture of a COCO row, and the photo, which both COCO splits may ask about."""
    if not isinstance(row, list) or len(row) != 3 or type(row[0]) is not int:
        raise DataError(f"{where} is {row!r:.60}; expected [COCO image id, right caption, wrong caption].")
    return folder / "data" / "val2017" / f"{row[0]:012d}.jpg", f"photo {row[0]}"


def _staged(folder: Path, group: str, where: str, row: Any) -> tuple[Path, str]:  # noqa: ANN401 - what JSON holds
    """Picture of a controlled row, and the pair of things that its set of four shows."""
    first, _, second = _things(where, row)
    return image_path(folder, row["image_path"], where), f"{group}: {first}, {second}"


def _things(where: str, row: Any) -> tuple[str, str, str]:  # noqa: ANN401 - what JSON holds
    """A thing, its place, the other thing: told by the name of a controlled picture."""
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}, expected an object.")
    path = field(row, "image_path", str, where)
    things = _STEM.fullmatch(Path(path).stem)
    if things is None:
        raise DataError(f"{where}: image_path {path!r}; expected a name like mug_left_of_table.jpeg.")
    return things[1], things[2], things[3]
