"""Names inside a store folder. Everything below `logs/` is the builder's own and no part of the store."""

import re
from collections.abc import Iterable
from pathlib import Path

GROUP = "zarr.json"
PLAN = "plan.json"
REJECTS = "rejects.jsonl"
MANIFEST = "manifest.json"
CODES = "codes"
KEYS = "keys"
REPORTS = "reports"
LOGS = "logs"
LOCK = f"{LOGS}/lock"
"""Of earlier versions."""
CLAIMS = f"{LOGS}/claims"
HASHES = f"{LOGS}/hashes"
"""What planning remembers of image files; a plan may write it before there is a store."""
PARTIAL = ".partial"
"""Suffix of a file that is still being written: `<name>.<process id>-<8 hex digits>.partial`."""

_ARRAYS = (CODES, KEYS, "rotation", "signs", "codebook")
FOLDERS = (*_ARRAYS, REPORTS)
"""Folders of a store, `logs/` excluded."""

_REPLACEABLE = re.compile(
    rf"{REJECTS}|{MANIFEST}|{REPORTS}/\d+\.json|({'|'.join(_ARRAYS)})/(zarr\.json|c\.\d+\.0(\.0)?)"
)
_TEMPORARY = re.compile(rf"({GROUP}|{PLAN}|{_REPLACEABLE.pattern})\.\d+-[0-9a-f]{{8}}{re.escape(PARTIAL)}")

FORMAT = "viral feature store"
FORMAT_VERSION = 1


def array_metadata(array: str) -> str:
    """Zarr metadata of an array."""
    return f"{array}/zarr.json"


def whole_array(array: str) -> str:
    """The single chunk of a two-dimensional array that is stored in one piece."""
    return f"{array}/c.0.0"


def shard_file(shard_id: int) -> str:
    """Zarr's name for shard `shard_id` of `codes`."""
    return f"{CODES}/c.{shard_id}.0.0"


def report_file(shard_id: int) -> str:
    """The report beside a shard; it is written last and marks the shard as done."""
    return f"{REPORTS}/{shard_id}.json"


def setup_files(tables: Iterable[str]) -> list[str]:
    """Files of a created store with these tables, `plan.json` excluded."""
    arrays = (KEYS, *tables)
    return [GROUP, array_metadata(CODES), *map(array_metadata, arrays), *map(whole_array, arrays)]


def small_files(tables: Iterable[str], num_shards: int) -> list[str]:
    """Every file of a finished store but the shards and the manifest."""
    return [*setup_files(tables), PLAN, REJECTS, *map(report_file, range(num_shards))]


def store_files(root: Path) -> list[str]:
    """Relative names of all files below `root` but `logs/`, sorted."""
    names = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(name.as_posix() for name in names if name.parts[0] != LOGS)


def is_temporary(name: str) -> bool:
    """Whether a relative name is one that `publish` gives to a file of a store while it writes it."""
    return _TEMPORARY.fullmatch(name) is not None


def is_replaceable(name: str) -> bool:
    """Whether a relative name is one that a store gives to files it can make again from its plan."""
    return _REPLACEABLE.fullmatch(name) is not None
