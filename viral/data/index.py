"""Annotation files of any size at a few bytes a sample: where each entry lies, and what sampling needs to know of it.

A file is read through once (`scan`); from then on a sample is read and parsed when somebody asks for it, in whichever
process asks. N entries of a file, M image paths they name, U distinct ones.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viral.data.annotations import Sample, iter_entries, parse_sample
from viral.data.image_files import Stamp
from viral.errors import DataError


@dataclass(frozen=True, slots=True)
class FileIndex:
    """One annotation file, every entry of which is known to be a conversation; arrays are [N] if not said."""

    path: Path
    stamp: Stamp
    sha256: str
    offsets: np.ndarray
    """int64 bytes."""
    sizes: np.ndarray
    """int32 bytes."""
    num_words: np.ndarray
    """int32; see `Sample.num_words`."""
    num_images: np.ndarray
    """int32."""
    is_unanswered: np.ndarray
    """bool: all answers are empty, so that nothing can be learnt from the text."""
    image_numbers: np.ndarray
    """[M] int32, entry after entry."""
    names: np.ndarray
    """uint8: the distinct paths in UTF-8, one after the other."""
    name_ends: np.ndarray
    """[U] int64 bytes."""

    def image_names(self) -> Iterator[str]:
        """Distinct image paths as written, in the order of their numbers."""
        data, start = self.names.tobytes(), 0
        for end in self.name_ends.tolist():
            yield data[start:end].decode("utf-8", "surrogatepass")
            start = end


def scan(path: Path) -> FileIndex:
    """Read an annotation file through, checking every entry.

    Raises:
        DataError: as `iter_annotations`, or the file was changed meanwhile.
    """
    offsets, sizes, num_words, num_images = array("q"), array("i"), array("i"), array("i")
    is_unanswered, image_numbers, numbers = bytearray(), array("i"), dict[str, int]()
    before = stamp_of(path)
    for sample, entry in iter_entries(path):
        offsets.append(entry.offset)
        sizes.append(entry.size)
        num_words.append(sample.num_words)
        num_images.append(len(sample.images))
        is_unanswered.append(not any(answer for _, answer in sample.turns))
        image_numbers.extend(numbers.setdefault(name, len(numbers)) for name in sample.images)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if stamp_of(path) != before:
        raise DataError(f"{path} was changed while it was read; run again when nobody writes to it.")
    names = [name.encode("utf-8", "surrogatepass") for name in numbers]
    return FileIndex(
        path=path,
        stamp=before,
        sha256=sha256,
        offsets=np.array(offsets, np.int64),
        sizes=np.array(sizes, np.int32),
        num_words=np.array(num_words, np.int32),
        num_images=np.array(num_images, np.int32),
        is_unanswered=np.frombuffer(bytes(is_unanswered), np.bool_),
        image_numbers=np.array(image_numbers, np.int32),
        names=np.frombuffer(b"".join(names), np.uint8),
        name_ends=np.cumsum([len(name) for name in names], dtype=np.int64),
    )


class AnnotationIndex(Sequence[Sample]):
    """Samples of several files, one after the other, read and parsed when they are asked for.

    It holds arrays and opens a file for each sample, so it may be handed to other processes, forked or spawned.
    """

    def __init__(self, files: Sequence[FileIndex], rows: np.ndarray | None = None) -> None:
        self.files = tuple(files)
        self._starts = np.cumsum([0, *(len(file.offsets) for file in files)])
        self.rows = np.arange(self._starts[-1]) if rows is None else rows
        """Which entries, counted over all files."""
        self.num_words = self._rows("num_words")
        self.num_images = self._rows("num_images")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override] # one at a time
        """The sample at this place.

        Raises:
            DataError: its file has been changed since it was read through, or has gone.
        """
        row = int(self.rows[index])
        number = int(np.searchsorted(self._starts, row, "right")) - 1
        file, entry = self.files[number], row - int(self._starts[number])
        data = _read(file, int(file.offsets[entry]), int(file.sizes[entry]))
        return parse_sample(json.loads(data.decode()), f"{file.path} entry {entry}")

    @property
    def num_unanswered(self) -> int:
        """Samples whose answers are all empty."""
        return int(self._rows("is_unanswered").sum())

    def image_names(self) -> set[str]:
        """Distinct image paths of all files, those of entries left out included."""
        return {name for file in self.files for name in file.image_names()}

    def without_images(self, names: Collection[str]) -> "AnnotationIndex":
        """The samples that have none of these images."""
        spoilt = np.concatenate([_entries_with(file, names) for file in self.files])
        return AnnotationIndex(self.files, self.rows[~spoilt[self.rows]])

    def _rows(self, name: str) -> np.ndarray:
        joined: np.ndarray = np.concatenate([getattr(file, name) for file in self.files])
        return joined[self.rows]


def stamp_of(path: Path) -> Stamp:
    """Stamp of an annotation file.

    Raises:
        DataError: there is none.
    """
    try:
        return Stamp.of(path.stat())
    except OSError as error:
        raise DataError(
            f"No annotation file at {path}: {error.strerror}. Give a LLaVA .json or .jsonl file with --data, "
            "or as data.annotations."
        ) from error


def _read(file: FileIndex, offset: int, size: int) -> bytes:
    try:
        with file.path.open("rb", buffering=0) as raw:
            now = Stamp.of(os.fstat(raw.fileno()))
            if (now.size, now.mtime_ns) == (file.stamp.size, file.stamp.mtime_ns):
                return os.pread(raw.fileno(), size, offset)
    except OSError as error:
        raise DataError(f"cannot read {file.path}: {error.strerror}") from error
    raise DataError(f"{file.path} has been changed since this run read it through; restore it and resume.")


def _entries_with(file: FileIndex, names: Collection[str]) -> np.ndarray:
    """bool [N]: which entries have one of these images."""
    bad_U = np.fromiter((name in names for name in file.image_names()), np.bool_, len(file.name_ends))
    entry_M = np.repeat(np.arange(len(file.num_images)), file.num_images)
    spoilt_N = np.zeros(len(file.num_images), np.bool_)
    spoilt_N[entry_M[bad_U[file.image_numbers]]] = True
    return spoilt_N
