"""What reading an annotation file through has found out, kept for the next run.

One file for each annotation file, in `VIRAL_ANNOTATION_CACHE` (default `~/.cache/viral/annotations`): the arrays of a
`FileIndex`, some fifty bytes a sample. It is used only while the annotation file has the same size, mtime, ctime and
inode; one that is damaged, or of another version, is made anew. A folder that cannot be written does without.
"""

import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np

from pipelines.hash_cache import is_settled
from stores.publish import publish
from viral.data.image_files import Stamp
from viral.data.index import AnnotationIndex, FileIndex, scan, stamp_of

DEFAULT_CACHE = "~/.cache/viral/annotations"
VERSION = 1
ARRAYS = tuple(field.name for field in fields(FileIndex) if field.type is np.ndarray)

log = logging.getLogger(__name__)


def open_annotations(paths: Sequence[Path]) -> AnnotationIndex:
    """The samples of these files, in this order; only files that are new or have changed are read through.

    Raises:
        DataError: a file is missing, broken, or holds something else than conversations.
    """
    return AnnotationIndex([_open(path) for path in paths])


def _open(path: Path) -> FileIndex:
    kept, stamp, now = _cache_file(path), stamp_of(path), time.time_ns()
    if index := _load(kept, path, stamp):
        return index
    log.info("reading %s through", path)
    index = scan(path)
    if is_settled(index.stamp, now):
        with suppress(OSError):
            _save(kept, index)
    log.info("%s: %d samples, read in %.0f s", path, len(index.offsets), (time.time_ns() - now) / 1e9)
    return index


def _cache_file(path: Path) -> Path:
    folder = Path(os.environ.get("VIRAL_ANNOTATION_CACHE", DEFAULT_CACHE)).expanduser()
    name = os.fsencode(path.resolve())
    return folder / f"{hashlib.blake2b(name, digest_size=16).hexdigest()}.npz"


def _save(kept: Path, index: FileIndex) -> None:
    head = json.dumps({"version": VERSION, "stamp": list(index.stamp), "sha256": index.sha256})
    arrays = {name: getattr(index, name) for name in ARRAYS}
    with publish(kept) as partial, partial.open("wb") as file:
        np.savez(file, head=np.frombuffer(head.encode(), np.uint8), **arrays)


def _load(kept: Path, path: Path, stamp: Stamp) -> FileIndex | None:
    """What is kept of this file; None if there is nothing, or nothing that can be trusted."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            if head["version"] != VERSION or Stamp(*head["stamp"]) != stamp:
                return None
            return FileIndex(path, stamp, head["sha256"], **{name: stored[name] for name in ARRAYS})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
