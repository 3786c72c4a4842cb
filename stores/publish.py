"""Publish or nothing: a file appears under its name complete and durable, or not at all."""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from stores.canonical import canonical_json
from stores.layout import FOLDERS, PARTIAL, is_temporary

_fence: ContextVar[Callable[[], None]] = ContextVar("fence", default=lambda: None)


@contextmanager
def fenced(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each file that the block publishes gets its real name; what it raises prevents that."""
    token = _fence.set(check)
    try:
        yield
    finally:
        _fence.reset(token)


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a private name in the same folder; give the file its real name only if the body succeeds.

    The file is on the disk before it is renamed, and the rename is on the disk when this returns: a
    power loss leaves the old file or the new one.
    """
    make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield partial
        _sync(partial)
        _fence.get()()
        try:
            partial.replace(path)
        except FileNotFoundError:
            _fence.get()()  # the process that took over from us has removed our private file
            raise
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Publish `data` as the file `path`."""
    with publish(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Publish `value` as canonical JSON."""
    write_bytes(path, canonical_json(value))


def make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they survive a power loss."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def remove_partials(root: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Delete what dead writers left half-written: of these files of a store, or of all.

    Call it only while holding the claim on them.
    """
    if names is None:
        patterns = [f"{folder}/*{PARTIAL}".lstrip("/") for folder in ("", *FOLDERS)]
    else:
        patterns = [f"{name}.*{PARTIAL}" for name in names]
    found = (path for pattern in patterns for path in root.glob(pattern))
    stale = sorted(
        path for path in found if path.is_file() and is_temporary(path.relative_to(root).as_posix())
    )
    for path in stale:
        path.unlink(missing_ok=True)  # its writer may live and have noticed
    return stale


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
