"""Read a finished store: one positional read and one checksum per record; safe under fork, spawn and threads."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stores.arrays import read_array, read_tables
from stores.canonical import REPAIR, sha256
from stores.codecs import Codec, get_codec
from stores.errors import DamagedStoreError, RejectedImageError, UnknownKeyError
from stores.index import KeyIndex
from stores.layout import KEYS, REJECTS, array_metadata, shard_file, whole_array
from stores.manifest import Manifest, load_manifest
from stores.shard import read_record

MAX_OPEN_SHARDS = 512
"""Files held open at once; half of the usual limit of a process."""


class FeatureStore(Protocol):
    """What training needs of a store, whatever its format. Keys are SHA-256 hex digests of image files."""

    @property
    def manifest(self) -> Manifest:
        """What the store holds, and what made it."""

    @property
    def codec(self) -> Codec:
        """How to decode its records."""

    @property
    def tables(self) -> Mapping[str, npt.NDArray[Any]]:
        """What the codec needs to decode."""

    @property
    def rejects(self) -> Mapping[str, str]:
        """Key -> reason of the images that are known but have no record."""

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...

    def keys(self) -> Iterator[str]:
        """Keys that have a record, in row order."""

    def read(self, key: str) -> npt.NDArray[Any]:
        """Codes [T, W] of one image."""

    def read_many(self, keys: Sequence[str]) -> npt.NDArray[Any]:
        """Codes [n, T, W] of several images."""


def open_store(path: Path | str) -> FeatureStore:
    """Open a finished store.

    Raises:
        MissingStoreError: no folder, or no store in it.
        IncompleteStoreError: the store has not been finished.
        DamagedStoreError: a file that says what the records mean is not what was written.
        FormatVersionError: written by a newer version.
    """
    root = Path(path)
    return ZarrStore(root, load_manifest(root))


class _ShardFile:
    """An open file, closed when nobody reads from it any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class ZarrStore:
    """`FeatureStore` of a local folder. zarr itself is not needed to read."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.codec = get_codec(manifest.spec.codec)
        arrays = (KEYS, *self.codec.tables)
        _require_intact(root, manifest, [REJECTS, *map(array_metadata, arrays), *map(whole_array, arrays)])
        self.tables = read_tables(root, self.codec)
        self.rejects = _read_rejects(root)
        self._root = root
        self._index = KeyIndex(read_array(root, KEYS))
        self._files: dict[int, _ShardFile] = {}

    def __len__(self) -> int:
        return self.manifest.num_records

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key not in self.rejects and self._index.find(key) is not None

    def keys(self) -> Iterator[str]:
        """Keys that have a record, in row order."""
        return (key for key in map(self._index.key, range(len(self._index))) if key not in self.rejects)

    def read(self, key: str) -> npt.NDArray[Any]:
        """Codes [T, W] of one image; the caller owns the array.

        Raises:
            UnknownKeyError: the image was not in the data the store was built from.
            RejectedImageError: it was, but could not be decoded.
            DamagedStoreError: the record is not what was written.
        """
        codes_TD: npt.NDArray[Any] = self.read_many([key])[0]
        return codes_TD

    def read_many(self, keys: Sequence[str]) -> npt.NDArray[Any]:
        """Codes [n, T, W] of several images, in the order of `keys`; raises like `read`."""
        spec = self.manifest.spec
        rows = [self._row(key) for key in keys]
        codes_nTD = np.empty((len(rows), *spec.record_shape), spec.codes_dtype)
        # In the order of the disk, so that neighbours share a read-ahead.
        for place in sorted(range(len(rows)), key=rows.__getitem__):
            shard_id, slot = divmod(rows[place], spec.shard_size)
            file = self._shard(shard_id)
            if not read_record(file.descriptor, spec, slot, codes_nTD[place]):
                raise DamagedStoreError(
                    f"{self._root}: record {keys[place]} (shard {shard_id}, slot {slot}) is damaged. {REPAIR}"
                )
        return codes_nTD

    def _row(self, key: str) -> int:
        if key in self.rejects:
            raise RejectedImageError(f"Image {key} has no record in {self._root}: {self.rejects[key]}")
        row = self._index.find(key)
        if row is None:
            raise UnknownKeyError(
                f"{self._root} has no image {key}; it was not in the data of that build, or its file has changed since."
            )
        return row

    def _shard(self, shard_id: int) -> _ShardFile:
        """The open shard. Hold on to it while reading: another thread may drop it, the last holder closes it."""
        file = self._files.get(shard_id)
        if file is None:
            try:
                file = _ShardFile(self._root / shard_file(shard_id))
            except FileNotFoundError as error:
                raise DamagedStoreError(f"{self._root}: shard {shard_id} is missing. {REPAIR}") from error
            if len(self._files) >= MAX_OPEN_SHARDS:
                self._files.popitem()
            self._files[shard_id] = file
        return file

    def __getstate__(self) -> dict[str, Any]:
        # Descriptors mean nothing to a spawned process; a forked one may use the parent's, reads are positional.
        return self.__dict__ | {"_files": {}}


def _require_intact(root: Path, manifest: Manifest, names: list[str]) -> None:
    for name in names:
        path = root / name
        if not path.is_file() or sha256(path.read_bytes()) != manifest.files.get(name):
            raise DamagedStoreError(f"{path} is {'damaged' if path.is_file() else 'missing'}. {REPAIR}")


def _read_rejects(root: Path) -> dict[str, str]:
    """Key -> reason of rejected rows; paths without a key never became a row."""
    entries = map(json.loads, (root / REJECTS).read_text(encoding="ascii").splitlines())
    return {entry["key"]: entry["reason"] for entry in entries if entry["key"] is not None}
