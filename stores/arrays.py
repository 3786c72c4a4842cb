"""The small arrays of a store (`keys` and the codec's tables): one uncompressed Zarr chunk each, read without zarr."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.canonical import REPAIR
from stores.codecs import Codec
from stores.errors import DamagedStoreError
from stores.layout import array_metadata, whole_array


def read_array(root: Path, name: str) -> npt.NDArray[Any]:
    """A small array, read-only.

    Raises:
        DamagedStoreError: a file is missing, or the data does not have the size its metadata says.
    """
    try:
        metadata = json.loads((root / array_metadata(name)).read_bytes())
        flat = np.frombuffer(
            (root / whole_array(name)).read_bytes(), np.dtype(metadata["data_type"]).newbyteorder("<")
        )
        return flat.reshape(metadata["shape"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"Array {name!r} of {root} is unreadable ({error}). {REPAIR}") from error


def read_tables(root: Path, codec: Codec) -> dict[str, npt.NDArray[Any]]:
    """The codec's tables as stored.

    Raises:
        DamagedStoreError: see `read_array`.
    """
    return {name: read_array(root, name) for name in codec.tables}
