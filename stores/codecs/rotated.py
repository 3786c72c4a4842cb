"""Codecs of directions: random signs per token position, one random rotation, then few bits per channel.

The rotation turns any token into one whose channels look Gaussian, so the error is a property of the levels and not of
the data. The signs keep the rounding error of a mean shared by all tokens from pointing the same way everywhere.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.codecs.codec import Codec, Floats, Tables
from stores.codecs.packing import pack, unpack
from stores.errors import CodecError

_INT8_MAX = 127

LLOYD_MAX = {
    2: (0.4527800, 1.5104176),
    3: (0.2450942, 0.7560053, 1.3439093, 2.1519457),
    4: (0.1283950, 0.3880483, 0.6567591, 0.9423405, 1.2562312, 1.6180464, 2.0690172, 2.7325896),
}
"""Positive levels of the least mean squared error for a Gaussian, by bits (J. Max, "Quantizing for minimum distortion",
1960; digits by Lloyd's iteration). The negative ones mirror them."""


class Rotated(Codec):
    """Signs and rotation; a subclass says how a rotated token becomes codes."""

    def table_bytes(self, num_tokens: int, dim: int) -> int:
        """Rotation and signs."""
        return 4 * dim**2 + num_tokens * dim

    def make_tables(self, num_tokens: int, dim: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        """`rotation` float32 [D, D], orthogonal and uniformly distributed; `signs` int8 [T, D] of +-1."""
        rng = np.random.default_rng(seed)
        q_DD, r_DD = np.linalg.qr(rng.standard_normal((dim, dim)))
        rotation_DD = q_DD * np.sign(np.diagonal(r_DD))
        signs_TD = rng.integers(0, 2, (num_tokens, dim), dtype=np.int8) * 2 - 1
        return {"rotation": rotation_DD.astype(np.float32), "signs": signs_TD.astype(np.int8)}

    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[Any]:
        """Rotate, divide each token by its largest magnitude, quantise.

        Raises:
            CodecError: a value is NaN, infinite, or so large that the rotation overflows float32.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            rotated_nTD = (features_nTD * tables["signs"]) @ tables["rotation"]
        peak_nT1 = np.abs(rotated_nTD).max(axis=-1, keepdims=True)
        if not np.isfinite(peak_nT1).all():
            raise CodecError(
                "Features hold NaN, an infinity, or values float32 cannot rotate; expected finite ones."
            )
        # A token of zeros has no direction: it stays zeros, and so do its codes.
        unit_nTD = np.divide(rotated_nTD, peak_nT1, out=np.zeros_like(rotated_nTD), where=peak_nT1 > 0)
        return self._quantise(unit_nTD, tables)

    def decode(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        """Undo quantisation, rotation and signs; the norm of a decoded token means nothing."""
        features_nTD: Floats = (self._levels(codes_nTW, tables) @ tables["rotation"].T) * tables["signs"]
        return features_nTD

    @abstractmethod
    def _quantise(self, unit_nTD: Floats, tables: Tables) -> npt.NDArray[Any]:
        """Codes [n, T, W] of rotated tokens, the largest magnitude of each being 1; or of zeros."""

    @abstractmethod
    def _levels(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        """Rotated tokens [n, T, D] of codes."""


class Int8(Rotated):
    """8 bits relative to the token's largest channel, rounding half to even."""

    def _quantise(self, unit_nTD: Floats, tables: Tables) -> npt.NDArray[np.int8]:
        return np.rint(unit_nTD * _INT8_MAX).astype(np.int8)

    def _levels(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        return codes_nTW.astype(np.float32)


class LloydMax(Rotated):
    """2 to 4 bits: each channel, in units of the token's root mean square, becomes the nearest level of a Gaussian.

    `codebook[c, 0]` is the level of code c, in two's complement: 0, 1, ... are the positive levels upwards, and the
    rest the negative ones upwards. Code 0 ends below 1, and some channel lies at 1 or beyond, so only a token
    of zeros has codes that are all zeros; it decodes to zeros.
    """

    def attributes(self, dim: int) -> dict[str, Any]:
        """How to unpack the bytes."""
        return {"bits": self.bits, "channels": dim}

    def table_bytes(self, num_tokens: int, dim: int) -> int:
        """Rotation, signs and codebook."""
        return Rotated.table_bytes(self, num_tokens, dim) + (4 << self.bits)

    def make_tables(self, num_tokens: int, dim: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        """`rotation` and `signs`, and `codebook` float32 [2^bits, 1], one row per code."""
        levels = np.array(LLOYD_MAX[self.bits], np.float32)
        tables = Rotated.make_tables(self, num_tokens, dim, seed)
        return tables | {"codebook": np.concatenate([levels, -levels[::-1]])[:, None]}

    def _quantise(self, unit_nTD: Floats, tables: Tables) -> npt.NDArray[np.uint8]:
        rms_nT1 = np.sqrt(np.square(unit_nTD).mean(axis=-1, keepdims=True))
        scaled_nTD = unit_nTD / np.where(rms_nT1 > 0, rms_nT1, 1)
        levels = np.sort(tables["codebook"][:, 0])
        # A value on the border of two levels takes the upper one, and so does zero.
        ranks_nTD = np.searchsorted((levels[1:] + levels[:-1]) / 2, scaled_nTD, side="right")
        return pack((ranks_nTD ^ len(levels) // 2).astype(np.uint8), self.bits)

    def _levels(self, codes_nTW: npt.NDArray[Any], tables: Tables) -> Floats:
        levels_nTD: Floats = tables["codebook"][:, 0][unpack(codes_nTW, self.bits, len(tables["rotation"]))]
        return levels_nTD * codes_nTW.any(axis=-1, keepdims=True)
