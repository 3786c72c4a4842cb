"""Where a reader finds a store's files: one protocol, and the local folder; `stores.remote` is the other place."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
MAX_OPEN_FILES = 4096 if _LIMIT == resource.RLIM_INFINITY else max(16, _LIMIT // 4)
"""Files that one store holds open at once: a quarter of what the process may, for it may read from several stores."""


class Piece(NamedTuple):
    """A stretch of a file, and the memory to fill with it."""

    name: str
    offset: int
    views: tuple[memoryview, ...]

    @property
    def size(self) -> int:
        """Bytes wanted."""
        return sum(view.nbytes for view in self.views)


class Files(Protocol):
    """A store's files, by their names inside the store. Safe under fork, spawn and threads."""

    @property
    def location(self) -> str:
        """Path or URL of the store, for messages."""

    def read(self, name: str) -> bytes:
        """A whole file; FileNotFoundError if there is none."""

    def fill(self, pieces: Sequence[Piece]) -> list[int]:
        """Read every piece and return how many bytes each got: fewer than wanted where a file ends.

        Raises:
            FileNotFoundError: its `filename` is the name of a file that is missing.
        """

    def forget(self, piece: Piece) -> bool:
        """Drop what is kept of a piece that turned out damaged; True if a second try may do better."""


class _OpenFile:
    """An open file, closed when nobody reads from it any more."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, views: Sequence[memoryview], offset: int) -> int:
        """Bytes read, at a position: readers may share a descriptor. The call keeps `self`, so the file stays open."""
        return os.preadv(self._descriptor, views, offset)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class LocalFiles:
    """A folder; each piece is one positional read into the caller's memory."""

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self._root = root
        self._open: dict[str, _OpenFile] = {}

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self._root / name).read_bytes()

    def fill(self, pieces: Sequence[Piece]) -> list[int]:
        """Read every piece, in the given order."""
        return [self._file(name).read(views, offset) for name, offset, views in pieces]

    def forget(self, piece: Piece) -> bool:
        """Nothing is kept."""
        return False

    def _file(self, name: str) -> _OpenFile:
        """The open file; another thread may drop it from the table meanwhile, the last holder closes it."""
        file = self._open.get(name)
        if file is None:
            try:
                file = _OpenFile(self._root / name)
            except FileNotFoundError as error:
                raise FileNotFoundError(error.errno, error.strerror, name) from error
            if len(self._open) >= MAX_OPEN_FILES:
                self._open.popitem()
            self._open[name] = file
        return file

    def __getstate__(self) -> dict[str, Any]:
        # Descriptors mean nothing to a spawned process; a forked one may use the parent's, reads are positional.
        return self.__dict__ | {"_open": {}}
