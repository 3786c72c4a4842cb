"""The decoding stage: image files -> uint8 squares, in worker processes that no bad file can stop.

Shapes: B images of a batch, S square side in px, C colour channels.
"""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pipelines.workers import PREFETCH, fits_shared_memory, leave_signals_to_parent
from stores import Plan, Reject
from viral.data.image_files import ImageFiles, reject_reason
from viral.data.images import CLIP_MEAN, decode_image, mean_fill, to_square
from viral.data.keys import key_function
from viral.data.tiles import Tiling, resize_views, tiling_of_store, view_key
from viral.errors import DataError, ImageError
from viral.teachers.teacher import SQUARE_MODE

CHUNK = 32
"""Images that a decoding process makes at a time, at most: a large batch is put together from several. What is decoded
ahead stays a few shards then, in memory and among the shards that this process has claimed."""


_CHANGED = "the file has changed since it was planned"


class SquareBatch(NamedTuple):
    """Consecutive rows of one shard; a rejected row is a black square."""

    shard_id: int
    rows: tuple[int, ...]
    squares: tuple[torch.Tensor | np.ndarray, ...]
    """uint8 [b, S, S, 3] each, as the decoding processes made them; B = sum of b."""
    rejects: tuple[Reject, ...]
    failures: tuple[str, ...]
    seconds: float
    """Spent decoding, in the worker."""


class Square(NamedTuple):
    """One image, decoded."""

    row: int
    pixels: np.ndarray
    """uint8 [S, S, 3]."""
    reject: Reject | None
    failure: str | None
    """The disk or the memory failed, not the image; a later build may succeed."""
    seconds: float


class SquareDataset(Dataset[Square]):
    """Squares by plan row: of whole pictures, or of the views of their tiling, for which a picture is decoded once."""

    def __init__(self, plan: Plan, root: Path, size: int) -> None:
        self.plan, self.files, self.size = plan, ImageFiles(root), size
        self._key_of = key_function(plan.spec.fingerprint)
        red, green, blue = plan.spec.fingerprint.get("fill", mean_fill(CLIP_MEAN))
        self._fill, self._mode = (red, green, blue), plan.spec.fingerprint.get("square", SQUARE_MODE)
        self._tiling = tiling_of_store(plan.spec.fingerprint)
        self._views: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.plan.keys)

    def __getitem__(self, row: int) -> Square:
        start = time.perf_counter()
        key, path = self.plan.keys[row], self.plan.paths[row]
        pixels, reject, failure = np.zeros((self.size, self.size, 3), np.uint8), None, None
        try:
            pixels = self._pixels(row)
        except (ImageError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
            reject = Reject(path=path, reason=reject_reason(error), key=key)
        except (OSError, MemoryError, DataError) as error:
            failure = f"{path!r}: {error or type(error).__name__}"
        return Square(row, pixels, reject, failure, time.perf_counter() - start)

    def _pixels(self, row: int) -> np.ndarray:
        if self._tiling:
            return self._view(self._tiling, row)
        key, path = self.plan.keys[row], self.plan.paths[row]
        data = self.files.read(path)
        if self._key_of(path, data) != key:
            raise ImageError(_CHANGED)
        return to_square(decode_image(data), self.size, self._mode, self._fill)

    def _view(self, tiling: Tiling, row: int) -> np.ndarray:
        """One view; the others are kept for the rows that follow."""
        key, path = self.plan.keys[row], self.plan.paths[row]
        if key not in self._views:
            data = self.files.read(path)
            views = resize_views(tiling.views(decode_image(data)), self.size)
            image = self._key_of(path, data)
            self._views = {view_key(image, index): view for index, view in enumerate(views)}
        planned = list(self._views)
        first = row - (planned.index(key) if key in self._views else 0)
        if self.plan.keys[first : first + len(planned)] != tuple(planned):
            raise ImageError(_CHANGED)
        return self._views[key]


def shard_batches(plan: Plan, shard_ids: Iterable[int], batch_size: int) -> Iterator[list[int]]:
    """Rows of each batch: no batch crosses a shard, so a resumed build forms the same ones. Lazy, as `shard_ids` is."""
    for rows in map(plan.rows, shard_ids):
        yield from (list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size))


def decoded_batches(
    dataset: SquareDataset, shard_ids: Iterable[int], *, batch_size: int, workers: int, pin: bool
) -> Iterator[SquareBatch]:
    """Batches of the given shards in order, decoded ahead by `workers` processes (0: in this one).

    `shard_ids` may be lazy: a shard is asked for when the first process is free to decode it.

    Raises:
        DataError: a file could not be read for a reason that is not its own.
    """
    chunks: list[int] = []
    loader = DataLoader(
        dataset,
        batch_sampler=_chunks(shard_batches(dataset.plan, shard_ids, batch_size), chunks),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=partial(
            collate_squares,
            shard_size=dataset.plan.spec.shard_size,
            shared=fits_shared_memory(min(batch_size, CHUNK) * dataset.size**2 * 3, workers),
        ),
        worker_init_fn=leave_signals_to_parent,
        pin_memory=pin,
    )
    parts: list[SquareBatch] = []
    for part in loader:
        if part.failures:
            raise DataError(f"Cannot read {part.failures[0]}; run the same command again, it resumes.")
        parts.append(part)
        if len(parts) == chunks[0]:
            yield _merge(parts)
            parts = []
            del chunks[0]


def _chunks(batches: Iterator[list[int]], counts: list[int]) -> Iterator[list[int]]:
    """Rows of each chunk; notes in `counts` how many make up each batch."""
    for batch in batches:
        starts = range(0, len(batch), CHUNK)
        counts.append(len(starts))
        yield from (batch[start : start + CHUNK] for start in starts)


def _merge(parts: list[SquareBatch]) -> SquareBatch:
    return SquareBatch(
        shard_id=parts[0].shard_id,
        rows=tuple(chain.from_iterable(part.rows for part in parts)),
        squares=tuple(chain.from_iterable(part.squares for part in parts)),
        rejects=tuple(chain.from_iterable(part.rejects for part in parts)),
        failures=(),
        seconds=sum(part.seconds for part in parts),
    )


def collate_squares(squares: list[Square], shard_size: int, *, shared: bool = True) -> SquareBatch:
    """Squares of one shard -> batch. A tensor leaves a worker through shared memory, an array through a pipe."""
    pixels_BSSC = np.stack([square.pixels for square in squares])
    return SquareBatch(
        shard_id=squares[0].row // shard_size,
        rows=tuple(square.row for square in squares),
        squares=(torch.from_numpy(pixels_BSSC) if shared else pixels_BSSC,),
        rejects=tuple(square.reject for square in squares if square.reject),
        failures=tuple(square.failure for square in squares if square.failure),
        seconds=sum(square.seconds for square in squares),
    )
