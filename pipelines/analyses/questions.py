"""What the analyses ask and show: a benchmark's items, a table of questions, or pictures of a folder."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from viral.benchmarks import Item, get_benchmark, get_profile, load_items, prompt
from viral.benchmarks.files import image_path
from viral.data.conversation import get_template, with_image
from viral.data.image_files import ImageFiles
from viral.data.image_source import ImageSource
from viral.data.images import decode_image
from viral.errors import ConfigError, DataError, ImageError

SINGLE_WORD = " \nAnswer the question using a single word or phrase."
"""What Zhang et al. put after their GQA questions, blank included."""
SINGLE_WORD_TOKENS = 16
DESCRIPTION = "Describe the image."
DESCRIPTION_TOKENS = 64
_COLUMNS = ("question_id", "img_id", "question", "answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A picture and the question about it; `prompt` is the whole conversation. `answer` is "" where unknown."""

    id: str
    image: ImageSource
    question: str
    prompt: str
    answer: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What is asked, where it comes from, and how long a reply may be in tokens."""

    source: str
    items: tuple[Asked, ...]
    max_new_tokens: int

    def __iter__(self) -> Iterator[Asked]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def spread(self, limit: int | None) -> "Questions":
        """At most `limit` of them, evenly spread over the list.

        Raises:
            ConfigError: less than one.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise ConfigError(f"--limit {limit} leaves nothing to look at; give at least 1.")
        places = np.arange(limit) * len(self) // limit
        return replace(self, items=tuple(self.items[place] for place in places))

    def pictures(self) -> "Questions":
        """One item for each distinct picture."""
        first = {item.image: item for item in reversed(self.items)}
        return replace(self, items=tuple(item for item in self.items if first[item.image] is item))

    def checked(self) -> "Questions":
        """The same, once every picture has been found to be readable.

        Raises:
            ImageError: one is not.
        """
        for item in self.pictures():
            try:
                decode_image(item.image)
            except ImageError as error:
                raise ImageError(f"{item.image}: {error}. Replace the file, or move it away.") from error
        return self

    def describe(self) -> dict[str, object]:
        """Number and digest of prompts and pictures, as JSON values."""
        digest = hashlib.sha256()
        for item in self.items:
            content = hashlib.sha256(item.image.read_bytes()).hexdigest()
            digest.update(json.dumps([item.id, item.prompt, content]).encode())
        return {
            "source": self.source,
            "count": len(self),
            "sha256": digest.hexdigest(),
            "max_new_tokens": self.max_new_tokens,
        }


@dataclass(frozen=True, slots=True)
class FolderImage:
    """An image file below a folder, or a member of a tar file there."""

    root: Path
    name: str

    def __str__(self) -> str:
        return str(self.root / self.name)

    def read_bytes(self) -> bytes:
        """The encoded file."""
        return ImageFiles(self.root).read(self.name)

    def is_file(self) -> bool:
        """Whether it is there."""
        try:
            ImageFiles(self.root).locate(self.name)
        except (OSError, ImageError, DataError):
            return False
        return True


def digest_items(items: Sequence[Item]) -> str:
    """SHA-256 over a benchmark's questions, options and answers."""
    content = [[item.id, item.group, item.question, item.options, item.answer] for item in items]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def benchmark_questions(name: str, data_dir: Path, profile: str, group: str | None = None) -> Questions:
    """Items of a benchmark, of all groups or of one, worded as `profile` does.

    Raises:
        UnknownNameError: no such benchmark or profile.
        ConfigError: no such group.
        DataError: files are missing or damaged.
    """
    benchmark = get_benchmark(name)
    items = load_items(benchmark, data_dir, profile)
    groups = sorted({item.group for item in items})
    if group is not None and group not in groups:
        raise ConfigError(f"{benchmark.title} has no group {group!r}. Known: {', '.join(groups)}.")
    return Questions(
        source=benchmark.title if group is None else f"{benchmark.title}, {group}",
        items=tuple(
            Asked(
                id=item.id,
                image=item.image,
                question=item.question,
                prompt=prompt(benchmark, item, profile),
                answer=item.answer,
            )
            for item in items
            if group in (None, item.group)
        ),
        max_new_tokens=benchmark.protocols[profile].max_new_tokens,
    )


def folder_questions(images: Path, profile: str, question: str = DESCRIPTION) -> Questions:
    """One question about every image below a folder, in the order of their names.

    Raises:
        DataError: no folder, or no image in it.
    """
    from pipelines.image_sources import read_source

    return Questions(
        source=str(images),
        items=tuple(
            _asked(name, FolderImage(images, name), question, profile)
            for name in read_source(None, images).paths
        ),
        max_new_tokens=DESCRIPTION_TOKENS,
    )


def table_questions(table: Path, images: Path, profile: str) -> Questions:
    """Questions of a table like those of Zhang et al. on GQA: columns question_id, img_id, question, answer.

    Pictures are `<images>/<img_id>.jpg`.

    Raises:
        DataError: no such table, a column or a picture is missing, or an id comes twice.
    """
    rows = _read_table(table)
    items = []
    for line, row in enumerate(rows, start=2):
        picture = image_path(images, f"{row['img_id']}.jpg", f"{table} line {line}")
        asked = _asked(row["question_id"], picture, row["question"], profile, SINGLE_WORD)
        items.append(replace(asked, answer=row["answer"]))
    if missing := sorted({str(item.image) for item in items if not item.image.is_file()}):
        raise DataError(f"{len(missing)} images are missing, first {missing[0]}; see --images.")
    if len({item.id for item in items}) < len(items):
        raise DataError(f"{table} holds a question_id twice; fetch the file again.")
    return Questions(source=table.name, items=tuple(items), max_new_tokens=SINGLE_WORD_TOKENS)


def _read_table(table: Path) -> Sequence[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as a table: {error}. See --questions.") from error
    if not rows or any(row.get(name) is None for row in rows for name in _COLUMNS):
        raise DataError(f"{table}: expected rows with the columns {', '.join(_COLUMNS)}; see --questions.")
    return rows


def _asked(id_: str, image: ImageSource, question: str, profile: str, suffix: str = "") -> Asked:
    template = get_template(get_profile(profile).template)
    return Asked(
        id=id_, image=image, question=question, prompt=template.prompt(with_image(question) + suffix)
    )
