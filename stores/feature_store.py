"""The one reader protocol: what training and analysis need of a store, wherever it is and whatever its format."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from stores.codecs import Codec
from stores.manifest import Manifest


class FeatureStore(Protocol):
    """Records by image. Keys are SHA-256 hex digests of image files."""

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
        """Codes [T, D] of one image."""

    def read_many(self, keys: Sequence[str]) -> npt.NDArray[Any]:
        """Codes [n, T, D] of several images."""
