"""Names inside a store folder. Below `logs/` is the builder's own, below `parts/` are stores of their own."""

import re
from pathlib import Path

GROUP = "zarr.json"
PLAN = "plan.json"
REJECTS = "rejects.jsonl"
MANIFEST = "manifest.json"
CODES = "codes"
KEYS = "keys"
REPORTS = "reports"
LOGS = "logs"
PARTS = "parts"
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
    rf"{REJECTS}|{MANIFEST}|{REPORTS}/\d+\.json|({'|'.join(_ARRAYS)})/(zarr\.json|c\.\d+\.0(\.0)?|\d+\.tar)"
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


def report_file(shard_id: int) -> str:
    """The report beside a shard; it is written last and marks the shard as done."""
    return f"{REPORTS}/{shard_id}.json"


def store_files(root: Path) -> list[str]:
    """Relative names of all files below `root` but `logs/` and `parts/`, sorted."""
    names = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(name.as_posix() for name in names if name.parts[0] not in (LOGS, PARTS))


def is_temporary(name: str) -> bool:
    """Whether a relative name is one that `publish` gives to a file of a store while it writes it."""
    return _TEMPORARY.fullmatch(name) is not None


def is_replaceable(name: str) -> bool:
    """Whether a relative name is one that a store gives to files it can make again from its plan."""
    return _REPLACEABLE.fullmatch(name) is not None
