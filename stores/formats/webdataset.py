"""WebDataset: plain tar files to stream from, one `.npy` and one `.json` per image.

    tar header | npy header | codes | padding | tar header | json | padding | ... | two blocks of zeros

Nothing in a header depends on time, user or host, and every record is equally long, so that a tar of ours is read
at random, too: the row of a key in `keys` says where its record is.
"""

import tarfile
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from stores.canonical import canonical_json
from stores.checksum import crc32c
from stores.formats.base import StoreFormat
from stores.layout import CODES

if TYPE_CHECKING:
    from stores.spec import StoreSpec

_BLOCK = tarfile.BLOCKSIZE
_NPY_HEADER = 128
_REJECTED = "__rejected__"
"""Folder of the members that keep a rejected image's place; readers of WebDataset skip names in double underscores."""


class WebDatasetFormat(StoreFormat):
    """One tar file per `shard_size` images."""

    name = "webdataset"
    codes_are_zarr = False

    def shard_file(self, shard_id: int) -> str:
        """Six digits, as in `{000000..000683}.tar`."""
        return f"{CODES}/{shard_id:06d}.tar"

    def overhead(self, spec: "StoreSpec") -> tuple[int, int]:
        """Headers before; padding, a header and the JSON behind."""
        return _BLOCK + _NPY_HEADER, _padding(_NPY_HEADER + spec.record_bytes) + 2 * _BLOCK

    def head(self, spec: "StoreSpec", key: str) -> bytes:
        """Headers of `<key>.npy`."""
        return _tar_header(f"{key}.npy", _NPY_HEADER + spec.record_bytes) + _npy_header(spec)

    def tail(self, spec: "StoreSpec", key: str, codes_TW: npt.NDArray[Any]) -> bytes:
        """The rest of `<key>.npy`, and `<key>.json`."""
        about = {"codec": spec.codec, "crc32c": crc32c(codes_TW), "grid": spec.grid, "key": key}
        content = canonical_json(about)
        assert len(content) <= _BLOCK
        padding = bytes(_padding(_NPY_HEADER + spec.record_bytes))
        return padding + _tar_header(f"{key}.json", len(content)) + content.ljust(_BLOCK, b"\0")

    def blank(self, spec: "StoreSpec", key: str) -> bytes:
        """A member of zeros that readers skip."""
        size = sum(self.overhead(spec)) + spec.record_bytes - _BLOCK
        return _tar_header(f"{_REJECTED}/{key}", size) + bytes(size)

    def trailer(self, spec: "StoreSpec", num_records: int) -> bytes:
        """The end of a tar file."""
        return bytes(2 * _BLOCK)


def _tar_header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _npy_header(spec: "StoreSpec") -> bytes:
    """Version 1.0, always of the same length: numpy's own writer may pad otherwise one day."""
    shape = f"({spec.record_shape[0]}, {spec.record_shape[1]})"
    text = f"{{'descr': '{spec.codes_dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    length = _NPY_HEADER - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode() + b"\n"


def _padding(size: int) -> int:
    """Bytes that fill the last block of a member."""
    return -size % _BLOCK
