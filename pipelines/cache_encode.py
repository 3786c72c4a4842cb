"""The encoding stage: squares -> codes and their cosines, on the device, without waiting for it.

Shapes: B images of a batch, S square side in px, T tokens, D teacher width.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.cache_decode import SquareBatch
from viral.codecs import decode, device_tables, encode
from viral.teachers.teacher import Teacher


class EncodedBatch(NamedTuple):
    """Codes on their way to the host; call `clock.seconds()` before reading them."""

    batch: SquareBatch
    codes: torch.Tensor
    """[B, T, W] in the codec's dtype, W codes for a token."""
    cosines: torch.Tensor
    """float32 [B, T], between features and decoded codes."""
    clock: "CpuClock | CudaClock"


class Encoder:
    """Teacher and codec on one device."""

    def __init__(self, teacher: Teacher, codec: str, tables: Mapping[str, np.ndarray]) -> None:
        self.teacher, self.codec = teacher, codec
        self.device = teacher.mean.device
        self._tables = device_tables(tables, self.device)

    @torch.inference_mode()
    def __call__(self, batch: SquareBatch) -> EncodedBatch:
        """Encode one batch; on CUDA this returns while the device still works."""
        clock = CudaClock() if self.device.type == "cuda" else CpuClock()
        features_BTD = self.teacher(torch.as_tensor(batch.squares))
        codes_BTW = encode(self.codec, features_BTD, self._tables)
        decoded_BTD = decode(self.codec, codes_BTW, self._tables)
        cosines_BT = F.cosine_similarity(features_BTD, decoded_BTD, dim=-1)
        codes_BTW, cosines_BT = (tensor.to("cpu", non_blocking=True) for tensor in (codes_BTW, cosines_BT))
        clock.stop()
        return EncodedBatch(batch, codes_BTW, cosines_BT, clock)


class CpuClock:
    """Wall time of synchronous work."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._end = self._start

    def stop(self) -> None:
        """Mark the end of the work."""
        self._end = time.perf_counter()

    def seconds(self) -> float:
        """Seconds between start and stop."""
        return self._end - self._start


class CudaClock:
    """Device time of asynchronous work."""

    def __init__(self) -> None:
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._start.record()

    def stop(self) -> None:
        """Mark the end of the work given to the device so far."""
        self._end.record()

    def seconds(self) -> float:
        """Seconds between start and stop; waits until the device is there."""
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) / 1000
