"""Codecs without tables: two bytes per channel, norm and direction both kept, so fit for a tower's features, too."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from stores.codecs.codec import Codec, Floats, Tables
from stores.errors import CodecError


class Fp16(Codec):
    """Half precision: 11 significant bits between 6e-5 and 65504."""

    exponent_mask: ClassVar[int] = 0x7C00

    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[np.float16]:
        """Round to half precision.

        Raises:
            CodecError: a value is NaN, infinite, or above half precision's 65504.
        """
        with np.errstate(over="ignore"):
            codes = features_nTD.astype(np.float16)
        if not np.isfinite(codes).all():
            raise CodecError(
                f"Features reach {np.abs(features_nTD).max()}; fp16 holds finite values up to 65504. "
                "Use codec bf16 or int8."
            )
        return codes

    def decode(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        """Widen to float32."""
        return codes_nTW.astype(np.float32)


class Bf16(Codec):
    """The upper half of a float32: 8 significant bits, its whole range. Lossless for what a bfloat16 model makes.

    Zarr has no such type that every reader knows, so the bits are stored as uint16 and an attribute says so.
    """

    exponent_mask: ClassVar[int] = 0x7F80

    def attributes(self, dim: int) -> dict[str, Any]:
        """That the integers are bits of a bfloat16."""
        return {"bits_of": "bfloat16"}

    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[np.uint16]:
        """Round to the nearest bfloat16, ties to even.

        Raises:
            CodecError: a value is NaN, infinite, or rounds to infinity.
        """
        bits = np.ascontiguousarray(features_nTD).view(np.uint32)
        # An odd last bit carries a tie upwards. Wrapping around happens to NaN alone, which the input check refuses.
        codes = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)
        if not np.isfinite(features_nTD).all() or (codes & self.exponent_mask == self.exponent_mask).any():
            raise CodecError(
                f"Features reach {np.abs(features_nTD).max()}; bf16 holds finite values up to 3.39e38."
            )
        return codes

    def decode(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        """The same bits, followed by 16 zero ones."""
        return (codes_nTW.astype(np.uint32) << 16).view(np.float32)
