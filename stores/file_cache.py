"""Least-recently-used files in one folder, capped in bytes and shared by any number of processes."""

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stores.layout import PARTIAL

log = logging.getLogger(__name__)

_REFILL = 0.9
"""Of the cap that an eviction leaves: one pass over the folder then serves many files."""


class FileCache:
    """Small files by name. Files appear whole or not at all; a reader never sees one that is still being written.

    Nothing is synced to the disk: what is kept here can be fetched again, and whoever uses it checks it. A folder
    that cannot be written is no error either, only slow.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._has_warned = False

    def get(self, name: str) -> bytes | None:
        """Content of a file, which now counts as recently used; None if there is none."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:  # never there, or evicted by another process just now
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a file, dropping those that were used longest ago if the cap asks for it."""
        path = self._path(name)
        partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
        if len(data) > self.max_bytes:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            with self._total() as total:
                if not path.exists():
                    if total[0] + len(data) > self.max_bytes:
                        total[0] = self._evict(int(self.max_bytes * _REFILL) - len(data), spare=partial)
                    total[0] += len(data)
                partial.replace(path)
        except OSError as error:
            if not self._has_warned:
                log.warning("cannot keep remote data in %s: %s", self.folder, error.strerror)
            self._has_warned = True
        finally:
            with suppress(OSError):
                partial.unlink()

    def drop(self, name: str) -> bool:
        """Forget a file; False if there was none."""
        path = self._path(name)
        try:
            with self._total() as total:
                total[0] -= path.stat().st_size
                path.unlink()
        except OSError:
            return False
        return True

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    @contextmanager
    def _total(self) -> Iterator[list[int]]:
        """Bytes in the folder, in a file that one process at a time holds; every eviction counts afresh."""
        descriptor = os.open(self.folder / "total", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            written = os.pread(descriptor, 32, 0)
            total = [int(written) if written.strip().isdigit() else 0]
            yield total
            os.pwrite(descriptor, b"%020d" % max(0, total[0]), 0)
        finally:
            os.close(descriptor)

    def _evict(self, max_bytes: int, spare: Path) -> int:
        """Delete the oldest files, forgotten partial ones included, and return how many bytes are left."""
        found = []
        for path in self.folder.glob("*/*"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            if path != spare:
                found.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total
