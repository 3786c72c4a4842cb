"""Benchmark folders as they lie on disk: where they are found, how many items they must hold, pictures."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from viral.benchmarks.base import Benchmark, Item, get_profile, squash
from viral.benchmarks.tables import parse_json
from viral.data.annotations import resolve_image
from viral.errors import DataError, ImageError

COUNTS_FILE = "counts.json"
"""Marks a folder in a benchmark's format that is not the published one, and says how many items it holds.

Items per group, as in `{"count": 300, "relation": 300}`. Without it the folder must be complete.
"""


def load_items(
    benchmark: Benchmark, data_dir: Path, profile: str = "paper", *, partial: bool = False
) -> list[Item]:
    """All items of a benchmark in or below `data_dir`, in file order, each id once, each group complete.

    Args:
        benchmark: what to load.
        data_dir: the folder that holds the benchmarks' folders, or the benchmark's own.
        profile: tells which groups may be absent.
        partial: take whatever number of items is there, and any group may be absent.

    Raises:
        UnknownNameError: no such profile.
        DataError: a file is missing, damaged or not in the benchmark's format, an id comes twice, or a group
            has another size than the published benchmark, or than the folder's `counts.json` declares.
    """
    folder = locate(benchmark, data_dir)
    expected = group_sizes(benchmark, folder, profile, partial=partial)
    items = benchmark.load(folder, list(expected))
    ids = Counter(item.id for item in items)
    if doubles := [id_ for id_, times in ids.items() if times > 1]:
        raise DataError(
            f"{benchmark.title}: {len(doubles)} ids occur twice in {folder}, first {doubles[0]!r}; "
            "fetch the files again."
        )
    if not partial and (wrong := size_problem(benchmark, items, expected)):
        raise DataError(
            f"{benchmark.title}: {wrong}; fetch the files of {folder} again, or declare a subset of your own in "
            f"its {COUNTS_FILE}."
        )
    return items


def locate(benchmark: Benchmark, data_dir: Path) -> Path:
    """The benchmark's own folder, or zip archive: below `data_dir` under any of its names, or `data_dir` itself.

    A `counts.json` tells that `data_dir` is the benchmark's own folder, although one of that name may be in it.
    """
    canonical = data_dir / benchmark.folder
    children = sorted(data_dir.iterdir()) if data_dir.is_dir() else []
    known = {squash(name) for name in (benchmark.name, benchmark.folder, *benchmark.spellings)}
    named = [canonical, *(child for child in children if squash(child.name.removesuffix(".zip")) in known)]
    own = [data_dir] if (data_dir / COUNTS_FILE).is_file() else []
    for folder in [*own, *named, data_dir]:
        if any(question_files(folder, benchmark.layouts(group)) for group in benchmark.counts):
            return folder
    return next((folder for folder in named if folder.is_dir()), canonical)


def question_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """What the first pattern finds that finds anything; `folder` itself if it is a file of that pattern."""
    if folder.is_file():
        return [folder] if any(folder.match(pattern) for pattern in patterns) else []
    return next((found for pattern in patterns if (found := sorted(folder.glob(pattern)))), [])


def required_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """As `question_files`.

    Raises:
        DataError: none of the patterns finds anything.
    """
    if found := question_files(folder, patterns):
        return found
    raise DataError(
        f"No file {folder / patterns[0]}. Put the benchmark's files there, or give its parent with --data."
    )


def group_sizes(
    benchmark: Benchmark, folder: Path, profile: str, *, partial: bool = False
) -> Mapping[str, tuple[int, ...]]:
    """Allowed number of items per group: the folder's own `counts.json`, else the published sizes.

    A group that the profile's headline leaves out is expected only if its files are there; so is any if `partial`.

    Raises:
        UnknownNameError: no such profile.
        DataError: `counts.json` is not a mapping of the benchmark's groups to positive numbers.
    """
    optional = benchmark.protocols[get_profile(profile).name].optional
    path = folder / COUNTS_FILE
    if not path.exists():
        present = {
            group: sizes
            for group, sizes in benchmark.counts.items()
            if (group not in optional and not partial) or question_files(folder, benchmark.layouts(group))
        }
        return present or benchmark.counts
    try:
        declared = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    valid = isinstance(declared, dict) and declared
    known = benchmark.free_groups or (valid and declared.keys() <= benchmark.counts.keys())
    if not valid or not known or not all(type(size) is int and size > 0 for size in declared.values()):
        raise DataError(
            f"{path}: expected items per group, as in {json.dumps(dict.fromkeys(benchmark.counts, 300))}."
        )
    return {group: (declared[group],) for group in {**benchmark.counts, **declared} if group in declared}


def size_problem(
    benchmark: Benchmark, items: Sequence[Item], expected: Mapping[str, tuple[int, ...]]
) -> str | None:
    """What is wrong with the number of items, in words; None if nothing is."""
    found = Counter(item.group for item in items)
    if benchmark.free_groups and sorted(found.values()) == sorted(max(sizes) for sizes in expected.values()):
        return None
    for group in {**expected, **found}:
        sizes = expected.get(group, (0,))
        if found[group] not in sizes:
            totals = sorted({sum(choice) for choice in itertools.product(*expected.values())})
            return (
                f"{found[group]} items in group {group!r}, expected {' or '.join(map(str, sizes))} "
                f"({len(items)} in all, expected {' or '.join(map(str, totals))})"
            )
    return None


def write_counts(folder: Path, counts: Mapping[str, int]) -> None:
    """Declare how many items per group a folder holds that is not the published benchmark."""
    (folder / COUNTS_FILE).write_text(json.dumps(counts) + "\n", encoding="utf-8")


def fingerprint(benchmark: Benchmark, items: Sequence[Item]) -> dict[str, str]:
    """Group -> SHA-256 over its questions, options and answers; the same in whatever order and format they lie."""
    lines: dict[str, list[str]] = {}
    for item in items:
        content = [benchmark.same_id(item.id), item.question, item.answer, item.options]
        lines.setdefault(item.group, []).append(json.dumps(content))
    return {
        group: hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()
        for group, members in sorted(lines.items())
    }


def image_path(root: Path, relative: str, where: str) -> Path:
    """Path of a picture below `root`; whether it exists is asked when it is needed.

    Raises:
        DataError: the path leaves `root`.
    """
    try:
        return _resolve(root, relative)
    except (ImageError, ValueError, OSError) as error:
        raise DataError(f"{where}: {error}.") from error


@lru_cache(maxsize=4096)
def _resolve(root: Path, relative: str) -> Path:
    return resolve_image(root, relative)  # links are followed; POPE asks eighteen times about each picture


def require_images(items: Sequence[Item]) -> None:
    """Check that every picture is there before hours are spent on the others.

    Raises:
        DataError: pictures are missing.
    """
    sources = dict.fromkeys(item.image for item in items)
    if missing := sorted(str(source) for source in sources if not source.is_file()):
        raise DataError(f"{len(missing)} images are missing, first {missing[0]}.")
