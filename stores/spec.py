"""What a store holds, apart from the images: shape, codec and fingerprint of its records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stores.codecs import get_codec
from stores.errors import FormatVersionError, PlanError
from stores.formats import StoreFormat, get_format
from stores.layout import FORMAT_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreSpec:
    """One record of rows x columns x dim codes per image, and what made them."""

    codec: str
    grid: tuple[int, int]
    """Rows and columns of patches."""
    dim: int
    """Channels of a patch feature."""
    fingerprint: Mapping[str, Any]
    """JSON values that say which teacher and preprocessing made the features."""
    shard_size: int = 512
    """Records per shard file."""
    store: str = "zarr"
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        get_format(self.store)
        if min(*self.grid, self.dim, self.shard_size) < 1:
            raise PlanError(
                f"grid={self.grid}, dim={self.dim}, shard_size={self.shard_size}: expected positive numbers."
            )
        get_codec(self.codec)

    @property
    def format(self) -> StoreFormat:
        """How its shard files are laid out."""
        return get_format(self.store)

    def shard_file(self, shard_id: int) -> str:
        """Relative name of a shard file."""
        return self.format.shard_file(shard_id)

    @property
    def num_tokens(self) -> int:
        """Patches of one image."""
        return self.grid[0] * self.grid[1]

    def num_shards(self, num_records: int) -> int:
        """Shard files for that many records; the last may be partial."""
        return -(-num_records // self.shard_size)

    def rows(self, num_records: int, shard_id: int) -> range:
        """Rows of one shard of a store of `num_records`."""
        if not 0 <= shard_id < self.num_shards(num_records):
            raise IndexError(f"shard {shard_id} of {self.num_shards(num_records)}")
        start = shard_id * self.shard_size
        return range(start, min(start + self.shard_size, num_records))

    @property
    def record_shape(self) -> tuple[int, int]:
        """Codes of one image [T, W]: tokens, codes of a token."""
        return self.num_tokens, get_codec(self.codec).width(self.dim)

    @property
    def codes_dtype(self) -> np.dtype[Any]:
        """Little-endian dtype of the codes."""
        return np.dtype(get_codec(self.codec).dtype).newbyteorder("<")

    @property
    def record_bytes(self) -> int:
        """Bytes of one record's codes, without its checksum."""
        tokens, width = self.record_shape
        return tokens * width * self.codes_dtype.itemsize


def spec_from_json(value: Mapping[str, Any]) -> StoreSpec:
    """Spec of a JSON value.

    Raises:
        FormatVersionError: written by a newer version, whose fields we may not know.
    """
    if value["format_version"] > FORMAT_VERSION:
        raise FormatVersionError(
            f"Store format {value['format_version']}, but this version knows up to {FORMAT_VERSION}. Upgrade viral."
        )
    return StoreSpec(**{**value, "grid": tuple(value["grid"])})


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Fields in which two nested JSON objects differ, as `name: found 1, expected 2`, names dotted and sorted."""
    flat_found, flat_expected = flatten(found), flatten(expected)
    return [
        f"{name}: found {flat_found.get(name)!r}, expected {flat_expected.get(name)!r}"
        for name in sorted(flat_found.keys() | flat_expected.keys())
        if flat_found.get(name) != flat_expected.get(name)
    ]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested JSON objects by dotted name."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(item) if isinstance(item, tuple) else item
    return flat
