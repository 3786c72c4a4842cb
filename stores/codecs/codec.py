"""What a codec owes. This package is the specification and the numpy reference; `viral.codecs` runs it on a device.

The alignment loss is a cosine, so only a token's direction has to survive: codecs with tables store no scale.
Axes: n images, T tokens (patches, row by row), D channels, W codes of a token as stored (D, or fewer if packed).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Tables = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec(ABC):
    """A way to store features: the dtype and size of its codes, its tables, encode and decode."""

    exponent_mask: ClassVar[int | None] = None
    """Where codes are 16-bit floats: the bits that are all set in NaN and infinity, and in nothing else."""

    name: str
    dtype: str
    bits: int
    """Of one channel."""
    cosine_floor: float
    """A build stops when the 0.1-percentile of its own cosines falls below this; holds from 32 channels on."""
    tables: tuple[str, ...] = ()
    """Names of the constant arrays it needs; without any, a token's norm survives, too."""

    def width(self, dim: int) -> int:
        """Codes of a token of `dim` channels, W."""
        return -(-dim * self.bits // (8 * np.dtype(self.dtype).itemsize))

    def attributes(self, dim: int) -> dict[str, Any]:
        """What the array of codes says of itself, beyond its data type, to a reader that has only Zarr."""
        return {}

    def table_bytes(self, num_tokens: int, dim: int) -> int:
        """Size of the tables."""
        return 0

    def make_tables(self, num_tokens: int, dim: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        """The arrays named in `tables`; stored beside the codes."""
        return {}

    @abstractmethod
    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[Any]:
        """Codes [n, T, W] of float32 features [n, T, D].

        Raises:
            CodecError: features that are not finite or out of range.
        """

    @abstractmethod
    def decode(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        """Features [n, T, D], right in direction."""
