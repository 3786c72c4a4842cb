"""Where an image file's bytes are: a path, a member of an archive, a cell of a table."""

import base64
import binascii
import csv
import os
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

LONGEST_CELL = 2**31 - 1
"""In characters; a TSV holds whole pictures as base64."""
OPEN_ARCHIVES = 4
OPEN_ROW_GROUPS = 32
"""Kept in memory with their pictures; a benchmark's table has fewer."""


class ImageSource(Protocol):
    """What decoding asks of a file; `pathlib.Path` has it. `str` names it in messages, equal sources are one image."""

    def read_bytes(self) -> bytes:
        """The encoded file.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it cannot be read.
        """
        ...

    def is_file(self) -> bool:
        """Whether it is there."""
        ...


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file inside a zip archive, which each process opens once."""

    archive: Path
    name: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        """The member, its checksum compared.

        Raises:
            FileNotFoundError: no such archive or member.
            OSError: the archive is damaged, or encrypted.
        """
        try:
            return open_zip(self.archive).read(self.name)
        except KeyError as error:
            raise FileNotFoundError(str(self)) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise OSError(f"damaged archive: {error}") from error

    def is_file(self) -> bool:
        """Whether the archive lists it."""
        try:
            return self.name in open_zip(self.archive).NameToInfo
        except (OSError, zipfile.BadZipFile):
            return False


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """A picture inside a parquet file: bytes, or Hugging Face's struct of bytes and path. Rows count from 0."""

    table: Path
    row: int
    column: str = "image"

    def __str__(self) -> str:
        return f"{self.table} row {self.row + 1}"

    def read_bytes(self) -> bytes:
        """The cell's bytes; its row group stays in memory for its neighbours.

        Raises:
            FileNotFoundError: no such file or row, or nothing is embedded there.
            OSError: the table is damaged.
        """
        if (data := self._read()) is None:
            raise FileNotFoundError(f"{self}: no embedded picture")
        return data

    def is_file(self) -> bool:
        """Whether something is embedded; it is not decoded."""
        try:
            return self._read() is not None
        except OSError:
            return False

    def _read(self) -> bytes | None:
        import pyarrow as pa

        first = 0
        try:
            changed = os.stat(self.table).st_mtime_ns
            for group, size in enumerate(_row_groups(self.table, changed)):
                if self.row < first + size:
                    cell = _pictures(self.table, changed, self.column, group)[self.row - first].as_py()
                    return cell.get("bytes") if isinstance(cell, dict) else cell
                first += size
        except pa.ArrowException as error:
            raise OSError(f"damaged table: {error}") from error
        return None


@dataclass(frozen=True, slots=True)
class TsvCell:
    """A base64 picture in column `image` of a tab-separated file; a short cell names the row that has it."""

    table: Path
    row: int

    def __str__(self) -> str:
        return f"{self.table} row {self.row + 2}"

    def read_bytes(self) -> bytes:
        """The decoded cell; the file's pictures stay in memory.

        Raises:
            FileNotFoundError: no such file or row, or an empty cell.
            OSError: no base64.
        """
        cells, row_of = _base64_cells(self.table, os.stat(self.table).st_mtime_ns)
        text = cells[self.row] if self.row < len(cells) else ""
        text = cells[row_of[text]] if text in row_of else text
        if not text:
            raise FileNotFoundError(f"{self}: no picture")
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise OSError(f"{self} is no base64: {error}") from error

    def is_file(self) -> bool:
        """Whether the cell, or the one it names, holds base64."""
        try:
            return bool(self.read_bytes())
        except OSError:
            return False


def open_zip(path: Path) -> zipfile.ZipFile:
    """The archive, opened once by each process.

    Raises:
        OSError: no such file.
        zipfile.BadZipFile: no zip file, or one that is cut short.
    """
    return _open_zip(path, os.stat(path).st_mtime_ns, os.getpid())


# What is kept belongs to a file's content, so the time of its last change is part of each key.


@lru_cache(OPEN_ARCHIVES)
def _open_zip(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)  # forked processes must not share its file position, hence `process`


@lru_cache(OPEN_ARCHIVES)
def _row_groups(path: Path, changed: int) -> list[int]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]


@lru_cache(OPEN_ROW_GROUPS)
def _pictures(path: Path, changed: int, column: str, group: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, [column]).column(column)


@lru_cache(1)
def _base64_cells(path: Path, changed: int) -> tuple[list[str], dict[str, int]]:
    """All pictures in file order, and the row of each index."""
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [(row["index"], row["image"]) for row in csv.DictReader(file, delimiter="\t")]
    return [image for _, image in rows], {index: row for row, (index, _) in enumerate(rows)}
