"""Zarr v3 `sharding_indexed`: random access, any Zarr reader opens it.

codes | crc32c | codes | crc32c | ... | index: (offset, length) per slot, 2 x uint64 | crc32c
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stores.checksum import CRC_BYTES, crc_bytes
from stores.formats.base import StoreFormat
from stores.layout import CODES

if TYPE_CHECKING:
    from stores.spec import StoreSpec

_MISSING = 2**64 - 1
"""Offset and length of an empty slot: those beyond the last row of a partial shard."""


class ZarrFormat(StoreFormat):
    """One chunk per image, one shard file per `shard_size` images, the index at its end."""

    name = "zarr"
    codes_are_zarr = True

    def shard_file(self, shard_id: int) -> str:
        """Zarr's name for a shard of `codes`."""
        return f"{CODES}/c.{shard_id}.0.0"

    def overhead(self, spec: "StoreSpec") -> tuple[int, int]:
        """Nothing before, the checksum behind."""
        return 0, CRC_BYTES

    def head(self, spec: "StoreSpec", key: str) -> bytes:
        """Nothing."""
        return b""

    def tail(self, spec: "StoreSpec", key: str, codes_TW: npt.NDArray[Any]) -> bytes:
        """CRC-32C of the codes."""
        return crc_bytes(codes_TW)

    def blank(self, spec: "StoreSpec", key: str) -> bytes:
        """Zeros under a valid checksum: Zarr has no word for "rejected"."""
        zeros = bytes(spec.record_bytes)
        return zeros + crc_bytes(zeros)

    def trailer(self, spec: "StoreSpec", num_records: int) -> bytes:
        """The index and its checksum."""
        stride = spec.record_bytes + CRC_BYTES
        index = np.full((spec.shard_size, 2), _MISSING, dtype="<u8")
        index[:num_records, 0] = np.arange(num_records) * stride
        index[:num_records, 1] = stride
        return index.tobytes() + crc_bytes(index)
