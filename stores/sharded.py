"""Read one finished store: one positional read and one checksum per record; safe under fork, spawn and threads."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arrays import parse_array
from stores.canonical import REPAIR, sha256
from stores.codecs import get_codec
from stores.errors import DamagedStoreError, RejectedImageError, UnknownKeyError
from stores.files import Files, Piece
from stores.index import KeyIndex
from stores.layout import KEYS, REJECTS, array_metadata, whole_array
from stores.manifest import Manifest
from stores.shard import Record, stride


class ShardedStore:
    """`FeatureStore` of a plan's shards, in any format. zarr itself is not needed to read."""

    def __init__(self, files: Files, manifest: Manifest) -> None:
        self.manifest = manifest
        self.codec = get_codec(manifest.spec.codec)
        self._files = files
        arrays = (KEYS, *self.codec.tables)
        contents = self._intact([REJECTS, *map(array_metadata, arrays), *map(whole_array, arrays)])
        loaded = {
            name: parse_array(contents[array_metadata(name)], contents[whole_array(name)]) for name in arrays
        }
        self.tables = {name: loaded[name] for name in self.codec.tables}
        self.rejects = _read_rejects(contents[REJECTS])
        self._index = KeyIndex(loaded[KEYS])

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
            RemoteStoreError: the store is behind a URL that does not answer.
        """
        codes_TW: npt.NDArray[Any] = self.read_many([key])[0]
        return codes_TW

    def read_many(self, keys: Sequence[str]) -> npt.NDArray[Any]:
        """Codes [n, T, W] of several images, in the order of `keys`; raises like `read`."""
        spec = self.manifest.spec
        rows = [self._row(key) for key in keys]
        codes_nTW = np.empty((len(rows), *spec.record_shape), spec.codes_dtype)
        # In the order of the disk, so that neighbours share a read-ahead or a request.
        order = sorted(range(len(rows)), key=rows.__getitem__)
        records = [Record(spec, keys[place], codes_nTW[place]) for place in order]
        pieces = [self._piece(rows[place], record) for place, record in zip(order, records, strict=True)]
        for piece, record, size in zip(pieces, records, self._fill(pieces), strict=True):
            if not self._is_whole(piece, record, size):
                raise DamagedStoreError(
                    f"{self._files.location}: record {record.key} ({piece.name}, byte {piece.offset}) is damaged. "
                    f"{REPAIR}"
                )
        return codes_nTW

    def _is_whole(self, piece: Piece, record: Record, size: int) -> bool:
        if size == piece.size and record.is_intact:
            return True
        return self._files.forget(piece) and self._fill([piece]) == [piece.size] and record.is_intact

    def _piece(self, row: int, record: Record) -> Piece:
        spec = self.manifest.spec
        shard_id, slot = divmod(row, spec.shard_size)
        return Piece(spec.shard_file(shard_id), slot * stride(spec), record.views)

    def _fill(self, pieces: Sequence[Piece]) -> list[int]:
        try:
            return self._files.fill(pieces)
        except FileNotFoundError as error:
            raise DamagedStoreError(
                f"{self._files.location}: {error.filename} is missing. {REPAIR}"
            ) from error

    def _row(self, key: str) -> int:
        if key in self.rejects:
            raise RejectedImageError(
                f"Image {key} has no record in {self._files.location}: {self.rejects[key]}"
            )
        row = self._index.find(key)
        if row is None:
            raise UnknownKeyError(
                f"{self._files.location} has no image {key}; it was not in the data of that build, "
                "or its file has changed since."
            )
        return row

    def _intact(self, names: list[str]) -> dict[str, bytes]:
        """Contents of small files that are what the manifest says."""
        contents = {}
        for name in names:
            try:
                contents[name] = self._files.read(name)
            except FileNotFoundError as error:
                raise DamagedStoreError(f"{self._files.location}/{name} is missing. {REPAIR}") from error
            if sha256(contents[name]) != self.manifest.files.get(name):
                raise DamagedStoreError(f"{self._files.location}/{name} is damaged. {REPAIR}")
        return contents


def _read_rejects(lines: bytes) -> dict[str, str]:
    """Key -> reason of rejected rows; paths without a key never became a row."""
    entries = map(json.loads, lines.splitlines())
    return {entry["key"]: entry["reason"] for entry in entries if entry["key"] is not None}
