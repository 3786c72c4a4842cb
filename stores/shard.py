"""Bytes of one shard file, valid under Zarr's `sharding_indexed` codec (docs/format.md).

    record 0 | crc32c | record 1 | crc32c | ... | index: (offset, length) per slot, 2 x uint64 | crc32c

Records have a fixed length, so a writer needs one `writev` and a reader finds row r at r x stride.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from stores.errors import StoreError
from stores.spec import StoreSpec

# The pure-Python fallback needs most of a second per record: the store would work, and nobody would know why it crawls.
if google_crc32c.implementation != "c":
    raise StoreError(
        f"google-crc32c runs its {google_crc32c.implementation!r} implementation, expected 'c'; "
        "reinstall it from a binary wheel: pip install --force-reinstall --only-binary :all: google-crc32c"
    )

CRC_BYTES = 4
_MISSING = 2**64 - 1
"""Offset and length of an empty slot: those beyond the last row of a partial shard."""
_MAX_BUFFERS = os.sysconf("SC_IOV_MAX")


def stride(spec: StoreSpec) -> int:
    """Bytes from one record to the next."""
    return spec.record_bytes + CRC_BYTES


def shard_bytes(spec: StoreSpec, num_records: int) -> int:
    """Size of a shard file that holds `num_records` records."""
    return num_records * stride(spec) + 16 * spec.shard_size + CRC_BYTES


def shard_index(spec: StoreSpec, num_records: int) -> bytes:
    """The index at a shard's end, its checksum included."""
    index = np.full((spec.shard_size, 2), _MISSING, dtype="<u8")
    index[:num_records, 0] = np.arange(num_records) * stride(spec)
    index[:num_records, 1] = stride(spec)
    return index.tobytes() + crc_bytes(index)


def crc_bytes(data: bytes | npt.NDArray[Any]) -> bytes:
    """CRC-32C of bytes or of a C-contiguous array's memory, as it is stored: 4 bytes, little-endian."""
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def shard_buffers(
    spec: StoreSpec, codes_nTD: npt.NDArray[Any], blank: Collection[int] = ()
) -> list[bytes | memoryview]:
    """A shard as a list of buffers, without copying the codes; rows in `blank` become zeros."""
    codes_nTD = np.ascontiguousarray(codes_nTD, dtype=spec.codes_dtype)
    zeros_TD = np.zeros(spec.record_shape, spec.codes_dtype)
    buffers: list[bytes | memoryview] = []
    for row, record_TD in enumerate(codes_nTD):
        kept_TD = zeros_TD if row in blank else record_TD
        buffers += [kept_TD.reshape(-1).view(np.uint8).data, crc_bytes(kept_TD)]
    # The last checksum and the index travel together: a shard of 512 records then is exactly 1024 buffers, the
    # most that Linux takes in one call.
    buffers[-1] = bytes(buffers[-1]) + shard_index(spec, len(codes_nTD))
    return buffers


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


def read_record(descriptor: int, spec: StoreSpec, slot: int, out_TD: npt.NDArray[Any]) -> bool:
    """Fill `out_TD` with the record in `slot` of an open shard; True if its checksum agrees.

    One positional read, straight into the caller's memory, so readers may share a descriptor.
    """
    stored = bytearray(CRC_BYTES)
    size = os.preadv(descriptor, [out_TD.reshape(-1).view(np.uint8).data, stored], slot * stride(spec))
    return size == stride(spec) and bytes(stored) == crc_bytes(out_TD)
