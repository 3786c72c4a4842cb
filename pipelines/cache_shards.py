"""Build shards: decode in processes, encode on the device, write in the background.

Shapes: n images of a shard, T tokens, D teacher width.
"""

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.cache_decode import SquareDataset, decoded_batches
from pipelines.cache_encode import EncodedBatch, Encoder
from pipelines.interrupt import StopRequest
from pipelines.progress import Meter
from pipelines.workers import reporting_dead_workers
from stores import CosineStats, Plan, Reject, ShardReport, write_shard
from stores.errors import CodecError

WRITES_WAITING = 1
"""Finished shards that may wait behind the one being written; this bounds memory."""
PERCENTILE = 0.001
DIGITS = 7
"""Of a reported cosine; float32 holds no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardJob:
    """What it takes to build any shard of a created store; the same for every engine."""

    root: Path
    images: Path
    plan: Plan
    encoder: Encoder
    batch_size: int
    workers: int


def build_shards(
    job: ShardJob, shard_ids: list[int], meter: Meter, stop: StopRequest
) -> Generator[ShardReport]:
    """Build shards in order, yielding the report of each once it is durable: the unit of work of any engine.

    One call keeps its pipeline full from shard to shard; a call with a single shard is as valid. When a stop is
    requested the open shard is dropped, and complete ones are still written.

    Raises:
        CodecError: features the codec cannot hold truthfully.
        DataError: a decoding process was killed.
        DiskFullError: no room; nothing half-written is left.
    """
    writes: deque[Future[ShardReport]] = deque()
    shard: _OpenShard | None = None
    with (
        reporting_dead_workers(f"--workers than {job.workers}"),
        ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
    ):
        for encoded in _encoded_batches(job, shard_ids, stop):
            batch = encoded.batch
            meter.add("encode", encoded.clock.seconds())
            meter.add("decode", batch.seconds / max(1, job.workers))
            if shard is None or shard.shard_id != batch.shard_id:
                shard = _OpenShard(job.plan, batch.shard_id)
            shard.add(encoded)
            meter.advance(len(batch.rows))
            if shard.is_complete:
                writes.append(writer.submit(_write, job, shard, meter))
            while writes and (writes[0].done() or len(writes) > 1 + WRITES_WAITING):
                yield writes.popleft().result()
        while writes:
            yield writes.popleft().result()


def _encoded_batches(job: ShardJob, shard_ids: list[int], stop: StopRequest) -> Iterator[EncodedBatch]:
    """One batch behind the encoder: while the host handles a batch, the device works on the next."""
    dataset = SquareDataset(job.plan, job.images, job.encoder.teacher.spec.image_size)
    on_cuda = job.encoder.device.type == "cuda"
    previous = None
    for batch in decoded_batches(
        dataset, shard_ids, batch_size=job.batch_size, workers=job.workers, pin=on_cuda
    ):
        if stop.requested:
            return
        encoded = job.encoder(batch)
        if previous:
            yield previous
        previous = encoded
    if previous:
        yield previous


class _OpenShard:
    """Codes and cosines of a shard while its batches come in."""

    def __init__(self, plan: Plan, shard_id: int) -> None:
        self.plan, self.shard_id = plan, shard_id
        self.rows = plan.rows(shard_id)
        self.codes_nTD = np.empty((len(self.rows), *plan.spec.record_shape), plan.spec.codes_dtype)
        self.cosines_nT = np.empty((len(self.rows), plan.spec.num_tokens), np.float32)
        self.rejects: list[Reject] = []
        self._filled = 0

    def add(self, encoded: EncodedBatch) -> None:
        """Take the next rows.

        Raises:
            CodecError: an image's features are not finite, or overflow the codec.
        """
        here = slice(self._filled, self._filled + len(encoded.batch.rows))
        self.codes_nTD[here] = encoded.codes.numpy()
        self.cosines_nT[here] = encoded.cosines.numpy()
        self.rejects += encoded.batch.rejects
        bad = np.flatnonzero(~np.isfinite(self.cosines_nT[here]).all(axis=1))
        if len(bad):
            raise CodecError(
                f"Features of {self.plan.paths[encoded.batch.rows[bad[0]]]!r} are not finite or overflow codec "
                f"{self.plan.spec.codec}; check the weights, or use --dtype float32 and --codec int8."
            )
        self._filled = here.stop

    @property
    def is_complete(self) -> bool:
        """Whether every row is there."""
        return self._filled == len(self.rows)

    def report(self) -> ShardReport:
        """What went in; rejected rows do not count in the cosines.

        Raises:
            CodecError: the 0.1-percentile of the cosines is below the codec's floor.
        """
        rejected = {reject.key for reject in self.rejects}
        kept = [self.plan.keys[row] not in rejected for row in self.rows]
        cosine = _statistics(self.cosines_nT[kept]) if any(kept) else None
        if cosine and cosine.p001 < self.plan.codec.cosine_floor:
            raise CodecError(
                f"Codec {self.plan.spec.codec} keeps a 0.1-percentile cosine of {cosine.p001:.6f} on shard "
                f"{self.shard_id}, below its floor of {self.plan.codec.cosine_floor}; build with --codec bf16."
            )
        return ShardReport(
            shard_id=self.shard_id, num_images=len(self.rows), rejects=tuple(self.rejects), cosine=cosine
        )


def _statistics(cosines: np.ndarray) -> CosineStats:
    mean, p001, worst = (
        round(float(value), DIGITS)
        for value in (cosines.mean(dtype=np.float64), np.quantile(cosines, PERCENTILE), cosines.min())
    )
    return CosineStats(mean=mean, p001=p001, worst=worst)


def _write(job: ShardJob, shard: _OpenShard, meter: Meter) -> ShardReport:
    start = time.perf_counter()
    report = shard.report()
    write_shard(job.root, job.plan, shard.shard_id, shard.codes_nTD, report)
    meter.add("write", time.perf_counter() - start)
    return report
