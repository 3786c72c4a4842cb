"""LLaVA's annotation format: a JSON list (or JSON lines) of conversations about no, one or several images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viral.data.conversation import IMAGE_TAG
from viral.data.json_stream import Entry, json_entries
from viral.errors import DataError, ImageError

_EXAMPLE = (
    '{"id": "0", "image": "a.jpg", "conversations": '
    '[{"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}]}'
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation: its id, image paths as written, in the order of their tags (none: text only), turns."""

    id: str
    images: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]

    @property
    def num_words(self) -> int:
        """Whitespace-separated words over all turns; what LLaVA's sampler calls the length."""
        return sum(len(question.split()) + len(answer.split()) for question, answer in self.turns)


def read_annotations(path: Path) -> list[Sample]:
    """Read a LLaVA `.json` list or `.jsonl` file whole; raises as `iter_annotations`."""
    return list(iter_annotations(path))


def iter_annotations(path: Path) -> Iterator[Sample]:
    """Samples of a LLaVA `.json` list or `.jsonl` file, one at a time.

    Raises:
        DataError: missing file, broken JSON, or an entry that is not a LLaVA conversation.
    """
    return (sample for sample, _ in iter_entries(path))


def iter_entries(path: Path) -> Iterator[tuple[Sample, Entry]]:
    """`iter_annotations`, each sample with its place in the file."""
    index = -1
    for index, entry in enumerate(json_entries(path)):
        yield parse_sample(entry.value, f"{path} entry {index}"), entry
    if index < 0:
        raise DataError(f"{path} holds no list of conversations. Expected entries like {_EXAMPLE}")


def resolve_image(root: Path, relative: str) -> Path:
    """Path of an annotated image below `root`.

    Raises:
        ImageError: the path is absolute, or leaves the root by `..` or by a symbolic link.
    """
    real_root = root.resolve()
    resolved = (real_root / relative).resolve()
    if Path(relative).is_absolute() or not resolved.is_relative_to(real_root):
        raise ImageError(f"image path {relative!r} leaves the image root {root}")
    return resolved


def parse_sample(entry: Any, where: str) -> Sample:  # noqa: ANN401 - this is the border where JSON becomes typed
    """A sample from what JSON holds; `where` begins the message of an error.

    Raises:
        DataError: no LLaVA conversation.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("conversations"), list):
        raise DataError(f"{where} has no 'conversations' list. Expected {_EXAMPLE}")
    images = _images(entry.get("image"), where)
    values: list[str] = []
    for message in entry["conversations"]:
        speaker = message.get("from") if isinstance(message, dict) else None
        if speaker not in ("human", "gpt") or not isinstance(message.get("value"), str):
            raise DataError(
                f"{where}: a turn is not {{'from': 'human'|'gpt', 'value': text}}. Expected {_EXAMPLE}"
            )
        if not _is_text(message["value"]):
            raise DataError(f"{where}: a turn holds half a character (a lone surrogate), which is no text.")
        if speaker == "gpt" and not values:
            continue  # LLaVA drops a leading answer
        if (speaker == "human") != (len(values) % 2 == 0):
            raise DataError(f"{where}: human and gpt turns do not alternate.")
        values.append(message["value"])
    turns = tuple(zip(values[::2], values[1::2], strict=False))
    if not turns:
        raise DataError(f"{where}: no question with an answer.")
    num_tags = sum(text.count(IMAGE_TAG) for turn in turns for text in turn)
    if images and num_tags != len(images):  # without an image the tag is text like any other
        found = "one image" if len(images) == 1 else f"{len(images)} images"
        raise DataError(f"{where}: {num_tags} {IMAGE_TAG} tags for {found}, expected one for each image.")
    return Sample(str(entry.get("id", "")), images, turns)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _images(value: Any, where: str) -> tuple[str, ...]:  # noqa: ANN401 - as above
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    found = ", ".join(sorted({type(name).__name__ for name in value})) if isinstance(value, list) else ""
    raise DataError(
        f"{where}: 'image' is {type(value).__name__}{f' of {found}' if found else ''}, "
        "expected one path as a string, or a list of them."
    )
