"""Benchmark folders as they lie on disk: JSON lines, pictures below the root, expected numbers of items."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from viral.benchmarks.base import Benchmark, Item, get_profile
from viral.data.annotations import resolve_image
from viral.errors import DataError, ImageError

COUNTS_FILE = "counts.json"
"""Marks a folder in a benchmark's format that is not the published one, and says how many items it holds.

Items per group, as in `{"count": 300, "relation": 300}`. Without it the folder must be complete.
"""


def load_items(benchmark: Benchmark, data_dir: Path, profile: str = "paper") -> list[Item]:
    """All items of a benchmark below `data_dir`, in file order, each id once, each group complete.

    Raises:
        UnknownNameError: no such profile.
        DataError: a file is missing, damaged or not in the benchmark's format, an id comes twice, or a group
            has another size than the published benchmark, or than the folder's `counts.json` declares.
    """
    expected = group_sizes(benchmark, data_dir, profile)
    items = benchmark.load(data_dir / benchmark.folder, list(expected))
    ids = Counter(item.id for item in items)
    if doubles := [id_ for id_, times in ids.items() if times > 1]:
        raise DataError(
            f"{benchmark.title}: {len(doubles)} ids occur twice in {data_dir / benchmark.folder}, "
            f"first {doubles[0]!r}; fetch the files again."
        )
    found = Counter(item.group for item in items)
    for group, sizes in expected.items():
        if found[group] not in sizes:
            raise DataError(
                f"{benchmark.title}: {found[group]} items in group {group!r}, expected "
                f"{' or '.join(map(str, sizes))}; fetch the files of {data_dir / benchmark.folder} again, or "
                f"declare a subset of your own in its {COUNTS_FILE}."
            )
    return items


def data_files(benchmark: Benchmark, data_dir: Path, profile: str = "paper") -> list[Path]:
    """The files that define the items, pictures not included."""
    return benchmark.files(data_dir / benchmark.folder, list(group_sizes(benchmark, data_dir, profile)))


def group_sizes(benchmark: Benchmark, data_dir: Path, profile: str) -> Mapping[str, tuple[int, ...]]:
    """Allowed number of items per group: the folder's own `counts.json`, else the published sizes.

    A group that the profile's headline leaves out is expected only if its files are there.

    Raises:
        UnknownNameError: no such profile.
        DataError: `counts.json` is not a mapping of the benchmark's groups to positive numbers.
    """
    folder = data_dir / benchmark.folder
    optional = benchmark.protocols[get_profile(profile).name].optional
    path = folder / COUNTS_FILE
    if not path.exists():
        return {
            group: sizes
            for group, sizes in benchmark.counts.items()
            if group not in optional or all(file.exists() for file in benchmark.files(folder, [group]))
        }
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    valid = isinstance(declared, dict) and declared and declared.keys() <= benchmark.counts.keys()
    if not valid or not all(type(size) is int and size > 0 for size in declared.values()):
        raise DataError(
            f"{path}: expected items per group, as in {json.dumps(dict.fromkeys(benchmark.counts, 300))}."
        )
    return {group: (declared[group],) for group in benchmark.counts if group in declared}


def write_counts(folder: Path, counts: Mapping[str, int]) -> None:
    """Declare how many items per group a folder holds that is not the published benchmark."""
    (folder / COUNTS_FILE).write_text(json.dumps(counts) + "\n", encoding="utf-8")


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place for error messages, object) of each line that is not blank.

    Raises:
        DataError: missing or empty file, or a line that is not a JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise DataError(
            f"No file {path}. Put the benchmark's files there, or give its parent with --data."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} is empty.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{where} is not valid JSON ({error}); the file is damaged or cut short."
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{where} is {type(row).__name__}, expected an object.")
        yield where, row


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


def image_path(root: Path, relative: str, where: str) -> Path:
    """Path of a picture below `root`; whether it exists is asked when it is needed.

    Raises:
        DataError: the path leaves `root`.
    """
    try:
        return resolve_image(root, relative)
    except ImageError as error:
        raise DataError(f"{where}: {error}.") from error


def require_images(items: Sequence[Item]) -> None:
    """Check that every picture is there before hours are spent on the others.

    Raises:
        DataError: pictures are missing.
    """
    if missing := sorted({str(item.image) for item in items if not item.image.is_file()}):
        raise DataError(f"{len(missing)} images are missing, first {missing[0]}.")
