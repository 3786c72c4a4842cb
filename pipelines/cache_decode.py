"""The decoding stage: image files -> uint8 squares, in worker processes that no bad file can stop.

Shapes: B images of a batch, S square side in px, C colour channels.
"""

import hashlib
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from stores import Plan, Reject
from viral.data.annotations import resolve_image
from viral.data.images import decode_image, to_square
from viral.errors import DataError, ImageError
from viral.teachers.teacher import SQUARE_MODE

PREFETCH = 2
"""Batches that each worker keeps ready."""


class SquareBatch(NamedTuple):
    """Consecutive rows of one shard; a rejected row is a black square."""

    shard_id: int
    rows: tuple[int, ...]
    squares: torch.Tensor | np.ndarray
    """uint8 [B, S, S, 3]."""
    rejects: tuple[Reject, ...]
    seconds: float
    """Spent decoding, in the worker."""


class Square(NamedTuple):
    """One image, decoded."""

    row: int
    pixels: np.ndarray
    """uint8 [S, S, 3]."""
    reject: Reject | None
    seconds: float


class SquareDataset(Dataset[Square]):
    """Squares by plan row."""

    def __init__(self, plan: Plan, root: Path, size: int) -> None:
        self.plan, self.root, self.size = plan, root, size

    def __len__(self) -> int:
        return len(self.plan.keys)

    def __getitem__(self, row: int) -> Square:
        start = time.perf_counter()
        key, path = self.plan.keys[row], self.plan.paths[row]
        try:
            pixels, reject = self._pixels(key, path), None
        except (ImageError, OSError, MemoryError) as error:
            pixels = np.zeros((self.size, self.size, 3), np.uint8)
            reject = Reject(path=path, reason=str(error) or type(error).__name__, key=key)
        return Square(row, pixels, reject, time.perf_counter() - start)

    def _pixels(self, key: str, path: str) -> np.ndarray:
        data = resolve_image(self.root, path).read_bytes()
        if hashlib.sha256(data).hexdigest() != key:
            raise ImageError("the file has changed since it was planned")
        return to_square(decode_image(data), self.size, SQUARE_MODE)


def shard_batches(plan: Plan, shard_ids: Iterable[int], batch_size: int) -> list[list[int]]:
    """Rows of each batch: no batch crosses a shard, so a resumed build forms the same ones."""
    shards = [plan.rows(shard_id) for shard_id in shard_ids]
    return [
        list(rows[start : start + batch_size]) for rows in shards for start in range(0, len(rows), batch_size)
    ]


def decoded_batches(
    dataset: SquareDataset, shard_ids: list[int], *, batch_size: int, workers: int, pin: bool
) -> Iterator[SquareBatch]:
    """Batches of the given shards in order, decoded ahead by `workers` processes (0: in this one)."""
    batch_bytes = batch_size * dataset.size**2 * 3
    collate = partial(
        collate_squares,
        shard_size=dataset.plan.spec.shard_size,
        shared=_fits_shared_memory(batch_bytes, workers),
    )
    loader = DataLoader(
        dataset,
        batch_sampler=shard_batches(dataset.plan, shard_ids, batch_size),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=collate,
        worker_init_fn=_ignore_interrupt,
        pin_memory=pin,
    )
    yield from loader


@contextmanager
def reporting_dead_workers(workers: int) -> Iterator[None]:
    """Explain the death of a decoding process; torch raises it wherever the main thread happens to be.

    Raises:
        DataError: a decoding process was killed while the block ran.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "A decoding process was killed, usually for want of memory; run the same command again with fewer "
            f"--workers than {workers}, it resumes."
        ) from error


def collate_squares(squares: list[Square], shard_size: int, *, shared: bool = True) -> SquareBatch:
    """Squares of one shard -> batch. A tensor leaves a worker through shared memory, an array through a pipe."""
    pixels_BSSC = np.stack([square.pixels for square in squares])
    return SquareBatch(
        shard_id=squares[0].row // shard_size,
        rows=tuple(square.row for square in squares),
        squares=torch.from_numpy(pixels_BSSC) if shared else pixels_BSSC,
        rejects=tuple(square.reject for square in squares if square.reject),
        seconds=sum(square.seconds for square in squares),
    )


def _fits_shared_memory(batch_bytes: int, workers: int) -> bool:
    """Containers often have 64 MB of it; a worker that runs out dies of a bus error."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - where torch puts them, not a file of ours
    if not shared_memory.is_dir():
        return True
    return shutil.disk_usage(shared_memory).free > 2 * batch_bytes * workers * PREFETCH


def _ignore_interrupt(worker_id: int) -> None:
    # Ctrl-C reaches the whole process group; the main process alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
