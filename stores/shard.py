"""One shard file: laid out as its store's format says, written in one go, checked record by record."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.spec import StoreSpec

_MAX_BUFFERS = os.sysconf("SC_IOV_MAX")


def stride(spec: StoreSpec) -> int:
    """Bytes from one record to the next."""
    return spec.record_bytes + sum(spec.format.overhead(spec))


def shard_bytes(spec: StoreSpec, num_records: int) -> int:
    """Size of a shard file that holds `num_records` records."""
    return num_records * stride(spec) + len(spec.format.trailer(spec, num_records))


def shard_buffers(
    spec: StoreSpec, keys: Sequence[str], codes_nTW: npt.NDArray[Any], blank: Collection[int] = ()
) -> list[bytes | memoryview]:
    """A shard as a list of buffers, without copying the codes; rows in `blank` are those of rejected images."""
    codes_nTW = np.ascontiguousarray(codes_nTW, dtype=spec.codes_dtype)
    buffers: list[bytes | memoryview] = []
    # What lies between two records' codes travels together: a Zarr shard of 512 records then is exactly 1024
    # buffers, the most that Linux takes in one call.
    between = b""
    for row, (key, record_TW) in enumerate(zip(keys, codes_nTW, strict=True)):
        if row in blank:
            between += spec.format.blank(spec, key)
            continue
        between += spec.format.head(spec, key)
        buffers += [between, memory(record_TW)] if between else [memory(record_TW)]
        between = spec.format.tail(spec, key, record_TW)
    return [*buffers, between + spec.format.trailer(spec, len(codes_nTW))]


def memory(array: npt.NDArray[Any]) -> memoryview:
    """The bytes of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def write_buffers(path: Path, buffers: list[bytes | memoryview]) -> None:
    """Write a new file, in one `writev` where the system takes that many buffers and bytes at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        views = [memoryview(buffer) for buffer in buffers]
        first = 0
        while first < len(views):
            written = os.writev(descriptor, views[first : first + _MAX_BUFFERS])
            while first < len(views) and written >= len(views[first]):
                written -= len(views[first])
                first += 1
            if written:
                views[first] = views[first][written:]
    finally:
        os.close(descriptor)


class Record:
    """Memory for one stored record, its codes being the caller's array, and the test whether it is what was written."""

    __slots__ = ("_codes_TW", "_head", "_spec", "_tail", "key")

    def __init__(self, spec: StoreSpec, key: str, codes_TW: npt.NDArray[Any]) -> None:
        head, tail = spec.format.overhead(spec)
        self._spec, self.key, self._codes_TW = spec, key, codes_TW
        self._head, self._tail = bytearray(head), bytearray(tail)

    @property
    def views(self) -> tuple[memoryview, memoryview, memoryview]:
        """Where its bytes go."""
        return memoryview(self._head), memory(self._codes_TW), memoryview(self._tail)

    @property
    def is_intact(self) -> bool:
        """Whether the bytes are those of this image's record; a single flipped bit is found."""
        store_format = self._spec.format
        return self._head == store_format.head(self._spec, self.key) and self._tail == store_format.tail(
            self._spec, self.key, self._codes_TW
        )
