"""A store behind a URL: one range request per record or run of records, retried, kept in a local cache.

Any fsspec URL will do (`s3://`, `https://`, `gs://`, `memory://`); credentials and endpoints come from fsspec's own
configuration, such as `AWS_ENDPOINT_URL` or `FSSPEC_S3`.
"""

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stores.canonical import sha256
from stores.errors import RemoteStoreError
from stores.file_cache import FileCache
from stores.files import Piece

ATTEMPTS = 5
FIRST_DELAY = 0.2
"""Seconds before the second attempt; doubled before each further one, less up to half of it by chance."""
MAX_RUN = 8 << 20
"""Bytes of neighbouring pieces that one request asks for."""
DEFAULT_CACHE = "~/.cache/viral/stores"
DEFAULT_CACHE_GB = "20"

_FINAL = (PermissionError, IsADirectoryError, NotImplementedError, ValueError)


class _Run(NamedTuple):
    """What one request asks for; the whole file if `end` is None."""

    name: str
    start: int | None
    end: int | None


class RemoteFiles:
    """`Files` of a URL."""

    def __init__(self, url: str, cache: FileCache | None) -> None:
        self.location = url.rstrip("/")
        self.version = ""
        """Sets what is kept of this store apart from what is kept of an older one at the same URL."""
        self._cache = cache
        self._connection: tuple[int, Any, str] | None = None

    def read(self, name: str) -> bytes:
        """A whole file."""
        return self._fetch([_Run(name, None, None)])[0]

    def fill(self, pieces: Sequence[Piece]) -> list[int]:
        """Read every piece, from the cache or by as few requests as their neighbourhood allows."""
        kept = [self._cache.get(self._cache_name(piece)) if self._cache else None for piece in pieces]
        missing = [piece for piece, data in zip(pieces, kept, strict=True) if data is None]
        fetched = iter(self._fetch_pieces(missing))
        return [
            _copy(data if data is not None else next(fetched), piece.views)
            for piece, data in zip(pieces, kept, strict=True)
        ]

    def forget(self, piece: Piece) -> bool:
        """Drop a damaged copy from the cache."""
        return self._cache is not None and self._cache.drop(self._cache_name(piece))

    def _fetch_pieces(self, pieces: list[Piece]) -> list[bytes]:
        runs = _runs(pieces)
        spans = [_Run(run[0].name, run[0].offset, run[-1].offset + run[-1].size) for run in runs]
        fetched = []
        for run, data in zip(runs, self._fetch(spans), strict=True):
            for piece in run:
                start = piece.offset - run[0].offset
                fetched.append(data[start : start + piece.size])
                if self._cache and len(fetched[-1]) == piece.size:
                    self._cache.put(self._cache_name(piece), fetched[-1])
        return fetched

    def _cache_name(self, piece: Piece) -> str:
        return sha256("\n".join((self.location, self.version, piece.name, str(piece.offset))).encode())

    def _fetch(self, runs: Sequence[_Run]) -> list[bytes]:
        """Answers to all requests, several at a time where the protocol can; failed ones are sent again.

        Raises:
            FileNotFoundError: its `filename` is the name of a missing file.
            RemoteStoreError: no answer after the last attempt, no permission, or a server without range requests.
        """
        answers: dict[int, bytes] = {}
        problem: BaseException | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(FIRST_DELAY * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 - no secret
            waiting = [place for place in range(len(runs)) if place not in answers]
            for place, answer in zip(waiting, self._ask([runs[place] for place in waiting]), strict=True):
                if isinstance(answer, bytes):
                    answers[place] = _checked(answer, runs[place], self.location)
                elif isinstance(answer, FileNotFoundError):
                    raise FileNotFoundError(2, "No such file", runs[place].name) from answer
                else:
                    problem = _named(answer)
            if len(answers) == len(runs):
                return [answers[place] for place in range(len(runs))]
            if isinstance(problem, _FINAL):
                break
        raise RemoteStoreError(
            f"{self.location} cannot be read ({_line(problem)}; attempt {attempt + 1} of {ATTEMPTS}); "
            "check URL, network and credentials, and run the same command again."
        ) from problem

    def _ask(self, runs: list[_Run]) -> list[Any]:
        """One answer or exception for each request."""
        filesystem, root = self._connect()
        paths = [f"{root}/{run.name}" for run in runs]
        starts, ends = [run.start for run in runs], [run.end for run in runs]
        try:
            answers: list[Any] = filesystem.cat_ranges(paths, starts, ends, on_error="return")
        except Exception as error:  # each backend has a family of its own
            return [error] * len(runs)
        return answers

    def _connect(self) -> tuple[Any, str]:
        """Filesystem and path, made anew in every process: connections and event loops do not survive a fork."""
        if self._connection is None or self._connection[0] != os.getpid():
            try:
                import fsspec

                filesystem, root = fsspec.core.url_to_fs(self.location, skip_instance_cache=True)
            except (ImportError, ValueError) as error:
                raise RemoteStoreError(
                    f"{self.location} cannot be opened ({_line(error)}); "
                    "URLs need the packages of `pip install 'viral[remote]'`."
                ) from error
            self._connection = (os.getpid(), filesystem, root.rstrip("/"))
        return self._connection[1], self._connection[2]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_connection": None}


def default_cache() -> FileCache | None:
    """The cache that `VIRAL_STORE_CACHE` (folder) and `VIRAL_STORE_CACHE_GB` (0: none) ask for.

    Raises:
        RemoteStoreError: the cap is not a number.
    """
    folder = os.environ.get("VIRAL_STORE_CACHE", DEFAULT_CACHE)
    cap = os.environ.get("VIRAL_STORE_CACHE_GB", DEFAULT_CACHE_GB)
    try:
        max_bytes = int(float(cap) * 1e9)
    except (ValueError, OverflowError) as error:
        raise RemoteStoreError(f"VIRAL_STORE_CACHE_GB={cap!r}: expected a number of gigabytes.") from error
    return FileCache(Path(folder).expanduser(), max_bytes) if max_bytes > 0 else None


def _runs(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces in their order, grouped where one begins in the same file at the end of the other."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        last = runs[-1] if runs else None
        if (
            last
            and last[-1].name == piece.name
            and last[-1].offset + last[-1].size == piece.offset
            and piece.offset + piece.size - last[0].offset <= MAX_RUN
        ):
            last.append(piece)
        else:
            runs.append([piece])
    return runs


def _copy(data: bytes, views: Sequence[memoryview]) -> int:
    start = 0
    for view in views:
        part = data[start : start + view.nbytes]
        view[: len(part)] = part
        start += view.nbytes
    return len(data)


def _checked(answer: bytes, run: _Run, location: str) -> bytes:
    if run.end is not None and run.start is not None and len(answer) > run.end - run.start:
        raise RemoteStoreError(
            f"{location} answered {len(answer)} bytes to a request for {run.end - run.start}; "
            "its server must support range requests."
        )
    return answer


def _named(error: Exception) -> Exception:
    """HTTP's "forbidden", which its backend reports in a class of its own, by Python's name."""
    return PermissionError(str(error)) if getattr(error, "status", None) in (401, 403) else error


def _line(error: BaseException | None) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
