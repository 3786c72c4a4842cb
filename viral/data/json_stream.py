"""Values of a large JSON list or JSON-lines file, one at a time: memory does not grow with the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from viral.errors import DataError

CHUNK_CHARS = 1 << 20
MAX_VALUE_CHARS = 1 << 24
"""Of one value of a list. A broken file would otherwise be read to its end in search of a closing bracket."""
MAX_CUT_NUMBER = 2
"""Characters at the end of a chunk that may belong to the number before them: the `e-` of `1e-5`."""

_SPACE = " \t\n\r"


def json_values(path: Path) -> Iterator[Any]:
    """Values of a JSON list, or, in a `.jsonl` file that does not start with "[", of its lines.

    Raises:
        DataError: no file, no list, not UTF-8, or broken JSON; says after how many sound values.
    """
    if not path.is_file():
        raise DataError(f"No annotation file at {path}. Give a LLaVA .json or .jsonl file with --data.")
    count = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for value in _values(file, path):
                yield value
                count += 1
    except DataError:
        raise
    except RecursionError as error:
        raise DataError(f"{path} entry {count} is nested too deeply to be an annotation.") from error
    except ValueError as error:  # broken JSON, bytes that are no UTF-8, a number of thousands of digits
        raise DataError(
            f"{path} is not valid JSON: {error}, in entry {count}; the file is damaged or cut short, copy it again."
        ) from error


def _values(file: TextIO, path: Path) -> Iterator[Any]:
    reader = _Reader(file)
    if reader.peek() == "[":
        return _items(reader)
    if path.suffix == ".jsonl":
        file.seek(0)
        return (json.loads(line) for line in file if not line.isspace())
    raise DataError(
        f"{path} holds no list of conversations: expected '[', found {reader.peek() or 'nothing'!r}; "
        "if it has one entry a line, name it .jsonl."
    )


def _items(reader: "_Reader") -> Iterator[Any]:
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


class _Reader:
    """Text that is read further whenever it runs out."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._place = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._more():
                return ""

    def take(self) -> str:
        """Like `peek`, and go past it."""
        character = self.peek()
        self._place += len(character)
        return character

    def value(self) -> Any:  # noqa: ANN401 - anything JSON can hold
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
                self._place = end
                return value

    def _more(self) -> bool:
        """Read on; doubling keeps the work of parsing a long value again linear."""
        chunk = self._file.read(max(CHUNK_CHARS, len(self._text) - self._place))
        if not chunk:
            return False
        self._text, self._place = self._text[self._place :] + chunk, 0
        return True
