"""The Zarr side of a store: metadata as zarr-python writes it, and small arrays read back without zarr.

A small array (`keys`, the codec's tables) is one uncompressed chunk.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.canonical import REPAIR, canonical_json
from stores.codecs import Codec, get_codec
from stores.errors import DamagedStoreError
from stores.layout import CODES, FORMAT, FORMAT_VERSION, array_metadata, whole_array
from stores.spec import StoreSpec

_ATTRIBUTES = {"format": FORMAT, "format_version": FORMAT_VERSION}


def zarr_metadata(
    spec: StoreSpec, num_records: int, arrays: dict[str, np.ndarray[Any, Any]]
) -> dict[str, bytes]:
    """Relative name -> content of every `zarr.json`: the group first, `codes` if it is Zarr, one per array of `arrays`.

    zarr-python writes them into memory; they are re-spelt canonically, so that they do not depend on
    the order of its keys, and published like any other file.
    """
    import zarr
    from zarr.codecs import Crc32cCodec

    files: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3, attributes=_ATTRIBUTES)
    flat: dict[str, Any] = {"name": "default", "separator": "."}
    if spec.format.codes_are_zarr:
        group.create_array(
            CODES,
            shape=(num_records, *spec.record_shape),
            chunks=(1, *spec.record_shape),
            shards=(spec.shard_size, *spec.record_shape),
            dtype=spec.codes_dtype,
            compressors=[Crc32cCodec()],
            fill_value=0,
            chunk_key_encoding=flat,
            attributes=get_codec(spec.codec).attributes(spec.dim),
        )
    for name, array in arrays.items():
        group.create_array(
            name,
            shape=array.shape,
            chunks=array.shape,
            dtype=array.dtype,
            compressors=None,
            fill_value=0,
            chunk_key_encoding=flat,
        )
    return {name: canonical_json(json.loads(content.to_bytes())) for name, content in files.items()}


def group_metadata() -> bytes:
    """Content of the group's `zarr.json`, the same in every store; zarr-python writes just this."""
    return canonical_json({"attributes": _ATTRIBUTES, "node_type": "group", "zarr_format": 3})


def read_array(root: Path, name: str) -> npt.NDArray[Any]:
    """A small array.

    Raises:
        DamagedStoreError: a file is missing, or the data does not have the size its metadata says.
    """
    try:
        return parse_array(
            (root / array_metadata(name)).read_bytes(), (root / whole_array(name)).read_bytes()
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"Array {name!r} of {root} is unreadable ({error}). {REPAIR}") from error


def parse_array(metadata: bytes, data: bytes) -> npt.NDArray[Any]:
    """A small array from the contents of its two files; ValueError, KeyError or TypeError if they do not fit."""
    described = json.loads(metadata)
    flat = np.frombuffer(data, np.dtype(described["data_type"]).newbyteorder("<"))
    return flat.reshape(described["shape"]).copy()


def read_tables(root: Path, codec: Codec) -> dict[str, npt.NDArray[Any]]:
    """The codec's tables as stored.

    Raises:
        DamagedStoreError: see `read_array`.
    """
    return {name: read_array(root, name) for name in codec.tables}
