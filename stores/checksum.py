"""CRC-32C, the checksum of a record: hardware-fast, or refused."""

from typing import Any

import google_crc32c
import numpy.typing as npt

from stores.errors import StoreError

# The pure-Python fallback needs most of a second per record: the store would work, and nobody would know why it crawls.
if google_crc32c.implementation != "c":
    raise StoreError(
        f"google-crc32c runs its {google_crc32c.implementation!r} implementation, expected 'c'; "
        "reinstall it from a binary wheel: pip install --force-reinstall --only-binary :all: google-crc32c"
    )

CRC_BYTES = 4


def crc32c(data: bytes | npt.NDArray[Any]) -> int:
    """CRC-32C of bytes or of a C-contiguous array's memory."""
    return int(google_crc32c.value(data))


def crc_bytes(data: bytes | npt.NDArray[Any]) -> bytes:
    """The same as it is stored in Zarr: 4 bytes, little-endian."""
    return crc32c(data).to_bytes(CRC_BYTES, "little")
