"""Values of a large JSON list or JSON-lines file, one at a time: memory does not grow with the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from viral.errors import DataError

CHUNK_CHARS = 1 << 20
MAX_VALUE_CHARS = 1 << 24
"""Of one value of a list. A broken file would otherwise be read to its end in search of a closing bracket."""
MAX_CUT_NUMBER = 2
"""Characters at the end of a chunk that may belong to the number before them: the `e-` of `1e-5`."""

_SPACE = " \t\n\r"


BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One value, and the bytes of the file that it was read from."""

    value: Any
    offset: int
    size: int


def json_entries(path: Path) -> Iterator[Entry]:
    """Values of a JSON list, or, in a `.jsonl` file that does not start with "[", of its lines.

    Raises:
        DataError: no file, no list, not UTF-8, or broken JSON; says after how many sound values.
    """
    if not path.is_file():
        raise DataError(f"No annotation file at {path}. Give a LLaVA .json or .jsonl file with --data.")
    count = 0
    try:
        with path.open("rb") as raw:
            start = len(BOM) if raw.read(len(BOM)) == BOM else 0
        with path.open(encoding="utf-8-sig", newline="") as file:
            for entry in _entries(file, path, start):
                yield entry
                count += 1
    except DataError:
        raise
    except RecursionError as error:
        raise DataError(f"{path} entry {count} is nested too deeply to be an annotation.") from error
    except ValueError as error:  # broken JSON, bytes that are no UTF-8, a number of thousands of digits
        raise DataError(
            f"{path} is not valid JSON: {error}, in entry {count}; the file is damaged or cut short, copy it again."
        ) from error


def _entries(file: TextIO, path: Path, start: int) -> Iterator[Entry]:
    reader = _Reader(file, start)
    if reader.peek() == "[":
        return _items(reader)
    if path.suffix == ".jsonl":
        file.seek(0)
        return _lines(file, start)
    raise DataError(
        f"{path} holds no list of conversations: expected '[', found {reader.peek() or 'nothing'!r}; "
        "if it has one entry a line, name it .jsonl."
    )


def _lines(file: TextIO, offset: int) -> Iterator[Entry]:
    for line in file:
        size = _num_bytes(line)
        if not line.isspace():
            yield Entry(json.loads(line), offset, size)
        offset += size


def _items(reader: "_Reader") -> Iterator[Entry]:
    reader.take()
    if reader.peek() == "]":
        return
    while True:
        yield reader.value()
        mark = reader.take()
        if mark == "]":
            break
        if mark != ",":
            raise ValueError(f"found {mark or 'the end of the file'!r} where ',' or ']' should be")
    if rest := reader.peek():
        raise ValueError(f"found {rest!r} after the closing ']'")


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class _Reader:
    """Text that is read further whenever it runs out."""

    def __init__(self, file: TextIO, offset: int) -> None:
        self._file, self._text, self._place = file, "", 0
        self._offset = offset  # of `_place`, in bytes of the file
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._go(self._place + 1)
            if not self._more():
                return ""

    def take(self) -> str:
        """Like `peek`, and go past it."""
        character = self.peek()
        self._go(self._place + len(character))
        return character

    def value(self) -> Entry:
        """The next value; one that does not parse may just go on in the next chunk.

        Raises:
            ValueError: there is none, whatever follows.
        """
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError:
                if len(self._text) - self._place > MAX_VALUE_CHARS or not self._more():
                    raise
                continue
            if len(self._text) - end > MAX_CUT_NUMBER or not self._more():
                offset = self._offset
                self._go(end)
                return Entry(value, offset, self._offset - offset)

    def _go(self, place: int) -> None:
        self._offset += _num_bytes(self._text[self._place : place])
        self._place = place

    def _more(self) -> bool:
        """Read on; doubling keeps the work of parsing a long value again linear."""
        chunk = self._file.read(max(CHUNK_CHARS, len(self._text) - self._place))
        if not chunk:
            return False
        self._text, self._place = self._text[self._place :] + chunk, 0
        return True
