"""Codecs: how a patch feature becomes the codes of a record, and back. The numpy reference.

The alignment loss is a cosine, so only a token's direction has to survive: no scale is stored.
Axes: n images, T tokens (patches, row by row), D channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.errors import CodecError, UnknownCodecError

Tables = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float32]

TABLE_SEED = 0
"""Seed of every store's tables. They are stored, and never made again while reading."""

_INT8_MAX = 127


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec(ABC):
    """What a codec owes: the dtype of its codes, its tables, encode and decode."""

    name: str
    dtype: str
    tables: tuple[str, ...]
    """Names of the constant arrays it needs."""
    cosine_floor: float
    """A build stops when the 0.1-percentile of its own cosines falls below this."""

    @property
    def rotated(self) -> bool:
        """Whether codes live in a rotated basis."""
        return "rotation" in self.tables

    @abstractmethod
    def make_tables(self, num_tokens: int, dim: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        """The arrays named in `tables`; stored beside the codes."""

    @abstractmethod
    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[Any]:
        """Codes [n, T, D] of float32 features [n, T, D].

        Raises:
            CodecError: features that are not finite or out of range.
        """

    @abstractmethod
    def decode(self, codes_nTD: npt.NDArray[Any], tables: Tables) -> Floats:
        """Features [n, T, D], right in direction."""


class Fp16(Codec):
    """Half precision: exact but for rounding, 2 bytes per channel."""

    def make_tables(self, num_tokens: int, dim: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        """No tables."""
        return {}

    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[np.float16]:
        """Round to half precision.

        Raises:
            CodecError: a value is NaN, infinite, or above half precision's 65504.
        """
        with np.errstate(over="ignore"):
            codes = features_nTD.astype(np.float16)
        if not np.isfinite(codes).all():
            raise CodecError(
                f"Features reach {np.abs(features_nTD).max()}; fp16 holds finite values up to 65504. Use codec int8."
            )
        return codes

    def decode(self, codes_nTD: npt.NDArray[Any], tables: Tables) -> Floats:
        """Widen to float32."""
        return codes_nTD.astype(np.float32)


class Int8(Codec):
    """Random signs per token position, one rotation, then 8 bits relative to the token's largest channel.

    The rotation spreads massive channels, so the error does not depend on the data; the signs keep the
    rounding error of a mean shared by all tokens from pointing the same way everywhere.
    """

    def make_tables(self, num_tokens: int, dim: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        """`rotation` float32 [D, D], orthogonal and uniformly distributed; `signs` int8 [T, D] of +-1."""
        rng = np.random.default_rng(seed)
        q_DD, r_DD = np.linalg.qr(rng.standard_normal((dim, dim)))
        rotation_DD = q_DD * np.sign(np.diagonal(r_DD))
        signs_TD = rng.integers(0, 2, (num_tokens, dim), dtype=np.int8) * 2 - 1
        return {"rotation": rotation_DD.astype(np.float32), "signs": signs_TD.astype(np.int8)}

    def encode(self, features_nTD: Floats, tables: Tables) -> npt.NDArray[np.int8]:
        """Rotate, scale each token's largest magnitude to 127, round half to even.

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
        # A token of zeros has no direction: its codes are zeros.
        unit_nTD = np.divide(rotated_nTD, peak_nT1, out=np.zeros_like(rotated_nTD), where=peak_nT1 > 0)
        codes_nTD: npt.NDArray[np.int8] = np.rint(unit_nTD * _INT8_MAX).astype(np.int8)
        return codes_nTD

    def decode(self, codes_nTD: npt.NDArray[Any], tables: Tables) -> Floats:
        """Undo rotation and signs; the norm of a decoded token means nothing."""
        features_nTD: Floats = (codes_nTD.astype(np.float32) @ tables["rotation"].T) * tables["signs"]
        return features_nTD


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Fp16(name="fp16", dtype="float16", tables=(), cosine_floor=0.99999),
        Int8(name="int8", dtype="int8", tables=("rotation", "signs"), cosine_floor=0.9995),
    )
}


def get_codec(name: str) -> Codec:
    """Look a codec up by name.

    Raises:
        UnknownCodecError: no such codec.
    """
    if name not in CODECS:
        raise UnknownCodecError(f"Unknown codec {name!r}. Known: {', '.join(sorted(CODECS))}.")
    return CODECS[name]
