"""Question files as rows: JSON lines, JSON lists, CSV, TSV and parquet, each row with its place for messages.

Pictures inside a table are not read with it: their cell is an `ImageSource`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from viral.data.image_source import LONGEST_CELL, ImageSource, ParquetCell, TsvCell
from viral.errors import DataError, one_line


def read_text(source: ImageSource) -> str:
    """A whole text file, UTF-8 with or without byte order mark.

    Raises:
        DataError: it is missing, empty, or not UTF-8.
    """
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(
            f"No file {source}. Put the benchmark's files there, or give its parent with --data."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read as text: {one_line(error)}.") from error
    if not text.strip():
        raise DataError(f"{source} is empty.")
    return text


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - anything JSON can hold
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or is nested deeper than Python's parser can go.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_json(path: Path) -> list[tuple[str, Any]]:
    """(place, value) of each entry of a JSON list, or of each line that is not blank.

    Raises:
        DataError: missing or empty file, or no valid JSON.
    """
    text = read_text(path)
    try:
        whole = parse_json(text) if text.lstrip().startswith("[") else None
    except ValueError:
        whole = None  # lines of lists, or damaged: the lines will tell
    if isinstance(whole, list):
        return [(f"{path} entry {number}", value) for number, value in enumerate(whole, start=1)]
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            rows.append((where, parse_json(line)))
        except ValueError as error:
            raise DataError(
                f"{where} is not valid JSON ({one_line(error)}); the file is damaged or cut short."
            ) from error
    return rows


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`read_json`, each entry being an object.

    Raises:
        DataError: as there, or an entry that is none.
    """
    for where, row in read_json(path):
        if not isinstance(row, dict):
            raise DataError(f"{where} is {type(row).__name__}, expected an object.")
        yield where, row


def read_csv(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    """The rows below the header of a comma-separated file that has at least so many columns.

    Raises:
        DataError: missing or empty file, or too few columns in the header or in a row.
    """
    header, *rows = _cells(path, ",")
    if len(header) < columns:
        raise DataError(
            f"{path} has {len(header)} columns, expected {columns}; it is no comma-separated table."
        )
    for number, row in enumerate(rows, start=2):
        if len(row) < columns:
            raise DataError(f"{path} row {number} has {len(row)} cells, expected {columns}.")
        yield f"{path} row {number}", row


def read_tsv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a tab-separated file by column name, `image` (base64) as an `ImageSource`.

    Raises:
        DataError: as `read_csv`.
    """
    header, *rows = _cells(path, "\t")
    for number, row in enumerate(rows):
        where = f"{path} row {number + 2}"
        if len(row) != len(header):
            raise DataError(f"{where} has {len(row)} cells, the header {len(header)}.")
        yield where, dict(zip(header, row, strict=True)) | {"image": TsvCell(path, number)}


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows by column name, an embedded `image` as an `ImageSource`.

    Raises:
        DataError: missing, damaged or truncated file, or one without rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            embedded = [
                column.name
                for column in file.schema_arrow
                if pa.types.is_struct(column.type) or pa.types.is_binary(column.type)
            ]
            rows = file.read([name for name in file.schema_arrow.names if name not in embedded]).to_pylist()
    except FileNotFoundError as error:
        raise DataError(f"No file {path}.") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as parquet ({one_line(error)}); it is damaged or cut short, fetch it again."
        ) from error
    if not rows:
        raise DataError(f"{path} is empty.")
    for number, row in enumerate(rows):
        cell = {"image": ParquetCell(path, number)} if "image" in embedded else {}
        yield f"{path} row {number + 1}", row | cell


READERS = {".jsonl": read_jsonl, ".json": read_jsonl, ".parquet": read_parquet, ".tsv": read_tsv}
"""Suffix -> reader of rows by column name."""


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of any of `READERS`' formats, by the file's suffix."""
    return READERS[path.suffix](path)


def field(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:  # noqa: ANN401
    """`row[name]`, checked to be of a type.

    Raises:
        DataError: the field is missing or of another type.
    """
    if name not in row:
        raise DataError(f"{where} has no field {name!r}; it holds {', '.join(row) or 'nothing'}.")
    value = row[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: {name} is {type(value).__name__} {value!r:.40}.")
    return value


def _cells(path: Path, delimiter: str) -> list[list[str]]:
    csv.field_size_limit(LONGEST_CELL)
    try:
        return [
            row for row in csv.reader(io.StringIO(read_text(path)), delimiter=delimiter, strict=True) if row
        ]
    except csv.Error as error:
        raise DataError(f"{path} is damaged or cut short: {one_line(error)}.") from error
