"""Codes of a few bits as bytes: code i of a token takes the bits i*b to (i+1)*b - 1, least significant bit first."""

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def pack(codes_nTD: Bytes, bits: int) -> Bytes:
    """Bytes [n, T, W] of codes below 2^bits; the bits left over in a token's last byte are zeros."""
    bits_nTDb = codes_nTD[..., None] >> np.arange(bits, dtype=np.uint8) & 1
    return np.packbits(bits_nTDb.reshape(*codes_nTD.shape[:-1], -1), axis=-1, bitorder="little")


def unpack(codes_nTW: Bytes, bits: int, dim: int) -> Bytes:
    """Codes [n, T, D] of their bytes."""
    flat = np.unpackbits(codes_nTW, axis=-1, count=dim * bits, bitorder="little")
    weights_b = 1 << np.arange(bits, dtype=np.uint8)
    codes_nTD: Bytes = flat.reshape(*codes_nTW.shape[:-1], dim, bits) @ weights_b
    return codes_nTD
