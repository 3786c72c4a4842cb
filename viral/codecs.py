"""The codecs of a feature store on a torch device; `stores.codecs` specifies them and is the reference.

Shapes: ... any leading axes, T tokens of an image, D teacher width, W codes of a token as stored (D, or fewer if
packed). Tables are the store's own. Nothing here waits for the device.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from viral.errors import UnknownNameError

Tables = Mapping[str, Tensor]

_INT8_MAX = 127


class TorchCodec(NamedTuple):
    """float32 features [..., T, D] -> codes, and back to float32 features that are right in direction."""

    encode: Callable[[Tensor, Tables], Tensor]
    decode: Callable[[Tensor, Tables], Tensor]


def encode(codec: str, features_TD: Tensor, tables: Tables) -> Tensor:
    """Codes [..., T, W] of float32 features, on their device. Features have to be finite.

    Raises:
        UnknownNameError: no such codec.
    """
    return _get(codec).encode(features_TD, tables)


def decode(codec: str, codes_TW: Tensor, tables: Tables) -> Tensor:
    """float32 features [..., T, D] of codes, on their device.

    Raises:
        UnknownNameError: no such codec.
    """
    return _get(codec).decode(codes_TW, tables)


def device_tables(tables: Mapping[str, np.ndarray], device: torch.device | str) -> dict[str, Tensor]:
    """A store's tables as float32 tensors on a device."""
    return {
        name: torch.from_numpy(np.array(table)).to(device, torch.float32) for name, table in tables.items()
    }


def _encode_fp16(features_TD: Tensor, tables: Tables) -> Tensor:
    return features_TD.half()


def _decode_fp16(codes_TW: Tensor, tables: Tables) -> Tensor:
    return codes_TW.float()


def _encode_bf16(features_TD: Tensor, tables: Tables) -> Tensor:
    return features_TD.bfloat16().view(torch.uint16)


def _decode_bf16(codes_TW: Tensor, tables: Tables) -> Tensor:
    return codes_TW.view(torch.bfloat16).float()


def _encode_int8(features_TD: Tensor, tables: Tables) -> Tensor:
    return (_rotate(features_TD, tables) * _INT8_MAX).round().to(torch.int8)


def _decode_int8(codes_TW: Tensor, tables: Tables) -> Tensor:
    return _rotate_back(codes_TW.float(), tables)


def _encode_lloyd_max(features_TD: Tensor, tables: Tables) -> Tensor:
    unit_TD = _rotate(features_TD, tables)
    rms_T1 = unit_TD.square().mean(dim=-1, keepdim=True).sqrt()
    levels = tables["codebook"][:, 0].sort().values
    borders = (levels[1:] + levels[:-1]) / 2
    ranks_TD = torch.bucketize(unit_TD / _or_one(rms_T1), borders, out_int32=True, right=True)
    return _pack(ranks_TD ^ len(levels) // 2, _bits(tables))


def _decode_lloyd_max(codes_TW: Tensor, tables: Tables) -> Tensor:
    indices_TD = _unpack(codes_TW, _bits(tables), len(tables["rotation"]))
    levels_TD = tables["codebook"][:, 0][indices_TD]
    # Only a token of zeros has codes that are all zeros.
    return _rotate_back(levels_TD * codes_TW.any(dim=-1, keepdim=True), tables)


def _rotate(features_TD: Tensor, tables: Tables) -> Tensor:
    """Rotated tokens, the largest magnitude of each being 1; a token of zeros stays zeros."""
    rotated_TD = (features_TD * tables["signs"]) @ tables["rotation"]
    return rotated_TD / _or_one(rotated_TD.abs().amax(dim=-1, keepdim=True))


def _rotate_back(rotated_TD: Tensor, tables: Tables) -> Tensor:
    return (rotated_TD @ tables["rotation"].T) * tables["signs"]


def _or_one(divisor_T1: Tensor) -> Tensor:
    return divisor_T1.where(divisor_T1 > 0, 1.0)


def _bits(tables: Tables) -> int:
    return len(tables["codebook"]).bit_length() - 1


_GROUPS = {2: (4, 1), 3: (8, 3), 4: (2, 1)}
"""Bits of a code -> fewest codes that fill whole bytes, and how many bytes."""


def _pack(codes_TD: Tensor, bits: int) -> Tensor:
    """uint8 [..., T, W] of int32 codes below 2^bits, the first in the lowest bits, group by group as one integer."""
    (num_codes, num_bytes), dim = _GROUPS[bits], codes_TD.shape[-1]
    width = -(-dim * bits // 8)
    grouped = F.pad(codes_TD, (0, -dim % num_codes)).unflatten(-1, (-1, num_codes))
    words = (grouped << _shifts(bits, num_codes, codes_TD)).sum(dim=-1, keepdim=True, dtype=torch.int32)
    return (words >> _shifts(8, num_bytes, codes_TD)).to(torch.uint8).flatten(-2)[..., :width]


def _unpack(codes_TW: Tensor, bits: int, dim: int) -> Tensor:
    """int32 codes [..., T, D] of `_pack`'s bytes."""
    num_codes, num_bytes = _GROUPS[bits]
    grouped = F.pad(codes_TW, (0, -codes_TW.shape[-1] % num_bytes)).unflatten(-1, (-1, num_bytes))
    words = (grouped.int() << _shifts(8, num_bytes, codes_TW)).sum(dim=-1, keepdim=True, dtype=torch.int32)
    return (words >> _shifts(bits, num_codes, codes_TW) & (1 << bits) - 1).flatten(-2)[..., :dim]


def _shifts(bits: int, count: int, like: Tensor) -> Tensor:
    return torch.arange(0, bits * count, bits, dtype=torch.int32, device=like.device)


_LLOYD_MAX = TorchCodec(_encode_lloyd_max, _decode_lloyd_max)

TORCH_CODECS = {
    "fp16": TorchCodec(_encode_fp16, _decode_fp16),
    "bf16": TorchCodec(_encode_bf16, _decode_bf16),
    "int8": TorchCodec(_encode_int8, _decode_int8),
    "lm4": _LLOYD_MAX,
    "lm3": _LLOYD_MAX,
    "lm2": _LLOYD_MAX,
}


def _get(name: str) -> TorchCodec:
    if name not in TORCH_CODECS:
        raise UnknownNameError("codec", name, list(TORCH_CODECS))
    return TORCH_CODECS[name]
