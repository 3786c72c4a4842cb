"""Codecs: how a patch feature becomes the codes of a record, and back. docs/codecs.md says which to take."""

from stores.codecs.codec import Codec as Codec
from stores.codecs.exact import Bf16, Fp16
from stores.codecs.rotated import Int8, LloydMax
from stores.errors import UnknownCodecError

TABLE_SEED = 0
"""Seed of every store's tables. They are stored, and never made again while reading."""

_ROTATED = ("rotation", "signs")
_CODEBOOK = (*_ROTATED, "codebook")

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Fp16(name="fp16", dtype="float16", bits=16, cosine_floor=0.99999),
        Bf16(name="bf16", dtype="uint16", bits=16, cosine_floor=0.99999),
        Int8(name="int8", dtype="int8", bits=8, cosine_floor=0.9995, tables=_ROTATED),
        LloydMax(name="lm4", dtype="uint8", bits=4, cosine_floor=0.975, tables=_CODEBOOK),
        LloydMax(name="lm3", dtype="uint8", bits=3, cosine_floor=0.95, tables=_CODEBOOK),
        LloydMax(name="lm2", dtype="uint8", bits=2, cosine_floor=0.87, tables=_CODEBOOK),
    )
}
"""The ladder, largest records first."""


def get_codec(name: str) -> Codec:
    """Look a codec up by name.

    Raises:
        UnknownCodecError: no such codec.
    """
    if name not in CODECS:
        raise UnknownCodecError(f"Unknown codec {name!r}. Known: {', '.join(sorted(CODECS))}.")
    return CODECS[name]
