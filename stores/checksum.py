"""CRC-32C, the checksum of Zarr's `crc32c` codec, in its C implementation."""

from typing import Any

import google_crc32c
import numpy.typing as npt

from stores.errors import StoreError

# The pure-Python fallback needs about a second per record: a store would work and nobody would know why it crawls.
if google_crc32c.implementation != "c":
    raise StoreError(
        f"google-crc32c runs its {google_crc32c.implementation!r} implementation, expected 'c'; "
        "reinstall it from a binary wheel: pip install --force-reinstall --only-binary :all: google-crc32c"
    )


def crc32c(data: bytes | npt.NDArray[Any]) -> int:
    """CRC-32C of bytes or of a C-contiguous array's memory."""
    return int(google_crc32c.value(data))
