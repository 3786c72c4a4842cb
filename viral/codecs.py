"""The codecs of a feature store on a torch device; `stores.codecs` specifies them and is the reference.

Shapes: ... any leading axes, T tokens of an image, D teacher width. Tables are the store's own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from viral.errors import UnknownNameError

Tables = Mapping[str, Tensor]

_INT8_MAX = 127


class TorchCodec(NamedTuple):
    """float32 features [..., T, D] -> codes, and back to float32 features that are right in direction."""

    encode: Callable[[Tensor, Tables], Tensor]
    decode: Callable[[Tensor, Tables], Tensor]


def encode(codec: str, features_TD: Tensor, tables: Tables) -> Tensor:
    """Codes [..., T, D] of float32 features, on their device. Features have to be finite.

    Raises:
        UnknownNameError: no such codec.
    """
    return _get(codec).encode(features_TD, tables)


def decode(codec: str, codes_TD: Tensor, tables: Tables) -> Tensor:
    """float32 features [..., T, D] of codes, on their device.

    Raises:
        UnknownNameError: no such codec.
    """
    return _get(codec).decode(codes_TD, tables)


def device_tables(tables: Mapping[str, np.ndarray], device: torch.device | str) -> dict[str, Tensor]:
    """A store's tables as float32 tensors on a device."""
    return {
        name: torch.from_numpy(np.array(table)).to(device, torch.float32) for name, table in tables.items()
    }


def _encode_fp16(features_TD: Tensor, tables: Tables) -> Tensor:
    return features_TD.half()


def _decode_fp16(codes_TD: Tensor, tables: Tables) -> Tensor:
    return codes_TD.float()


def _encode_int8(features_TD: Tensor, tables: Tables) -> Tensor:
    rotated_TD = (features_TD * tables["signs"]) @ tables["rotation"]
    peak_T1 = rotated_TD.abs().amax(dim=-1, keepdim=True)
    # A token of zeros keeps codes of zeros: dividing it by one instead of by its peak changes nothing else.
    return (rotated_TD / peak_T1.where(peak_T1 > 0, 1.0) * _INT8_MAX).round().to(torch.int8)


def _decode_int8(codes_TD: Tensor, tables: Tables) -> Tensor:
    return (codes_TD.float() @ tables["rotation"].T) * tables["signs"]


TORCH_CODECS = {
    "fp16": TorchCodec(_encode_fp16, _decode_fp16),
    "int8": TorchCodec(_encode_int8, _decode_int8),
}


def _get(name: str) -> TorchCodec:
    if name not in TORCH_CODECS:
        raise UnknownNameError("codec", name, list(TORCH_CODECS))
    return TORCH_CODECS[name]
