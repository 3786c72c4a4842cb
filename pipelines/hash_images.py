"""Keys of many image files: threads read and hash, a cache remembers, memory does not grow with the folder."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from pipelines.hash_cache import HashCache, is_settled
from stores import Reject
from viral.data.image_files import Extent, ImageFiles, Stamp, reject_reason
from viral.data.keys import path_key
from viral.errors import ImageError

HASH_THREADS = 8
NAMES_PER_TASK = 128
BUFFER_BYTES = 1 << 20

Result = TypeVar("Result")


class Hashed(NamedTuple):
    """What became of one image."""

    name: str
    key: str | Reject
    was_read: bool
    """Its bytes were read now; the cache did not know them."""
    stamp: Stamp | None = None
    """Under which the key may be kept; None if it is kept already, or cannot be trusted later."""


def content_keys(files: ImageFiles, names: Sequence[str], cache: HashCache) -> Iterator[Hashed]:
    """SHA-256 of each image file in order, or why there is none; hashes only what `cache` does not know.

    Raises:
        DataError: a damaged tar file.
    """
    for hashed in in_threads(partial(_content_key, files, cache), names):
        if hashed.stamp is not None and isinstance(hashed.key, str):
            cache.add(hashed.name, hashed.stamp, hashed.key)
        yield hashed


def path_keys(files: ImageFiles, names: Sequence[str]) -> Iterator[Hashed]:
    """Keys by name and size, in order; no image is read. Raises as `content_keys`."""
    return in_threads(partial(_path_key, files), names)


def in_threads(work: Callable[[str], Result], names: Sequence[str]) -> Iterator[Result]:
    """`map` over threads with a bounded number of tasks ahead; one future a name would take half a gigabyte."""
    tasks = (names[start : start + NAMES_PER_TASK] for start in range(0, len(names), NAMES_PER_TASK))

    def run(task: Sequence[str]) -> list[Result]:
        return [work(name) for name in task]

    with ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="hash") as pool:
        ahead: deque[Future[list[Result]]] = deque()
        try:
            ahead += (pool.submit(run, task) for task in islice(tasks, 2 * HASH_THREADS))
            while ahead:
                yield from ahead.popleft().result()
                ahead += (pool.submit(run, task) for task in islice(tasks, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def _content_key(files: ImageFiles, cache: HashCache, name: str) -> Hashed:
    try:
        extent = files.locate(name)
        key = cache.get(name, extent.stamp)
        if key is not None:
            return Hashed(name, key, was_read=False)
        read_ns = time.time_ns()
        key, stamp = _hash(extent)
    except (ImageError, OSError) as error:
        return Hashed(name, Reject(path=name, reason=reject_reason(error)), was_read=False)
    trusted = stamp == extent.stamp and is_settled(stamp, read_ns)
    return Hashed(name, key, was_read=True, stamp=stamp if trusted else None)


def _hash(extent: Extent) -> tuple[str, Stamp]:
    """SHA-256 of the bytes, and the stamp of their file after they were read."""
    digest, left = hashlib.sha256(), extent.size
    with open(extent.path, "rb", buffering=0) as file:
        file.seek(extent.offset)
        while left and (data := file.read(min(left, BUFFER_BYTES))):
            digest.update(data)
            left -= len(data)
        return digest.hexdigest(), Stamp.of(os.fstat(file.fileno()))


def _path_key(files: ImageFiles, name: str) -> Hashed:
    try:
        key = path_key(name, files.locate(name).size)
    except (ImageError, OSError) as error:
        return Hashed(name, Reject(path=name, reason=reject_reason(error)), was_read=False)
    return Hashed(name, key, was_read=False)
