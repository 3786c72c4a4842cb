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
from viral.errors import ConfigError
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
        self._most: int | None = None

    @torch.inference_mode()
    def __call__(self, batch: SquareBatch) -> EncodedBatch:
        """Encode one batch; on CUDA this returns while the device still works.

        A batch that does not fit the device is halved, and so are those that follow.

        Raises:
            ConfigError: a single image does not fit.
        """
        clock = CudaClock() if self.device.type == "cuda" else CpuClock()
        parts = [torch.as_tensor(part).to(self.device, non_blocking=True) for part in batch.squares]
        squares_BSSC = parts[0] if len(parts) == 1 else torch.cat(parts)
        codes_BTW, cosines_BT = self._encode(squares_BSSC)
        clock.stop()
        return EncodedBatch(batch, codes_BTW, cosines_BT, clock)

    def _encode(self, squares_BSSC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes and cosines, on the host or on their way to it."""
        size = len(squares_BSSC)
        if self._most is None or size <= self._most:
            try:
                return self._encode_at_once(squares_BSSC)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                if size == 1:
                    raise ConfigError(
                        f"{self.teacher.spec.name} does not fit the memory of {self.device}, not even with one image; "
                        "use another --device, a smaller --grid, or --dtype bfloat16."
                    ) from error
                self._most = size // 2
        # Outside the handler, whose traceback keeps tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        halves = [self._encode(part) for part in squares_BSSC.split(self._most)]
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # torch.cat reads what the device may still be copying
        codes, cosines = zip(*halves, strict=True)
        return torch.cat(codes), torch.cat(cosines)

    def _encode_at_once(self, squares_BSSC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features_BTD = self.teacher(squares_BSSC)
        codes_BTW = encode(self.codec, features_BTD, self._tables)
        decoded_BTD = decode(self.codec, codes_BTW, self._tables)
        cosines_BT = F.cosine_similarity(features_BTD, decoded_BTD, dim=-1)
        return codes_BTW.to("cpu", non_blocking=True), cosines_BT.to("cpu", non_blocking=True)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Torch has a class for GPUs only; on a CPU the message alone says so."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


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
