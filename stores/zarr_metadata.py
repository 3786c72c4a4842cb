"""The `zarr.json` files of a store, as zarr-python itself writes them."""

import json
from typing import Any

import numpy as np

from stores.canonical import canonical_json
from stores.layout import CODES, FORMAT, FORMAT_VERSION
from stores.spec import StoreSpec


def zarr_metadata(
    spec: StoreSpec, num_records: int, arrays: dict[str, np.ndarray[Any, Any]]
) -> dict[str, bytes]:
    """Relative name -> content of every `zarr.json`: the group, `codes`, and one per array of `arrays`.

    zarr-python writes them into memory; they are re-spelt canonically, so that they do not depend on
    the order of its keys, and published like any other file.
    """
    import zarr
    from zarr.codecs import Crc32cCodec

    files: dict[str, Any] = {}
    attributes = {"format": FORMAT, "format_version": FORMAT_VERSION}
    group = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3, attributes=attributes)
    flat: dict[str, Any] = {"name": "default", "separator": "."}
    group.create_array(
        CODES,
        shape=(num_records, *spec.record_shape),
        chunks=(1, *spec.record_shape),
        shards=(spec.shard_size, *spec.record_shape),
        dtype=spec.codes_dtype,
        compressors=[Crc32cCodec()],
        fill_value=0,
        chunk_key_encoding=flat,
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
